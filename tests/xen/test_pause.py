# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest stands still for `max-pause` at most, whatever hangs: a slow disk, the
agent itself, QEMU (I1, I2, I5)."""

import os
import re
import select
import signal
from pathlib import Path

import pytest

from xenhost import Disk

TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))
LIMIT = 120

# What the guardian leaves the agent beyond the bound; and between the guest's
# last tick and its suspend, and its resume and the next tick, at two a second.
MARGIN_MS = 2000
SLACK_MS = 3000


def files(guest):
    folders = (guest.folder, Path("/var/lib/xensnapd"))
    return {str(path) for folder in folders for path in folder.rglob("*") if path.is_file()}


def set_max_pause(agent, folder, value):
    agent.config = folder / "agent.yaml"
    agent.config.write_text(f"timeouts:\n  max-pause: {value}\n")
    agent.restart()


def guardians():
    """A pidfd of each."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text() == "xensnap-guard\n":
                found.append(os.pidfd_open(int(comm.parent.name)))
        except OSError:
            continue  # it has ended meanwhile
    return found


def wait_no_guardian():
    for fd in guardians():
        ended = select.select([fd], [], [], LIMIT)[0]
        os.close(fd)
        assert ended, "a guardian outlives its job"


def save_helpers():
    """What libxl writes memory with; of a killed agent none is left at work."""
    commands = [comm.read_text() for comm in Path("/proc").glob("[0-9]*/comm")]
    return [name for name in commands if name.startswith("libxl-save")]


def longest_gap_ms(guest, mark):
    """Shown by pytest's -rP."""
    gaps = [int(ms) for ms in re.findall(r"^gap (\d+) ", guest.console.text(mark), re.M)]
    print(f"from tick to tick: {max(gaps)} ms")
    return max(gaps)


def assert_guardian_resumed(agent):
    """And how long the guest was suspended by then, for -rP."""
    found = re.search(r"left suspended; it goes on after (\d+) ms", agent.log.text())
    assert found, "no guardian resumed the guest"
    print(f"suspended: {found[1]} ms")


def assert_as_before(guest, domid, before):
    guest.wait_tick(more=3)
    assert guest.domid == domid and guest.state() == "running"
    assert files(guest) == before
    wait_no_guardian()


def assert_all_is_well(agent, guest):
    """Nothing is held by what is over, and the guest is still looked after."""
    assert agent.request("create", domain=guest.name, name="after")["state"] == "done"
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)


def test_a_save_that_takes_longer_than_max_pause_is_given_up(agent, guests, tmp_path):
    guest = guests("bound", kind="pv", disks=TWO_DISKS)
    set_max_pause(agent, tmp_path, "100ms")
    domid, before = guest.domid, files(guest)
    reply = agent.request("create", domain=guest.name, name="s1")
    assert reply["error/code"] == "timeout", reply
    assert "timeouts.max-pause" in reply["error/message"]
    assert_as_before(guest, domid, before)


@pytest.mark.slow
def test_a_revert_goes_on_without_the_running_state(agent, guests, tmp_path):
    guest = guests("bound", kind="pv", disks=TWO_DISKS)
    assert agent.request("create", domain=guest.name, name="s1")["state"] == "done"
    set_max_pause(agent, tmp_path, "100ms")
    reply = agent.request("revert", domain=guest.name, name="s1")
    assert reply["state"] == "done", reply
    assert "timeouts.max-pause" in reply["result/running-state-not-kept"]
    guest.wait_tick(more=2)
    wait_no_guardian()


def test_an_agent_that_is_stopped_does_not_hold_the_guest(agent, guests, tmp_path):
    guest = guests("stopped", kind="pv", disks=TWO_DISKS)
    set_max_pause(agent, tmp_path, "6s")
    domid, before = guest.domid, files(guest)
    mark = guest.console.size()
    request = agent.submit("create", domain=guest.name, name="s1")
    guest.wait_state("suspend", limit=LIMIT)
    os.kill(agent.pid, signal.SIGSTOP)
    guest.wait_tick(more=2)
    assert longest_gap_ms(guest, mark) < 6000 + MARGIN_MS + SLACK_MS
    # It must not go on with what was given up.
    assert agent.wait_end() == -signal.SIGKILL
    assert_guardian_resumed(agent)

    agent.start()
    reply = request.wait()
    assert reply["state"] == "failed"
    assert reply["error/code"] == "interrupted"
    assert_as_before(guest, domid, before)
    assert_all_is_well(agent, guest)


@pytest.mark.parametrize("operation", [
    "create", pytest.param("revert", marks=pytest.mark.slow)])
def test_an_agent_that_is_killed_and_not_restarted_leaves_no_guest_suspended(
        agent, guests, operation):
    guest = guests("alone", kind="pv", disks=TWO_DISKS)
    if operation == "revert":
        assert agent.request("create", domain=guest.name, name="s1")["state"] == "done"
    domid, before = guest.domid, files(guest)
    request = agent.submit(operation, domain=guest.name, name="s1")
    guest.wait_state("suspend", limit=LIMIT)
    agent.kill9()
    guest.wait_tick(more=2)
    wait_no_guardian()
    assert_guardian_resumed(agent)
    assert not save_helpers()

    agent.start()
    reply = request.wait()
    assert reply["error/code"] == "interrupted", reply
    assert_as_before(guest, domid, before)
    assert_all_is_well(agent, guest)


def test_a_qemu_that_hangs_does_not_hold_the_guest(agent, guests, tmp_path):
    guest = guests("hung", kind="pv", disks=TWO_DISKS)
    set_max_pause(agent, tmp_path, "8s")
    domid, before = guest.domid, files(guest)
    mark = agent.log.size()
    request = agent.submit("create", domain=guest.name, name="s1")
    guest.wait_state("suspend", limit=LIMIT)
    qemu = os.pidfd_open(guest.qemu_pid)
    signal.pidfd_send_signal(qemu, signal.SIGSTOP)
    try:
        agent.log.wait_match(r".*step=save-memory done.*", LIMIT, since=mark)
        agent.log.wait_match(r".*op=create the guest goes on", LIMIT,
                             since=mark)
        # Its disks do not, but its processors and its network run.
        assert guest.state() == "running"
    finally:
        signal.pidfd_send_signal(qemu, signal.SIGCONT)
        os.close(qemu)
    reply = request.wait()
    assert reply["error/code"] == "timeout", reply
    assert_as_before(guest, domid, before)
    assert_all_is_well(agent, guest)


@pytest.mark.slow
def test_no_guardian_stays_after_a_snapshot(agent, guests):
    guest = guests("over", kind="pv")
    assert agent.request("create", domain=guest.name, name="s1")["state"] == "done"
    wait_no_guardian()
    assert agent.request("revert", domain=guest.name, name="s1")["state"] == "done"
    wait_no_guardian()
