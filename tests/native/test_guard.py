# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guardian of a suspended guest, beside a process that stands for the agent."""

import os
import signal
import socket
import subprocess
import time

import pytest

from native.hypervisor import POWEROFF, RUNNING, SUSPEND

READY, SUSPENDED, RESUMES, OVER = b"+", b"s", b"r", b"o"
LIMIT = 20


class Guard:
    """One guardian, and the "agent" that it watches: a process that sleeps."""

    def __init__(self, world, program, preloads, domain, bound_ms):
        self.world = world
        self.domain = domain
        self.stand_in = subprocess.Popen(["sleep", "1000"])
        self.channel, theirs = socket.socketpair()
        pidfd = os.pidfd_open(self.stand_in.pid)
        environment = world.environment()
        environment["LD_PRELOAD"] = " ".join(preloads)
        environment.setdefault("ASAN_OPTIONS", "exitcode=99")
        os.set_inheritable(theirs.fileno(), True)
        os.set_inheritable(pidfd, True)
        self.log = f"{world.folder}/guard.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["xensnap-guard", "suspended", str(domain.domid), str(theirs.fileno()),
                 str(pidfd), "0", "1", domain.uuid, str(bound_ms)],
                executable=program, env=environment, stderr=log,
                pass_fds=(theirs.fileno(), pidfd))
        theirs.close()
        os.close(pidfd)
        self.channel.settimeout(LIMIT)
        assert self.channel.recv(1) == READY

    def suspend(self):
        """As libxl does for a save; the guardian has seen it then."""
        self.world.xen.shut_down(self.domain.domid, SUSPEND)
        assert self.channel.recv(1) == SUSPENDED

    def running(self):
        return self.world.xen.get(self.domain.domid)["shutdown"] == str(RUNNING)

    def wait_running(self):
        self.world.eventually(self.running, LIMIT, "the guest goes on")

    def wait_end(self):
        status = self.process.wait(LIMIT)
        with open(self.log, encoding="utf-8") as log:
            assert status == 0, log.read()

    def close(self):
        for process in (self.process, self.stand_in):
            if process.poll() is None:
                process.kill()
                process.wait()
        self.channel.close()


@pytest.fixture
def guarded(world, agent_stopped):
    """guarded(BOUND_MS) makes a guest with a guardian."""
    made = []

    def make(bound_ms, kind="pv"):
        domain = world.add_domain("alice", kind, disks=[("xvda", "qcow2")])
        # pylint: disable=protected-access
        made.append(Guard(world, agent_stopped.program, agent_stopped._preloads(),
                          domain, bound_ms))
        return made[-1]

    yield make
    for guard in made:
        guard.close()


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_a_killed_agent_leaves_no_guest_suspended(guarded, kind):
    guard = guarded(3600000, kind)
    guard.suspend()
    guard.stand_in.kill()
    guard.wait_end()
    assert guard.running()


def test_an_agent_that_is_about_to_die_counts_as_dead(guarded, world):
    """Its files are closed before it is dead: what it has asked of the guest is taken
    back all the same."""
    guard = guarded(3600000)
    guard.domain.responsive = False
    control = f"{guard.domain.path}/control/shutdown"
    world.store.write(control, "suspend")
    guard.channel.close()
    time.sleep(0.05)  # between its files' end and its own
    guard.stand_in.kill()
    world.store.wait(control, "", timeout=LIMIT)


def test_an_agent_that_gave_up_is_not_killed(guarded):
    guard = guarded(3600000)
    guard.suspend()
    guard.channel.close()
    guard.wait_end()
    assert guard.running()
    assert guard.stand_in.poll() is None


def test_a_stopped_agent_is_killed_and_the_guest_goes_on(guarded):
    guard = guarded(500)
    guard.stand_in.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    guard.suspend()
    guard.wait_running()
    # Not before the bound: a slow save is none that is stuck. Nor long after the
    # two seconds that the documents grant.
    assert 0.5 <= time.monotonic() - began < 0.5 + 2 + 2
    assert guard.stand_in.wait(LIMIT) == -signal.SIGKILL
    guard.wait_end()


def test_an_agent_that_resumes_is_given_time(guarded):
    guard = guarded(1)
    guard.channel.sendall(RESUMES)
    guard.suspend()
    # The margin passes; the guardian is asked to end, not to wait for it.
    with pytest.raises(subprocess.TimeoutExpired):
        guard.process.wait(4)
    assert guard.stand_in.poll() is None and not guard.running()
    guard.channel.sendall(OVER)
    guard.wait_end()
    assert not guard.running()


def test_what_is_over_is_not_touched(guarded):
    guard = guarded(1)
    guard.channel.sendall(OVER)
    guard.wait_end()
    assert guard.stand_in.poll() is None
    assert not any(call.startswith("resume") for call in guard.world.xen.calls())


def test_a_guest_that_powers_off_is_not_brought_back(guarded):
    guard = guarded(1)
    guard.world.xen.shut_down(guard.domain.domid, POWEROFF)
    guard.stand_in.kill()
    # The guest could still follow a request to suspend, so this takes a while.
    guard.wait_end()
    assert not guard.running()
    assert not any(call.startswith("resume") for call in guard.world.xen.calls())


def test_a_guest_that_suspends_after_the_agent_died_goes_on(guarded):
    guard = guarded(3600000)
    guard.stand_in.kill()
    guard.stand_in.wait()
    guard.world.xen.shut_down(guard.domain.domid, SUSPEND)
    guard.wait_end()
    assert guard.running()


def test_a_request_to_suspend_does_not_outlive_the_agent(guarded):
    guard = guarded(3600000)
    guard.domain.responsive = False
    path = f"{guard.domain.path}/control/shutdown"
    guard.world.store.write(path, "suspend")
    guard.stand_in.kill()
    guard.world.eventually(lambda: guard.world.store.read(path) == "", LIMIT,
                           "the request is withdrawn")


def test_another_domain_with_that_number_is_not_touched(guarded):
    guard = guarded(3600000)
    guard.suspend()
    guard.world.xen.set(guard.domain.domid, uuid="11111111-2222-3333-4444-555555555555")
    guard.stand_in.kill()
    guard.wait_end()
    assert not guard.running()


def test_the_guardian_does_not_go_with_the_agents_signals(guarded):
    guard = guarded(3600000)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        guard.process.send_signal(number)
    guard.suspend()
    guard.stand_in.kill()
    guard.wait_end()
    assert guard.running()
