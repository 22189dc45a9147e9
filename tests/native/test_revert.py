# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a revert finds out before it touches the domain, and what becomes of what it
leaves, with a toolstack that the test plays."""

import os
import signal
import subprocess

import pytest

from native.agent import FINAL
from native.faults import STOP_BEFORE, Faults
from native.merges import content
from native.toolstack import Toolstack

BEFORE, AFTER = b"before!!" * 64, b"after!!!" * 64


@pytest.fixture(name="toolstack")
def fixture_toolstack(world):
    return Toolstack(world)


def write(domain, data):
    for vdev in domain.disks:
        domain.write(vdev, 0, data)
        domain.disks[vdev].front.flush()


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
