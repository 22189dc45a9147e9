# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU ends when the merge of an image below the active one has come to its end there: the
header over it names the state already, and neither the records nor the file have followed."""

import os

import pytest

from native.expect import assert_disk_is_on, assert_failed, done, image_info, image_is_sound
from native.merges import chain, commit_slowly, content, three
from native.rescans import qemu_img


class Ended:
    """Of s2's delete, with s1 and s3 beside it; the domain is gone."""

    def __init__(self, world, agent, command="job-dismiss"):
        self.world, self.agent = world, agent
        domain = three(world, agent)
        self.uuid = domain.uuid
        self.active, self.merged, self.state, self.base = chain(domain)
        fault = domain.interpose().fault(command, "kill-before")
        request = agent.submit("delete", domain="alice", name="s2")
        fault.wait_reached()
        domain.qemu.wait()
        domain.uninterpose()
        assert_failed(request.wait(), "qmp-error")
        assert self.under(self.active) == (self.state if command == "job-dismiss"
                                           else self.merged)
        assert self.under(self.merged) == self.state
        world.remove_domain(domain)

    @staticmethod
    def under(path):
        return image_info(path)["backing-filename"]

    def start(self, path):
        return self.world.add_domain("alice", uuid=self.uuid, disks=[
            {"vdev": "xvda", "path": path,
             "format": "raw" if path.endswith(".raw") else "qcow2"}])

    def delete(self, name):
        return self.agent.request("delete", domain=self.uuid, name=name)

    def overlay(self, path, name="own"):
        made = f"{self.world.images}/{name}.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", made)
        return made

    def files(self):
        return {f"{self.world.images}/{name}" for name in os.listdir(self.world.images)}

    def published(self):
        return self.world.store.tree(f"/tool/xensnapd/snapshots/{self.uuid}")


@pytest.fixture(name="ended")
def fixture_ended(world, agent):
    return Ended(world, agent)


@pytest.fixture(name="cut")
def fixture_cut(world, agent):
    """The same, but it is not at its end: nobody knows how much is copied."""
    return Ended(world, agent, "job-finalize")


def assert_content(domain, count=4):
    for n in range(count):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096


def assert_rest_is_done(ended):
    assert not os.path.exists(ended.merged)
    published = ended.published()
    assert "s2/name" not in published
    assert published["s3/disks/xvda/path"] == ended.state
    assert published["s3/disks/xvda/overlays/0"] == ended.active
    assert "s3/deleting" not in published
    assert [content(ended.state, n * 65536)[:1] for n in range(4)] == [b"0", b"1", b"2", b"\0"]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_delete_does_the_rest_when_the_domain_runs_again(ended, restarted):
    domain = ended.start(ended.active)
    if restarted:
        ended.agent.restart()
    done(ended.delete("s2"))
    assert chain(domain) == [ended.active, ended.state, ended.base]
    assert_disk_is_on(domain, "xvda", ended.active)
    assert_rest_is_done(ended)
    for name in "s1", "s3":
        done(ended.delete(name))
    assert ended.files() == {ended.base}
    assert_content(domain)


def test_and_when_it_is_off(ended):
    done(ended.delete("s2"))
    assert_rest_is_done(ended)
    domain = ended.start(ended.active)
    for name in "s3", "s1":
        done(ended.delete(name))
    assert ended.files() == {ended.base}
    assert_content(domain)


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("order", [["s3", "s2", "s1"], ["s3", "s1", "s2"], ["s1", "s3", "s2"]])
def test_whatever_goes_first_nothing_is_left(ended, runs, order):
    """With s3, whose state lay in the image that is merged, goes the record of what lies
    over that."""
    domain = ended.start(ended.active) if runs else None
    for name in order:
        done(ended.delete(name))
    if domain is None:
        last, = ended.files()
        domain = ended.start(last)
    assert ended.files() == {chain(domain)[0]} == {ended.base}
    assert_content(domain)


def test_files_that_are_to_be_kept_are_not_passed_on(ended):
    """Nor does anything tell any more whose images these were."""
    domain = ended.start(ended.active)
    done(ended.agent.request("delete", domain=ended.uuid, name="s3", keep_files=1))
    assert_failed(ended.delete("s2"), "snapshot-in-use", ended.merged, ended.active,
                  f"no snapshot needs {os.path.basename(ended.merged)}: remove that")
    os.unlink(ended.merged)
    for name in "s2", "s1":
        done(ended.delete(name))
    assert ended.files() == {ended.base, ended.active}
    assert_content(domain)


def test_an_overlay_may_be_made_meanwhile(ended):
    domain = ended.start(ended.active)
    done(ended.agent.request("create", domain="alice", name="s4", memory=0))
    domain.write("xvda", 4 * 65536, b"4" * 4096)
    for name in "s2", "s3", "s4", "s1":
        done(ended.delete(name))
    assert ended.files() == {ended.base}
    assert_content(domain, 5)


def test_the_image_over_it_need_not_be_what_the_domain_is_on(ended):
    """Somebody's own, beside which ours still tells."""
    own = ended.overlay(ended.state)
    domain = ended.start(own)
    done(ended.delete("s2"))
    assert_rest_is_done(ended)
    assert chain(domain)[0] == own and os.path.exists(ended.active)
    assert_content(domain, 3)


def test_a_domain_on_the_state_itself_is_told_of(ended):
    domain = ended.start(ended.state)
    assert_failed(ended.delete("s2"), "snapshot-in-use", "the domain uses", ended.state,
                  f"over which {ended.active} lies aside", "start it on that")
    assert os.path.exists(ended.merged)
    ended.world.remove_domain(domain)
    domain = ended.start(ended.active)
    done(ended.delete("s2"))
    assert_rest_is_done(ended)
    assert_content(domain)


def test_nor_is_anything_removed_where_the_state_was_written_to_since(ended):
    domain = ended.start(ended.state)
    domain.write("xvda", 2 * 65536, b"9" * 4096)
    domain.disks["xvda"].front.flush()
    ended.world.remove_domain(domain)
    assert_failed(ended.delete("s2"), "snapshot-in-use", ended.state, "was written to since",
                  f"{ended.active} lies over it", "start the domain on the one that counts")
    assert os.path.exists(ended.merged)
    ended.start(ended.active)
    done(ended.delete("s2"))
    assert not os.path.exists(ended.merged)


# -- what only looks so -------------------------------------------------------

def assert_stays(cut):
    assert os.path.exists(cut.merged) and os.path.exists(cut.active)
    assert cut.under(cut.active) == cut.merged and cut.under(cut.merged) == cut.state
    assert image_is_sound(cut.merged, may_leak=True)


@pytest.mark.parametrize("off", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_somebodys_own_image_over_the_state_is_no_sign_of_it(cut, off, told):
    own = cut.overlay(cut.state)
    domain = cut.start(own)
    if told:
        done(cut.agent.request("rescan", domain="alice", disks="xvda"))
    if off:
        cut.world.remove_domain(domain)
    reply = cut.delete("s2")
    if off and not told:
        # Nobody has told of it, and what is to be merged is where it was.
        done(reply)
        domain = cut.start(cut.active)
        assert_content(domain)
        return
    assert_failed(reply, "snapshot-in-use", cut.merged, own)
    assert_stays(cut)
    if not off:
        cut.world.remove_domain(domain)
    domain = cut.start(cut.active)
    assert_content(domain)


def test_nor_is_an_overlay_made_there(cut):
    own = cut.overlay(cut.state)
    cut.start(own)
    assert_failed(cut.agent.request("create", domain="alice", name="s4", memory=0),
                  "snapshot-in-use", "half deleted", cut.merged)
    assert_stays(cut)


def test_one_that_was_cut_short_begins_anew(cut):
    domain = cut.start(cut.active)
    done(cut.delete("s2"))
    assert chain(domain) == [cut.active, cut.state, cut.base]
    assert_rest_is_done(cut)
    assert_content(domain)


def test_a_write_to_the_state_that_was_seen_is_not_forgotten(world, agent):
    """The agent dies with QEMU, so when the state was written to last is not known."""
    domain = three(world, agent)
    active, merged, state, _ = chain(domain)
    fault = domain.interpose().fault("job-dismiss", "hold-before")
    agent.submit("delete", domain="alice", name="s2")
    fault.wait_reached()
    agent.kill()
    domain.qemu.kill()
    domain.qemu.wait()
    domain.uninterpose()
    assert Ended.under(active) == state
    world.remove_domain(domain)
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "path": state, "format": "qcow2"}])
    agent.start()
    assert_failed(agent.request("delete", domain=domain.uuid, name="s2"), "snapshot-in-use",
                  "the domain uses", state)
    domain.write("xvda", 2 * 65536, b"9" * 4096)
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    assert_failed(agent.request("delete", domain=domain.uuid, name="s2"), "snapshot-in-use",
                  state, "was written to since")
    assert os.path.exists(merged)


@pytest.mark.parametrize("runs", [True, False])
def test_what_may_be_all_that_shows_it_does_not_go_with_its_snapshot(world, ended, runs):
    domain = ended.start(ended.state)
    domain.write("xvda", 2 * 65536, b"9" * 4096)
    domain.disks["xvda"].front.flush()
    if not runs:
        world.remove_domain(domain)
    assert_failed(ended.delete("s2"), "snapshot-in-use", ended.state)
    assert_failed(ended.delete("s3"), "snapshot-in-use", ended.merged, "\"s2\"")
    assert os.path.exists(ended.merged)
    assert content(ended.merged, 2 * 65536)[:1] == b"2"


def test_a_disk_that_was_plugged_in_again_on_another_image_tells_nothing(world, agent):
    domain = three(world, agent)
    active, merged, state, _ = chain(domain)
    commit_slowly(domain.qmp, active, merged, state, auto_finalize=False)
    request = agent.submit("delete", domain="alice", name="s2")
    world.eventually(lambda: "bytes-done" in request.output(), 10, "it is merged")
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    own = f"{world.images}/own.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", state, "-F", "qcow2", own)
    disk = domain.disks["xvda"]
    domain.unplug("xvda")
    disk.path = own
    domain.disks["xvda"] = disk
    domain._plug("xvda")  # pylint: disable=protected-access
    assert chain(domain)[:2] == [own, state]
    assert_failed(agent.request("delete", domain="alice", name="s2"), "snapshot-in-use", merged)
    assert os.path.exists(merged)
    assert Ended.under(active) == merged
