# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the agent publishes: its status, and the snapshots that exist."""

import json
import os
import time
from pathlib import Path

import pytest

from native.agent import FINAL, ROOT
from native.expect import TIME, assert_failed, assert_works
from native.faults import FAIL, STOP_BEFORE, Faults
from native.ring import Denied
from native.store_relay import WATCH, WRITE, StoreRelay

STATUS, SNAPSHOTS = f"{ROOT}/status", f"{ROOT}/snapshots"


def create(agent, name, keys=None, domain="web", **more):
    reply = agent.request("create", keys, domain=domain, name=name, memory=0, **more)
    assert reply["state"] == "done", reply
    return reply


def test_the_status_says_who_serves_and_what(world, agent):
    status = world.store.tree(STATUS)
    assert status["state"] == "ready"
    assert status["protocol"] == "1"
    assert status["pid"] == str(agent.process.pid)
    assert status["domid"] == "0"
    assert status["version"]
    assert "create" in status["operations"].split()
    assert TIME.fullmatch(status["started-at"])


def test_every_operation_that_is_offered_is_known(world, agent):
    for operation in world.store.read(f"{STATUS}/operations").split():
        reply = agent.request(operation, domain="nobody", name="s1")
        assert reply["error/code"] != "unsupported-operation", operation


def test_the_status_goes_with_the_agent(world, agent):
    assert agent.stop() == 0
    assert world.store.tree(STATUS).get("state") in (None, "draining")
    assert world.store.read(f"{STATUS}/pid") is None
    agent.start()
    assert world.store.read(f"{STATUS}/state") == "ready"


def test_everybody_may_read_what_is_published(world, agent):
    domain = world.add_domain("web")
    create(agent, "s1")
    guest = domain.xenstore()
    assert guest.read(f"{STATUS}/state") == "ready"
    assert guest.read(f"{STATUS}/protocol") == "1"
    assert guest.read(f"{SNAPSHOTS}/{domain.uuid}/current") == "s1"
    with pytest.raises(Denied):
        guest.write(f"{STATUS}/state", "mine")


def test_a_snapshot_is_described(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    reply = create(agent, "s1", description="before the upgrade, 100 % ok")
    seen = world.store.tree(f"{SNAPSHOTS}/{domain.uuid}")
    assert seen["current"] == "s1"
    assert TIME.fullmatch(seen["s1/created-at"])
    assert seen["s1/created-at"] >= reply["started-at"]
    assert "s1/parent" not in seen
    assert seen["s1/memory"] == "0"
    assert "s1/memory-path" not in seen
    assert seen["s1/domain-name"] == "web"
    assert seen["s1/description"] == "before the upgrade, 100 % ok"
    assert seen["s1/consistency"] == "crash"
    for vdev, disk in domain.disks.items():
        assert seen[f"s1/disks/{vdev}/path"] == disk.path
        assert seen[f"s1/disks/{vdev}/format"] == disk.format
        assert seen[f"s1/disks/{vdev}/external"] == "1"
        assert (seen[f"s1/disks/{vdev}/overlays/0"] ==
                reply[f"result/disks/{vdev}/path"])


def test_disks_that_were_left_out_are_not_part_of_it(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    create(agent, "s1", disks="xvdb")
    assert world.store.ls(f"{SNAPSHOTS}/{domain.uuid}/s1/disks") == ["xvdb"]


def test_parents_and_the_current_one(world, agent):
    domain = world.add_domain("web")
    store, base = world.store, f"{SNAPSHOTS}/{domain.uuid}"
    for name, parent in (("s1", None), ("s2", "s1"), ("s3", "s2")):
        create(agent, name)
        assert store.read(f"{base}/{name}/parent") == parent
        assert store.read(f"{base}/current") == name


def test_it_is_there_when_the_request_is_done(world, agent):
    """Whoever sees `done` finds the snapshot published."""
    domain = world.add_domain("web")
    for index in range(10):
        create(agent, f"s{index}")
        assert world.store.read(
            f"{SNAPSHOTS}/{domain.uuid}/current") == f"s{index}"


def test_a_dot_in_a_name_is_written_as_xenstore_can(world, agent):
    domain = world.add_domain("web")
    create(agent, "v1.2")
    names = world.store.ls(f"{SNAPSHOTS}/{domain.uuid}")
    assert set(names) == {"v1@2e2", "current"}
    assert world.store.read(
        f"{SNAPSHOTS}/{domain.uuid}/v1@2e2/name") == "v1.2"
    assert world.store.read(f"{SNAPSHOTS}/{domain.uuid}/current") == "v1.2"


def test_a_snapshot_may_be_named_current(world, agent):
    """That name has a meaning of its own beside the snapshots."""
    domain = world.add_domain("web")
    reply = agent.request("create", domain="web", name="current", memory=0)
    if reply["state"] == "failed":
        assert reply["error/code"] == "invalid-request"
        assert "current" in reply["error/message"]
        return
    assert world.store.read(
        f"{SNAPSHOTS}/{domain.uuid}/current") == "current"
    create(agent, "s2")
    agent.restart()
    seen = world.store.tree(f"{SNAPSHOTS}/{domain.uuid}")
    assert seen["current"] == "s2"
    assert seen["s2/parent"] == "current"


def test_the_folder_goes_with_the_last_snapshot(world, agent):
    domain = world.add_domain("web")
    create(agent, "s1")
    assert domain.uuid in world.store.ls(SNAPSHOTS)
    assert domain.uuid in world.store.ls(f"{ROOT}/chains")
    agent.request("delete", domain="web", name="s1")
    assert domain.uuid not in world.store.ls(SNAPSHOTS)
    assert domain.uuid not in world.store.ls(f"{ROOT}/chains")


def test_what_has_not_changed_is_not_written_again(world, agent):
    """Nobody who watches a snapshot is woken for another one."""
    domain = world.add_domain("web")
    create(agent, "s1")
    world.store.watch(f"{SNAPSHOTS}/{domain.uuid}/s1", "s1")
    world.store.events()
    create(agent, "s2")
    world.store.watch(f"{SNAPSHOTS}/{domain.uuid}/s2", "s2")
    world.store.wait_for("/", lambda: world.store.read(
        f"{SNAPSHOTS}/{domain.uuid}/current") == "s2")
    assert "s1" not in {token for _, token in world.store.events()}


def test_records_outlive_the_agent_and_the_domain(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    create(agent, "s1", description="caf\u00e9: [x] {y} 'z' \"w\" # & *")
    create(agent, "s2")
    before = world.store.tree(SNAPSHOTS)
    agent.restart()
    assert world.store.tree(SNAPSHOTS) == before
    world.remove_domain(domain)
    agent.kill()
    world.store.rm(SNAPSHOTS)
    agent.start()
    assert world.store.tree(SNAPSHOTS) == before


def test_what_others_wrote_there_is_gone_after_a_start(world, agent):
    world.store.write(f"{SNAPSHOTS}/fake-vm/s1/memory", "1")
    agent.restart()
    assert world.store.ls(SNAPSHOTS) == []


def test_a_damaged_record_does_not_hide_the_others(world, agent):
    domain = world.add_domain("web")
    create(agent, "s1")
    create(agent, "s2")
    folder = agent.settings["store"]["folder"]
    with open(f"{folder}/snapshots/{domain.uuid}/s2.yaml", "w",
              encoding="ascii") as file:
        file.write("no: record\n")
    agent.restart()
    names = world.store.ls(f"{SNAPSHOTS}/{domain.uuid}")
    assert "s1" in names and "s2" not in names
    # Its name is taken: the file still is there.
    relay = domain.interpose()
    reply = agent.request("create", domain="web", name="s2", memory=0)
    assert_failed(reply, "snapshot-exists", "s2", "damaged")
    assert reply["error/step"] == "find-domain"
    assert not [command for command in relay.commands if command["execute"] == "transaction"]
    assert domain.chain("xvda")[0][0].endswith("web-xvda.s2.qcow2")
    assert len(domain.chain("xvda")) == 3


def test_damaged_records_are_told_of(world, agent, run):
    """Also of a VM that has no other."""
    web, db = world.add_domain("web"), world.add_domain("db")
    for name in ("s1", "s2"):
        create(agent, name)
    create(agent, "d1", domain="db")
    assert not world.store.ls(f"{ROOT}/damaged")
    for domain, name in ((web, "s2"), (db, "d1")):
        path = f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}/{name}.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write("no: record\n")
    agent.restart()
    for domain, name in ((web, "s2"), (db, "d1")):
        assert world.store.tree(f"{ROOT}/damaged/{domain.uuid}") == {"0": name}
    for command in ("list", "tree", "status"):
        told = run(command).stderr
        assert "'s2' of web" in told and "'d1' of db" in told and "log" in told
    assert "'s2' of web" in run("tree", "web").stderr
    assert "d1" not in run("list", "web").stderr
    assert "'s2' of web" in run("show", "web", "s2").stderr
    assert json.loads(run("status", "--json").stdout)["damaged"] == {
        web.uuid: ["s2"], db.uuid: ["d1"]}
    one, = json.loads(run("list", "--json", "web").stdout)
    assert one["damaged"] == ["s2"]
    # That there is nothing else does not hide it.
    for spec in "db", db.uuid:
        one, = json.loads(run("list", "--json", spec).stdout)
        assert (one["uuid"], one["damaged"], one["snapshots"]) == (db.uuid, ["d1"], [])
    all_of_them = json.loads(run("list", "--json").stdout)
    assert [(vm["name"], vm["damaged"]) for vm in all_of_them] == [
        ("db", ["d1"]), ("web", ["s2"])]
    assert "no snapshot that can be read" in run("tree").stdout
    world.remove_domain(db)
    assert run("list", db.uuid).returncode == 0
    for path in (agent.settings["store"]["folder"] + f"/snapshots/{domain.uuid}/{name}.yaml"
                 for domain, name in ((web, "s2"), (db, "d1"))):
        os.unlink(path)
    agent.restart()
    # Nothing is known of the ones that are gone, but that the link names one.
    told, = run("list").stderr.splitlines()
    assert "running state of web" in told
    assert world.store.ls(f"{ROOT}/damaged") == [web.uuid]


@pytest.mark.parametrize("make_link", [
    lambda path: os.symlink("gone.yaml", path), lambda path: os.symlink("s1", path),
    lambda path: os.mkdir(path)], ids=["of-none", "no-record", "no-link"])
def test_that_the_current_one_is_not_known_is_told(world, agent, run, make_link):
    web = world.add_domain("web")
    create(agent, "s1")
    create(agent, "s2")
    current = f"{agent.settings['store']['folder']}/snapshots/{web.uuid}/current"
    os.unlink(current)
    make_link(current)
    agent.restart()
    agent.wait_log(f"{current}: it is not a link to a readable record")
    assert world.store.tree(f"{ROOT}/damaged/{web.uuid}") == {"0": "current"}
    for command in ("list", "tree", "status"):
        told = run(command).stderr
        assert "running state of web" in told and "not known" in told and "log" in told
    one, = json.loads(run("list", "--json", "web").stdout)
    assert one["damaged"] == ["current"] and len(one["snapshots"]) == 2
    if os.path.isdir(current):
        os.rmdir(current)
    # What makes it anew ends that; the others can be deleted before.
    assert agent.request("delete", domain="web", name="s1")["state"] == "done"
    assert "not known" in run("list").stderr
    create(agent, "s3")
    assert run("list").stderr == "" and not world.store.ls(f"{ROOT}/damaged")
    agent.restart()
    assert run("list").stderr == ""
    assert world.store.read(f"{SNAPSHOTS}/{web.uuid}/current") == "s3"


def test_where_the_records_cannot_be_listed_a_create_changes_nothing(world, agent):
    domain = world.add_domain("web")
    create(agent, "s1")
    folder = agent.settings["store"]["folder"]
    agent.stop()
    os.rename(f"{folder}/snapshots/{domain.uuid}", f"{world.folder}/hidden")
    with open(f"{folder}/snapshots/{domain.uuid}", "wb"):
        pass
    agent.start()
    relay = domain.interpose()
    for name in ({"name": "s2"}, {}):
        reply = agent.request("create", domain="web", memory=0, **name)
        assert_failed(reply, "store-error", "web", "log")
    assert not [command for command in relay.commands if command["execute"] == "transaction"]
    assert agent.request("rescan", domain="web")["state"] == "done"


# ---- with the result, in one transaction ----

# Of a create these commit: `running`, both `params`, and the end of it.
END = 3


@pytest.fixture(name="faulty")
def fixture_faulty(world, agent_stopped):
    """An agent whose ends can be met, and a domain."""
    agent_stopped.faults = Faults(world.folder)
    agent_stopped.start()
    return agent_stopped, world.add_domain("web")


def stopped_at_its_end(world, agent):
    """A create's request, of which only the end is not told yet. What a busy machine
    makes it tell of its progress comes before."""
    records = Path(agent.settings["store"]["folder"], "snapshots")
    agent.faults.arm(STOP_BEFORE, END, "xs-commit")
    request = agent.submit("create", domain="web", name="s1", memory=0)
    world.eventually(agent.faults.reached, what="the end of the create")
    while not list(records.glob("*/s1.yaml")):
        agent.faults.arm(STOP_BEFORE, 1, "xs-commit")
        agent.thaw()
        world.eventually(agent.faults.reached, what="the end of the create")
    agent.faults.disarm()
    return request


def test_the_end_of_a_create_is_one_transaction(faulty):
    """But for what is told of one that takes longer than a tenth of a second, which on a
    busy machine some do."""
    agent, _ = faulty
    counts = []
    for number in range(10):
        agent.faults.arm(wanted="xs-commit")
        create(agent, f"s{number}")
        counts.append(len([name for name in agent.faults.names() if "xs-commit" in name]))
    assert min(counts) == END, counts


def test_a_snapshot_is_seen_when_its_request_is_done_and_not_before(world, faulty):
    agent, domain = faulty
    request = stopped_at_its_end(world, agent)
    assert request.output()["state"] == "running"
    assert world.store.tree(SNAPSHOTS) == {}
    agent.thaw()
    assert request.wait()["state"] == "done"
    assert world.store.read(f"{SNAPSHOTS}/{domain.uuid}/current") == "s1"


def test_a_snapshot_is_seen_whose_request_was_removed_at_its_end(world, faulty):
    agent, domain = faulty
    request = stopped_at_its_end(world, agent)
    world.store.rm(request.path)
    agent.thaw()
    world.store.wait(f"{SNAPSHOTS}/{domain.uuid}/current", "s1")
    assert world.store.tree(request.path) == {}
    assert_works(domain, "xvda")


def test_what_xenstored_refused_of_a_removed_request_is_seen_all_the_same(world, faulty):
    agent, domain = faulty
    request = stopped_at_its_end(world, agent)
    world.store.rm(request.path)
    agent.faults.arm(FAIL, 1, "xs-commit")
    agent.thaw()
    world.eventually(agent.faults.reached, what="the refusal")
    world.store.wait(f"{SNAPSHOTS}/{domain.uuid}/current", "s1")
    assert world.store.tree(request.path) == {}


def test_a_refusal_that_xenstored_refused_is_not_queued(world, faulty):
    """It has ended."""
    agent, _ = faulty
    seen = set()
    agent.faults.arm(FAIL, 1, "xs-commit")
    request = agent.submit("delete", domain="web", name="nobody-made-it")

    def has_ended():
        seen.add(request.state())
        return request.state() in FINAL

    world.eventually(has_ended, what="the end")
    assert agent.faults.reached()
    assert "queued" not in seen
    assert request.output()["error/code"] == "no-such-snapshot"


def test_a_result_that_xenstored_refused_comes_with_its_snapshot(world, faulty):
    agent, domain = faulty
    agent.faults.arm(FAIL, END, "xs-commit")
    reply = agent.request("create", domain="web", name="s1", memory=0)
    assert agent.faults.reached()
    assert reply["state"] == "done" and "result/warning" not in reply, reply
    assert world.store.read(f"{SNAPSHOTS}/{domain.uuid}/current") == "s1"


# ---- removed by others ----

@pytest.mark.parametrize("again", ["", "/requests/early"])
def test_a_root_that_was_removed_is_written_anew(world, agent, run, again):
    """Also where somebody has asked for something there before the agent came to look."""
    domain = world.add_domain("web")
    create(agent, "s1")
    before = world.store.tree(SNAPSHOTS)
    keys = {"domain": "web", "name": "s2", "memory": "0", "operation": "create"}
    agent.freeze()
    world.store.rm(ROOT)
    for key, value in keys.items() if again else ():
        world.store.write(f"{ROOT}{again}/{key}", value)
    agent.thaw()
    agent.wait_ready()
    if again:
        world.store.wait(f"{ROOT}{again}/state", *FINAL)
        assert world.store.read(f"{ROOT}{again}/state") == "done"
    else:
        assert world.store.tree(SNAPSHOTS) == before
        assert agent.request("create", domain="web", name="s2", memory=0)["state"] == "done"
    assert "s2" in run("list", "web").stdout
    assert world.store.permissions(f"{ROOT}/requests") == ["n0"]
    assert_works(domain, "xvda")


def test_a_root_that_cannot_be_written_is_tried_again_at_intervals(world, agent_stopped):
    """Not whenever our own attempt is told of, which would keep agent and xenstored busy."""
    agent = agent_stopped
    agent.relay = StoreRelay(world.folder)
    agent.configure("xenstore", reconnect_max="400ms")
    agent.start()
    world.add_domain("web")
    create(agent, "s1")
    before = world.store.tree(SNAPSHOTS)

    def attempts():
        return agent.log_text().count("is written anew")

    agent.relay.refuse(WRITE)
    began = time.monotonic()
    world.store.rm(ROOT)
    world.eventually(lambda: attempts() >= 7, 30, "it is tried again")
    assert time.monotonic() - began > 1.5  # 50 ms, 100, 200, and 400 from then on
    agent.relay.accept(WRITE)
    agent.wait_ready()
    world.eventually(lambda: world.store.tree(SNAPSHOTS) == before, 10)
    assert agent.request("create", domain="web", name="s2", memory=0)["state"] == "done"
    # Once more from the beginning.
    world.store.rm(ROOT)
    agent.wait_ready()


def test_a_watch_that_cannot_be_set_at_first(world, agent_stopped):
    """Requests are heard once it can."""
    agent = agent_stopped
    agent.relay = StoreRelay(world.folder)
    agent.relay.refuse(WATCH)
    agent.start(ready=False)
    agent.wait_log("cannot watch")
    agent.relay.accept(WATCH)
    agent.wait_ready()
    world.add_domain("web")
    create(agent, "s1")


def test_snapshots_that_were_removed_are_not_called_the_agents_end(world, agent, run):
    world.add_domain("web")
    create(agent, "s1")
    world.store.rm(SNAPSHOTS)
    told = run("list").stderr
    assert SNAPSHOTS in told and "removed" in told and "restart" in told.lower()
    agent.restart()
    assert "s1" in run("list").stdout
