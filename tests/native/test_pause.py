# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest stands still for `max-pause` at most, whatever hangs (I1, I2, I5). The
save helper is played, all else of a checkpoint is real."""

import contextlib
import os
import signal

import pytest

from native.expect import Picture
from native.faults import FAIL, KILL_AFTER, KILL_BEFORE, Faults
from native.guardians import guardians, kill_guardian, wait_no_guardian

HELPER = os.path.join(os.path.dirname(__file__), "native", "save_helper")
DISKS = [("xvda", "qcow2"), ("xvdb", "raw")]


class Save:
    """What the played helper waits for."""

    def __init__(self, path):
        self.path = str(path)

    def hold(self, deaf=False):
        for name in [self.path] + [f"{self.path}.deaf"] * deaf:
            with open(name, "wb"):
                pass

    def release(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Before `agent`, which inherits this."""
    one = Save(tmp_path / "hold")
    monkeypatch.setenv("LIBXL_SAVE_HELPER", HELPER)
    monkeypatch.setenv("SAVE_HELPER_HOLD", one.path)
    yield one
    one.release()


def running(world, domain):
    return world.xen.is_running(domain.domid)


def wait_running(world, domain):
    world.eventually(lambda: running(world, domain), 20, "the guest goes on")


def wait_suspended(world, domain):
    world.eventually(lambda: not running(world, domain), 20, "the guest is suspended")


def create(agent, **keys):
    return agent.submit("create", domain="web", name="s1", live=0, **keys)


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_a_checkpoint(world, save, agent, kind):
    del save
    domain = world.add_domain("web", kind, disks=DISKS)
    reply = create(agent).wait()
    assert reply["state"] == "done", reply
    assert running(world, domain)
    wait_no_guardian(world, domain)


def test_a_save_that_takes_longer_than_max_pause_is_given_up(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="300ms")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold()
    reply = create(agent).wait()
    assert reply["error/code"] == "timeout", reply
    assert "timeouts.max-pause (0.3 s)" in reply["error/message"]
    assert reply["error/step"] == "save-memory"
    assert running(world, domain)
    picture.assert_same()
    wait_no_guardian(world, domain)


def test_the_guest_goes_on_though_the_disk_hangs(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="300ms")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold(deaf=True)
    request = create(agent)
    wait_suspended(world, domain)
    wait_running(world, domain)
    assert request.state() == "running"
    save.release()
    assert request.wait()["error/code"] == "timeout"
    picture.assert_same()
    assert agent.process.poll() is None


def test_the_guest_goes_on_though_qemu_hangs_at_the_switch(world, save, agent_stopped):
    del save
    agent_stopped.configure("timeouts", max_pause="500ms")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    fault = domain.interpose().fault("transaction", "hold-before")
    request = create(agent)
    fault.wait_reached()
    wait_running(world, domain)
    assert request.state() == "running"
    fault.release()
    assert request.wait()["error/code"] == "timeout"
    picture.assert_same()


def test_a_switch_that_fails_lets_the_guest_go_before_anything_else(world, save, agent):
    del save
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    relay = domain.interpose()
    relay.fault("transaction", "drop-after")
    undo = relay.fault("block-commit", "hold-before")
    request = create(agent)
    undo.wait_reached()
    assert running(world, domain)
    undo.release()
    assert request.wait()["error/code"] == "qmp-error"
    picture.assert_same()


def test_no_bound_lets_a_save_take_its_time(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="0")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    save.release()
    assert request.wait()["state"] == "done"


def test_a_stopped_agent_does_not_hold_the_guest(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="1s")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    agent.process.send_signal(signal.SIGSTOP)
    wait_running(world, domain)
    assert agent.process.wait(20) == -signal.SIGKILL
    wait_no_guardian(world, domain)
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    assert running(world, domain)
    picture.assert_same()


@pytest.mark.parametrize("held", ["save", "switch"])
def test_a_killed_agent_leaves_no_guest_suspended(world, save, agent, held):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    if held == "save":
        save.hold()
        request = create(agent)
        wait_suspended(world, domain)
    else:
        fault = domain.interpose().fault("transaction", "hold-after")
        request = create(agent)
        fault.wait_reached()
    agent.kill()
    wait_running(world, domain)
    wait_no_guardian(world, domain)
    if held == "switch":
        domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    picture.assert_same()
    save.release()
    assert create(agent, id="again").wait()["state"] == "done"


# -- a guardian that dies -----------------------------------------------------


@pytest.mark.parametrize("agent_dies", [False, True])
def test_a_guardian_that_dies_is_replaced(world, save, agent, agent_dies):
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    kill_guardian(world, domain, agent, 1)
    assert not running(world, domain)
    if agent_dies:
        agent.kill()
        wait_running(world, domain)
    save.release()
    if agent_dies:
        agent.start()
        assert request.wait()["error/code"] == "interrupted"
    else:
        assert request.wait()["state"] == "done"
    wait_no_guardian(world, domain)


def test_a_new_guardian_keeps_to_the_bound(world, save, agent_stopped):
    """It has what is left of it, so that another death changes nothing."""
    agent_stopped.configure("timeouts", max_pause="1h")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    # The second one cannot come within the millisecond.
    for count in (1, 2):
        kill_guardian(world, domain, agent, count)
    pid, = guardians(domain)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        bound_ms = int(file.read().split(b"\0")[3])
    assert 0 < bound_ms < 3600000
    save.release()
    assert request.wait()["state"] == "done"


def test_where_guardians_keep_dying_the_guest_goes_on(world, save, agent):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold(deaf=True)
    request = create(agent)
    wait_suspended(world, domain)
    for count in (1, 2, 3):
        kill_guardian(world, domain, agent, count)
    os.kill(*guardians(domain), signal.SIGKILL)
    wait_running(world, domain)
    assert request.state() == "running"
    save.release()
    reply = request.wait()
    assert reply["error/code"] == "internal-error", reply
    assert "guardian" in reply["error/message"]
    picture.assert_same()


# -- a revert -----------------------------------------------------------------


@pytest.mark.parametrize("cause", ["time", "guardian"])
def test_a_revert_goes_on_without_the_running_state(world, save, agent_stopped, cause):
    """It ends the domain in the end; only a hypervisor can make the new one."""
    agent = agent_stopped
    if cause == "time":
        agent.configure("timeouts", max_pause="300ms")
    agent.start()
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    save.hold(deaf=True)
    request = agent.submit("revert", domain="web", name="s1", start="boot")
    wait_suspended(world, domain)
    if cause == "guardian":
        for count in (1, 2, 3):
            kill_guardian(world, domain, agent, count)
        os.kill(*guardians(domain), signal.SIGKILL)
    wait_running(world, domain)
    assert request.state() == "running"
    save.release()
    reply = request.wait()
    assert reply["error/step"] == "restore", reply
    words = "timeouts.max-pause" if cause == "time" else "guardian"
    assert words in reply["result/running-state-not-kept"]
    # Nobody is sent to a memory file that is of before.
    assert "its memory is in" not in reply["error/message"]
    assert world.xen.get(domain.domid) is None
    wait_no_guardian(world, domain)


def test_a_revert_keeps_the_running_state_in_time(world, save, agent):
    del save
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    reply = agent.request("revert", domain="web", name="s1", start="boot")
    assert "its memory is in" in reply["error/message"]
    assert "result/running-state-not-kept" not in reply
    wait_no_guardian(world, domain)


def test_a_domain_that_libxl_fails_to_end_is_ended_again(world, save, agent_stopped):
    """It may be without its QEMU by then, so that there is no way back."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.start().request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    agent.faults.arm(FAIL, 4, "make /var/lib/xen/userdata-l")  # in the destroy
    reply = agent.request("revert", domain="web", name="s1", start="boot")
    assert agent.faults.reached()
    agent.faults.disarm()
    assert reply["error/step"] == "restore", reply
    assert world.xen.get(domain.domid) is None


@pytest.mark.parametrize("kind", [KILL_BEFORE, KILL_AFTER])
def test_an_agent_that_dies_as_it_ends_the_domain(world, save, agent_stopped, kind):
    """Until libxl has begun to end it, the guest goes on; from then on it must not."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.start().request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    agent.faults.arm(kind, 1, "libxl libxl_domain_destroy")
    agent.submit("revert", domain="web", name="s1", start="boot")
    agent.process.wait(20)
    wait_no_guardian(world, domain)
    assert running(world, domain) == (kind == KILL_BEFORE)
    agent.faults.disarm()


@pytest.mark.parametrize("kind", ["pv", "pvh"])
@pytest.mark.parametrize("agent_dies", [False, True])
def test_a_guest_goes_on_without_xenstored(world, save, agent, kind, agent_dies):
    """Once xenstored has died, libxl cannot tell which type a guest is of."""
    domain = world.add_domain("web", kind, disks=DISKS)
    save.hold()
    create(agent)
    wait_suspended(world, domain)
    world.kill_xenstored()
    if agent_dies:
        agent.kill()
    else:
        save.release()
    wait_running(world, domain)
    wait_no_guardian(world, domain)
    save.release()
    world.start_xenstored()
    if agent_dies:
        agent.start()
    else:
        agent.wait_ready()
    world.eventually(lambda: not [name for name in agent.records()
                                  if name.startswith("journal/")], 20, "no note is left")
    assert running(world, domain)
