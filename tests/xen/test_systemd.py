# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed for systemd, started by systemd."""

import os
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest

from agent import BUILD, SNAPSHOTS, STATUS
from systemd_host import Systemd
from xenhost import Disk

AGENT = "xensnapd.service"
CAP_SYS_TIME = 25
STAMPS = Path("/var/lib/systemd/timers")
LIMIT = 300


@pytest.fixture(name="systemd")
def fixture_systemd(request, tmp_path, monkeypatch):
    shutil.rmtree("/var/lib/xensnapd", ignore_errors=True)
    one = Systemd(tmp_path)
    request.node.reporters = [
        *getattr(request.node, "reporters", []),
        lambda: [("journal", one.run("journalctl -q -u 'xensnap*' | tail -n 80")),
                 ("systemd", one.log.tail(30))]]
    one.start()
    monkeypatch.setenv("PATH", f"{one.wrappers}:{os.environ['PATH']}")
    yield one
    one.stop()


def pid_of_agent(systemd):
    return int(systemd.show(AGENT, "MainPID"))


def snapshots(store, guest):
    return set(store.ls(f"{SNAPSHOTS}/{guest.uuid}")) - {"current"}


def assert_is_ready(systemd, store):
    """READY=1 came from the agent that answers."""
    assert systemd.show(AGENT, "ActiveState") == "active"
    assert store.read(f"{STATUS}/state") == "ready"
    assert store.read(f"{STATUS}/pid") == str(pid_of_agent(systemd))


def assert_confined(systemd, pid):
    """As the unit says, and by it."""
    status = dict(re.findall(r"^(\w+):\s+(\S+)", systemd.run(f"cat /proc/{pid}/status"), re.M))
    assert not int(status["CapEff"], 16) >> CAP_SYS_TIME & 1
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert AGENT in systemd.run(f"cat /proc/{pid}/cgroup")


def qemu_of(store, guest):
    return store.read(f"/local/domain/{guest.domid}/image/device-model-pid")


def xensnap(systemd, *words):
    return systemd.run(shlex.join((str(BUILD / "xensnap"), *words)))


def test_what_the_unit_leaves_is_enough(systemd, store, guests):
    """QEMUs, helpers and hotplug scripts that the agent starts get by with it, too."""
    systemd.run(f"systemctl start {AGENT}")
    assert_is_ready(systemd, store)
    assert_confined(systemd, pid_of_agent(systemd))

    guest = guests("web", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    guest.write_key(1, "then")
    xensnap(systemd, "create", "web", "--name", "s1")
    guest.write_key(1, "later")
    xensnap(systemd, "revert", "web", "s1")
    xensnap(systemd, "rescan", "web", "--prepare")
    xensnap(systemd, "rescan", "web", "--complete")
    guest.wait_tick(more=2)
    xensnap(systemd, "delete", "web", "s1")
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
    assert not snapshots(store, guest)
    assert_confined(systemd, qemu_of(store, guest))
    # The reboot is the agent's to carry out, QEMU and hotplug scripts included.
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)
    assert_confined(systemd, qemu_of(store, guest))
    assert "op=revert" in systemd.journal(AGENT)

    # Its QEMU is the service's, and outlives each end of that.
    before = pid_of_agent(systemd)
    systemd.run(f"systemctl reload {AGENT}")
    assert_is_ready(systemd, store)
    assert pid_of_agent(systemd) == before
    systemd.run(f"systemctl restart {AGENT}")
    assert_is_ready(systemd, store)
    assert (after := pid_of_agent(systemd)) != before
    guest.wait_tick(more=2)
    systemd.run(f"systemctl kill --kill-who=main --signal=KILL {AGENT}")
    store.wait(f"{STATUS}/pid", lambda pid: pid not in (None, str(after)), LIMIT)
    store.wait(f"{STATUS}/state", "ready", LIMIT)
    guest.wait_tick(more=2)
    systemd.run(f"systemctl stop {AGENT}")
    assert store.read(f"{STATUS}/state") is None
    guest.wait_tick(more=2)


@pytest.mark.slow
def test_an_agent_that_is_stopped_does_not_keep_a_guest_standing(systemd, store, guests):
    """Nobody else can let go of one that is held for a rescan."""
    systemd.run(f"systemctl start {AGENT}")
    assert_is_ready(systemd, store)
    guest = guests("web")
    xensnap(systemd, "rescan", "web", "--prepare", "--hold", "20")
    stopped = pid_of_agent(systemd)
    systemd.run(f"systemctl kill --kill-who=main --signal=STOP {AGENT}")
    store.wait(f"{STATUS}/pid", lambda pid: pid not in (None, str(stopped)), LIMIT)
    guest.wait_tick(more=2)
    assert "watchdog" in systemd.journal(AGENT).lower()
    # It is off again: the agent that is stopped now is left alone.
    stopped = pid_of_agent(systemd)
    systemd.run(f"systemctl kill --kill-who=main --signal=STOP {AGENT}")
    systemd.run("sleep 70")
    assert pid_of_agent(systemd) == stopped
    systemd.run(f"systemctl kill --kill-who=main --signal=CONT {AGENT}")
    xensnap(systemd, "create", "web", "--no-memory")


@pytest.mark.slow
def test_the_nightly_snapshot(systemd, store, guests):
    systemd.write("xensnap@.timer.d/now.conf", "[Timer]\nRandomizedDelaySec=0\n")
    STAMPS.mkdir(parents=True, exist_ok=True)
    stamp = STAMPS / "stamp-xensnap@web.timer"
    stamp.touch()
    os.utime(stamp, (two_days_ago := time.time() - 2 * 86400, two_days_ago))
    systemd.run(f"systemctl start {AGENT}")
    guest = guests("web")
    # The host was off last night.
    systemd.run("systemctl enable --now xensnap@web.timer")
    systemd.wait_journal("xensnap@web.service", "Finished ")
    first, = snapshots(store, guest)
    values = store.tree(f"{SNAPSHOTS}/{guest.uuid}/{first}")
    assert (values["schedule"], values["memory"]) == ("daily", "0")
    assert systemd.show("xensnap@web.timer", "NextElapseUSecRealtime")

    systemd.write("xensnap@web.service.d/override.conf",
                  '[Service]\nEnvironment="XENSNAP_OPTIONS=--no-memory --keep 1"\n')
    systemd.run("systemctl daemon-reload")
    systemd.run("systemctl start xensnap@web.service")
    second, = snapshots(store, guest)
    assert second != first
    guest.wait_tick(more=2)
    # A domain that is not there is a failure that is told.
    systemd.run("systemctl start xensnap@nobody.service", fails=True)
    assert "no-such-domain" in systemd.journal("xensnap@nobody.service")
