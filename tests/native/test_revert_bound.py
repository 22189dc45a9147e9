# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain is not down for ever because its restore or its start hangs: it is given
up after `timeouts.restore`, or when somebody cancels, and what was kept comes back
(I1, I2, I5). The toolstack and the save helper are the test's."""

import os
import signal
import time

import pytest

from native.agent import FINAL
from native.expect import assert_disk_is_on, assert_works
from native.faults import FAIL, KILL_AFTER, KILL_BEFORE, STOP_BEFORE, Faults
from native.toolstack import Toolstack

DATA = b"running" * 512


@pytest.fixture(name="host")
def fixture_host(world, agent_stopped, save):
    """A restore that gets on no more for two seconds is given up."""
    del save
    agent_stopped.configure("timeouts", restore="2s")
    agent_stopped.start()
    return Toolstack(world)


def checkpointed(world, agent, kind="pv"):
    """With a snapshot "s1", since which it has written."""
    domain = world.add_domain("alice", kind, disks=[("xvda", "qcow2")])
    reply = agent.request("create", domain="alice", name="s1", memory=1)
    assert reply["state"] == "done", reply
    domain.write("xvda", 0, DATA)
    domain.disks["xvda"].front.flush()
    return domain


def images(world):
    return {f"{world.images}/{name}" for name in os.listdir(world.images)}


def rescue_file(agent, domain):
    return f"{agent.settings['store']['memory-folder']}/{domain.uuid}/running-state"


def end_of(world, request):
    """The toolstack is at work whenever the world waits."""
    world.eventually(lambda: request.state() in FINAL, 60, "the request's end")
    return request.output()


def assert_brought_back(world, agent, host, old, reply):
    """Its former state runs, on the disks that it was on."""
    new = host.made[-1]
    assert reply["result/brought-back"] == "running-state", reply
    assert world.xen.get(new.domid)["paused"] == "0"
    assert len(world.xen.domids()) == 2, "dom0 and one domain"
    assert new.disks["xvda"].path == old.disks["xvda"].path
    assert new.read("xvda", 0, len(DATA)) == DATA
    assert_works(new, "xvda")
    assert not os.path.exists(rescue_file(agent, old))


def test_a_destroy_that_takes_long_is_told_of(world, agent_stopped, host):
    """Nobody can call it off. The request goes on once it is done."""
    agent = agent_stopped
    checkpointed(world, agent)
    with world.xen.destroy_held():
        request = agent.submit("revert", domain="alice", name="s1")
        agent.wait_log("could not be destroyed yet, for 2 s (timeouts.restore)", 60)
        assert agent.request("create", domain="nobody")["error/code"] == "no-such-domain"
        assert request.state() == "running" and host.made == []
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert world.xen.domids() == [0, host.made[-1].domid]


@pytest.mark.parametrize("leave", [False, True], ids=["nothing-left", "half-built"])
def test_a_restore_that_hangs_is_given_up(world, agent_stopped, host, leave):
    agent = agent_stopped
    domain = checkpointed(world, agent)
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    before = images(world)
    host.hang, host.leave = 1, leave
    reply = end_of(world, agent.submit("revert", domain="alice", name="s1"))
    assert reply["state"] == "failed" and reply["error/code"] == "timeout", reply
    assert "2 s (timeouts.restore)" in reply["error/message"]
    assert_brought_back(world, agent, host, domain, reply)
    assert images(world) == before


def test_a_restore_that_reads_on_is_not_given_up(world, agent_stopped, host):
    """However long it takes."""
    agent = agent_stopped
    checkpointed(world, agent)
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    host.read_on(host.hanging[0])
    began = time.monotonic()
    world.eventually(lambda: time.monotonic() - began > 4 or request.state() in FINAL, 30)
    assert request.state() == "running", request.output()
    host.go_on()
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert len(host.made) == 1


def test_a_boot_that_takes_libxl_long_is_not_given_up(world, agent_stopped, host):
    """It builds a large domain with the agent waiting, which is no hanging."""
    agent = agent_stopped
    agent.configure("timeouts", restore="3s")
    agent.restart()
    checkpointed(world, agent)
    host.hang, host.block = 1, True
    request = agent.submit("revert", domain="alice", name="s1", start="boot")
    world.eventually(lambda: host.hanging, 30, "the boot's beginning")
    began = time.monotonic()
    world.eventually(lambda: time.monotonic() - began > 4, 30)
    host.go_on()
    reply = end_of(world, request)
    assert reply["state"] == "done", reply
    assert len(host.made) == 1


def test_a_cancel_brings_the_running_state_back(world, agent_stopped, host):
    agent = agent_stopped
    agent.configure("timeouts", restore="1h")
    agent.restart()
    domain = checkpointed(world, agent)
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    before = images(world)
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    request.cancel()
    reply = end_of(world, request)
    assert reply["state"] == "cancelled", reply
    assert_brought_back(world, agent, host, domain, reply)
    assert images(world) == before


@pytest.mark.parametrize("how", ["cancelled", "removed"])
def test_a_cancel_while_the_old_domain_is_ended(world, agent_stopped, host, how):
    """Nothing can be done about that then. A removal is no cancel: it may come of the
    domain's end."""
    agent = agent_stopped
    agent.stop()
    agent.configure("timeouts", restore="1h")
    agent.faults = Faults(world.folder)
    agent.start()
    domain = checkpointed(world, agent)
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    host.hang = 1
    agent.faults.arm(STOP_BEFORE, 1, "libxl libxl_domain_destroy")
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(agent.faults.reached, what="the end of the old domain")
    agent.faults.disarm()
    if how == "cancelled":
        request.cancel()
    else:
        request.remove()
    agent.process.send_signal(signal.SIGCONT)
    if how == "cancelled":
        reply = end_of(world, request)
        assert reply["state"] == "cancelled", reply
        assert_brought_back(world, agent, host, domain, reply)
        return
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    agent.request("create", domain="nobody")  # it has heard of both by then
    host.go_on()
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30)
    made, = host.made
    assert made.read("xvda", 0, len(DATA)) == bytes(len(DATA))


def test_a_cancel_while_the_agent_is_dead_brings_the_running_state_back(world, agent_stopped,
                                                                        host):
    agent = agent_stopped
    agent.stop()
    agent.configure("timeouts", restore="1h")
    agent.faults = Faults(world.folder)
    agent.start()
    domain = checkpointed(world, agent)
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    host.hang = 1
    agent.faults.arm(KILL_BEFORE, 1, "libxl libxl_domain_create")
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: agent.process.poll() is not None, 30, "the agent's end")
    agent.faults.disarm()
    agent.process.wait()
    assert domain.domid not in world.xen.domids()
    request.cancel()
    agent.start()
    reply = end_of(world, request)
    assert reply["state"] == "cancelled", reply
    assert_brought_back(world, agent, host, domain, reply)


def test_a_cancel_whose_way_back_fails_is_a_failure(world, agent_stopped, host):
    """The domain is not as it was: it has been booted."""
    agent = agent_stopped
    agent.configure("timeouts", restore="1h")
    agent.restart()
    checkpointed(world, agent)
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    host.refuse = 2  # the running state, and that once more
    request.cancel()
    reply = end_of(world, request)
    assert reply["state"] == "failed", reply
    assert reply["result/brought-back"] == "boot"
    assert host.made[-1].read("xvda", 0, len(DATA)) == DATA


def test_a_cancel_is_not_answered_by_the_snapshot(world, agent_stopped, host):
    """What hinders the running state may have passed, as it may for a snapshot."""
    agent = agent_stopped
    agent.configure("timeouts", restore="1h")
    agent.restart()
    domain = checkpointed(world, agent)
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    host.refuse = 1
    request.cancel()
    reply = end_of(world, request)
    assert reply["state"] == "cancelled", reply
    assert_brought_back(world, agent, host, domain, reply)


def test_the_running_state_comes_back_once_there_is_memory(world, agent_stopped, host):
    """That of the domain that was half made comes free little by little."""
    agent = agent_stopped
    agent.configure("timeouts", restore="1h")
    agent.restart()
    domain = checkpointed(world, agent)
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    whole = world.xen.host()
    world.xen.set_host(**{**whole, "free_kb": 1024})
    host.needs_memory = True
    request.cancel()
    agent.wait_log("waits until a domain's memory is free", 10)
    world.xen.set_host(**whole)
    reply = end_of(world, request)
    assert reply["state"] == "cancelled", reply
    assert_brought_back(world, agent, host, domain, reply)


def test_the_request_being_removed_brings_nothing_back(world, agent_stopped, host):
    """As it is when a domain has asked to be reverted itself."""
    agent = agent_stopped
    agent.configure("timeouts", restore="1h")
    agent.restart()
    checkpointed(world, agent)
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    request.remove()
    agent.request("create", domain="nobody")  # it has heard of both by then
    host.go_on()
    world.eventually(lambda: host.made and
                     world.xen.get(host.made[-1].domid)["paused"] == "0", 30)
    assert len(host.made) == 1
    assert host.made[0].read("xvda", 0, len(DATA)) == bytes(len(DATA))


def test_without_a_running_state_a_cancel_is_not_heard(world, agent_stopped, host):
    """Nothing but its disks would be left of the domain."""
    agent = agent_stopped
    agent.configure("timeouts", restore="1h")
    agent.restart()
    domain = checkpointed(world, agent)
    world.xen.set(domain.domid, paused=1)
    host.hang = 1
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    request.cancel()
    agent.wait_log("it is too late")
    host.go_on()
    reply = end_of(world, request)
    assert reply["state"] == "done", reply


@pytest.mark.parametrize("how", ["timeout", "cancelled", "request's time"])
def test_a_domain_that_did_not_run_stays_as_it_was(world, agent_stopped, host, how):
    agent = agent_stopped
    if how != "timeout":
        agent.configure("timeouts", restore="1h")
        agent.restart()
    domain = checkpointed(world, agent)
    world.remove_domain(domain)
    before = images(world)
    host.hang = 1
    keys = {"timeout": 2} if how == "request's time" else {}
    request = agent.submit("revert", keys, domain="alice", name="s1")
    world.eventually(lambda: host.hanging, 30, "the restore's beginning")
    if how == "cancelled":
        request.cancel()
    reply = end_of(world, request)
    assert reply["state"] == ("cancelled" if how == "cancelled" else "failed"), reply
    if how != "cancelled":
        assert reply["error/code"] == "timeout"
    assert images(world) == before
    assert len(world.xen.domids()) == 1, "dom0 alone"


def test_a_start_that_hangs_keeps_the_running_state(world, agent_stopped, host):
    """The new domain has the snapshot's state, and is told of as paused."""
    agent = agent_stopped
    domain = checkpointed(world, agent, kind="hvm")
    active = domain.chain("xvda")[0][0]
    host.on_made = lambda new: new.interpose().fault("cont", "hold-before")
    reply = end_of(world, agent.submit("revert", domain="alice", name="s1"))
    assert reply["state"] == "done", reply
    assert "stays paused" in reply["result/warning"]
    assert "2 s (timeouts.restore)" in reply["result/warning"]
    assert rescue_file(agent, domain) in reply["result/warning"]
    assert_kept(rescue_file(agent, domain), reply)
    assert os.path.exists(active)
    assert_disk_is_on(host.made[-1], "xvda", reply["result/disks/xvda/path"])


def assert_kept(path, reply):
    """For whoever mends what hindered it."""
    assert reply["result/running-state-path"] == path, reply
    with open(path, "rb") as file:
        assert file.read(32) == b"Xen saved domain, xl format\n \0 \r"


@pytest.mark.parametrize("killed", [False, True], ids=["one-agent", "killed"])
def test_a_boot_does_not_take_the_running_state_away(world, agent_stopped, host, killed):
    """What hindered its restore may pass."""
    agent = agent_stopped
    domain = checkpointed(world, agent)
    if killed:
        agent.stop()
        agent.faults = Faults(world.folder)
        agent.start()
        agent.faults.arm(KILL_AFTER, 1, "hypercall unpause")
    host.refuse = 3
    request = agent.submit("revert", domain="alice", name="s1")
    if killed:
        world.eventually(lambda: agent.process.poll() is not None, 30, "its end")
        agent.faults.disarm()
        agent.process.wait()
        agent.start()
    reply = end_of(world, request)
    assert reply["state"] == "failed" and reply["result/brought-back"] == "boot", reply
    first = rescue_file(agent, domain)
    assert_kept(first, reply)
    assert first in reply["error/message"] and first in agent.log_text()
    # The next revert has a file of its own, and takes that alone away.
    reply = end_of(world, agent.submit("revert", domain="alice", name="s1"))
    assert reply["state"] == "done", reply
    assert sorted(os.listdir(os.path.dirname(first))) == ["running-state", "s1.save"], reply


def test_what_is_left_of_a_domain_that_is_down_is_named(world, agent_stopped, host):
    """And is not taken away by a revert of what is made of it later."""
    agent = agent_stopped
    domain = checkpointed(world, agent)
    host.refuse = 4
    reply = end_of(world, agent.submit("revert", domain="alice", name="s1"))
    assert "is down" in reply["error/message"], reply
    assert len(world.xen.domids()) == 1, "dom0 alone"
    kept = rescue_file(agent, domain)
    assert_kept(kept, reply)
    for _ in range(2):
        reply = end_of(world, agent.submit("revert", domain=domain.uuid, name="s1"))
        assert reply["state"] == "done", reply
    assert os.path.exists(kept)


def test_a_domain_that_runs_when_the_agent_is_there_again_is_not_let_run_once_more(
        world, agent_stopped, host):
    """The hypervisor would refuse that, and a domain that runs be told of as down."""
    agent = agent_stopped
    domain = checkpointed(world, agent)
    agent.stop()
    agent.faults = Faults(world.folder)
    agent.start()
    agent.faults.arm(KILL_AFTER, 1, "hypercall unpause")
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: agent.process.poll() is not None, 30, "its end")
    agent.faults.disarm()
    assert world.xen.get(host.made[-1].domid)["paused"] == "0"
    agent.process.wait()
    agent.start()
    reply = end_of(world, request)
    assert reply["state"] == "done" and "result/warning" not in reply, reply
    assert "stays paused" not in agent.log_text()
    assert not os.path.exists(rescue_file(agent, domain))
    assert_works(host.made[-1], "xvda")


def test_one_that_somebody_lets_run_meanwhile_is_not_said_to_stay_paused(world, agent_stopped,
                                                                         host):
    """What hindered us was over by then."""
    agent = agent_stopped
    agent.stop()
    agent.faults = Faults(world.folder)
    agent.start()
    domain = checkpointed(world, agent)
    agent.faults.arm(FAIL, 1, "libxl libxl_domain_unpause")
    request = agent.submit("revert", domain="alice", name="s1")
    world.eventually(lambda: "stays paused for now" in agent.log_text(), 30)
    world.xen.set(host.made[-1].domid, paused=0)
    reply = end_of(world, request)
    assert reply["state"] == "done" and "result/warning" not in reply, reply
    assert not os.path.exists(rescue_file(agent, domain))
