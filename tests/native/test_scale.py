# SPDX-License-Identifier: LGPL-2.1-or-later
"""What there is much of costs nothing as long as nobody asks for it: counted,
not timed. `make bench` has the times."""

import glob
import re
import struct

import pytest

from native import crowd
from native.agent import ROOT
from native.costs import LIST, Costs, costs_of, count

IDLE_MAX_KIB = 8 * 1024


@pytest.fixture(name="agent")
def fixture_agent(agent_stopped):
    agent_stopped.costs = Costs(agent_stopped.world.folder)
    return agent_stopped.start()


def costs_of_refusal(agent, code, operation, **keys):
    agent.costs.take()
    reply = agent.request(operation, **keys)
    assert reply["error/code"] == code, reply
    return agent.costs.take()


def test_what_is_over_costs_a_later_request_nothing(world, agent):
    world.add_domain("web")
    costs_of(agent, "create", domain="web", memory=0)
    alone = count(costs_of(agent, "create", domain="web", memory=0))
    agent.stop()
    crowd.add_finished_requests(world, 300)
    agent.start()
    costs_of(agent, "create", domain="web", memory=0)
    assert count(costs_of(agent, "create", domain="web", memory=0)) == alone


def test_a_name_that_nobody_has_costs_the_same_on_a_full_host(world, agent):
    def cost():
        return count(costs_of_refusal(agent, "no-such-domain", "create",
                                      domain="nobody", memory=0))

    crowd.add_idle_domains(world, 2)
    cost()
    few = cost()
    crowd.add_idle_domains(world, 200, first=2000)
    many = cost()
    # The watch's last event may be looked at behind the answer, and not count.
    assert all(abs(many[kind] - few[kind]) <= 2 for kind in few), (few, many)
    # And those that were just read are known.
    costs = costs_of_refusal(agent, "no-such-snapshot", "delete",
                             domain="idle2100", name="s1")
    assert {path for _, _, path in costs if "/local/domain/" in path} == {
        "/local/domain/2100/name"}


def test_no_request_lists_all_domains_once_they_are_known(world, agent):
    domain = world.add_domain("web")
    for spec in ("web", domain.uuid):
        costs_of(agent, "create", domain=spec, memory=0)  # they get known
        costs = costs_of(agent, "create", domain=spec, name="s1", memory=0)
        # Before an image goes it must be certain that no other domain is the VM's.
        agent.request("delete", domain=spec, name="s1")
        costs += costs_of(agent, "rescan", domain=spec)
        assert LIST not in {what for _, what, _ in costs}
    # A domain that came in another's place is found all the same.
    world.remove_domain(domain)
    assert LIST in {what for _, what, _ in costs_of_refusal(
        agent, "domain-inactive", "create", domain=domain.uuid)}
    again = world.add_domain("web", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "path": domain.disks["xvda"].path}])
    costs_of(agent, "create", domain=domain.uuid, memory=0)
    assert len(again.chain("xvda")) > 1


def test_at_the_start_many_vms_are_published_at_once(world, agent):
    web = world.add_domain("web")
    costs_of(agent, "create", domain="web", memory=0)
    agent.stop()
    uuids = crowd.add_records(agent, 30, 4) + [web.uuid]
    agent.costs.take()
    agent.start()
    publishing = [cost for cost in agent.costs.take()
                  if re.search(r"/(chains|snapshots)/", cost[2])]
    assert len(publishing) < len(uuids) / 2
    snapshots = f"{ROOT}/snapshots"
    assert sorted(world.store.ls(snapshots)) == sorted(uuids)
    for uuid in uuids[:-1]:
        published = world.store.tree(f"{snapshots}/{uuid}")
        assert published["current"] == "s3"
        assert published["s3/parent"] == "s2"
        assert published["s0/disks/xvda/external"] == "1"


def test_more_names_than_one_answer_holds_are_read_all_the_same(world, agent):
    """xenstored gives 4096 bytes of names at once."""
    world.add_domain("web")
    long = {f"disks/{'x' * 25}{index:03}/external": "1"
            for index in range(200)}
    reply = agent.request("create", long, domain="web", memory=0)
    assert reply["error/code"] == "invalid-request", reply
    many = {f"{'k' * 40}{index:03}": "1" for index in range(150)}
    reply = agent.request("create", many, domain="web", memory=0)
    assert reply["error/code"] == "invalid-request", reply
    assert "kkk" in reply["error/message"]
    costs = costs_of(agent, "create", keys={"disks/xvda/external": "1"},
                     domain="web", memory=0)
    # Which keys there are, and what they say.
    assert len([path for _, _, path in costs
                if re.search(r"/requests/[^/ ]+/disks/xvda", path)]) == 2


# -- at rest ----------------------------------------------------------------

EPOLL_WAIT = 232


def sleeps(task):
    """Whether a thread waits for something to happen, and not for a time."""
    try:
        with open(f"{task}/syscall", encoding="ascii") as file:
            words = file.read().split()
    except FileNotFoundError:
        return False
    if not words or not words[0].isdigit():
        return False  # it runs
    number, arguments = int(words[0]), [int(word, 16) for word in words[1:7]]
    timeout = struct.unpack("=i", struct.pack("=Q", arguments[3])[:4])[0]
    return number == EPOLL_WAIT and timeout < 0


def armed_timers(pid):
    """Descriptors of the process that are timers which will fire."""
    result = []
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        with open(path, encoding="ascii") as file:
            value = re.search(r"^it_value: \((\d+), (\d+)\)", file.read(), re.M)
        if value and (int(value[1]), int(value[2])) != (0, 0):
            result.append(path)
    return result


def test_an_idle_agent_sleeps_until_something_happens(world, agent_stopped):
    """No timer anywhere: not for xenstored's sake, nor for any domain's."""
    agent = agent_stopped
    world.add_domain("web")
    crowd.add_idle_domains(world, 20)
    agent.configure("xenstore", keep_finished="0s")
    agent.start()
    assert agent.request("create", domain="web", memory=0)["state"] == "done"
    pid = agent.process.pid

    def at_rest():
        tasks = glob.glob(f"/proc/{pid}/task/*")
        # One alone: none stands between xenstored's events and the agent.
        return len(tasks) == 1 and sleeps(tasks[0]) and not armed_timers(pid)

    world.eventually(at_rest, what="an agent that waits for events alone")


def test_a_thousand_idle_domains_take_no_room(world, agent_stopped):
    agent = agent_stopped
    if "asan" in agent.program:
        pytest.skip("sanitizers keep memory of their own")
    agent.configure("log", level="info")
    crowd.add_idle_domains(world, 1000)
    agent.start()
    descriptors = agent.descriptor_count()
    # Their names, too, are known then.
    reply = agent.request("delete", domain="idle1999", name="s1")
    assert reply["error/code"] == "no-such-snapshot"
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as file:
        resident = int(re.search(r"^VmRSS:\s+(\d+)", file.read(), re.M)[1])
    assert resident < IDLE_MAX_KIB
    assert agent.descriptor_count() == descriptors
