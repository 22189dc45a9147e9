# SPDX-License-Identifier: LGPL-2.1-or-later
"""A log that nobody reads, as with a pager, a terminal after Ctrl-S, or a journal
whose disk hangs, keeps no guest standing still."""

import os
import signal
import threading
import time

import pytest

from native.guardians import wait_no_guardian
from native.merges import two
from test_pause import DISKS, create, running, wait_suspended


class Log:
    """A pipe that is read from until it is stalled."""

    def __init__(self, path):
        self._ours, self.theirs = os.pipe()
        self._stalled = threading.Event()
        self.path = path
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def _drain(self):
        with open(self.path, "ab") as out:
            while not self._stalled.is_set():
                out.write(os.read(self._ours, 65536))
                out.flush()

    def stall(self):
        """Nobody reads, and there is no room for another byte."""
        self._stalled.set()
        os.write(self.theirs, b"\n")
        self._thread.join()
        filler = os.open(f"/proc/self/fd/{self.theirs}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            try:
                while True:
                    os.write(filler, b"x" * size)
            except BlockingIOError:
                pass
        os.close(filler)

    def flow(self):
        self._stalled.clear()
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def close(self):
        if self._thread.is_alive():
            self.stall()
        os.close(self.theirs)
        os.close(self._ours)


@pytest.fixture(name="log")
def fixture_log(world, agent_stopped):
    """Of an agent whose max-pause is a second."""
    agent = agent_stopped
    agent.configure("timeouts", max_pause="1s")
    agent.configure("log", level="info")
    log = Log(f"{world.folder}/piped.log")
    spawn = world.spawn

    def spawn_piped(arguments, name, **options):
        if agent.program not in arguments:
            return spawn(arguments, name, **options)
        return spawn(arguments, name, **options, stderr=log.theirs)

    world.spawn = spawn_piped
    yield log
    agent.kill()
    log.close()


def in_time(done):
    """Much more than max-pause, and much less than for ever."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("agent_is", ["busy", "stopped", "killed"])
def test_a_suspended_guest(world, save, agent_stopped, log, agent_is):
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    create(agent)
    wait_suspended(world, domain)
    log.stall()
    if agent_is == "busy":
        save.release()
    else:
        agent.process.send_signal(signal.SIGSTOP if agent_is == "stopped" else signal.SIGKILL)
    assert in_time(lambda: running(world, domain))


def test_a_disk_whose_merge_is_about_to_end(world, agent_stopped, log):
    agent = agent_stopped.start()
    domain, _, _ = two(world, agent)
    fault = domain.interpose().fault("job-finalize", "hold-before")
    agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    agent.freeze()
    log.stall()
    fault.drop()
    written = threading.Thread(target=domain.write, args=("xvda", 1 << 20, b"w" * 4096))
    written.start()
    written.join(20)
    assert not written.is_alive()
    wait_no_guardian(world, domain)


def test_what_was_lost_is_told(world, agent_stopped, log):
    agent = agent_stopped.start()
    world.add_domain("web", disks=DISKS)
    log.stall()
    assert agent.request("create", domain="web", memory=0)["state"] == "done"
    log.flow()
    assert agent.request("create", domain="web", memory=0)["state"] == "done"

    def told():
        with open(log.path, encoding="utf-8") as file:
            return "lines were lost" in file.read()

    world.eventually(told, what="a word of the lost lines")
