# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rig itself: each kind of guest runs, is saved, and goes on. No agent."""

import pytest

from xenhost import Disk, xl

TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))


def test_pv_guest_counts_on_across_a_reboot(guests):
    guest = guests("rig", kind="pv", disks=TWO_DISKS)
    before = guest.wait_tick(more=2)
    old_domid = guest.domid
    mark = guest.console.size()
    guest.command("reboot")
    counts = guest.wait_boot(since=mark)
    assert guest.domid != old_domid
    assert counts.keys() == {"xvda", "xvdb"}
    assert min(counts.values()) >= before


@pytest.mark.parametrize("backend", ["qdisk", "phy"])
def test_pv_guest_notices_disks_that_come_and_go(guests, backend):
    disks = (Disk("xvda", "qcow2"), Disk("xvdb", "raw", backend))
    guest = guests("rig", kind="pv", disks=disks)
    mark = guest.console.size()
    xl("block-detach", guest.name, "xvdb")
    guest.wait_console("disk xvdb gone", since=mark)
    guest.wait_tick(more=2)
    mark = guest.console.size()
    xl("block-attach", guest.name, guest.disk_line(disks[1]))
    guest.wait_console(r"disk xvdb=\d+", since=mark)
    guest.wait_tick(more=2)
    first, last = guest.complete_records()["xvdb"]
    # It counted on without the disk.
    assert 1 < first < last


def test_pv_guest_is_restored_where_it_was_saved(guests, tmp_path):
    guest = guests("rig", kind="pv", disks=TWO_DISKS)
    saved = guest.wait_tick(more=2)
    guest.save(tmp_path / "memory", leave_running=False)
    assert guest.domid is None
    mark = guest.console.size()
    guest.restore(tmp_path / "memory")
    guest.wait_tick(more=2)
    assert "boot:" not in guest.console.text(mark)
    assert guest.ticks() > saved


@pytest.mark.parametrize("command, reason",
                         [("poweroff", "poweroff"), ("crash", "crash")])
def test_state_tells_why_a_guest_shut_down(guests, command, reason):
    guest = guests("rig", kind="pv", on_poweroff="preserve", on_crash="preserve")
    assert guest.state() == "running"
    guest.command(command)
    guest.wait_state(reason)


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_guest_goes_on_after_a_save(guests, tmp_path, kind):
    guest = guests(f"rig-{kind}", kind=kind, disks=TWO_DISKS)
    guest.write_key(1, "before the save")
    before = guest.wait_tick(more=2)
    memory = tmp_path / "memory"
    guest.save(memory)
    assert memory.stat().st_size > 50_000_000
    assert guest.state() == "running"
    assert guest.wait_tick(more=2) > before
    assert guest.read_key(1) == {"xvda": "before the save", "xvdb": "before the save"}
    first, _ = guest.complete_records()["xvda"]
    assert first == 1
    assert {str(guest.image("xvda")), str(guest.image("xvdb"))} <= guest.open_files()
