# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed for systemd, started by systemd in a driver domain."""

import pytest

from systemd_host import UP, prepare
from waiting import GrowingFile
from xenhost import Disk, Driver

LIMIT = 300
BOOT = """unshare --pid --mount --cgroup --fork \\
    $CHECKOUT/tests/xen/systemd_boot /run/rig/units /run/rig/settings \\
    >/run/rig/systemd.log 2>&1 &
echo $! >/run/rig/systemd.pid
"""
INSIDE = """own=$(cat /run/rig/systemd.pid)
nsenter --target $(cat /proc/$own/task/$own/children) --pid --mount --cgroup """


class Storage(Driver):
    """Its systemd starts the agent."""

    def boot(self):
        prepare(self.folder, seen_as="/run/rig", role="backend")
        self.run(BOOT)
        GrowingFile(self.folder / "up").wait_match(UP, LIMIT)

    def inside(self, command):
        return self.run(INSIDE + command)

    def state(self):
        return self.store.read(f"{self.answers}/state")

    def pid_of_agent(self):
        return int(self.inside("systemctl show --value -p MainPID xensnapd"))


@pytest.fixture(name="storage")
def fixture_storage(request):
    made = Storage("storage")
    request.node.reporters = [
        *getattr(request.node, "reporters", []), made.report,
        lambda: [("journal", made.inside("journalctl -q -u xensnapd | tail -n 60"))]]
    made.boot()
    yield made
    made.close()


def test_it_starts_and_restarts_the_agent(storage, agent, guests):
    storage.inside("systemctl start xensnapd")
    assert storage.state() == "ready"
    guest = guests("web", disks=(Disk("xvda"), Disk("xvdb", driver=storage)))
    guest.write_key(1, "then")
    reply = agent.request("create", domain="web", name="s1", disks="xvda xvdb")
    assert reply["state"] == "done", reply
    before = storage.pid_of_agent()
    storage.inside("systemctl restart xensnapd")
    assert storage.state() == "ready" and storage.pid_of_agent() != before
    guest.write_key(1, "later")
    reply = agent.request("revert", domain="web", name="s1")
    assert reply["state"] == "done", reply
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
