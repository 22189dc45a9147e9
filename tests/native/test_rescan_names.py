# SPDX-License-Identifier: LGPL-2.1-or-later
"""One image under two paths: a toolstack names it through a link, or from another folder. It is
one image all the same, whatever headers, QEMU and requests call it."""

import os

import pytest

from native.expect import assert_failed, done
from native.merges import chain, content, delete, write
from native.rescans import paths, qemu_img


def put_on(agent, path, **keys):
    return agent.request("rescan", {"disks/xvda/path": path, "disks/xvda/format": "qcow2"},
                         domain="alice", **keys)


PLAIN = pytest.mark.parametrize("alias", ["link", "image"], indirect=True)


@pytest.fixture(name="alias", params=["link", "relative", "image"])
def fixture_alias(world, request):
    """Another path of an image."""
    folder = f"{world.folder}/elsewhere"
    if request.param == "link":
        os.symlink(world.images, folder)
        return lambda path: f"{folder}/{os.path.basename(path)}"
    if request.param == "relative":
        name = os.path.basename(world.images)
        return lambda path: f"../{name}/{os.path.basename(path)}"
    os.mkdir(folder)

    def link(path):
        os.symlink(path, f"{folder}/one.qcow2")
        return f"{folder}/one.qcow2"
    return link


@pytest.fixture(name="alice")
def fixture_alice(world, agent):
    """On an image over s2's state, each with something of its own."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    for n in range(3):
        domain.write("xvda", n * 65536, b"%d" % n * 4096)
        domain.disks["xvda"].front.flush()
        if n < 2:
            done(agent.request("create", domain="alice", name=f"s{n + 1}", memory=0))
    return domain


def over(world, path):
    """An image of the toolstack's own."""
    own = f"{world.images}/own.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", own)
    return own


def lost(world, domain):
    return [name for name in ("s1", "s2")
            if world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/{name}/deleting")]


@PLAIN
def test_a_rescan_onto_a_state_is_refused_by_any_path(world, agent, alice, alias):
    images = paths(alice)
    assert_failed(put_on(agent, alias(images[1])), "snapshot-in-use", '"s2"', "prepare")
    assert paths(alice) == images
    assert not lost(world, alice)


@PLAIN
def test_meant_it_loses_the_snapshot_by_any_path(world, agent, alice, alias):
    base = paths(alice)[2]
    done(agent.request("rescan", domain="alice", phase="prepare"))
    reply = done(put_on(agent, alias(base), phase="complete"))
    assert 'snapshot "s1" and of 1 more' in reply["result/warning"]
    assert lost(world, alice) == ["s1", "s2"]


@pytest.mark.parametrize("runs", [True, False])
def test_a_state_with_two_images_over_it_is_not_merged(world, agent, alice, alias, runs):
    """The toolstack goes back to s2's state by an image of its own."""
    aside, state, _ = chain(alice)
    done(put_on(agent, over(world, alias(state))))
    assert alice.read("xvda", 131072, 4096) == b"\0" * 4096
    done(agent.request("create", domain="alice", name="s3", memory=0))
    write(alice, b"3")
    active = chain(alice)[0]
    if not runs:
        world.remove_domain(alice)
    reply = agent.request("delete", domain=alice.uuid, name="s2")
    assert_failed(reply, "snapshot-in-use", aside, "own.qcow2")
    if runs:
        assert "needs own.qcow2" not in reply["error/message"]
        world.remove_domain(alice)
    assert content(active, 0) == b"3" * 4096
    assert content(active, 65536) == b"1" * 4096
    assert content(active, 131072) == b"\0" * 4096
    assert content(aside, 131072) == b"2" * 4096


@pytest.mark.parametrize("runs", [True, False])
def test_an_image_that_the_guests_own_lies_over_is_merged(world, agent, alice, alias, runs):
    top, state, base = chain(alice)
    own = over(world, alias(top))
    done(put_on(agent, own))
    write(alice, b"3")
    if runs:
        done(delete(agent, "s2"))
        assert chain(alice)[0] == own and len(chain(alice)) == 3
        done(delete(agent, "s1"))
        assert len(chain(alice)) == 2
        world.remove_domain(alice)
    else:
        world.remove_domain(alice)
        for name in "s2", "s1":
            done(agent.request("delete", domain=alice.uuid, name=name))
    assert sum(os.path.exists(path) for path in (top, state, base)) == 1
    for n, byte in enumerate((b"3", b"1", b"2")):
        assert content(own, n * 65536) == byte * 4096


def test_a_chain_by_other_names_is_the_same(world, agent, alice, alias):
    """Nothing is known as the toolstack's, or lost, for a name alone."""
    images = chain(alice)
    done(agent.request("rescan", domain="alice", phase="prepare"))
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", alias(images[1]), "-F", "qcow2", images[0])
    done(agent.request("rescan", domain="alice", phase="complete"))
    assert not lost(world, alice)
    write(alice, b"3")
    for name in "s2", "s1":
        done(delete(agent, name))
    assert len(chain(alice)) == 1
    for n, byte in enumerate((b"3", b"1", b"2")):
        assert alice.read("xvda", n * 65536, 4096) == byte * 4096
    assert sum(os.path.exists(path) for path in images) == 1
