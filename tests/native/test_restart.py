# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is asked of a domain that the agent is just ending or restarting, as its
configuration says, waits until that is over."""

import contextlib
import fcntl
import glob
import json
import math
import os
import resource
import shutil
import time

import pytest

from native.agent import FINAL
from native.expect import assert_disk_is_on, assert_failed, assert_works, image_info
from native.faults import FAIL, KILL_AFTER, Faults
from native.toolstack import Toolstack

POWEROFF, REBOOT, CRASH, SOFT_RESET = 0, 1, 3, 5  # xen/sched.h
PATIENT_ATTEMPTS = 6  # supervise_reaction_private.h; 2, 4, 8 ... seconds between them


@pytest.fixture(name="faults")
def fixture_faults(world, agent_stopped):
    """Of the agent, which `host` starts."""
    agent_stopped.faults = Faults(world.folder)
    yield agent_stopped.faults
    agent_stopped.faults.disarm()


@pytest.fixture(name="host")
def fixture_host(world, agent_stopped, save):
    del save
    agent_stopped.start()
    return Toolstack(world)


def looked_after(world, agent, **settings):
    """With a snapshot "s1", since whose suspend nobody else would restart it."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")], **settings)
    reply = agent.request("create", domain="alice", name="s1", memory=1)
    assert reply["state"] == "done", reply
    domain.write("xvda", 0, b"1" * 4096)
    domain.disks["xvda"].front.flush()
    return domain


@pytest.mark.parametrize("reason", [REBOOT, POWEROFF])
def test_a_delete_taken_up_while_its_domain_ends(world, agent_stopped, host, reason):
    agent = agent_stopped
    domain = looked_after(world, agent)
    over, base = (path for path, _ in domain.chain("xvda"))
    fault = domain.interpose().fault("block-commit", "hold-before")
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    agent.kill()
    domain.uninterpose()
    world.xen.shut_down(domain.domid, reason)
    agent.start()
    # The toolstack is at work whenever the world waits.
    world.eventually(lambda: request.state() in FINAL, 30, "the request's end")
    assert request.state() == "done", request.output()
    assert len(host.made) == (1 if reason == REBOOT else 0)
    for domain in host.made:
        assert_disk_is_on(domain, "xvda", base)
        assert domain.read("xvda", 0, 4096) == b"1" * 4096
        assert_works(domain, "xvda")
    assert not os.path.exists(over)


def test_a_delete_asked_for_while_its_domain_is_restarted(world, agent_stopped, host):
    """What it is made from is fixed by then."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    world.xen.shut_down(domain.domid, REBOOT)
    world.eventually(lambda: "says: restart it" in agent.log_text(), 30)
    request = agent.submit("delete", domain="alice", name="s1")
    world.eventually(lambda: request.state() in FINAL, 60, "the request's end")
    assert request.state() == "done", request.output()
    assert len(host.made) == 1
    assert host.made[0].read("xvda", 0, 4096) == b"1" * 4096


# -- while a create is under way ----------------------------------------------

def named_at_the_restart(world):
    """The image that the domain is to be made with."""
    found = glob.glob(f"{world.xen.folder}/creations/*.json")
    if not found:
        return None
    with open(found[0], encoding="utf-8") as file:
        return json.load(file)["disks"][0]["pdev_path"]


@contextlib.contextmanager
def nobody_attends(world):
    """A restart takes as long as this."""
    attend, world.attend = world.attend, None
    yield
    world.attend = attend


def switching(agent, domain):
    """A create whose overlay is named and not in use yet: the request, the overlay,
    and what keeps it so."""
    fault = domain.interpose().fault("transaction", "hold-before")
    request = agent.submit("create", domain="alice", name="s2", memory=0)
    fault.wait_reached()
    return request, domain.stored_config()["disks"][0]["pdev_path"], fault


def test_an_undo_waits_for_a_restart_that_takes_long(world, agent_stopped, host):
    """The new domain is made on the overlay, and then brought back from it."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    active = domain.chain("xvda")[0][0]
    request, overlay, fault = switching(agent, domain)
    world.xen.shut_down(domain.domid, REBOOT)
    with nobody_attends(world):
        world.eventually(lambda: named_at_the_restart(world), 30, "the restart")
        fault.release()
        with pytest.raises(TimeoutError):
            request.wait(13)
        assert named_at_the_restart(world) == overlay
    world.eventually(lambda: request.state() in FINAL, 30, "the request's end")
    assert request.state() == "failed"
    made, = host.made
    assert_disk_is_on(made, "xvda", active)
    assert made.read("xvda", 0, 4096) == b"1" * 4096
    assert_works(made, "xvda")
    assert not os.path.exists(overlay)


def test_an_undo_sees_what_a_soft_reset_has_opened(world, agent_stopped, host):
    """It is the same domain, with another QEMU, which has the overlay."""
    del host
    agent = agent_stopped
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"1" * 4096)
    domain.disks["xvda"].front.flush()
    active = domain.chain("xvda")[0][0]
    request, overlay, fault = switching(agent, domain)
    world.xen.shut_down(domain.domid, SOFT_RESET)
    domain.kill_qemu()
    fault.release()
    agent.wait_log("step=switch-disks undo done", 20)
    world.remove_domain(domain)
    domain = world.add_domain("alice", uuid=domain.uuid, domid=domain.domid, disks=[
        {"vdev": "xvda", "format": "qcow2", "path": overlay}])
    domain.write("xvda", 65536, b"2" * 4096)
    domain.disks["xvda"].front.flush()
    assert_failed(request.wait(60), "qmp-error")
    assert_disk_is_on(domain, "xvda", active)
    assert domain.chain("xvda") == [(active, "qcow2")]
    assert domain.read("xvda", 0, 4096) == b"1" * 4096
    assert domain.read("xvda", 65536, 4096) == b"2" * 4096
    assert not os.path.exists(overlay)
    assert_works(domain, "xvda")


def test_an_undo_waits_for_our_own_soft_reset(world, agent_stopped, host):
    agent = agent_stopped
    domain = looked_after(world, agent)
    active = domain.chain("xvda")[0][0]
    request, overlay, fault = switching(agent, domain)
    world.xen.shut_down(domain.domid, SOFT_RESET)
    with nobody_attends(world):
        world.eventually(lambda: named_at_the_restart(world), 30, "the reset")
        domain.kill_qemu()  # as libxl does before
        fault.release()
        assert named_at_the_restart(world) == overlay
    world.eventually(lambda: request.state() in FINAL, 30, "the request's end")
    assert request.state() == "failed"
    made, = host.made
    assert made.domid == domain.domid
    assert_disk_is_on(made, "xvda", active)
    assert made.read("xvda", 0, 4096) == b"1" * 4096
    assert_works(made, "xvda")
    assert not os.path.exists(overlay)


def test_a_restart_that_hangs_is_tried_again(world, agent_stopped, host):
    agent = agent_stopped
    agent.configure("timeouts", restore="8s")
    agent.restart()
    domain = looked_after(world, agent)
    host.hang, host.leave = 1, True
    world.xen.shut_down(domain.domid, REBOOT)
    agent.wait_log("8 s (timeouts.restore)", 30)
    world.eventually(lambda: len(host.made) == 2 and
                     world.xen.is_running(host.made[-1].domid), 30, "it runs again")
    assert len(world.xen.domids()) == 2, "dom0 and one domain"
    assert host.made[-1].read("xvda", 0, 4096) == b"1" * 4096


def test_a_destroy_that_takes_long_is_told_of(world, agent_stopped, host):
    """Nobody can call it off. What is asked meanwhile gets an answer."""
    agent = agent_stopped
    agent.configure("timeouts", restore="1s")
    agent.restart()
    domain = looked_after(world, agent)
    with world.xen.destroy_held():
        world.xen.shut_down(domain.domid, REBOOT)
        agent.wait_log("could not be destroyed yet, for 1 s (timeouts.restore)", 30)
        reply = agent.request("delete", domain=domain.uuid, name="s1")
        assert_failed(reply, "busy")
        assert "cannot be started anew" in reply["error/message"]
        assert host.made == []
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    made, = host.made
    assert made.read("xvda", 0, 4096) == b"1" * 4096
    assert agent.request("delete", domain=domain.uuid, name="s1")["state"] == "done"


def test_a_restart_that_takes_libxl_long_is_not_given_up(world, agent_stopped, host):
    """It builds a large domain with the agent waiting, which is no hanging."""
    agent = agent_stopped
    agent.configure("timeouts", restore="3s")
    agent.restart()
    domain = looked_after(world, agent)
    host.hang, host.block = 1, True
    world.xen.shut_down(domain.domid, REBOOT)
    world.eventually(lambda: host.hanging, 30, "the restart")
    began = time.monotonic()
    world.eventually(lambda: time.monotonic() - began > 4, 30)
    host.go_on()
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    assert "timeouts.restore" not in agent.log_text()
    assert len(host.made) == 1


def test_a_soft_reset_that_hangs_ends_in_a_restart(world, agent_stopped, host):
    agent = agent_stopped
    agent.configure("timeouts", restore="3s")
    agent.restart()
    domain = looked_after(world, agent)
    host.hang = 1
    world.xen.shut_down(domain.domid, SOFT_RESET)
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    assert "3 s (timeouts.restore)" in agent.log_text()
    made, = host.made
    assert made.domid != domain.domid
    assert len(world.xen.domids()) == 2, "dom0 and one domain"
    assert made.read("xvda", 0, 4096) == b"1" * 4096


def test_a_soft_reset_that_was_cut_short_ends_in_a_restart(world, agent_stopped, host):
    """What libxl has left of the domain does not run, nor is it shut down."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    host.hang = 1
    world.xen.shut_down(domain.domid, SOFT_RESET)
    world.eventually(lambda: host.hanging, 30, "the reset")
    agent.kill()
    domain.kill_qemu()
    world.xen.set(domain.domid, shutdown=-1, paused=1)
    agent.start()
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    made, = host.made
    assert made.domid != domain.domid
    assert made.read("xvda", 0, 4096) == b"1" * 4096
    world.eventually(lambda: notes(agent) == [domain.uuid], 10, "it is looked after")


def end_once_it_is_kept(world, agent, faults, domain, reason):
    """The domain shuts down, and the agent dies before it touches it."""
    faults.arm(KILL_AFTER, 1, f"rename {domain.uuid}.json")
    world.xen.shut_down(domain.domid, reason)
    world.eventually(lambda: agent.process.poll() is not None, 30, "its end")
    faults.disarm()
    agent.process.wait()
    assert f"{domain.uuid}.json" in notes(agent)


@pytest.mark.parametrize("unnamed", [False, True], ids=["named", "unnamed"])
@pytest.mark.parametrize("reason", [SOFT_RESET, REBOOT])
def test_a_destroy_that_was_cut_short_ends_in_a_restart(world, agent_stopped, faults, host,
                                                        reason, unnamed):
    """libxl has done away with its devices, so it cannot tell its disks any more."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    end_once_it_is_kept(world, agent, faults, domain, reason)
    # libxl__destroy_domid() (libxl_domain.c) up to its devices, or to the last step but one
    world.xen.set(domain.domid, paused=1)
    domain.kill_qemu()
    world.store.rm(f"/libxl/{domain.domid}/device/vbd")
    world.store.rm(domain.backend_path("xvda"))
    if unnamed:
        world.store.rm(domain.path)
    agent.start()
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    made, = host.made
    assert made.domid != domain.domid
    assert len(world.xen.domids()) == 2, "dom0 and one domain"
    assert made.read("xvda", 0, 4096) == b"1" * 4096
    world.eventually(lambda: notes(agent) == [domain.uuid], 10, "it is looked after")


def test_a_restart_that_had_begun_is_made_from_what_is_kept(world, agent_stopped, faults,
                                                            host):
    """libxl takes PCI devices away before it pauses the domain; a disk stands for one."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    end_once_it_is_kept(world, agent, faults, domain, REBOOT)
    world.store.rm(f"/libxl/{domain.domid}/device/vbd")
    agent.start()
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    assert len(world.xen.domids()) == 2, "dom0 and one domain"
    assert host.made[0].read("xvda", 0, 4096) == b"1" * 4096


def test_a_paused_domain_that_was_to_be_kept_aside_is_not_destroyed(world, agent_stopped,
                                                                    faults, host):
    """It is there for whoever looks at why it crashed, and has paused it to do so."""
    agent = agent_stopped
    domain = looked_after(world, agent, on_crash="rename-restart")
    end_once_it_is_kept(world, agent, faults, domain, CRASH)
    world.xen.set(domain.domid, paused=1)
    agent.start()
    world.eventually(lambda: host.made and world.xen.is_running(host.made[-1].domid), 30,
                     "it runs again")
    assert world.xen.get(domain.domid) is not None
    assert world.store.read(f"{domain.path}/name").startswith("alice-")


def test_what_a_failing_restart_names_stays(world, clock, agent_stopped, host):
    """It is not waited for any longer once it has failed for a minute."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    active = domain.chain("xvda")[0][0]
    host.refuse = math.inf
    request, overlay, fault = switching(agent, domain)
    world.xen.shut_down(domain.domid, REBOOT)
    world.eventually(lambda: named_at_the_restart(world), 30, "the restart")
    fault.release()
    for attempt in range(1, PATIENT_ATTEMPTS):
        agent.wait_log(f"could not be started anew (attempt {attempt})", 30)
        assert request.state() not in FINAL
        clock.pass_steadily(2 ** attempt)
    world.eventually(lambda: request.state() in FINAL, 150, "the request's end")
    reply = request.output()
    assert reply["state"] == "failed"
    assert "putting things back failed" in reply["error/message"]
    assert "being restarted" in reply["error/message"]
    assert named_at_the_restart(world) == overlay
    assert image_info(overlay)["backing-filename"] == active


def test_a_change_of_the_configuration_comes_before_it_is_read(world, agent_stopped, host):
    """One that waits for libxl's lock when the domain shuts down."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    fault = domain.interpose().fault("query-block", "hold-after")
    request = agent.submit("create", domain="alice", name="s2", memory=0)
    fault.wait_reached()
    # The configuration was read meanwhile, for which libxl needs that lock.
    world.store.wait(f"{request.path}/step", "asking QEMU for the disks' chains")
    lock = f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}.domain-userdata-lock"
    with open(lock, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fault.release()
        world.store.wait(f"{request.path}/step",
                         "naming the overlays in the stored configuration")
        world.xen.shut_down(domain.domid, REBOOT)
        agent.wait_log(f"domain alice ({domain.domid}) has shut down")
        os.unlink(lock)  # as libxl does when it lets go
    world.eventually(lambda: named_at_the_restart(world), 30, "the restart")
    named = named_at_the_restart(world)
    world.eventually(lambda: request.state() in FINAL and host.made, 30, "both have ended")
    assert ".s2." in named
    made, = host.made
    if request.state() == "failed":
        assert ".s2." not in str(made.chain("xvda"))
    else:
        assert_disk_is_on(made, "xvda", named)
    assert made.read("xvda", 0, 4096) == b"1" * 4096
    assert_works(made, "xvda")


# -- what fails for a while ---------------------------------------------------

def notes(agent):
    return os.listdir(f"{agent.settings['store']['run-folder']}/supervised")


def test_a_configuration_that_cannot_be_read_for_a_while(world, agent_stopped, host):
    agent = agent_stopped
    domain = looked_after(world, agent)
    os.rename(domain.config_path, "/var/lib/xen/aside")
    world.xen.shut_down(domain.domid, REBOOT)
    agent.wait_log("is left as it is for now (attempt 1)")
    os.rename("/var/lib/xen/aside", domain.config_path)
    world.eventually(lambda: host.made, 30, "the domain")
    assert host.made[0].read("xvda", 0, 4096) == b"1" * 4096
    assert_works(host.made[0], "xvda")


def test_a_configuration_that_cannot_be_kept_for_a_while(world, agent_stopped, host):
    agent = agent_stopped
    domain = looked_after(world, agent)
    obstacle = f"{agent.settings['store']['run-folder']}/supervised/{domain.uuid}.json"
    os.mkdir(obstacle)
    world.xen.shut_down(domain.domid, REBOOT)
    agent.wait_log("cannot be restarted (attempt 1)")
    os.rmdir(obstacle)
    world.eventually(lambda: host.made, 30, "the domain")
    assert_works(host.made[0], "xvda")


def test_a_domain_that_cannot_be_let_go_for_a_while(world, agent_stopped, faults, host):
    agent = agent_stopped
    domain = looked_after(world, agent)
    faults.arm(FAIL, 1, "libxl libxl_domain_unpause")
    world.xen.shut_down(domain.domid, REBOOT)
    world.eventually(lambda: host.made and world.xen.is_running(host.made[0].domid), 60,
                     "the domain runs")
    assert faults.reached()
    assert_works(host.made[0], "xvda")


def test_a_domain_that_somebody_ends_meanwhile_is_forgotten(world, agent_stopped, host):
    agent = agent_stopped
    domain = looked_after(world, agent)
    os.unlink(domain.config_path)
    world.xen.shut_down(domain.domid, REBOOT)
    agent.wait_log("is left as it is for now (attempt 1)")
    world.remove_domain(domain)
    world.eventually(lambda: notes(agent) == [], 30, "nobody looks after it")
    assert host.made == []


def test_xenstored_restarts_while_the_domain_does(world, agent_stopped, host):
    """libxl is at work for nobody who asked; what comes then is seen all the same."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    world.xen.shut_down(domain.domid, REBOOT)
    with nobody_attends(world):
        world.eventually(lambda: named_at_the_restart(world), 30, "the restart")
        world.kill_xenstored()
        world.start_xenstored()
        agent.wait_ready()
    for number in (1, 2):
        world.eventually(lambda n=number: len(host.made) == n, 30, "the domain")
        made = host.made[-1]
        world.eventually(lambda d=made: world.xen.is_running(d.domid), 30, "it runs")
        if number == 1:
            world.xen.shut_down(made.domid, REBOOT)
    assert_works(host.made[1], "xvda")


def test_libxl_cannot_be_connected_at_first(world, agent_stopped, host):
    """Nobody asks for anything then, and a reboot is seen all the same."""
    agent = agent_stopped
    agent.stop()
    agent.configure("xenstore", reconnect_max="100ms")
    agent.start()
    domain = looked_after(world, agent)
    pid = agent.process.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    world.kill_xenstored()
    agent.wait_log("xenstored has gone")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, most))
    world.start_xenstored()
    with nobody_attends(world):
        # One descriptor more for each try: the first that the store gets is not
        # enough for libxl.
        for number in range(100):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, most))
            with contextlib.suppress(TimeoutError):
                world.eventually(lambda: "cannot connect libxl" in agent.log_text(), 0.5)
                break
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        agent.wait_ready()
        world.xen.shut_down(domain.domid, REBOOT)
    world.eventually(lambda: host.made, 60, "the domain")
    assert_works(host.made[0], "xvda")


def test_a_domain_that_xenstored_has_lost_keeps_its_disks(world, agent_stopped, host):
    """libxl goes by the stored configuration then."""
    agent = agent_stopped
    domain = looked_after(world, agent)
    active = domain.chain("xvda")[0][0]
    agent.kill()
    world.kill_xenstored()
    world.xen.shut_down(domain.domid, REBOOT)
    world.start_xenstored()
    agent.start()
    world.eventually(lambda: host.made, 60, "the domain")
    assert_disk_is_on(host.made[0], "xvda", active)
    assert host.made[0].read("xvda", 0, 4096) == b"1" * 4096


# -- while its core is dumped -------------------------------------------------

class Dump:
    """An `xl dump-core` that takes until it is let go on."""

    def __init__(self, folder, monkeypatch):
        self.begun, self._end = f"{folder}/begun", f"{folder}/end"
        os.mkdir(f"{folder}/bin")
        os.mkfifo(self._end)
        with open(f"{folder}/bin/xl", "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n: >{self.begun}\nread -r word <{self._end}\n")
        os.chmod(f"{folder}/bin/xl", 0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")

    def has_begun(self):
        return os.path.exists(self.begun)

    def end(self):
        with open(self._end, "w", encoding="ascii") as file:
            file.write("end\n")


@pytest.fixture(name="dump")
def fixture_dump(tmp_path, monkeypatch):
    return Dump(tmp_path, monkeypatch)


@pytest.mark.parametrize("operation, name, command", [
    ("create", "s2", "query-block"), ("delete", "s1", "block-commit")])
def test_what_is_under_way_when_the_domain_crashes(world, dump, agent_stopped, host,
                                                   operation, name, command):
    """What it is made from is in use, and named."""
    agent = agent_stopped
    domain = looked_after(world, agent, on_crash="coredump-restart")
    fault = domain.interpose().fault(command, "hold-before")
    request = agent.submit(operation, domain="alice", name=name, **(
        {"memory": 0} if operation == "create" else {}))
    fault.wait_reached()
    world.xen.shut_down(domain.domid, CRASH)
    world.eventually(dump.has_begun, 30, "the dump")
    fault.release()
    assert request.wait()["error/code"] == "busy"
    in_use = domain.chain("xvda")[0][0]
    dump.end()
    world.eventually(lambda: named_at_the_restart(world), 30, "the domain's creation")
    assert named_at_the_restart(world) == in_use
    world.eventually(lambda: host.made, 30, "the domain")
    assert_works(host.made[0], "xvda")


def test_a_rescan_under_way_when_the_domain_crashes(world, dump, agent_stopped, host):
    agent = agent_stopped
    domain = looked_after(world, agent, on_crash="coredump-restart")
    active = domain.chain("xvda")[0][0]
    shutil.copy(active, f"{world.images}/moved.qcow2")
    fault = domain.interpose().fault("blockdev-mirror", "hold-before")
    request = agent.submit("rescan", {"disks/xvda/path": f"{world.images}/moved.qcow2"},
                           domain="alice", disks="xvda")
    fault.wait_reached()
    world.xen.shut_down(domain.domid, CRASH)
    world.eventually(dump.has_begun, 30, "the dump")
    fault.release()
    assert request.wait()["error/code"] == "busy"
    assert domain.stored_config()["disks"][0]["pdev_path"] == active
    dump.end()
    world.eventually(lambda: host.made, 30, "the domain")
    assert_disk_is_on(host.made[0], "xvda", active)
