# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest stands still for `max-pause` at most, whatever hangs (I1, I2, I5). The
save helper is played, all else of a checkpoint is real."""

import contextlib
import os
import signal

import pytest

from native.expect import Picture

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


def wait_no_guardian(world, domain):
    def none():
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if words[0] == b"xensnap-guard" and domain.uuid.encode() in words:
                    return False
        return True

    world.eventually(none, 20, "the guardian ends")


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
        fault.release()
        domain.relay.close()
        domain.relay = None
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    picture.assert_same()
    save.release()
    assert create(agent, id="again").wait()["state"] == "done"
