# SPDX-License-Identifier: LGPL-2.1-or-later
"""The time of day jumps by hours, as NTP or an administrator makes it: what lasts
and what is limited goes by the clock that does not."""

import pytest

from native.agent import ROOT
from native.clock import HOUR
from native.expect import TIME
from native.merges import content

FORTH, BACK = 10 * HOUR, -10 * HOUR


def turn_of_the_loop(agent, name="other"):
    """The agent has done something since: what was due is over."""
    reply = agent.request("create", domain=name, name=f"turn-{len(agent.log_text())}", memory=0)
    assert reply["state"] == "done", reply


def test_the_agents_clock_jumps(world, clock, agent_stopped):
    """What the others rest on."""
    agent = agent_stopped.start()
    world.add_domain("web")
    clock.jump(0)
    first = agent.request("create", domain="web", name="s1", memory=0)
    clock.jump(FORTH)
    second = agent.request("create", domain="web", name="s2", memory=0)
    assert TIME.match(second["finished-at"])
    assert first["finished-at"][:10] + "T24" < second["finished-at"] or \
        int(second["finished-at"][11:13]) - int(first["finished-at"][11:13]) >= 9


@pytest.mark.parametrize("jump", [FORTH, BACK])
def test_no_limit_of_a_request_ends_early(world, clock, agent_stopped, save, jump):
    """Neither its own, nor a step's, QEMU's or max-pause; nor is a duration wrong."""
    agent = agent_stopped.start()
    domain = world.add_domain("web")
    world.add_domain("other")
    save.hold()
    relay = domain.interpose()  # before the session of which the switch is a part
    request = agent.submit("create", {"timeout": 600}, domain="web", name="s1", live=0)
    world.eventually(lambda: not world.xen.is_running(domain.domid), 20, "it is suspended")
    clock.jump(jump)
    fault = relay.fault("transaction", "hold-after")
    save.release()
    fault.wait_reached()
    clock.jump(0)
    turn_of_the_loop(agent)
    clock.jump(jump)
    turn_of_the_loop(agent)
    fault.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert 0 <= int(reply["result/downtime-ms"]) < 600000


@pytest.mark.parametrize("jump", [FORTH, BACK])
def test_a_hold_lasts_as_long_as_it_should(world, clock, agent_stopped, jump):
    """Also one that the next agent takes over."""
    agent = agent_stopped.start()
    domain = world.add_domain("web")
    world.add_domain("other")

    def held():
        return world.xen.get(domain.domid)["paused"] != "0"

    reply = agent.request("rescan", domain="web", phase="prepare", hold=600)
    assert reply["state"] == "done", reply
    clock.jump(jump)
    turn_of_the_loop(agent)
    assert held()
    agent.kill()
    clock.jump(0)
    agent.start()
    turn_of_the_loop(agent)
    assert held()
    reply = agent.request("rescan", domain="web", phase="complete")
    assert reply["state"] == "done", reply
    # A short one ends, wherever the time of day has gone.
    reply = agent.request("rescan", domain="web", phase="prepare", hold=2)
    assert reply["state"] == "done", reply
    clock.jump(jump)
    agent.kill()
    agent.start()
    world.eventually(lambda: not held(), 30, "it is let go")


@pytest.mark.parametrize("jump", [FORTH, BACK])
def test_results_are_kept_as_long_as_they_should(world, clock, agent_stopped, jump):
    agent_stopped.configure("xenstore", keep_finished="1h")
    agent = agent_stopped.start()
    world.add_domain("other")
    old = agent.submit("create", domain="other", name="s1", memory=0)
    assert old.wait()["state"] == "done"
    clock.jump(jump)
    turn_of_the_loop(agent)
    assert old.state() == "done"
    agent.kill()
    agent.configure("xenstore", keep_finished="1s")
    agent.start()
    clock.jump(-jump)
    # Found finished by this agent: a second from its start on.
    world.eventually(lambda: old.state() is None, 30, "it is removed")


def test_what_a_snapshot_descends_from_does_not_go_by_the_time_of_day(world, clock,
                                                                       agent_stopped):
    agent = agent_stopped.start()
    domain = world.add_domain("web")

    def create():
        reply = agent.request("create", domain="web", memory=0)
        assert reply["state"] == "done", reply
        return reply["result/name"]

    def published(key):
        return world.store.read(f"{ROOT}/snapshots/{domain.uuid}/{key}")

    first = create()
    clock.jump(BACK)
    # Names are made of it: in the same second they differ all the same.
    second, third = create(), create()
    assert len({first, second, third}) == 3
    for _ in range(2):
        assert published(f"{second}/parent") == first
        assert published(f"{third}/parent") == second
        assert published("current") == third
        agent.restart()
    # Each is over what came before: the order of deletes does not matter.
    for name in (second, third, first):
        reply = agent.request("delete", domain="web", name=name)
        assert reply["state"] == "done", reply
    assert len(domain.chain("xvda")) == 1


def test_a_delete_follows_images_whatever_their_records_dates(world, clock, agent_stopped):
    """The record of the image that is laid onto another comes before that which lists
    it as an overlay."""
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2")])
    for n in range(3):
        domain.write("xvda", n * 65536, b"%d" % n * 4096)
        clock.jump(BACK if n == 2 else 0)
        reply = agent.request("create", domain="web", name=f"s{n}", memory=0)
        assert reply["state"] == "done", reply
    domain.write("xvda", 3 * 65536, b"3" * 4096)
    domain.disks["xvda"].front.flush()
    active = domain.chain("xvda")[0][0]
    world.remove_domain(domain)
    reply = agent.request("delete", domain=domain.uuid, name="s0")
    assert reply["state"] == "done", reply
    assert [content(active, n * 65536)[:1] for n in range(4)] == [b"0", b"1", b"2", b"3"]
