# SPDX-License-Identifier: LGPL-2.1-or-later
"""A revert to a snapshot that leaves a disk out: that stays on the image that it is on,
which the records do not forget."""

import os

import pytest

from native.agent import FINAL, ROOT
from native.domain import Disk
from native.expect import assert_failed, done
from native.faults import KILL_AFTER, Faults
from native.rescans import qemu_img
from native.toolstack import Toolstack


class LeftOut:
    """xvda is not part of "only-b"; after the revert to that it is on the overlay of
    "both", with what was written last."""

    def __init__(self, world, agent, root):
        self.world, self.agent, self.toolstack = world, agent, Toolstack(world)
        self.domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
        self.uuid = self.domain.uuid
        if root:
            self.create("root")
        self.write(b"A")
        self.create("only-b", disks="xvdb")
        self.write(b"B")
        self.create("both")
        self.write(b"C")
        self.last = self.image("xvda")
        self.revert()

    def image(self, vdev):
        return self.domain.chain(vdev)[0][0]

    def write(self, byte):
        for vdev in ("xvda", "xvdb"):
            self.domain.write(vdev, 0, byte * 4096)
            self.domain.disks[vdev].front.flush()

    def create(self, name, **keys):
        done(self.agent.request("create", domain=self.uuid, name=name, memory=0, **keys))

    def revert(self):
        request = self.agent.submit("revert", domain=self.uuid, name="only-b", start="boot")
        self.world.eventually(lambda: request.state() in FINAL, 60, "the end")
        reply = request.wait()
        if reply["state"] == "done":
            self.domain = self.toolstack.made[-1]
        return reply

    def delete(self, name):
        return self.agent.request("delete", domain=self.uuid, name=name)

    def content(self):
        return [self.domain.read(vdev, 0, 512)[:1] for vdev in ("xvda", "xvdb")]

    def is_told(self):
        chains = self.world.store.tree(f"{ROOT}/chains/{self.uuid}")
        return chains.get("xvda/depth") == str(len(self.domain.chain("xvda")))


@pytest.fixture(name="known")
def fixture_known(world, agent):
    """An older snapshot has the disk."""
    return LeftOut(world, agent, True)


@pytest.fixture(name="unknown")
def fixture_unknown(world, agent):
    return LeftOut(world, agent, False)


def test_the_chain_that_it_is_on_is_told(known):
    assert known.image("xvda") == known.last
    assert known.content() == [b"C", b"A"]
    assert known.is_told()


def test_it_stays_there_also_when_the_domain_is_started_anew(world, known):
    world.remove_domain(known.domain)
    done(known.revert())
    assert known.image("xvda") == known.last
    assert known.content() == [b"C", b"A"]
    assert known.is_told()


def test_the_state_under_it_can_be_deleted_while_the_domain_is_off(world, known):
    world.remove_domain(known.domain)
    done(known.delete("both"))
    done(known.revert())
    assert known.content() == [b"C", b"A"]
    for name in ("root", "only-b"):
        done(known.delete(name))
    assert known.content() == [b"C", b"A"]


def test_a_crash_behind_the_start_forgets_nothing(world, agent_stopped):
    """Nor is what the records say believed, where the domain was started on another."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    known = LeftOut(world, agent, True)
    known.create("again")
    active = {vdev: known.image(vdev) for vdev in ("xvda", "xvdb")}
    mine = f"{world.images}/mine.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", active["xvda"], "-F", "qcow2", mine)
    world.remove_domain(known.domain)
    known.domain = world.add_domain("alice", uuid=known.uuid, disks=[
        {"vdev": "xvda", "path": mine}, {"vdev": "xvdb", "path": active["xvdb"]}])
    known.write(b"M")
    agent.faults.arm(KILL_AFTER, 1, "hypercall unpause")
    request = agent.submit("revert", domain=known.uuid, name="only-b", start="boot")
    world.eventually(lambda: agent.process.poll() is not None, 60, "its end")
    agent.faults.disarm()
    agent.process.wait()
    agent.start()
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    done(request.wait())
    known.domain = known.toolstack.made[-1]
    assert known.image("xvda") == mine
    world.remove_domain(known.domain)
    done(known.revert())
    assert known.image("xvda") == mine
    assert known.content() == [b"M", b"A"]


def test_an_image_that_is_gone_is_no_place(world, known):
    """No snapshot has the disk any more, and the configuration names what was merged."""
    world.remove_domain(known.domain)
    for name in ("both", "root"):
        done(known.delete(name))
    made = len(known.toolstack.made)
    assert_failed(known.revert(), "chain-broken", "xvda", "start the domain on the image")
    assert len(known.toolstack.made) == made


def test_a_driver_domain_s_disk_stays_as_well(world, agent, backend, driver):
    del backend
    toolstack = Toolstack(world)
    domain = world.add_domain("alice", disks=[
        Disk("xvda", "raw", driver=driver, devd=True), ("xvdb", "qcow2")])
    for byte, name, disks in (b"A", "root", "xvda"), (b"B", "only-b", "xvdb"), (b"C", "both", "xvda"):
        done(agent.request("create", domain=domain.uuid, name=name, memory=0, disks=disks))
        domain.write("xvda", 0, byte * 4096)
        domain.disks["xvda"].front.flush()
    for _ in range(2):
        request = agent.submit("revert", domain=domain.uuid, name="only-b", start="boot")
        world.eventually(lambda: request.state() in FINAL, 60, "the end")
        done(request.wait())
        domain = toolstack.made[-1]
        assert domain.read("xvda", 0, 512)[:1] == b"C"
        world.remove_domain(domain)
    done(agent.request("delete", domain=domain.uuid, name="both"))
    request = agent.submit("revert", domain=domain.uuid, name="only-b", start="boot")
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    done(request.wait())
    assert toolstack.made[-1].read("xvda", 0, 512)[:1] == b"C"


def test_where_no_snapshot_tells_nothing_is_guessed(world, unknown):
    assert unknown.content() == [b"C", b"A"]
    world.remove_domain(unknown.domain)
    assert_failed(unknown.revert(), "snapshot-in-use", "xvda", "both",
                  "start the domain on the image that counts")
    assert_failed(unknown.delete("both"), "snapshot-in-use", unknown.last,
                  "if it holds what the domain wrote last, start the domain on it")
    assert os.path.exists(unknown.last)
    unknown.domain = world.add_domain("alice", uuid=unknown.uuid, disks=[
        {"vdev": vdev, "path": unknown.domain.disks[vdev].path}
        for vdev in ("xvda", "xvdb")])
    assert unknown.content() == [b"C", b"A"]
    for name in ("both", "only-b"):
        done(unknown.delete(name))
    assert unknown.content() == [b"C", b"A"]


def test_a_disk_that_came_after_the_snapshot_is_told_of(world, agent):
    """The domain has it no more; its image is its owner's."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    toolstack = Toolstack(world)
    done(agent.request("create", domain=domain.uuid, name="s1", memory=0))
    active = domain.chain("xvda")[0][0]
    added = f"{world.images}/added.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", added, "1M")
    world.remove_domain(domain)
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "path": active}, {"vdev": "xvdb", "path": added}])
    request = agent.submit("revert", domain=domain.uuid, name="s1", start="boot")
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    reply = done(request.wait())
    assert f"no disk xvdb at the snapshot, and has it no more; {added} stays" in \
        reply["result/warning"]
    assert list(toolstack.made[-1].disks) == ["xvda"]
    assert os.path.exists(added)
