# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent with no more privileges and system calls than its systemd unit leaves
it, and what it starts: QEMUs, helpers and hotplug scripts get by with these as
well."""

import re
import shlex
from pathlib import Path

from agent import CHECKOUT
from xenhost import Disk

UNIT = CHECKOUT / "install" / "xensnapd.service.in"
SANDBOX = Path(__file__).with_name("unit_sandbox.py")
CAP_SYS_TIME = 25


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return dict(re.findall(r"^(\w+):\s+(\S+)", status.read(), re.M))


def assert_confined(pid):
    status = status_of(pid)
    assert not int(status["CapEff"], 16) >> CAP_SYS_TIME & 1
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def confine(agent, tmp_path):
    agent.stop()
    confined = tmp_path / "xensnapd"
    words = map(str, ("/usr/bin/python3", SANDBOX, UNIT, agent.program))
    confined.write_text(f"#!/bin/sh\nexec {shlex.join(words)} \"$@\"\n")
    confined.chmod(0o755)
    agent.program = confined
    agent.start()


def ask(agent, operation, **keys):
    reply = agent.request(operation, domain="confined", **keys)
    assert reply["state"] == "done", reply


def test_what_the_unit_leaves_is_enough(agent, guests, tmp_path):
    confine(agent, tmp_path)
    assert_confined(agent.pid)

    guest = guests("confined", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    guest.write_key(1, "then")
    ask(agent, "create", name="s1")
    guest.write_key(1, "later")
    ask(agent, "revert", name="s1")
    ask(agent, "rescan", phase="prepare", disks="xvda xvdb")
    ask(agent, "rescan", phase="complete")
    guest.wait_tick(more=2)
    ask(agent, "delete", name="s1")
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
    assert guest.open_files() == {str(guest.image("xvda")), str(guest.image("xvdb"))}
    assert_confined(guest.qemu_pid)
    # The reboot is the agent's to carry out, QEMU and hotplug scripts included.
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)
    assert_confined(guest.qemu_pid)
