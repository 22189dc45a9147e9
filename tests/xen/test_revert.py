# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way back, as the domain's owner sees it."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from xenhost import Agent, Disk, GrowingFile, xl

QEMU = "/usr/libexec/xen-qemu-system-i386"
LIMIT = 120
TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))


def create(agent, guest, name, **keys):
    reply = agent.request("create", domain=guest.name, name=name, **keys)
    assert reply["state"] == "done", reply
    return reply


def revert(agent, guest, name, **keys):
    mark = guest.console.size()
    reply = agent.request("revert", domain=guest.name, name=name, **keys)
    assert reply["state"] == "done", reply
    assert int(reply["result/domid"]) == guest.domid
    guest.wait_console(r"tick \d+", since=mark)
    return reply, mark


def both(text):
    return {"xvda": text, "xvdb": text}


def free_memory():
    """Of the host, in MiB."""
    return int(re.search(r"^free_memory\s*: (\d+)", xl("info"), re.MULTILINE)[1])


def assert_images_are_whole(guest):
    for path in guest.folder.glob("*.qcow2"):
        subprocess.run(["qemu-img", "check", "-U", "-q", path], check=True)


def internal_snapshots(image):
    told = subprocess.run(["qemu-img", "info", "-U", "--output=json", image], check=True,
                          stdout=subprocess.PIPE).stdout
    return [one["name"] for one in json.loads(told).get("snapshots", [])]


def test_memory_and_disks_go_back_together(agent, guests):
    guest = guests("back", kind="pv", disks=TWO_DISKS)
    guest.write_key(1, "then")
    saved = guest.wait_tick(more=2)
    uuid = guest.uuid
    create(agent, guest, "s1")
    guest.write_key(1, "now")
    left = guest.wait_tick(more=4)
    domid = guest.domid
    reply, mark = revert(agent, guest, "s1")

    assert guest.domid != domid and guest.uuid == uuid
    assert "boot:" not in guest.console.text(mark)
    assert saved <= guest.ticks() <= left + 1
    assert guest.read_key(1) == both("then")
    # On the disks the counter is where it is in memory: the row has no hole.
    guest.wait_tick(more=2)
    first, last = guest.complete_records()["xvda"]
    assert first == 1 and last >= guest.ticks() - 1
    # What was left is gone, and once more works as well.
    abandoned = guest.folder / "xvda.s1.qcow2"
    assert not abandoned.exists()
    guest.write_key(1, "again")
    reply, _ = revert(agent, guest, "s1", keep_current=1)
    assert guest.read_key(1) == both("then")
    assert Path(reply["result/disks/xvda/abandoned"]).exists()
    assert_images_are_whole(guest)
    assert not list(Path("/var/lib/xensnapd/memory", uuid).glob("running-state*"))


@pytest.mark.slow
def test_a_tree_with_a_branch_forth_and_back(agent, guests):
    guest = guests("tree", kind="pv", disks=TWO_DISKS)
    for name in ("s1", "s2"):
        guest.write_key(1, name)
        create(agent, guest, name)
    revert(agent, guest, "s1")
    assert guest.read_key(1) == both("s1")
    guest.write_key(1, "s3")
    create(agent, guest, "s3")
    published = agent.snapshots(guest.uuid)
    assert published["s2/parent"] == published["s3/parent"] == "s1"
    assert published["current"] == "s3"
    for name in ("s2", "s1", "s3", "s2"):
        revert(agent, guest, name)
        assert guest.read_key(1) == both(name)
        assert agent.snapshots(guest.uuid)["current"] == name
        mark = guest.console.size()
        guest.command("reboot")
        guest.wait_boot(since=mark)
        assert guest.read_key(1) == both(name)
    assert_images_are_whole(guest)


def test_delete_of_oldest_middle_and_newest_under_a_guest_that_writes(agent, guests):
    guest = guests("delete", kind="pv", disks=TWO_DISKS, hz=4)
    for number, name in enumerate(("s1", "s2", "s3", "s4"), 1):
        guest.write_key(number, name)
        create(agent, guest, name, memory=0 if name == "s2" else 1)
        if name == "s3":
            # More than s3 holds itself, so that s3 goes into what lies over it.
            for cluster in range(400, 416):
                guest.command(f"poke {cluster * 128} {cluster:04x}", r"poked .*")
    guest.write_key(5, "now")
    small, large = (agent.snapshots(guest.uuid)[f"{name}/disks/xvda/path"]
                    for name in ("s3", "s4"))
    for name in ("s1", "s3", "s4"):
        reply = agent.request("delete", domain=guest.name, name=name)
        assert reply["state"] == "done", reply
        guest.wait_tick(more=2)
        assert_images_are_whole(guest)
        for number, text in enumerate(("s1", "s2", "s3", "s4", "now"), 1):
            assert guest.read_key(number) == both(text)
        if name == "s3":
            assert not Path(small).exists() and Path(large).exists()
    first, last = guest.complete_records()["xvda"]
    assert first == 1 and last >= guest.ticks() - 2
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)
    assert guest.read_key(5) == both("now")
    assert agent.snapshots(guest.uuid)["current"] == "s2"
    # The one that is left is whole: it can be started from.
    mark = guest.console.size()
    reply = agent.request("revert", domain=guest.name, name="s2", start="boot")
    assert reply["state"] == "done", reply
    guest.wait_boot(since=mark)
    assert guest.read_key(2) == both("s2")
    assert guest.read_key(3) == both("")
    reply = agent.request("delete", domain=guest.name, name="s2")
    assert reply["state"] == "done", reply
    assert guest.open_files() >= {str(guest.image("xvda")), str(guest.image("xvdb"))}
    assert len(list(guest.folder.glob("xvd*"))) == 2


def test_a_domain_that_is_gone_is_started_from_its_snapshot(agent, guests):
    guest = guests("gone", kind="pv", disks=TWO_DISKS)
    guest.write_key(1, "then")
    create(agent, guest, "s1")
    guest.command("poweroff")
    guest.wait_state(None)
    reply = agent.request("create", domain="gone", name="s2")
    assert reply["error/code"] == "domain-inactive"
    revert(agent, guest, "s1")
    assert guest.read_key(1) == both("then")


@pytest.mark.slow
def test_a_snapshot_without_memory_needs_a_boot(agent, guests):
    guest = guests("disk", kind="pv", disks=TWO_DISKS)
    guest.write_key(1, "then")
    create(agent, guest, "s1", memory=0)
    domid = guest.domid
    reply = agent.request("revert", domain=guest.name, name="s1")
    assert reply["error/code"] == "no-memory-state"
    assert guest.domid == domid
    guest.write_key(1, "now")
    mark = guest.console.size()
    reply = agent.request("revert", domain=guest.name, name="s1", start="boot")
    assert reply["state"] == "done", reply
    guest.wait_boot(since=mark)
    assert guest.read_key(1) == both("then")


@pytest.mark.slow
def test_start_paused(agent, guests):
    guest = guests("paused", kind="pv")
    create(agent, guest, "s1")
    reply = agent.request("revert", domain=guest.name, name="s1", start="paused")
    assert reply["state"] == "done", reply
    assert guest.state() == "paused"


def test_a_restore_that_fails_ends_with_the_running_state(agent, guests):
    """Damage in the middle of the memory file is only seen by the restore."""
    guest = guests("fails", kind="pv", disks=TWO_DISKS)
    memory = create(agent, guest, "s1")["result/memory-path"]
    with open(memory, "r+b") as file:
        file.seek(200_000)
        # Far enough to reach the head of a record, not only pages of data.
        file.write(b"\xff" * 9_000_000)
    guest.write_key(1, "now")
    before = guest.wait_tick(more=2)
    mark = guest.console.size()
    reply = agent.request("revert", domain=guest.name, name="s1")
    assert reply["state"] == "failed", reply
    assert reply["result/brought-back"] == "running-state"
    assert int(reply["result/domid"]) == guest.domid
    guest.wait_tick(more=2)
    assert guest.ticks() > before
    assert "boot:" not in guest.console.text(mark)
    assert guest.read_key(1) == both("now")
    assert not list(guest.folder.glob("*-1.qcow2"))


@pytest.fixture(name="hasty")
def _hasty(request, tmp_path):
    """An agent that waits for a restore that does not get on for 10 s."""
    config = tmp_path / "agent.yaml"
    config.write_text(json.dumps({"timeouts": {"restore": "10s"}}))
    one = Agent(config)
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("agent's log", one.log.tail(60))]]
    yield one.start()
    one.close()


@pytest.fixture(name="hangs")
def _hangs(tmp_path):
    """A QEMU that hangs, once, when there is a file of that name beside it."""
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\n"
                       f"if [ -e {tmp_path}/hang ]; then\n"
                       f"    rm {tmp_path}/hang\n"
                       f"    echo hangs >{tmp_path}/hangs\n"
                       "    exec sleep 1000000\n"
                       "fi\n"
                       f'exec {QEMU} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.slow
@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_a_restore_that_hangs_ends_with_the_running_state(hasty, guests, hangs, how):
    """libxl itself would wait for a minute."""
    agent = hasty
    guest = guests("hangs", kind="pv", disks=TWO_DISKS, device_model_override=str(hangs))
    guest.write_key(1, "then")
    create(agent, guest, "s1")
    guest.write_key(1, "now")
    left = guest.wait_tick(more=2)
    mark = guest.console.size()
    (hangs.parent / "hang").touch()
    request = agent.submit("revert", domain=guest.name, name="s1")
    if how == "cancelled":
        GrowingFile(hangs.parent / "hangs").wait_match("hangs", LIMIT)
        request.cancel()
    reply = request.wait()
    assert reply["state"] == ("cancelled" if how == "cancelled" else "failed"), reply
    assert reply["error/code"] == how
    assert reply["result/brought-back"] == "running-state"
    guest.wait_console(r"tick \d+", since=mark)
    assert "boot:" not in guest.console.text(mark)
    assert guest.ticks() >= left
    assert guest.read_key(1) == both("now")
    assert len([line for line in xl("list").splitlines() if "hangs" in line]) == 1
    assert not list(Path("/var/lib/xensnapd/memory", guest.uuid).glob("running-state*"))


@pytest.mark.slow
def test_what_is_missing_is_found_before_the_domain_is_touched(agent, guests):
    guest = guests("checks", kind="pv")
    memory = Path(create(agent, guest, "s1")["result/memory-path"])
    domid = guest.domid
    whole = memory.read_bytes()
    memory.write_bytes(whole[:-100])
    reply = agent.request("revert", domain=guest.name, name="s1")
    assert reply["error/code"] == "no-memory-state"
    memory.write_bytes(whole)
    base = guest.image("xvda")
    base.rename(f"{base}.away")
    reply = agent.request("revert", domain=guest.name, name="s1")
    assert reply["error/code"] == "chain-broken"
    assert str(base) in reply["error/message"]
    Path(f"{base}.away").rename(base)
    assert guest.domid == domid
    guest.wait_tick(more=2)
    reply = agent.request("revert", domain=guest.name, name="s9")
    assert reply["error/code"] == "no-such-snapshot"


@pytest.mark.slow
def test_without_memory_for_it_the_domain_is_not_touched(agent, guests):
    """Another domain has taken what the guest gave back."""
    guest = guests("poor", kind="pv")
    create(agent, guest, "s1")
    domid = guest.domid
    before = free_memory()
    xl("mem-set", guest.name, "64m")
    # The balloon works on its own time, and nothing tells when it is done.
    deadline = time.monotonic() + 120
    while free_memory() < before + 50:
        assert time.monotonic() < deadline, "the guest gave nothing back"
        time.sleep(0.5)
    guests("rich", kind="pv", disks=[], memory=free_memory() - 24, paused=True)
    reply = agent.request("revert", domain=guest.name, name="s1")
    assert reply["error/code"] == "no-space", reply
    assert guest.domid == domid
    guest.wait_tick(more=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pv", "hvm"])
def test_internal_snapshots_are_applied_and_others_survive(agent, guests, kind):
    guest = guests(f"{kind}-internal", kind=kind)
    for name in ("s1", "s2"):
        guest.write_key(1, name)
        create(agent, guest, name, disks="xvda", **{"disks/xvda/external": 0})
    guest.write_key(1, "now")
    for name in ("s1", "s2"):
        revert(agent, guest, name)
        assert guest.read_key(1) == {"xvda": name}
        # The one that a failed revert would have put back is gone again.
        assert internal_snapshots(guest.image("xvda")) == ["s1", "s2"]
    reply = agent.request("delete", domain=guest.name, name="s1")
    assert reply["state"] == "done", reply
    assert guest.read_key(1) == {"xvda": "s2"}


@pytest.mark.parametrize("kind", ["pvh", "hvm"])
def test_a_hardware_assisted_domain_goes_back(agent, guests, kind):
    guest = guests(f"{kind}-back", kind=kind, disks=TWO_DISKS)
    guest.write_key(1, "then")
    create(agent, guest, "s1")
    guest.write_key(1, "now")
    left = guest.wait_tick(more=2)
    revert(agent, guest, "s1")
    assert guest.read_key(1) == both("then")
    assert guest.ticks() <= left + 1
