# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting a snapshot while an image is not there, such as one whose storage is not mounted:
nothing is done, to other disks neither, and all is done once it is back."""

import os

import pytest

from native.agent import FINAL
from native.expect import assert_failed, done
from native.merges import chain, content, three, two
from native.rescans import qemu_img
from native.toolstack import Toolstack


def create(agent):
    return agent.request("create", domain="alice", name="s", memory=0)


@pytest.fixture(name="alice")
def fixture_alice(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "raw")])
    assert create(agent)["state"] == "done"
    for vdev in "xvda", "xvdb":
        domain.write(vdev, 0, vdev.encode() * 1024)
        domain.disks[vdev].front.flush()
    return domain


@pytest.mark.parametrize("off", [False, True], ids=["running", "off"])
@pytest.mark.parametrize("vdev, suffix", [("xvda", "qcow2"), ("xvdb", "raw")])
def test_nothing_is_merged_before_all_images_are_there(world, agent, alice, off, vdev, suffix):
    state = f"{world.images}/alice-{vdev}.{suffix}"
    chains = [alice.chain(each) for each in ("xvda", "xvdb")]
    uuid = alice.uuid
    if off:
        world.remove_domain(alice)
    os.rename(state, f"{state}.away")
    files = sorted(os.listdir(world.images))
    reply = agent.request("delete", domain="alice", name="s")
    assert_failed(reply, "chain-broken", vdev, state)
    assert sorted(os.listdir(world.images)) == files
    assert not world.store.read(f"/tool/xensnapd/snapshots/{uuid}/s/deleting")
    if not off:
        assert [alice.chain(each) for each in ("xvda", "xvdb")] == chains
    os.rename(f"{state}.away", state)
    reply = agent.request("delete", domain="alice", name="s")
    assert reply["state"] == "done", reply
    assert sorted(os.listdir(world.images)) == ["alice-xvda.qcow2", "alice-xvdb.raw"]
    if not off:
        for each in "xvda", "xvdb":
            assert alice.read(each, 0, 4096) == each.encode() * 1024


@pytest.mark.parametrize("name, away", [("s2", [0]), ("s2", [1]), ("s2", [0, 1]), ("s1", [1]),
                                        ("s1", [0, 1])])
def test_what_lies_under_an_image_that_is_not_there_stays(world, agent, name, away):
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    files = sorted(os.listdir(world.images))
    for place in away:
        os.rename(images[place], f"{images[place]}.away")
    reply = agent.request("delete", domain=domain.uuid, name=name)
    assert_failed(reply, "chain-broken", images[max(away)], "s3", "is not there")
    for place in away:
        os.rename(f"{images[place]}.away", images[place])
    assert sorted(os.listdir(world.images)) == files
    for n in range(4):
        assert content(images[0], n * 65536) == str(n).encode() * 4096
    done(agent.request("delete", domain=domain.uuid, name=name))
    for n in range(4):
        assert content(images[0], n * 65536) == str(n).encode() * 4096


@pytest.mark.parametrize("gone", [False, True], ids=["away", "gone for good"])
def test_a_state_stays_known_while_what_the_domain_was_on_is_not_there(world, agent, gone):
    """Or it would be merged into what is under it, and nobody would tell that image."""
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    os.rename(images[0], f"{images[0]}.away")
    assert_failed(agent.request("delete", domain=domain.uuid, name="s3"), "chain-broken",
                  images[0], images[1], "keep-files")
    if gone:
        domain = world.add_domain("alice", uuid=domain.uuid, disks=[
            {"vdev": "xvda", "path": images[1], "format": "qcow2"}])
    else:
        os.rename(f"{images[0]}.away", images[0])
    for name in "s3", "s2", "s1":
        done(agent.request("delete", domain=domain.uuid, name=name))
    assert not os.path.exists(images[1]) and not os.path.exists(images[2])
    for n in range(3 if gone else 4):
        piece = domain.read("xvda", n * 65536, 4096) if gone else content(images[3], n * 65536)
        assert piece == str(n).encode() * 4096


def test_where_it_is_not_to_be_started_again_keep_files_gives_the_snapshot_up(world, agent):
    """The domain is taken to be on the state then, and what that shows stays."""
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    os.unlink(images[0])
    done(agent.request("delete", domain=domain.uuid, name="s3", keep_files=1))
    for name in "s2", "s1":
        done(agent.request("delete", domain=domain.uuid, name=name))
    for n in range(3):
        assert content(images[3], n * 65536) == str(n).encode() * 4096


def test_a_kept_image_whose_storage_is_not_mounted_is_not_merged_under(world, agent):
    """It alone lies there, and no snapshot has its state in it."""
    toolstack = Toolstack(world)
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    storage = f"{world.folder}/storage"
    kept = f"{storage}/kept.qcow2"
    os.mkdir(storage)
    qemu_img("create", "-q", "-f", "qcow2", "-b", images[1], "-F", "qcow2", kept)
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "path": kept, "format": "qcow2"}])
    done(agent.request("rescan", domain="alice", disks="xvda"))
    domain.write("xvda", 65536, b"8" * 4096)
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    request = agent.submit("revert", domain=domain.uuid, name="s3", start="boot", keep_current=1)
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    done(request.wait())
    domain = toolstack.made[-1]
    domain.write("xvda", 65536, b"9" * 4096)
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    os.unlink(images[0])
    assert_failed(agent.request("delete", domain=domain.uuid, name="s3"), "snapshot-in-use", kept)
    for away in f"{storage}.away", f"{storage}/../away":
        os.rename(storage, away)
        if away.endswith("/away"):
            os.mkdir(storage)  # a mount point
        assert_failed(agent.request("delete", domain=domain.uuid, name="s3"), "chain-broken",
                      kept, "nor is anything in its folder", "keep-files")
        os.rename(away, storage)
    assert content(kept, 65536) == b"8" * 4096
    assert content(kept, 3 * 65536) == b"\0" * 4096
    # As the answer says.
    with open(f"{storage}/other", "wb"):
        os.unlink(kept)
    done(agent.request("delete", domain=domain.uuid, name="s3"))


def test_what_the_domain_was_on_is_not_told_to_be_removed(world, agent):
    """Two images were away as a snapshot went, and are back."""
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    for path in images[:2]:
        os.rename(path, f"{path}.away")
    done(agent.request("delete", domain=domain.uuid, name="s3"))
    for path in images[:2]:
        os.rename(f"{path}.away", path)
    reply = agent.request("delete", domain=domain.uuid, name="s2")
    assert_failed(reply, "snapshot-in-use", images[0], images[1], "start the domain on")
    assert "remove" not in reply["error/message"]
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "path": images[0], "format": "qcow2"}])
    for name in "s2", "s1":
        done(agent.request("delete", domain="alice", name=name))
    for n in range(4):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096


def test_images_that_are_gone_for_good_go_with_their_snapshots(world, agent):
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    for path in images[:2]:
        os.unlink(path)
    assert_failed(agent.request("delete", domain=domain.uuid, name="s2"), "chain-broken",
                  "delete that snapshot first")
    for name in "s3", "s2", "s1":
        done(agent.request("delete", domain=domain.uuid, name=name))
    assert os.listdir(world.images) == [os.path.basename(images[3])]


def test_what_was_away_when_its_snapshot_went_follows_a_merge_when_it_is_back(world, agent):
    """Of two snapshots, the second of which had its state, but nothing over that."""
    domain = three(world, agent)
    images = chain(domain)
    world.remove_domain(domain)
    for path in images[:2]:
        os.rename(path, f"{path}.away")
    for name in "s3", "s2":
        done(agent.request("delete", domain=domain.uuid, name=name))
    for path in images[:2]:
        os.rename(f"{path}.away", path)
    done(agent.request("delete", domain=domain.uuid, name="s1"))
    assert not os.path.exists(images[2])
    for n in range(4):
        assert content(images[0], n * 65536) == str(n).encode() * 4096


def go_back(world, agent, toolstack, domain, name):
    """The domain is off before: nothing of it is saved."""
    world.remove_domain(domain)
    request = agent.submit("revert", domain=domain.uuid, name=name, start="boot")
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    done(request.wait())
    return toolstack.made[-1]


def test_a_branch_that_is_not_there_is_one_all_the_same(world, agent):
    """The domain runs on another, which alone would be merged."""
    toolstack = Toolstack(world)
    domain = three(world, agent)
    images = chain(domain)
    domain = go_back(world, agent, toolstack, domain, "s2")
    assert chain(domain)[1] == images[2]
    domain.write("xvda", 65536, b"9" * 4096)
    os.rename(images[1], f"{images[1]}.away")
    reply = agent.request("delete", domain="alice", name="s2")
    assert_failed(reply, "chain-broken", images[1], "s3")
    os.rename(f"{images[1]}.away", images[1])
    assert content(images[1], 65536) == b"1" * 4096


def two_branches(world, agent):
    """The states of s2 and s3, which lie over s1's beside what the domain is on."""
    toolstack = Toolstack(world)
    domain, first, _ = two(world, agent)
    done(agent.request("create", domain="alice", name="s2", memory=0))
    domain = go_back(world, agent, toolstack, domain, "s1")
    second = chain(domain)[0]
    done(agent.request("create", domain="alice", name="s3", memory=0))
    return go_back(world, agent, toolstack, domain, "s1"), first, second


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "off"])
def test_two_branches_that_are_gone_for_good_do_not_wait_for_each_other(world, agent, runs):
    domain, *branches = two_branches(world, agent)
    base = chain(domain)[1]
    if not runs:
        world.remove_domain(domain)
    for path in branches:
        os.unlink(path)
    assert_failed(agent.request("delete", domain=domain.uuid, name="s1"), "chain-broken",
                  "delete that snapshot first")
    for name in "s2", "s3":
        done(agent.request("delete", domain=domain.uuid, name=name))
    done(agent.request("delete", domain=domain.uuid, name="s1"))
    assert os.listdir(world.images) == [os.path.basename(base)]
    if runs:
        assert domain.read("xvda", 0, 4096) == b"0" * 4096
    else:
        assert content(base, 0) == b"0" * 4096


def test_one_that_was_only_away_is_a_branch_again_when_it_is_back(world, agent):
    domain, first, second = two_branches(world, agent)
    for path in first, second:
        os.rename(path, f"{path}.away")
    done(agent.request("delete", domain="alice", name="s2"))
    for path in first, second:
        os.rename(f"{path}.away", path)
    assert_failed(agent.request("delete", domain="alice", name="s1"), "snapshot-in-use")
    assert content(first, 65536) == b"1" * 4096
    done(agent.request("delete", domain="alice", name="s3"))
    assert not os.path.exists(second)
    assert_failed(agent.request("delete", domain="alice", name="s1"), "snapshot-in-use",
                  first, "no snapshot needs")
    os.unlink(first)
    done(agent.request("delete", domain="alice", name="s1"))
    assert len(chain(domain)) == 1
