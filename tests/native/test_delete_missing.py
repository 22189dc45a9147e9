# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting a snapshot of several disks while an image of one is not there: nothing is done to the
others, and all is done once it is back."""

import os

import pytest

from native.expect import assert_failed


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
