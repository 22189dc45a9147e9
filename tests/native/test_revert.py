# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a revert finds out before it touches the domain, and where internal snapshots
are applied, the way back, with a toolstack that the test plays."""

import os
import signal
import subprocess

import pytest

from native.agent import FINAL, ROOT
from native.expect import image_is_sound
from native.faults import STOP_BEFORE, Faults
from native.merges import content
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
    assert os.path.exists(overlay)
    # Nobody got what he asked for, so what was left is not thrown away.
    assert os.path.exists(left["xvda"])
    assert reply["result/disks/xvda/abandoned"] == left["xvda"]
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


def test_where_a_domain_that_is_off_cannot_be_made_an_applied_snapshot_is_told_of(
        world, agent, mixed, toolstack):
    """Nothing brings back what the disk held."""
    domain, _ = mixed
    files = images(world)
    world.remove_domain(domain)
    toolstack.refuse = 1
    reply = boot(agent)
    assert reply["state"] == "failed", reply
    assert reply["error/message"].startswith(
        'domain "web" was not started, and its disks with an internal snapshot may be as in '
        'that, the others are as they were: ')
    assert images(world) == files


def test_an_agent_that_ends_behind_an_applied_snapshot_tells_of_it(world, agent_stopped,
                                                                   toolstack):
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2")])
    write(domain, BEFORE)
    reply = agent.request("create", {"disks/xvda/external": "0"}, domain="web", name="s1",
                          memory=0)
    assert reply["state"] == "done", reply
    world.remove_domain(domain)
    toolstack.hang = 1
    request = agent.submit("revert", domain="web", name="s1", start="boot")
    world.eventually(lambda: toolstack.hanging, 30, "it is made")
    agent.kill()
    agent.start()
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    reply = request.output()
    assert reply["error/code"] == "interrupted", reply
    assert "disks with an internal snapshot may be as in that" in reply["error/message"]


def test_a_cancel_before_an_internal_snapshot_is_applied_leaves_the_disk(world, agent_stopped,
                                                                        toolstack):
    """It waits for memory, of which there was enough when that was checked."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    image = domain.chain("xvdb")[0][0]
    write(domain, BEFORE)
    reply = agent.request("create", {"disks/xvdb/external": "0"}, domain="web", name="s1",
                          memory=0)
    assert reply["state"] == "done", reply
    write(domain, AFTER)
    world.remove_domain(domain)
    agent.faults.arm(STOP_BEFORE, 1, "make web-xvda.s1")
    request = agent.submit("revert", domain="web", name="s1", start="boot")
    world.eventually(agent.faults.reached, what="the overlay")
    agent.faults.disarm()
    world.xen.set_host(**{**world.xen.host(), "free_kb": 1024})
    os.kill(agent.process.pid, signal.SIGCONT)
    world.store.wait(f"{request.path}/step", "restoring the domain")
    request.cancel()
    world.eventually(lambda: request.state() in FINAL, 30, "the end")
    assert request.state() == "cancelled", request.output()
    assert toolstack.made == []
    assert content(image, 0)[:len(AFTER)] == AFTER


def test_an_image_that_is_left_is_flushed_while_others_are_served(world, agent_stopped, toolstack,
                                                                  hanging_sync):
    """The guest may have written gigabytes to it that are not on the disk yet."""
    agent = agent_stopped
    agent.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2")])
    for name, external in (("s1", 1), ("s2", 0)):
        reply = agent.request("create", {"disks/xvda/external": external}, domain="web",
                              name=name, memory=0)
        assert reply["state"] == "done", reply
    write(domain, AFTER)
    left = domain.chain("xvda")[0][0]
    request = agent.submit("revert", domain="web", name="s1", start="boot")
    world.eventually(hanging_sync.exists, 60, "the flush")
    assert agent.request("create", domain="nobody")["error/code"] == "no-such-domain"
    assert request.state() == "running"
    assert left in hanging_sync.read_text()
    hanging_sync.unlink()
    reply = request.wait()
    assert reply["state"] == "done" and "result/warning" not in reply, reply
    assert len(toolstack.made) == 1
    # Nobody has written to it since, so it goes with its last snapshot.
    assert os.path.exists(left)
    assert agent.request("delete", domain="web", name="s2")["state"] == "done"
    assert not os.path.exists(left)


def test_what_is_asked_while_the_domain_is_made_anew_waits(world, agent, toolstack):
    domain = world.add_domain("web", disks=[("xvda", "qcow2")])
    assert agent.request("create", domain="web", name="s1", memory=0)["state"] == "done"
    toolstack.hang = 1
    requests = [agent.submit("revert", domain="web", name="s1", start="boot")]
    world.eventually(lambda: toolstack.hanging, 30, "a domain is asked for")
    requests += [agent.submit("create", domain="web", name="s2", memory=0),
                 agent.submit("rescan", domain=domain.uuid)]
    for request in requests[1:]:
        request.wait_state("queued")
    toolstack.go_on()
    world.eventually(lambda: all(request.state() in FINAL for request in requests), 60)
    assert [request.state() for request in requests] == ["done"] * 3, \
        [request.output() for request in requests]
    assert len(toolstack.made[-1].chain("xvda")) == 3
