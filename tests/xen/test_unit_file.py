# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent with no more privileges than its systemd unit leaves it, and what it
starts: QEMUs, helpers and hotplug scripts get by with these as well."""

import re

from agent import CHECKOUT
from xenhost import Disk

UNIT = CHECKOUT / "install" / "xensnapd.service.in"


def dropped_capabilities():
    """As setpriv names them."""
    text = UNIT.read_text(encoding="utf-8")
    assert "\nNoNewPrivileges=yes\n" in text
    line = re.search(r"^CapabilityBoundingSet=~(.*)$", text, re.M)[1]
    names = [name.removeprefix("CAP_").lower() for name in line.split()]
    assert "sys_time" in names
    return ",".join(f"-{name}" for name in names)


def test_the_capabilities_of_the_unit_are_enough(agent, guests, tmp_path):
    agent.stop()
    confined = tmp_path / "xensnapd"
    confined.write_text("#!/bin/sh\nexec setpriv --no-new-privs "
                        f"--bounding-set={dropped_capabilities()} "
                        f"{agent.program} \"$@\"\n")
    confined.chmod(0o755)
    agent.program = confined
    agent.start()
    with open(f"/proc/{agent.pid}/status", encoding="ascii") as status:
        status = status.read()
    effective = int(re.search(r"^CapEff:\s+(\w+)$", status, re.M)[1], 16)
    cap_sys_time = 25
    assert not effective >> cap_sys_time & 1 and "NoNewPrivs:\t1" in status

    guest = guests("confined", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    guest.write_key(1, "then")
    for operation in ("create", "revert", "delete"):
        if operation == "revert":
            guest.write_key(1, "later")
        reply = agent.request(operation, domain=guest.name, name="s1")
        assert reply["state"] == "done", reply
        guest.wait_tick(more=2)
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
    assert guest.open_files() == {str(guest.image("xvda")), str(guest.image("xvdb"))}
    # The reboot is the agent's to carry out, QEMU and hotplug scripts included.
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)
