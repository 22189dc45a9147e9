# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rescan onto the image that holds a snapshot's state: the guest writes to that from then on, so
whoever asks for the snapshot is told."""

import pytest

from native.expect import assert_failed, done
from native.rescans import PIECE, paths, qemu_img


def request(agent, operation, keys=None, **others):
    return agent.request(operation, keys or {}, domain="alice", **others)


@pytest.fixture(name="alice")
def fixture_alice(world, agent):
    """Snapshots a and b, and writes of before and after each."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    for name in "a", "b":
        domain.write("xvda", 0, name.encode() * PIECE)
        done(request(agent, "create", name=name, memory=0))
    domain.write("xvda", 0, b"c" * PIECE)
    domain.disks["xvda"].front.flush()
    return domain


def put_on(agent, path, **keys):
    return request(agent, "rescan", {"disks/xvda/path": path, "disks/xvda/format": "qcow2"},
                   **keys)


def lost(world, domain):
    return [name for name in ("a", "b")
            if world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/{name}/deleting")]


def assert_lost(agent, name):
    assert_failed(request(agent, "revert", {"start": "boot"}, name=name), "no-such-snapshot",
                  f'"{name}"', "written to")


@pytest.mark.parametrize("place, name", [(1, "b"), (2, "a")])
def test_without_a_commit_it_is_refused(world, agent, alice, place, name):
    chain = paths(alice)
    assert_failed(put_on(agent, chain[place]), "snapshot-in-use", "xvda", chain[place],
                  f'"{name}"', "prepare")
    assert paths(alice) == chain
    assert alice.read("xvda", 0, PIECE) == b"c" * PIECE
    assert not lost(world, alice)


def test_meant_it_loses_the_snapshot_and_those_over_it(world, agent, alice):
    base = paths(alice)[2]
    done(request(agent, "rescan", phase="prepare"))
    reply = done(put_on(agent, base, phase="complete"))
    for words in "xvda", 'snapshot "a" and of 1 more':
        assert words in reply["result/warning"]
    assert lost(world, alice) == ["a", "b"]
    alice.write("xvda", 0, b"d" * PIECE)
    for name in "a", "b":
        assert_lost(agent, name)
    # No more is lost by asking again, and what is left can go.
    assert "result/warning" not in done(request(agent, "rescan"))
    assert paths(alice) == [base]
    assert alice.read("xvda", 0, PIECE) == b"d" * PIECE


def test_a_commit_loses_only_what_was_committed_into(world, agent, alice):
    active, state, base = paths(alice)
    done(request(agent, "rescan", phase="prepare"))
    qemu_img("commit", "-q", "-d", "-f", "qcow2", active)
    done(put_on(agent, state, phase="complete"))
    assert lost(world, alice) == ["b"]
    assert alice.read("xvda", 0, PIECE) == b"c" * PIECE
    assert paths(alice) == [state, base]
    assert_lost(agent, "b")


def test_a_branch_aside_is_lost_with_what_it_lies_over(world, agent, alice):
    """Its state is not in the chain."""
    base = paths(alice)[2]
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", side)
    done(put_on(agent, side))
    assert not lost(world, alice)
    done(request(agent, "rescan", phase="prepare"))
    assert '"a"' in done(put_on(agent, base, phase="complete"))["result/warning"]
    assert lost(world, alice) == ["a", "b"]
