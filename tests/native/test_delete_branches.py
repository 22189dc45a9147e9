# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting snapshots of a domain that went back: whatever the order, the records tell which
image it is on, and nothing is left in the end but the base."""

import os
import subprocess

import pytest

from native.agent import FINAL
from native.expect import assert_failed
from native.merges import reboot
from native.toolstack import Toolstack
from test_delete import create, delete

PIECE = 65536


class Branches:
    """A domain that is written to after each step, and what it shows."""

    def __init__(self, world, agent):
        self.world, self.agent = world, agent
        self.toolstack = Toolstack(world)
        self.domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
        self.base = self.domain.disks["xvda"].path
        self.shown, self.states, self.writes = {}, {}, 0
        self.write()

    def write(self):
        place = self.writes * PIECE
        self.writes += 1
        self.shown[place] = bytes([self.writes]) * 4096
        self.domain.write("xvda", place, self.shown[place])
        self.domain.disks["xvda"].front.flush()

    def create(self, name, **keys):
        create(self.agent, name, **keys)
        self.states[name] = dict(self.shown)
        self.write()

    def revert(self, name, **keys):
        """Domains are made meanwhile."""
        request = self.agent.submit("revert", domain="alice", name=name, start="boot",
                                    **keys)
        self.world.eventually(lambda: request.state() in FINAL, 60, "the end")
        reply = request.wait()
        assert reply["state"] == "done", reply
        self.domain = self.toolstack.made[-1]
        self.shown = dict(self.states[name])
        self.assert_content()

    def delete(self, name):
        reply = delete(self.agent, name)
        assert reply["state"] == "done", reply
        self.assert_content()

    def assert_content(self):
        for place in range(0, self.writes * PIECE, PIECE):
            assert self.domain.read("xvda", place, 4096) == self.shown.get(place, bytes(4096))

    def image(self):
        return self.domain.chain("xvda")[0][0]

    def told(self):
        """The image on which the domain is, as the records have it."""
        keys = self.world.store.tree(f"/tool/xensnapd/snapshots/{self.domain.uuid}")
        disk = f"{keys['current']}/disks/xvda"
        listed = [key for key in keys if key.startswith(f"{disk}/overlays/")]
        last = max(listed, key=lambda key: int(key.rsplit("/", 1)[1]), default=None)
        return keys.get(f"{disk}/active") or (keys[last] if last else keys[f"{disk}/path"])

    def files(self):
        return {f"{self.world.images}/{name}" for name in os.listdir(self.world.images)}


@pytest.fixture(name="branches")
def fixture_branches(world, agent):
    return Branches(world, agent)


def on_the_older_branch(branches):
    """t's overlay is merged into s's first one, while s's second holds u's state."""
    branches.create("s")
    branches.create("t")
    branches.revert("s")
    branches.create("u")
    branches.revert("t")
    branches.delete("t")


def test_the_record_that_becomes_current_tells_where_the_domain_is(branches):
    on_the_older_branch(branches)
    assert branches.told() == branches.image()
    branches.write()
    branches.delete("u")
    assert branches.files() == {branches.base, branches.image()}
    branches.delete("s")
    assert branches.files() == {branches.base}


def test_so_the_state_that_is_left_goes_when_the_domain_is_off(world, branches):
    on_the_older_branch(branches)
    world.remove_domain(branches.domain)
    branches.revert("u")
    assert branches.told() == branches.image()
    assert branches.files() == {branches.base, branches.image(),
                                *[path for path, _ in branches.domain.chain("xvda")]}
    branches.delete("u")
    branches.delete("s")
    assert branches.files() == {branches.base}


def test_the_domains_own_qemu_does_not_keep_it_from_going_back(branches):
    """The base was a backing file of it when it was started, and is what it writes to since
    the merge."""
    branches.create("i", disks="xvda", keys={"disks/xvda/external": "0"})
    branches.create("e")
    branches.revert("e")
    branches.delete("e")
    assert branches.image() == branches.base
    branches.write()
    branches.revert("i")
    assert branches.files() == {branches.base}


def test_but_another_program_that_writes_does(branches):
    branches.create("i", disks="xvda", keys={"disks/xvda/external": "0"})
    branches.create("e")
    branches.revert("e")
    branches.delete("e")
    with open(branches.base, "r+b"):
        reply = branches.agent.request("revert", domain="alice", name="i", start="boot")
        assert_failed(reply, "snapshot-in-use", "xvda", branches.base)
    branches.assert_content()
    branches.revert("i")


def internal(branches, name):
    branches.create(name, disks="xvda", keys={"disks/xvda/external": "0"})


def test_an_image_goes_with_the_internal_snapshot_that_kept_it(branches):
    branches.create("a")
    internal(branches, "i")
    internal(branches, "j")
    branches.revert("a")
    assert len(branches.files()) == 3
    branches.delete("i")
    assert len(branches.files()) == 3
    branches.delete("j")
    assert branches.files() == {branches.base, branches.image()}
    branches.delete("a")
    assert branches.files() == {branches.base}


def test_but_not_one_that_was_to_be_kept(branches):
    branches.create("a")
    internal(branches, "i")
    kept = branches.image()
    branches.revert("a", keys={"keep-current": "1"})
    branches.delete("i")
    assert os.path.exists(kept)


def test_nor_one_that_somebody_wrote_to(branches):
    branches.create("a")
    internal(branches, "i")
    left = branches.image()
    branches.revert("a")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q 0 512", left], check=True)
    branches.delete("i")
    assert os.path.exists(left)


def test_a_refusal_names_the_image_that_nothing_needs(branches):
    branches.create("a")
    kept = branches.image()
    branches.revert("a", keys={"keep-current": "1"})
    reply = delete(branches.agent, "a")
    assert_failed(reply, "snapshot-in-use", "xvda", kept, branches.image(),
                  f"no snapshot needs {os.path.basename(kept)}: remove that if")
    branches.assert_content()
    os.unlink(kept)
    branches.delete("a")
    assert branches.files() == {branches.base}


def test_it_names_the_one_that_the_domain_was_started_beside(world, branches):
    """The records do not tell of that, but the domain runs and is not on it."""
    branches.create("a")
    branches.create("b")
    kept, shown = branches.image(), dict(branches.shown)
    branches.revert("a", keys={"keep-current": "1"})
    left = branches.image()
    world.remove_domain(branches.domain)
    branches.domain = world.add_domain("alice", uuid=branches.domain.uuid, disks=[
        {"vdev": "xvda", "path": kept}])
    branches.shown = shown
    branches.delete("b")
    assert_failed(delete(branches.agent, "a"), "snapshot-in-use", "xvda", left,
                  f"no snapshot needs {os.path.basename(left)}: remove that if")
    os.unlink(left)
    branches.delete("a")
    assert branches.files() == {branches.base}


def test_one_that_was_to_be_kept_is_not_merged_into_the_state_under_it(world, branches):
    branches.create("a")
    branches.create("b")
    kept = branches.image()
    branches.revert("a", keys={"keep-current": "1"})
    files = branches.files()
    told = f"no snapshot needs {os.path.basename(kept)}: remove that if nobody needs"
    assert_failed(delete(branches.agent, "b"), "snapshot-in-use", "xvda", kept, told)
    branches.assert_content()
    world.remove_domain(branches.domain)
    reply = branches.agent.request("delete", domain=branches.domain.uuid, name="b")
    assert_failed(reply, "snapshot-in-use", "xvda", kept, "not known to be needed",
                  "start the domain on it")
    assert branches.files() == files
    branches.revert("a")
    os.unlink(kept)
    branches.delete("b")
    branches.delete("a")
    assert branches.files() == {branches.base}


def test_a_merge_of_one_that_was_kept_is_taken_up_again(world, agent, branches):
    """The domain was started on it, and ends with the agent."""
    branches.create("a")
    branches.create("b")
    kept, shown = branches.image(), dict(branches.shown)
    state = branches.domain.chain("xvda")[1][0]
    branches.revert("a", keys={"keep-current": "1"})
    world.remove_domain(branches.domain)
    branches.domain = world.add_domain("alice", uuid=branches.domain.uuid, disks=[
        {"vdev": "xvda", "path": kept}])
    fault = branches.domain.interpose().fault("job-complete", "hold-before")
    request = agent.submit("delete", domain="alice", name="b")
    fault.wait_reached()
    agent.kill()
    world.remove_domain(branches.domain)
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    branches.domain = world.add_domain("alice", uuid=branches.domain.uuid, disks=[
        {"vdev": "xvda", "path": state}])
    branches.shown = shown
    branches.assert_content()


def test_an_image_stays_for_the_internal_snapshot_in_it(branches):
    """Which is then what it goes with."""
    branches.create("a")
    internal(branches, "i")
    kept = branches.image()
    branches.create("t")
    branches.revert("a")
    branches.delete("t")
    assert os.path.exists(kept)
    branches.revert("i")
    branches.revert("a")
    branches.delete("i")
    assert branches.files() == {branches.base, branches.image()}


def on_another_branch_than(branches, name):
    """An internal snapshot lies in an image that the domain is not on; gives the one that
    it is on."""
    branches.create("a")
    internal(branches, name)
    branches.revert("a")
    branches.write()
    return branches.image()


def test_a_revert_that_did_not_get_there_leaves_all_that_was(branches):
    left = on_another_branch_than(branches, "i")
    branches.toolstack.refuse = 2
    request = branches.agent.submit("revert", domain="alice", name="i", start="boot")
    branches.world.eventually(lambda: request.state() in FINAL, 60, "the end")
    assert request.wait()["state"] == "failed"
    assert left in branches.files()


def test_the_state_that_is_left_for_an_internal_snapshot_can_be_kept(branches):
    left = on_another_branch_than(branches, "i")
    branches.revert("i", keep_current=1)
    assert left in branches.files()


def test_an_image_with_another_name_is_not_what_is_left(world, branches):
    """It was made by us, and the snapshot in it made under a link's name."""
    branches.create("a")
    path = branches.image()
    link = f"{world.images}/link.qcow2"
    os.symlink(path, link)
    branches.domain = reboot(world, branches.domain, link)
    internal(branches, "i")
    branches.domain = reboot(world, branches.domain, path)
    branches.revert("i")
    assert path in branches.files()


@pytest.mark.parametrize("runs", [True, False])
def test_keep_current_keeps_what_a_delete_had_begun_to_merge(world, agent, branches, runs):
    """QEMU ends in that, and the domain is started anew before it goes back."""
    branches.create("s1")
    branches.domain.write("xvda", 32 * PIECE, b"x" * (16 * PIECE))
    branches.create("s2")
    left = branches.image()
    fault = branches.domain.interpose().fault("job-complete", "kill-before")
    request = agent.submit("delete", domain="alice", name="s2")
    fault.wait_reached()
    branches.domain.qemu.wait()
    branches.domain.uninterpose()
    assert_failed(request.wait(), "qmp-error")
    branches.domain = reboot(world, branches.domain, left)
    branches.revert("s1", keep_current=1)
    if not runs:
        world.remove_domain(branches.domain)
    assert_failed(agent.request("delete", domain=branches.domain.uuid, name="s2"),
                  "snapshot-in-use", left, "remove")
    assert left in branches.files()
    os.unlink(left)
    reply = agent.request("delete", domain=branches.domain.uuid, name="s2")
    assert reply["state"] == "done", reply
    assert len(branches.files()) == 2
