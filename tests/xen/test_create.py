# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of running domains, as their owner sees them."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from xenhost import Disk, xl

TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))
MEMORY = Path("/var/lib/xensnapd/memory")


def checksum(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def files(*folders):
    """Every file below these: what a failed request must not add to."""
    return {str(path) for folder in folders for path in Path(folder).rglob("*")
            if path.is_file()}


def create(agent, guest, name, **keys):
    reply = agent.request("create", domain=guest.name, name=name, **keys)
    assert reply["state"] == "done", reply
    return reply


def stored_paths(guest, vdev):
    """Every place in which Xen remembers the image of a disk."""
    listed = xl("list", "-l", guest.name)
    backend = f"/local/domain/0/backend/qdisk/{guest.domid}"
    devices = {guest.store.read(f"{backend}/{devid}/dev"): devid
               for devid in guest.store.ls(backend)}
    devid = devices[vdev]
    own = guest.store.read(f"/libxl/{guest.domid}/device/vbd/{devid}/params")
    return listed, guest.store.read(f"{backend}/{devid}/params"), own


def assert_everything_names(guest, vdev, path):
    listed, backend, own = stored_paths(guest, vdev)
    assert f'"pdev_path": "{path}"' in listed
    assert backend == own
    assert backend.split(":", 1)[1] == path


def test_a_checkpoint_of_a_pv_domain(agent, guests, tmp_path):
    guest = guests("pv", kind="pv", disks=TWO_DISKS)
    guest.write_key(1, "before")
    before = guest.wait_tick(more=2)
    domid, mark = guest.domid, guest.console.size()

    request = agent.submit("create", domain=guest.name, name="s1")
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "full"
    assert reply["result/live"] == "0"
    # Saving takes seconds, and how far it is was told meanwhile.
    assert "bytes-total" in reply

    # The guest went on where it was, and stood still about as long as is said.
    assert guest.domid == domid
    assert guest.wait_tick(more=3) > before
    assert "boot:" not in guest.console.text(mark)

    # Its writes go to the overlays; what is under them no longer changes.
    bases = [reply[f"result/disks/{vdev}/base"] for vdev in ("xvda", "xvdb")]
    overlays = [reply[f"result/disks/{vdev}/path"] for vdev in ("xvda", "xvdb")]
    assert set(bases + overlays) <= guest.open_files()
    frozen = [checksum(path) for path in bases]
    guest.write_key(1, "after")
    guest.wait_tick(more=2)
    assert [checksum(path) for path in bases] == frozen
    for vdev, overlay in zip(("xvda", "xvdb"), overlays):
        assert_everything_names(guest, vdev, overlay)
    published = agent.snapshots(guest.uuid)
    assert published["current"] == "s1"
    assert published["s1/memory"] == "1"

    # The memory file is an ordinary saved domain, which touches no snapshot.
    last = guest.ticks()
    guest.destroy()
    mark = guest.console.size()
    guest.restore(reply["result/memory-path"])
    guest.wait_tick(more=2)
    assert "boot:" not in guest.console.text(mark)
    assert before <= guest.ticks() < last
    assert guest.read_key(1) == {"xvda": "before", "xvdb": "before"}
    assert [checksum(path) for path in bases] == frozen
    assert not set(overlays) & guest.open_files()


@pytest.mark.parametrize("memory", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_reboot_after_a_snapshot_shows_what_was_written_since(agent, guests, memory):
    """After a checkpoint nobody but the agent looks after the domain."""
    guest = guests("pv", kind="pv", disks=TWO_DISKS)
    reply = create(agent, guest, "s1", memory=memory)
    guest.write_key(1, "since")
    before = guest.wait_tick(more=2)
    domid, mark = guest.domid, guest.console.size()
    guest.command("reboot")
    counts = guest.wait_boot(since=mark)
    assert guest.domid != domid
    assert min(counts.values()) >= before
    assert guest.read_key(1) == {"xvda": "since", "xvdb": "since"}
    assert reply["result/disks/xvda/path"] in guest.open_files()

    # A second snapshot, and a second reboot.
    create(agent, guest, "s2", memory=memory)
    assert agent.snapshots(guest.uuid)["s2/parent"] == "s1"
    guest.wait_tick(more=2)
    mark = guest.console.size()
    guest.command("reboot")
    assert min(guest.wait_boot(since=mark).values()) >= before


def test_a_checkpointed_domain_powers_off_though_the_agent_was_killed(agent, guests):
    guest = guests("pv", kind="pv")
    create(agent, guest, "s1")
    agent.kill9()
    agent.start()
    guest.command("poweroff")
    guest.wait_state(None)


@pytest.mark.slow
def test_a_crash_while_the_agent_is_away_is_seen_to_when_it_is_back(agent, guests):
    guest = guests("pv", kind="pv", on_crash="restart")
    create(agent, guest, "s1")
    agent.stop()
    mark = guest.console.size()
    guest.command("crash")
    guest.wait_state("crash")
    agent.start()
    guest.wait_boot(since=mark)


def test_a_saved_domain_opens_the_active_image(agent, guests, tmp_path):
    guest = guests("pv", kind="pv", disks=TWO_DISKS)
    reply = create(agent, guest, "s1", memory=0)
    guest.write_key(1, "since")
    guest.save(tmp_path / "saved", leave_running=False)
    guest.restore(tmp_path / "saved")
    guest.wait_tick(more=2)
    assert guest.read_key(1) == {"xvda": "since", "xvdb": "since"}
    assert reply["result/disks/xvdb/path"] in guest.open_files()


def test_what_is_refused_leaves_the_domain_as_it_was(agent, guests):
    guest = guests("pv", kind="pv")
    spaced = guest.folder / "with a space"
    spaced.mkdir()
    before = files(guest.folder, "/var/lib/xensnapd")
    for code, keys in (
            ("live-not-supported", {"live": 1}),
            # QEMU would read it from xenstore up to the space.
            ("invalid-request", {"disks/xvda/path": spaced / "xvda.qcow2"})):
        reply = agent.request("create", domain=guest.name, name="s1", **keys)
        assert (reply["state"], reply["error/code"]) == ("failed", code), reply
        guest.wait_tick(more=2)
        assert files(guest.folder, "/var/lib/xensnapd") == before
        assert_everything_names(guest, "xvda", str(guest.image("xvda")))
    assert f"{spaced}/xvda.qcow2" in reply["error/message"]
    assert agent.snapshots(guest.uuid) == {}


@pytest.mark.slow
def test_a_full_memory_folder_leaves_the_domain_as_it_was(agent, guests, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small], check=True)
    guest = guests("pv", kind="pv", disks=TWO_DISKS)
    before = files(guest.folder, "/var/lib/xensnapd", small)
    reply = agent.request("create", domain=guest.name, name="s1",
                          **{"memory-path": small / "s1.save"})
    assert reply["error/code"] == "no-space", reply
    guest.wait_tick(more=2)
    assert files(guest.folder, "/var/lib/xensnapd", small) == before
    subprocess.run(["umount", small], check=True)


def test_a_cancelled_checkpoint_leaves_the_domain_as_it_was(agent, guests):
    guest = guests("pv", kind="pv", disks=TWO_DISKS)
    before = files(guest.folder, "/var/lib/xensnapd")
    request = agent.submit("create", domain=guest.name, name="s1")
    agent.wait_node(f"{request.path}/step", "saving memory")
    guest.store.write({f"{request.path}/cancel": "1"})
    reply = request.wait()
    assert reply["state"] == "cancelled", reply
    guest.wait_tick(more=3)
    assert guest.state() == "running"
    assert files(guest.folder, "/var/lib/xensnapd") == before
    assert_everything_names(guest, "xvda", str(guest.image("xvda")))
    create(agent, guest, "s1")


def test_internal_and_external_snapshots_of_one_instant(agent, guests):
    guest = guests("pv", kind="pv", disks=TWO_DISKS)
    reply = create(agent, guest, "s1", **{"disks": "xvda xvdb",
                                          "disks/xvda/external": 0})
    assert reply["result/disks/xvda/snapshot"] == "s1"
    assert reply["result/disks/xvda/path"] == str(guest.image("xvda"))
    listed = subprocess.run(["qemu-img", "snapshot", "-U", "-l", guest.image("xvda")],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "s1" in listed
    guest.wait_tick(more=2)


# The revert of an HVM domain begins with such a checkpoint.
@pytest.mark.parametrize("kind", ["pvh", pytest.param("hvm", marks=pytest.mark.slow)])
def test_a_live_checkpoint(agent, guests, kind):
    guest = guests(kind, kind=kind, disks=TWO_DISKS)
    before = guest.wait_tick(more=2)
    mark = guest.console.size()
    reply = create(agent, guest, "s1")
    assert reply["result/live"] == "1"
    assert reply["result/consistency"] == "full"
    assert guest.wait_tick(more=3) > before
    assert "boot:" not in guest.console.text(mark)
    assert reply["result/disks/xvda/path"] in guest.open_files()
    frozen = checksum(reply["result/disks/xvda/base"])
    guest.write_key(1, "since")
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)
    assert guest.read_key(1) == {"xvda": "since", "xvdb": "since"}
    assert checksum(reply["result/disks/xvda/base"]) == frozen
