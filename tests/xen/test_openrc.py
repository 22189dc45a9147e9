# SPDX-License-Identifier: LGPL-2.1-or-later
"""The script for OpenRC, run by Debian's, whose start-stop-daemon is dpkg's."""

import shutil
from pathlib import Path

import pytest

from agent import STATUS
from openrc_host import OpenRC
from tool import snapshots, xensnap
from xenhost import Disk, GrowingFile

LOG = GrowingFile("/var/log/xensnapd.log")
PIDFILE = Path("/run/xensnapd.pid")
STOPPED = 3
LIMIT = 300


@pytest.fixture(name="openrc")
def fixture_openrc(request, tmp_path):
    shutil.rmtree("/var/lib/xensnapd", ignore_errors=True)
    one = OpenRC(tmp_path)
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("agent's log", LOG.tail(60))]]
    yield one
    one.stop()


def wait_ready(store):
    store.wait(f"{STATUS}/state", "ready", LIMIT)
    pid = PIDFILE.read_text().strip()
    assert store.read(f"{STATUS}/pid") == pid
    return pid


@pytest.mark.slow
def test_the_agent_is_a_service_of_openrc(openrc, guests, store, tmp_path):
    settings = tmp_path / "agent.yaml"
    settings.write_text("limits:\n  warn-depth: 7\n")
    openrc.start(f"--config {settings}")
    first = wait_ready(store)
    assert store.read(f"{STATUS}/warn-depth") == "7"
    shown = openrc.run("rc-status --all")
    for service in ("xensnapd", "localmount"):
        assert f" {service} " in shown and "started" in shown
    assert "started" in openrc.service("status")

    guest = guests("web", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    guest.write_key(1, "then")
    xensnap("create", "web", "--name", "s1")
    guest.write_key(1, "later")
    xensnap("revert", "web", "s1")
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}

    settings.write_text("limits:\n  warn-depth: 9\n")
    openrc.service("reload")
    store.wait(f"{STATUS}/warn-depth", "9")
    assert wait_ready(store) == first
    # Its QEMU is a child of the one that ends.
    openrc.service("restart")
    second = wait_ready(store)
    assert second != first
    guest.wait_tick(more=2)
    openrc.service("stop")
    assert store.read(f"{STATUS}/state") is None
    assert "stopped" in openrc.service("status", STOPPED)
    guest.wait_tick(more=2)

    # No start with settings that would end it at once.
    settings.write_text("limits:\n  warn-depth: many\n")
    assert "warn-depth" in openrc.service("start", 1)
    assert "stopped" in openrc.service("status", STOPPED)
    settings.write_text("limits:\n  warn-depth: 5\n")
    openrc.service("start")
    wait_ready(store)
    xensnap("delete", "web", "s1")
    assert not snapshots(guest)
    guest.wait_tick(more=2)
    assert "op=revert" in LOG.text() and "op=delete" in LOG.text()
