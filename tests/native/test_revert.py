# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a revert finds out before it touches the domain, and where internal snapshots
are applied, the way back, with a toolstack that the test plays."""

import os
import subprocess

import pytest

from native.agent import FINAL, ROOT
from native.expect import image_is_sound
from native.toolstack import Toolstack

BEFORE, AFTER = b"before!!" * 64, b"after!!!" * 64


@pytest.fixture(name="toolstack")
def fixture_toolstack(world):
    return Toolstack(world)


@pytest.fixture(name="mixed")
def fixture_mixed(world, agent):
    """A domain whose snapshot is an internal one of xvdb, and what it went on with."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    write(domain, BEFORE)
    reply = agent.request("create", {"disks/xvdb/external": "0"}, domain="web", name="s1",
                          memory=0)
    assert reply["state"] == "done", reply
    write(domain, AFTER)
    return domain, {vdev: reply[f"result/disks/{vdev}/path"] for vdev in domain.disks}


def write(domain, data):
    for vdev in domain.disks:
        domain.write(vdev, 0, data)
        domain.disks[vdev].front.flush()


def boot(agent):
    """Domains are made meanwhile."""
    request = agent.submit("revert", domain="web", name="s1", start="boot")
    agent.world.eventually(lambda: request.state() in FINAL, 60, "the end")
    return request.wait()


def images(world):
    return {f"{world.images}/{name}" for name in os.listdir(world.images)}


def test_an_image_that_another_program_writes_is_refused(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    base = reply["result/disks/xvda/base"]
    world.remove_domain(domain)
    with subprocess.Popen(["qemu-io", "-f", "qcow2", base], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:
        other.stdin.write("length\n")
        other.stdin.flush()
        other.stdout.readline()
        reply = agent.request("revert", domain="alice", name="s1", start="boot")
        assert reply["error/code"] == "snapshot-in-use", reply
        assert base in reply["error/message"]
        other.stdin.write("quit\n")


def test_behind_an_internal_snapshot_the_boot_is_on_the_snapshots_disks(world, agent, mixed,
                                                                        toolstack):
    domain, left = mixed
    toolstack.refuse = 2
    reply = boot(agent)
    assert reply["result/brought-back"] == "boot", reply
    web = toolstack.made[-1]
    overlay = web.chain("xvda")[0][0]
    assert web.chain("xvdb")[0][0] == left["xvdb"]
    for vdev in web.disks:
        assert web.read(vdev, 0, len(BEFORE)) == BEFORE
    # What the guest writes is in a file, and it is known in which.
    write(web, AFTER)
    assert os.path.exists(overlay) and not os.path.exists(left["xvda"])
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s1/disks/xvda")
    assert overlay in published.values()
    second = agent.request("create", domain="web", name="s2", memory=0)
    assert second["state"] == "done", second
    assert second["result/disks/xvda/base"] == overlay
    assert image_is_sound(overlay)
    assert reply["state"] == "failed"
    assert "booted from the snapshot's disks" in reply["error/message"]


def test_behind_an_internal_snapshot_no_disk_is_said_to_be_as_it_was(world, agent, mixed,
                                                                     toolstack):
    files = images(world)
    toolstack.refuse = 3
    reply = boot(agent)
    assert reply["state"] == "failed", reply
    assert "with an internal snapshot may be as in that" in reply["error/message"]
    assert mixed and images(world) == files
