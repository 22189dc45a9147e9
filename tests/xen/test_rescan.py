# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a toolstack does to the images of a guest that writes all the time."""

import subprocess
import time
from pathlib import Path

import pytest

from xenhost import Disk, xl

XVDA = (Disk("xvda", "raw"),)


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def ask(agent, guest, operation, **keys):
    reply = agent.request(operation, domain=guest.name, **keys)
    assert reply["state"] == "done", reply
    return reply


def chain(reply, vdev="xvda"):
    found = []
    while f"result/disks/{vdev}/chain/{len(found)}/path" in reply:
        found.append(reply[f"result/disks/{vdev}/chain/{len(found)}/path"])
    return found


def chain_now(agent, guest):
    reply = ask(agent, guest, "rescan")
    assert reply["result/disks/xvda/changed"] == "0", reply
    return chain(reply)


def prepare(agent, guest, **keys):
    ask(agent, guest, "rescan", phase="prepare", **keys)
    assert guest.state() == "paused"
    assert not guest.open_files()


def assert_writes_are_there(guest):
    guest.wait_tick(more=2)
    for first, last in guest.complete_records().values():
        assert first == 1 and last >= guest.ticks() - 1


def images_are_whole(images):
    for path in images:
        if path.endswith(".qcow2"):
            qemu_img("check", "-U", "-q", path)


def wait_closed(guest, images):
    """QEMU closes them soon after the guest has let go of the disk."""
    deadline = time.monotonic() + 60
    while left := guest.open_files().intersection(images):
        assert time.monotonic() < deadline, f"still open: {left}"
        time.sleep(0.1)


def unplug_and_plug(guest, vdev, images):
    mark = guest.console.size()
    xl("block-detach", guest.name, vdev)
    guest.wait_console(f"disk {vdev} gone", since=mark)
    wait_closed(guest, images)
    disk_format = "qcow2" if images[0].endswith(".qcow2") else "raw"
    mark = guest.console.size()
    xl("block-attach", guest.name, f"format={disk_format},vdev={vdev},access=rw,"
                                   f"backendtype=qdisk,target={images[0]}")
    guest.wait_console(rf"disk {vdev}=\d+", since=mark)
    guest.wait_tick(more=3)
    assert guest.open_files().issuperset(images)


def assert_all_still_works(agent, guest, images):
    """A plug and unplug, a create, a revert, a reboot."""
    assert_writes_are_there(guest)
    images_are_whole(images)
    assert not [path for path in guest.open_files() if path.endswith("(deleted)")]
    guest.write_key(9, "kept")
    unplug_and_plug(guest, "xvda", images)
    assert guest.read_key(9)["xvda"] == "kept"
    created = ask(agent, guest, "create", name="after")
    guest.write_key(9, "changed")
    mark = guest.console.size()
    ask(agent, guest, "revert", name="after")
    guest.wait_console(r"tick \d+", since=mark)
    assert guest.read_key(9)["xvda"] == "kept"
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)
    assert guest.read_key(9)["xvda"] == "kept"
    assert created["result/disks/xvda/base"] == images[0]


def commit_inner(guest, images):
    """An inner image committed into its base and unlinked."""
    active, inner, base = images
    qemu_img("commit", "-q", "-d", "-f", "qcow2", inner)
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", base, "-F", "raw", active)
    Path(inner).unlink()
    return [active, base], {}


def rebase_inner(guest, images):
    """What lay in the inner image pulled up."""
    active, inner, base = images
    qemu_img("rebase", "-f", "qcow2", "-b", base, "-F", "raw", active)
    Path(inner).unlink()
    return [active, base], {}


def move_base(guest, images):
    active, inner, base = images
    moved = f"/run/{guest.name}-moved.raw"  # another file system
    subprocess.run(["mv", base, moved], check=True)
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", moved, "-F", "raw", inner)
    return [active, inner, moved], {}


def convert_base(guest, images):
    active, inner, base = images
    converted = f"{base}.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", base, converted)
    Path(base).unlink()
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", converted, "-F", "qcow2", inner)
    return [active, inner, converted], {}


def add_overlay(guest, images):
    made = f"{guest.folder}/toolstack.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", images[0], "-F", "qcow2", made)
    return [made, *images], {"disks/xvda/path": made, "disks/xvda/format": "qcow2"}


def flatten(guest, images):
    flat = f"{guest.folder}/flat.qcow2"
    qemu_img("convert", "-f", "qcow2", "-O", "qcow2", images[0], flat)
    for path in images:
        Path(path).unlink()
    return [flat], {"disks/xvda/path": flat}


# tests/native has all of them with the same QEMU.
@pytest.mark.parametrize("change, kind", [
    (commit_inner, "pv"), pytest.param(flatten, "pv", marks=pytest.mark.slow),
    pytest.param(convert_base, "pv", marks=pytest.mark.slow),
    pytest.param(rebase_inner, "pv", marks=pytest.mark.slow),
    pytest.param(move_base, "pv", marks=pytest.mark.slow),
    pytest.param(add_overlay, "pv", marks=pytest.mark.slow),
    pytest.param(commit_inner, "pvh", marks=pytest.mark.slow), (commit_inner, "hvm")])
def test_between_prepare_and_complete(agent, guests, change, kind):
    guest = guests(f"rescan-{change.__name__.replace('_', '-')}-{kind}", kind=kind,
                   disks=XVDA, hz=4)
    for name in ("s1", "s2"):
        ask(agent, guest, "create", name=name, memory=0)
        guest.wait_tick(more=2)
    images = chain_now(agent, guest)
    assert len(images) == 3
    domid, mark = guest.domid, guest.console.size()
    prepare(agent, guest, hold=200)
    ticks = guest.ticks()
    expected, keys = change(guest, images)
    assert guest.ticks() == ticks
    reply = ask(agent, guest, "rescan", phase="complete", **keys)
    assert reply["result/disks/xvda/changed"] == "1"
    assert chain(reply) == expected
    guest.wait_tick(more=4)
    assert guest.domid == domid
    assert "error" not in guest.console.text(mark)
    assert set(expected) <= guest.open_files()
    assert_all_still_works(agent, guest, expected)


def test_it_has_changed_while_the_guest_writes(agent, guests):
    guest = guests("rescan-now", disks=XVDA, hz=4)
    ask(agent, guest, "create", name="s1", memory=0)
    images = chain_now(agent, guest)
    before = guest.wait_tick(more=2)
    expected, keys = add_overlay(guest, images)
    reply = ask(agent, guest, "rescan", **keys)
    assert chain(reply) == expected
    assert int(reply["result/downtime-ms"]) > 0
    assert guest.wait_tick(more=4) > before
    # And a wrong one is told, with nothing done.
    for name, size, code in (("small.qcow2", "32M", "chain-broken"),
                             ("with a space.qcow2", "64M", "invalid-request")):
        other = f"{guest.folder}/{name}"
        qemu_img("create", "-q", "-f", "qcow2", other, size)
        reply = agent.request("rescan", domain=guest.name, **{"disks/xvda/path": other})
        assert reply["error/code"] == code and other in reply["error/message"], reply
    assert chain_now(agent, guest) == expected
    assert_all_still_works(agent, guest, expected)


def test_two_disks_at_once_and_a_plug_and_unplug(agent, guests):
    guest = guests("rescan-two", disks=(Disk("xvda"), Disk("xvdb", "raw")), hz=4)
    ask(agent, guest, "create", name="s1", memory=0)
    prepare(agent, guest)
    keys = {}
    for vdev in ("xvda", "xvdb"):
        keys[f"disks/{vdev}/path"] = f"{guest.folder}/{vdev}.new.qcow2"
        keys[f"disks/{vdev}/format"] = "qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-b", f"{guest.folder}/{vdev}.s1.qcow2",
                 "-F", "qcow2", keys[f"disks/{vdev}/path"])
    ask(agent, guest, "rescan", phase="complete", **keys)
    assert_writes_are_there(guest)
    guest.write_key(5, "plugged")
    unplug_and_plug(guest, "xvdb", [keys["disks/xvdb/path"],
                                    f"{guest.folder}/xvdb.s1.qcow2",
                                    f"{guest.folder}/xvdb.raw"])
    assert guest.read_key(5) == {"xvda": "plugged", "xvdb": "plugged"}
    images_are_whole([keys["disks/xvda/path"], keys["disks/xvdb/path"]])


@pytest.mark.slow
def test_a_hold_that_nobody_completes_ends_by_itself_also_over_a_crash(agent, guests):
    guest = guests("rescan-late", disks=XVDA, hz=4)
    prepare(agent, guest, hold=3)
    guest.wait_tick(more=2)  # it was let go
    reply = agent.request("rescan", domain=guest.name, phase="complete")
    assert reply["error/code"] == "timeout", reply
    prepare(agent, guest, hold=5)
    agent.kill9()
    agent.start()
    assert guest.state() == "paused"
    guest.wait_tick(more=2)
    assert_writes_are_there(guest)
    # Longer than a guest waits for anything, and it did not notice.
    mark = guest.console.size()
    prepare(agent, guest, hold=120)
    time.sleep(40)
    ask(agent, guest, "rescan", phase="abort")
    guest.wait_tick(more=4)
    assert "error" not in guest.console.text(mark)
    assert_writes_are_there(guest)
