# SPDX-License-Identifier: LGPL-2.1-or-later
"""A revert that the agent's end cuts short, and what becomes of the domain meanwhile:
nothing that a guest has written is lost (I2, I5). The toolstack is the test's."""

import glob
import os
import signal

import pytest

from native.agent import FINAL
from native.expect import assert_disk_is_on, assert_works
from native.faults import FAIL, KILL_AFTER, KILL_BEFORE, Faults
from native.toolstack import Toolstack

DATA = b"precious" * 512


@pytest.fixture(name="host")
def fixture_host(world, agent_stopped, save):
    del save
    agent_stopped.faults = Faults(world.folder)
    agent_stopped.start()
    return Toolstack(world)


def checkpointed(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    reply = agent.request("create", domain="alice", name="s1", memory=1)
    assert reply["state"] == "done", reply
    return domain


def wait_end(world, agent):
    world.eventually(lambda: agent.process.poll() is not None, 30, "its end")
    agent.faults.disarm()
    agent.process.wait()


def end_of(world, request):
    """The toolstack is at work whenever the world waits."""
    world.eventually(lambda: request.state() in FINAL, 60, "the request's end")
    return request.output()


def write(domain):
    domain.write("xvda", 65536, DATA)
    domain.disks["xvda"].front.flush()


def killed_before_the_start(world, agent, host):
    """Of a revert that has made the domain, and not noted so; what somebody who finds
    it paused lets run."""

    def on_made(domain):
        del domain
        agent.faults.arm(KILL_BEFORE, 1, "make .tmp-op-")
    host.on_made = on_made
    request = agent.submit("revert", domain="alice", name="s1")
    wait_end(world, agent)
    host.on_made = lambda domain: None
    world.xen.set(host.made[-1].domid, paused=0, cpu_time=1)
    return request, host.made[-1]


def assert_is_on_its_overlay(world, agent, domain, overlay):
    """And the records know."""
    assert len(world.xen.domids()) == 2, "dom0 and one domain"
    assert domain.read("xvda", 65536, len(DATA)) == DATA
    assert_disk_is_on(domain, "xvda", overlay)
    assert_works(domain, "xvda")
    reply = agent.request("create", domain="alice", name="s2", memory=0)
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvda/base"] == overlay
    assert world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/s2/parent") == "s1"


@pytest.mark.parametrize("off", [False, True], ids=["ran", "off"])
def test_a_domain_that_somebody_lets_run_keeps_its_overlays(world, agent_stopped, host, off):
    agent = agent_stopped
    domain = checkpointed(world, agent)
    if off:
        world.remove_domain(domain)
    request, new = killed_before_the_start(world, agent, host)
    write(new)
    overlay = new.chain("xvda")[0][0]
    agent.start()
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert reply["result/domid"] == str(new.domid)
    assert_is_on_its_overlay(world, agent, new, overlay)


def test_a_domain_whose_start_could_not_be_noted_keeps_its_overlays(world, agent_stopped,
                                                                    host):
    """As on a full disk."""
    agent = agent_stopped
    checkpointed(world, agent)
    moved = []

    def on_made(domain):
        del domain
        note = glob.glob(f"{agent.settings['store']['folder']}/journal/op-*.json")[0]
        os.rename(note, f"{world.folder}/note")
        os.makedirs(f"{note}/in-the-way")
        moved.append(note)
        agent.faults.arm(KILL_AFTER, 1, "hypercall unpause")
    host.on_made = on_made
    request = agent.submit("revert", domain="alice", name="s1")
    wait_end(world, agent)
    host.on_made = lambda domain: None
    new = host.made[-1]
    assert world.xen.get(new.domid)["paused"] == "0"
    world.xen.set(new.domid, cpu_time=1)
    os.rmdir(f"{moved[0]}/in-the-way")
    os.rmdir(moved[0])
    os.rename(f"{world.folder}/note", moved[0])
    write(new)
    overlay = new.chain("xvda")[0][0]
    agent.start()
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert_is_on_its_overlay(world, agent, new, overlay)


@pytest.mark.parametrize("off", [False, True], ids=["ran", "off"])
def test_what_a_domain_wrote_that_has_ended_since_is_not_lost(world, agent_stopped, host, off):
    """Nor is the snapshot's memory put over it."""
    agent = agent_stopped
    domain = checkpointed(world, agent)
    if off:
        world.remove_domain(domain)
    request, new = killed_before_the_start(world, agent, host)
    write(new)
    overlay = new.chain("xvda")[0][0]
    world.remove_domain(new)
    made = len(host.made)
    agent.start()
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert len(host.made) == made
    published = world.store.tree(f"/tool/xensnapd/snapshots/{new.uuid}/s1/disks/xvda")
    assert overlay in published.values() and os.path.exists(overlay)


def test_what_somebody_started_on_what_was_left_loses_no_overlay_in_use(world, agent_stopped,
                                                                        host):
    """He runs the domain on the disks that it was on; another program reads the overlay."""
    agent = agent_stopped
    domain = checkpointed(world, agent)
    left = domain.chain("xvda")[0][0]
    request, new = killed_before_the_start(world, agent, host)
    overlay = new.chain("xvda")[0][0]
    world.remove_domain(new)
    theirs = world.add_domain("alice", disks=[{"vdev": "xvda", "format": "qcow2",
                                               "path": left}], uuid=domain.uuid)
    world.xen.set(theirs.domid, cpu_time=1)
    with open(overlay, "rb"):
        agent.start()
        reply = end_of(world, request)
    assert reply["state"] == "failed", reply
    assert os.path.exists(overlay)
    assert f"{overlay} is in use, and stays" in reply["error/message"]
    assert_disk_is_on(theirs, "xvda", left)
    # Told of at each start, until it is gone; nor does what is under it go before.
    for there in (True, False):
        agent.restart()
        words = f"no snapshot has the overlay {overlay} "
        assert agent.log_text().count(words) == 1
        if there:
            reply = agent.request("delete", domain="alice", name="s1")
            assert reply["error/code"] == "snapshot-in-use", reply
            assert overlay in reply["error/message"]
            os.unlink(overlay)
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert_works(theirs, "xvda")


def forks_of(pid):
    """Children that are the same program, as libxl's that destroys a domain."""
    def command(of):
        with open(f"/proc/{of}/cmdline", "rb") as file:
            return file.read()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split() if command(child) == command(pid)]


def test_a_domain_that_somebody_else_ends_is_gone_all_the_same(world, agent_stopped, host):
    """The next agent finds it dying, and libxl's child of the one before still at it;
    it destroys it again, and then it is no more."""
    agent = agent_stopped
    domain = checkpointed(world, agent)
    with world.xen.destroy_held():
        request = agent.submit("revert", domain="alice", name="s1")
        world.eventually(lambda: world.xen.get(domain.domid)["dying"] == "1", 20, "dying")
        first, = forks_of(agent.process.pid)
        agent.kill()
        os.kill(first, 0)
        agent.start()
        agent.wait_log("was interrupted; taking it up again", 20)
        world.eventually(lambda: forks_of(agent.process.pid), 20, "it is destroyed again")
        os.kill(first, signal.SIGKILL)
        world.xen.remove(domain.domid)
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert world.xen.domids() == [0, host.made[-1].domid]
    assert_works(host.made[-1], "xvda")


@pytest.mark.parametrize("off", [False, True], ids=["ran", "off"])
def test_what_hinders_the_end_of_the_remains_may_pass(world, agent_stopped, host, off):
    agent = agent_stopped
    domain = checkpointed(world, agent)
    if off:
        world.remove_domain(domain)

    def on_made(made):
        del made
        agent.faults.arm(KILL_BEFORE, 1, "make .tmp-op-")
    host.on_made = on_made
    request = agent.submit("revert", domain="alice", name="s1")
    wait_end(world, agent)
    host.on_made = lambda domain: None
    remains = host.made[-1].domid
    agent.faults.arm(FAIL, 1, "libxl libxl_domain_destroy")
    agent.start()
    reply = end_of(world, request)
    assert agent.faults.reached()
    assert remains not in world.xen.domids()
    if off:
        assert reply["error/code"] == "interrupted", reply
    else:
        assert reply["state"] == "done", reply
        assert_works(host.made[-1], "xvda")
