# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting a snapshot whose images a driver domain has, where another one's are away, or
where a delete was cut short before: what may hold what somebody needs stays."""

import os

import pytest

from native.expect import assert_failed, done
from native.held import Held
from native.merges import delete
from native.off import Off, kill_before_the_end, third, write_to
from native.rescans import content, paths, qemu_img


@pytest.fixture(name="commit")
def fixture_commit(world, tmp_path):
    """The first of them stays where it is; before the agents."""
    return Held(world, tmp_path, "commit", "before")


@pytest.fixture(name="alice")
def fixture_alice(world, agent, backend, driver):
    del backend
    return Off(world, agent, driver)


# -- images that are not there ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_what_lies_under_an_image_that_is_not_there_stays(world, agent, alice, name):
    over = third(agent, alice)
    files = sorted(os.listdir(world.images))
    os.rename(alice.active, f"{alice.active}.away")
    assert_failed(delete(agent, name), "chain-broken", alice.active, "is not there", "s3")
    assert name in alice.snapshots()
    os.rename(f"{alice.active}.away", alice.active)
    assert sorted(os.listdir(world.images)) == files
    alice.assert_content(over)
    done(delete(agent, name))
    alice.assert_content(over)


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_also_where_it_is_what_the_domain_was_on(world, agent, alice, name):
    """Over the state of the snapshot, which stays as well, or over that of a later one."""
    files = sorted(os.listdir(world.images))
    os.rename(alice.active, f"{alice.active}.away")
    assert_failed(delete(agent, name), "chain-broken", alice.active, "the domain went on with",
                  "s2")
    os.rename(f"{alice.active}.away", alice.active)
    assert sorted(os.listdir(world.images)) == files
    alice.assert_content(alice.active)


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "off"])
def test_a_branch_that_is_not_there_is_one_all_the_same(world, agent, alice, runs):
    """The domain is on another, which alone would be merged."""
    third(agent, alice)
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", alice.middle, "-F", "qcow2", side)
    alice.start(side)
    done(agent.request("rescan", domain="alice", disks="xvda"))
    done(agent.request("create", domain="alice", name="s4", memory=0, disks="xvda"))
    if not runs:
        alice.end()
    os.rename(alice.active, f"{alice.active}.away")
    assert_failed(delete(agent, "s2"), "chain-broken", alice.active, "s3")
    os.rename(f"{alice.active}.away", alice.active)
    alice.assert_content(alice.active)


def test_images_that_are_gone_for_good_go_with_their_snapshots(world, agent, alice):
    over = third(agent, alice)
    for path in over, alice.active:
        os.unlink(path)
    assert_failed(delete(agent, "s2"), "chain-broken", "delete that snapshot first")
    for name in "s3", "s2", "s1":
        done(delete(agent, name))
    assert not [name for name in os.listdir(world.images) if ".s" in name]


def test_a_state_under_what_was_away_stays(world, agent, alice):
    """With s3 went all that told of its image, but not of where the domain was."""
    over = third(agent, alice)
    for path in over, alice.active:
        os.rename(path, f"{path}.away")
    for name in "s3", "s2":
        done(delete(agent, name))
    for path in over, alice.active:
        os.rename(f"{path}.away", path)
    alice.assert_content(over)
    done(delete(agent, "s1"))
    alice.assert_content(over)


def test_what_the_domain_runs_on_needs_no_other(agent, alice):
    """An ancestor's image is no branch."""
    over = third(agent, alice)
    alice.start(over)
    done(delete(agent, "s3"))
    assert paths(alice.domain) == [alice.active, alice.middle, alice.base]



def test_an_image_whose_storage_is_not_mounted_is_not_merged_under(world, agent, alice):
    """A toolstack's, which the domain was on for a while."""
    storage = f"{world.folder}/storage"
    kept = f"{storage}/kept.qcow2"
    os.mkdir(storage)
    qemu_img("create", "-q", "-f", "qcow2", "-b", alice.middle, "-F", "qcow2", kept)
    for path in kept, alice.active:
        alice.start(path)
        done(agent.request("rescan", domain="alice", disks="xvda"))
        alice.end()
    assert_failed(delete(agent, "s2"), "snapshot-in-use", kept, alice.active)
    os.rename(storage, f"{storage}.away")
    os.mkdir(storage)
    assert_failed(delete(agent, "s2"), "chain-broken", kept, "nor is anything in its folder")
    os.rename(f"{storage}.away", storage)
    alice.assert_content(alice.active)
    with open(f"{storage}/other", "wb"):
        os.unlink(kept)
    done(delete(agent, "s2"))
    alice.assert_content(alice.middle)


# -- a delete that was cut short --------------------------------------------------------------


def cut_short(agent, backend, commit, name):
    """The agents die when the images are marked, and nothing is copied yet."""
    request = agent.submit("delete", domain="alice", name=name)
    commit.wait()
    agent.kill()
    backend.kill()
    commit.release()
    backend.start()
    return request


def assert_stays(agent, name, path, form="qcow2", *words):
    before = content(path, form)
    assert_failed(delete(agent, name), "snapshot-in-use", path, *words)
    assert content(path, form) == before


def test_a_write_to_the_state_that_was_seen_is_not_forgotten(commit, agent, alice, backend):
    """When it was written to last is not known: the agents died in the merge."""
    request = cut_short(agent, backend, commit, "s2")
    domain = alice.start(alice.middle)
    domain.write("xvda", 0, b"9" * 4096)
    domain.disks["xvda"].front.flush()
    agent.start()
    assert_failed(request.wait(), "snapshot-in-use", alice.middle, alice.active)
    alice.end()
    for _ in range(2):
        assert_stays(agent, "s2", alice.middle, "qcow2", "written to since")
    assert os.path.exists(alice.active)
    # Who starts the domain on the other says that this counts.
    alice.start()
    done(delete(agent, "s2"))


def test_a_state_that_was_written_to_stays(world, agent, alice):
    """Nothing lies over it that is known, and somebody has run the domain on it."""
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", alice.base, "-F", "raw", side)
    alice.start(side)
    done(agent.request("rescan", domain="alice", disks="xvda"))
    done(agent.request("create", domain="alice", name="s4", memory=0, disks="xvda"))
    alice.end()
    os.unlink(alice.active)
    write_to(alice, alice.middle)
    alice.start(side)
    written = content(alice.middle, "qcow2")
    done(delete(agent, "s2"))
    assert content(alice.middle, "qcow2") == written


def assert_stays_while_away(agent, alice, request):
    """What it was to merge is not there when it is taken up, nor when it is asked for
    again."""
    os.rename(alice.active, f"{alice.active}.away")
    agent.start()
    for reply in request.wait(60), delete(agent, "s2"):
        assert_failed(reply, "chain-broken", alice.active, "is not there", alice.middle)
    assert alice.snapshots() == {"s1", "s2"}
    os.rename(f"{alice.active}.away", alice.active)


def assert_all_go(agent, alice, *names):
    for name in names:
        done(delete(agent, name))
    alice.assert_content(alice.base)
    assert not os.path.exists(alice.active)


def test_what_was_to_be_merged_is_not_taken_for_merged_while_it_is_away(commit, agent, alice,
                                                                        backend):
    request = cut_short(agent, backend, commit, "s2")
    assert_stays_while_away(agent, alice, request)
    assert_all_go(agent, alice, "s1", "s2")


def test_nor_what_was_copied_and_written_to_since(world, commit, agent, alice, backend):
    request = kill_before_the_end(world, commit, agent, alice, backend)
    domain = alice.start()
    alice.written[0] = b"new!" * 1024
    domain.write("xvda", 0, alice.written[0])
    domain.disks["xvda"].front.flush()
    alice.end()
    backend.start()
    assert_stays_while_away(agent, alice, request)
    assert_all_go(agent, alice, "s2", "s1")


@pytest.mark.parametrize("keys", [{}, {"keep_files": 1}], ids=["on the state", "keep-files"])
def test_it_goes_where_that_is_gone_for_good(commit, agent, alice, backend, keys):
    request = cut_short(agent, backend, commit, "s2")
    os.unlink(alice.active)
    agent.start()
    assert_failed(request.wait(60), "chain-broken", alice.active, "keep-files")
    if not keys:
        alice.start(alice.middle)
    done(agent.request("delete", domain="alice", name="s2", **keys))
    assert alice.snapshots() == {"s1"}
    assert os.path.exists(alice.middle)
