# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults at the end of a live merge, when all is copied and the image that it was
copied from is about to be let go."""

import os

import pytest

from native.expect import assert_disk_is_on, assert_failed, assert_works

UNFLUSHABLE = "/run/fake-xen/unflushable"


def three(world, agent):
    """Snapshots s1, s2 and s3 with something written after each, the most after
    s3: deleting s2 merges downwards (a commit), deleting s3 streams."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"0" * 4096)
    for n in (1, 2, 3):
        reply = agent.request("create", domain="alice", name=f"s{n}", memory=0)
        assert reply["state"] == "done", reply
        domain.write("xvda", n * 65536, str(n).encode() * 4096)
    domain.write("xvda", 8 << 20, b"x" * (1 << 20))
    domain.disks["xvda"].front.flush()
    return domain


def chain(domain):
    return [path for path, _ in domain.chain("xvda")]


def delete(agent, name):
    return agent.request("delete", domain="alice", name=name)


def assert_as_before(domain, images):
    assert domain.qmp("query-jobs") == []
    assert chain(domain) == images
    assert all(os.path.exists(path) for path in images)
    assert_disk_is_on(domain, "xvda", images[0])
    for n in range(4):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096
    assert_works(domain, "xvda")


# -- the flush --------------------------------------------------------------

@pytest.mark.parametrize("name, command", [("s2", "block-commit"), ("s3", "block-stream")])
def test_a_refused_flush_gives_the_merge_up(world, agent, name, command):
    domain = three(world, agent)
    images = chain(domain)
    relay = domain.interpose()
    relay.fault("human-monitor-command", "error", description="not this time")
    assert_failed(delete(agent, name), "qmp-error", "not this time", "delete the snapshot again")
    assert command in [sent["execute"] for sent in relay.commands]
    assert_as_before(domain, images)
    assert delete(agent, name)["state"] == "done"
    assert len(chain(domain)) == 3


@pytest.mark.parametrize("name, written", [("s2", 2), ("s3", 0)])
def test_a_flush_that_fails_is_noticed(world, agent, name, written):
    """QEMU itself says nothing about it to whoever asks it to flush."""
    domain = three(world, agent)
    images = chain(domain)
    with open(UNFLUSHABLE, "w", encoding="ascii") as file:
        file.write(images[written])
    try:
        assert_failed(delete(agent, name), "qmp-error", "Input/output error")
    finally:
        os.unlink(UNFLUSHABLE)
    assert_as_before(domain, images)
