# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copying a snapshot's state into the image over it was cut short where that image no longer
names the state, and lacks some of it: only the delete of that snapshot can mend that."""

import os

import pytest

from native.agent import FINAL
from native.expect import assert_failed, done
from native.merges import chain, content, three
from native.rescans import qemu_img
from native.toolstack import Toolstack
from test_merge_ended import Ended
from test_merge_faults import fixture_deadly  # noqa: F401 (a fixture)


@pytest.fixture(name="dying")
def fixture_dying(world, agent_stopped, monkeypatch):
    """The next `qemu-img rebase` that copies dies behind the header, and nobody hears of it:
    who waits for that waits for the file `.reached`."""
    folder, flag = f"{world.folder}/bin", f"{world.folder}/dying"
    os.makedirs(folder)
    with open(f"{folder}/qemu-img", "w", encoding="ascii") as file:
        file.write(f"""#!/bin/sh
PATH=${{PATH#*:}}
if [ "$1$3" = rebase-f ] && rm "{flag}" 2>/dev/null; then
    LD_PRELOAD={world.shims}/header_shim.so qemu-img "$@"
    touch "{flag}.reached"
    exec sleep 100
fi
exec qemu-img "$@"
""")
    os.chmod(f"{folder}/qemu-img", 0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    agent_stopped.start()
    return flag


class Torn:
    """s3's state was being copied into `torn`, which is s4's; it was cancelled, and then the
    agent was killed. The domain is off, on `active`."""

    def __init__(self, world, agent, flag):
        self.world, self.agent = world, agent
        domain = three(world, agent, large="s3")
        done(agent.request("create", domain="alice", name="s4", memory=0))
        domain.write("xvda", 4 * 65536, b"4" * 4096)
        domain.write("xvda", 16 << 20, b"y" * (2 << 20))
        domain.disks["xvda"].front.flush()
        self.flag, self.uuid, self.images = flag, domain.uuid, chain(domain)
        self.active, self.torn, self.state, self.under = self.images[:4]
        world.remove_domain(domain)
        self.tear()

    def tear(self):
        with open(self.flag, "w", encoding="ascii"):
            pass
        request = self.agent.submit("delete", domain=self.uuid, name="s3")
        self.world.eventually(lambda: os.path.exists(f"{self.flag}.reached"), 20, "it is cut short")
        self.agent.kill()
        request.cancel()
        self.agent.start()
        assert request.wait()["state"] == "cancelled"
        assert Ended.under(self.torn) == self.under
        os.unlink(f"{self.flag}.reached")

    def delete(self, name, **keys):
        return self.agent.request("delete", domain=self.uuid, name=name, **keys)

    def assert_refused(self, reply):
        assert_failed(reply, "snapshot-in-use", self.torn, "s3", "delete that snapshot")
        assert all(os.path.exists(path) for path in self.images)

    def assert_mended(self):
        """Nothing is lost once s3's delete is through."""
        done(self.delete("s3"))
        assert not os.path.exists(self.state)
        for n in range(5):
            assert content(self.active, n * 65536) == str(n).encode() * 4096


@pytest.fixture(name="torn")
def fixture_torn(world, agent_stopped, dying):
    return Torn(world, agent_stopped, dying)


@pytest.mark.parametrize("name", ["s4", "s2"])
def test_what_is_half_copied_into_is_not_merged(torn, name):
    torn.assert_refused(torn.delete(name))
    torn.assert_mended()
    done(torn.delete(name))


def test_nor_is_a_snapshot_in_it_gone_back_to(torn):
    toolstack = Toolstack(torn.world)
    torn.assert_refused(torn.agent.request("revert", domain=torn.uuid, name="s4", start="boot"))
    assert not toolstack.made
    torn.assert_mended()


def test_nor_is_it_forgotten_with_the_files_kept(torn):
    torn.assert_refused(torn.delete("s3", keep_files=1))
    torn.assert_mended()


def test_nor_where_it_was_cut_short_again_beside_a_domain_that_runs(torn):
    side = f"{torn.world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", torn.images[-1], "-F", "qcow2", side)
    torn.world.add_domain("alice", uuid=torn.uuid, disks=[
        {"vdev": "xvda", "path": side, "format": "qcow2"}])
    done(torn.agent.request("rescan", domain="alice", disks="xvda"))
    torn.tear()
    torn.assert_refused(torn.delete("s4"))
    torn.assert_mended()


def test_nor_where_its_state_is_not_there(torn):
    toolstack = Toolstack(torn.world)
    os.rename(torn.state, f"{torn.state}.away")
    for reply in (torn.agent.request("revert", domain=torn.uuid, name="s4", start="boot"),
                  torn.delete("s2")):
        assert_failed(reply, "snapshot-in-use", torn.torn, "s3", "delete that snapshot")
    assert not toolstack.made
    os.rename(f"{torn.state}.away", torn.state)
    torn.assert_mended()


def test_one_that_nothing_can_mend_is_given_up_by_keeping_the_files(torn):
    os.unlink(torn.state)
    assert_failed(torn.delete("s3"), "chain-broken", torn.state)
    done(torn.delete("s3", keep_files=1))
    assert os.path.exists(torn.torn)


@pytest.mark.parametrize("on", ["active", "torn"])
def test_nor_does_a_domain_on_it_get_a_snapshot(torn, on):
    domain = torn.world.add_domain("alice", uuid=torn.uuid, disks=[
        {"vdev": "xvda", "path": getattr(torn, on), "format": "qcow2"}])
    torn.assert_refused(torn.agent.request("create", domain="alice", name="s5", memory=0))
    torn.world.remove_domain(domain)
    torn.assert_mended()


@pytest.mark.parametrize("runs", [True, False])
def test_it_is_no_sign_that_the_merge_of_what_it_lacks_is_through(world, deadly, agent_stopped,
                                                                 runs):
    """s2's delete was cut short as it merged s3's state into s2's."""
    cut = Ended(world, agent_stopped, "block-commit")
    with open(deadly, "w", encoding="ascii"):
        pass
    assert_failed(cut.delete("s3"), "store-error", "qemu-img")
    # As an agent leaves it that is killed as well, or a host that goes down.
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", cut.state, "-F", "qcow2", cut.active)
    domain = cut.start(cut.active) if runs else None
    assert_failed(cut.delete("s2"), "snapshot-in-use", cut.active, "s3")
    assert os.path.exists(cut.merged)
    if domain is not None:
        world.remove_domain(domain)
    done(cut.delete("s3"))
    for n in range(4):
        assert content(cut.active, n * 65536) == str(n).encode() * 4096
    done(cut.delete("s2"))
    for n in range(4):
        assert content(cut.active, n * 65536) == str(n).encode() * 4096


def test_what_keep_current_leaves_is_still_made_whole(world, deadly, agent_stopped):
    agent = agent_stopped
    domain = three(world, agent)
    active, state, under = chain(domain)[:3]
    world.remove_domain(domain)
    with open(deadly, "w", encoding="ascii"):
        pass
    assert_failed(agent.request("delete", domain=domain.uuid, name="s3"), "store-error")
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", under, "-F", "qcow2", active)
    toolstack = Toolstack(world)
    request = agent.submit("revert", domain=domain.uuid, name="s1", start="boot",
                           keep_current=1)
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    done(request.wait())
    assert len(toolstack.made) == 1
    done(agent.request("delete", domain=domain.uuid, name="s3"))
    assert not os.path.exists(state)
    for n in range(4):
        assert content(active, n * 65536) == str(n).encode() * 4096
