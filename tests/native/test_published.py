# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the agent publishes: its status, and the snapshots that exist."""

import pytest

from native.agent import ROOT
from native.expect import TIME
from native.ring import Denied

STATUS, SNAPSHOTS = f"{ROOT}/status", f"{ROOT}/snapshots"


def create(agent, name, keys=None, **more):
    reply = agent.request("create", keys, domain="web", name=name, memory=0,
                          **more)
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
    reply = agent.request("create", domain="web", name="s2", memory=0)
    assert reply["error/code"] == "snapshot-exists"
    assert domain.chain("xvda")[0][0].endswith("web-xvda.s2.qcow2")
    assert len(domain.chain("xvda")) == 3
