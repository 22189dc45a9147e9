# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the journal can be neither written nor tidied up, nothing else of a request
outlives it: QEMU and libxl's lock are free for whoever comes next."""

import os
import subprocess
import time

import pytest

from native.expect import assert_failed, assert_works

FURTHER_ATTEMPTS_S = 2.5  # two, were they made every second


class Journal:
    """On a mount of its own, which can be made read-only under the agent."""

    def __init__(self, agent):
        self.folder = f"{agent.settings['store']['folder']}/journal"
        os.makedirs(self.folder)
        subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)

    def remount(self, how):
        subprocess.run(["mount", "-o", f"remount,bind,{how}", self.folder], check=True)


@pytest.fixture(name="journal")
def fixture_journal(agent_stopped):
    agent_stopped.configure("timeouts", lock="700ms")
    journal = Journal(agent_stopped)
    agent_stopped.start()
    yield journal
    agent_stopped.check_end()
    subprocess.run(["umount", "-l", journal.folder], check=True)


def locks(agent):
    folder = f"/proc/{agent.process.pid}/fd"
    return [path for path in (os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder))
            if "socket-lock" in path]


@pytest.mark.parametrize("kind", ["pv", "hvm"])
def test_a_create_whose_note_cannot_be_written(world, journal, agent_stopped, kind):
    domain = world.add_domain("web", kind, disks=[("xvda", "qcow2")])
    agent = agent_stopped
    journal.remount("ro")
    for _ in range(2):
        reply = agent.request("create", domain="web", memory=0)
        assert_failed(reply, "store-error", "Read-only")
        assert not locks(agent)
    # No note is there, so there is nothing that could not be removed.
    assert "cannot remove" not in agent.log_text()
    journal.remount("rw")
    assert agent.request("create", domain="web", name="s1", memory=0)["state"] == "done"
    assert_works(domain, "xvda")


def test_a_note_that_cannot_be_removed_is_told_of_once(world, journal, agent_stopped):
    domain = world.add_domain("web", disks=[("xvda", "qcow2")])
    agent = agent_stopped
    fault = domain.interpose().fault("transaction", "hold-before")
    request = agent.submit("create", domain="web", name="s1", memory=0)
    fault.wait_reached()
    journal.remount("ro")
    fault.release()
    assert request.wait()["state"] == "done"
    domain.uninterpose()
    world.eventually(lambda: "cannot remove" in agent.log_text())
    assert not locks(agent)
    assert agent.request("rescan", domain="web")["state"] == "done"
    time.sleep(FURTHER_ATTEMPTS_S)
    assert agent.log_text().count("cannot remove") == 1
    assert os.listdir(journal.folder)
    journal.remount("rw")
    world.eventually(lambda: not os.listdir(journal.folder), 20, "the note is gone")
    assert_works(domain, "xvda")
