# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk-only snapshots: external ones, and which disks are taken how."""

import os
import subprocess

import pytest

from native import loop
from native.expect import (assert_disk_is_on, assert_works, checksum,
                           image_info, image_is_sound, named_images)


def create(agent, domain, name="s1", keys=None, **more):
    reply = agent.request("create", keys, domain=domain.name, name=name,
                          memory=0, **more)
    assert reply["state"] == "done", reply
    return reply


def beside(path, name):
    """The default path of an overlay."""
    return f"{os.path.splitext(path)[0]}.{name}.qcow2"


def test_all_disks_get_overlays_beside_their_images(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    reply = create(agent, domain)
    for vdev, disk in domain.disks.items():
        overlay = beside(disk.path, "s1")
        assert reply[f"result/disks/{vdev}/path"] == overlay
        assert reply[f"result/disks/{vdev}/format"] == "qcow2"
        assert reply[f"result/disks/{vdev}/external"] == "1"
        assert reply[f"result/disks/{vdev}/base"] == disk.path
        assert reply[f"result/disks/{vdev}/depth"] == "2"
        assert domain.chain(vdev) == [(overlay, "qcow2"),
                                      (disk.path, disk.format)]
        assert_disk_is_on(domain, vdev, overlay)
        assert image_is_sound(overlay)
        info = image_info(overlay)
        assert info["full-backing-filename"] == disk.path
        assert info["backing-filename-format"] == disk.format
        assert info["virtual-size"] == 64 << 20
    assert reply["result/name"] == "s1"
    assert reply["result/consistency"] == "crash"
    assert reply["progress"] == "100"


def test_all_disks_are_switched_by_one_transaction(world, agent):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), ("xvdb", "raw"), ("xvdc", "qcow2")])
    relay = domain.interpose()
    create(agent, domain, keys={"disks/xvdc/external": 0})
    # Nor is anything asked twice: each question costs QEMU's main loop time.
    assert [message["execute"] for message in relay.commands] == [
        "qmp_capabilities", "query-block", "transaction"]
    actions = relay.commands[-1]["arguments"]["actions"]
    assert [action["type"] for action in actions] == [
        "blockdev-snapshot-sync", "blockdev-snapshot-sync",
        "blockdev-snapshot-internal-sync"]


def test_what_the_guest_writes_no_longer_reaches_the_image(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    old, new = os.urandom(65536), os.urandom(65536)
    for vdev in domain.disks:
        domain.write(vdev, 4096, old)
        domain.disks[vdev].front.flush()
    create(agent, domain)
    sums = {vdev: checksum(disk.path) for vdev, disk in domain.disks.items()}
    for vdev, disk in domain.disks.items():
        assert domain.read(vdev, 4096, len(old)) == old
        domain.write(vdev, 4096, new)
        disk.front.flush()
        assert domain.read(vdev, 4096, len(new)) == new
        assert checksum(disk.path) == sums[vdev]
        assert image_is_sound(beside(disk.path, "s1"))


def test_each_disk_goes_its_own_way(world, agent):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), ("xvdb", "qcow2"), ("xvdc", "raw")])
    path = f"{world.images}/elsewhere.img"
    reply = create(agent, domain, keys={
        "disks/xvda/path": path, "disks/xvda/format": "qcow2",
        "disks/xvda/external": "yes",
        "disks/xvdb/external": "no", "disks/xvdb/name": "inside"})
    assert reply["result/disks/xvda/path"] == path
    assert_disk_is_on(domain, "xvda", path)
    assert reply["result/disks/xvdb/external"] == "0"
    assert reply["result/disks/xvdb/snapshot"] == "inside"
    assert_disk_is_on(domain, "xvdb", domain.disks["xvdb"].path)
    assert_disk_is_on(domain, "xvdc", beside(domain.disks["xvdc"].path, "s1"))


def test_only_the_named_disks_are_taken(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "qcow2")])
    reply = create(agent, domain, disks="xvdb")
    assert "result/disks/xvda/path" not in reply
    assert_disk_is_on(domain, "xvda", domain.disks["xvda"].path)
    assert_disk_is_on(domain, "xvdb", beside(domain.disks["xvdb"].path, "s1"))


def test_a_qcow2_header_in_a_raw_disk_is_only_data(world, agent):
    """A guest must not make QEMU open any file of the host it likes."""
    domain = world.add_domain("web", disks=[("xvda", "raw")])
    secret = f"{world.images}/secret"
    with open(secret, "wb") as file:
        file.write(b"s" * 65536)
    trap = f"{world.folder}/trap.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret,
                    "-F", "raw", trap, "64M"], check=True)
    with open(trap, "rb") as file:
        header = file.read(4096)
    domain.write("xvda", 0, header)
    domain.disks["xvda"].front.flush()
    overlay = create(agent, domain)["result/disks/xvda/path"]
    info = image_info(overlay)
    assert info["backing-filename-format"] == "raw"
    assert domain.read("xvda", 0, len(header)) == header
    assert domain.chain("xvda") == [(overlay, "qcow2"),
                                    (domain.disks["xvda"].path, "raw")]


def test_an_overlay_over_a_vhd_names_the_format_as_qemu_does(world, agent):
    path = f"{world.images}/old.vhd"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", path, "16M"],
                   check=True)
    domain = world.add_domain("web", disks=[
        {"vdev": "xvda", "format": "vhd", "path": path}])
    domain.write("xvda", 0, b"o" * 4096)
    overlay = create(agent, domain)["result/disks/xvda/path"]
    assert overlay == beside(path, "s1")
    assert image_info(overlay)["backing-filename-format"] == "vpc"
    assert_disk_is_on(domain, "xvda", overlay)
    assert domain.read("xvda", 0, 4096) == b"o" * 4096
    # What a reboot would do: open the chain afresh, by what headers say.
    subprocess.run(["qemu-img", "compare", "-U", "-q", "-f", "qcow2", "-F",
                    "vpc", overlay, path], check=True)


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_every_type_of_domain_can_be_snapshotted(world, agent, kind):
    domain = world.add_domain("web", kind)
    overlay = create(agent, domain)["result/disks/xvda/path"]
    assert_disk_is_on(domain, "xvda", overlay)
    assert_works(domain, "xvda")


@pytest.mark.parametrize("key", ["name", "domid", "uuid"])
def test_a_domain_is_named_in_three_ways(world, agent, key):
    domain = world.add_domain("web")
    reply = agent.request("create", domain=getattr(domain, key), name="s1",
                          memory=0)
    assert reply["state"] == "done", reply


def test_a_paused_domain_is_snapshotted_and_stays_paused(world, agent):
    domain = world.add_domain("web")
    world.xl("pause", "web")
    create(agent, domain)
    assert world.xen.get(domain.domid)["paused"] == "1"


# -- what is left out -----------------------------------------------------

def test_a_cdrom_is_left_out_with_a_reason(world, agent):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), {"vdev": "xvdc", "cdrom": True}])
    reply = create(agent, domain)
    assert "CD-ROM" in reply["result/disks/xvdc/skipped"]
    assert "result/disks/xvdc/path" not in reply
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])


def phy(vdev, **more):
    return {"vdev": vdev, "format": "raw", "block": True, "backend": "phy",
            "size": "16M", **more}


@pytest.mark.skipif(not loop.available(), reason="no loop devices")
def test_what_cannot_be_taken_is_left_out_with_a_reason(world, agent):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), phy("xvdb"), phy("xvdc", readonly=True)])
    reply = create(agent, domain)
    assert "phy" in reply["result/disks/xvdb/skipped"]
    assert "read-only" in reply["result/disks/xvdc/skipped"]
    for vdev in ("xvdb", "xvdc"):
        assert f"result/disks/{vdev}/path" not in reply
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])


# -- block devices --------------------------------------------------------

@pytest.mark.skipif(not loop.available(), reason="no loop devices")
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_block_devices_overlay_lies_in_the_disk_folder(world, agent,
                                                         image_format):
    domain = world.add_domain("web", disks=[
        {"vdev": "xvda", "format": image_format, "block": True,
         "size": "16M"}])
    device = domain.disks["xvda"].path
    domain.write("xvda", 0, b"d" * 4096)
    reply = create(agent, domain)
    overlay = reply["result/disks/xvda/path"]
    assert os.path.dirname(overlay) == agent.settings["store"]["disk-folder"]
    assert "s1" in os.path.basename(overlay)
    assert_disk_is_on(domain, "xvda", overlay)
    assert domain.chain("xvda")[1] == (device, image_format)
    assert domain.read("xvda", 0, 4096) == b"d" * 4096
    assert image_info(overlay)["full-backing-filename"] == device
    assert_works(domain, "xvda")


# -- one after the other --------------------------------------------------

def test_the_third_snapshot_stands_on_the_second(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    for depth, name in enumerate(("s1", "s2", "s3"), 2):
        domain.write("xvda", 0, name.encode() * 256)
        reply = create(agent, domain, name)
        for vdev, disk in domain.disks.items():
            # Names do not pile up: web-xvda.s3.qcow2, not web-xvda.s1.s2.s3.
            overlay = beside(disk.path, name)
            assert reply[f"result/disks/{vdev}/path"] == overlay
            assert reply[f"result/disks/{vdev}/depth"] == str(depth)
            assert_disk_is_on(domain, vdev, overlay)
            assert len(domain.chain(vdev)) == depth
            assert image_is_sound(overlay)
    info = image_info(beside(domain.disks["xvdb"].path, "s3"))
    assert info["backing-filename-format"] == "qcow2"
    assert domain.read("xvda", 0, 512) == b"s3" * 256


def test_names_are_made_up_where_none_is_given(world, agent):
    domain = world.add_domain("web")
    names = set()
    for _ in range(3):
        reply = agent.request("create", domain="web", memory=0)
        assert reply["state"] == "done", reply
        names.add(reply["result/name"])
    assert len(names) == 3
    published = world.store.ls(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert len(set(published) - {"current"}) == 3


def test_a_default_path_that_is_taken_is_not_touched(world, agent):
    domain = world.add_domain("web")
    taken = beside(domain.disks["xvda"].path, "s1")
    with open(taken, "w", encoding="ascii") as file:
        file.write("mine")
    overlay = create(agent, domain)["result/disks/xvda/path"]
    assert overlay != taken
    with open(taken, encoding="ascii") as file:
        assert file.read() == "mine"
    assert_disk_is_on(domain, "xvda", overlay)


def test_an_overlay_has_its_images_owner_and_mode(world, agent):
    domain = world.add_domain("web")
    path = domain.disks["xvda"].path
    os.chmod(path, 0o640)
    if os.getuid() == 0:
        os.chown(path, 0, 0)
    overlay = create(agent, domain)["result/disks/xvda/path"]
    assert os.stat(overlay).st_mode == os.stat(path).st_mode
    assert os.stat(overlay).st_uid == os.stat(path).st_uid


# -- afterwards -----------------------------------------------------------

def test_a_snapshotted_disk_is_unplugged_and_plugged_in_again(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    domain.write("xvdb", 0, b"before" + bytes(506))
    overlay = create(agent, domain)["result/disks/xvdb/path"]
    domain.write("xvdb", 512, b"after" + bytes(507))
    domain.disks["xvdb"].front.flush()
    before = domain.disks["xvdb"]
    domain.unplug("xvdb")
    world.eventually(lambda: overlay not in domain.open_files(), 10,
                     "QEMU has closed the overlay")

    before.path, before.format = overlay, "qcow2"
    domain.disks["xvdb"] = before
    domain._plug("xvdb")  # pylint: disable=protected-access
    assert [path for path, _ in domain.chain("xvdb")] == [
        overlay, f"{world.images}/web-xvdb.raw"]
    assert domain.read("xvdb", 0, 512) == b"before" + bytes(506)
    assert domain.read("xvdb", 512, 512) == b"after" + bytes(507)
    assert_disk_is_on(domain, "xvdb",
                      create(agent, domain, "s2")["result/disks/xvdb/path"])


def test_libxl_itself_gives_the_overlay_to_the_next_boot(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "raw")])
    overlay = create(agent, domain)["result/disks/xvda/path"]
    facts = world.run(f"{world.shims}/probe", "facts", str(domain.domid))
    assert f"retrieved=xvda:{overlay}\n" in facts
    assert f"stored=xvda:{overlay}\n" in facts
    assert named_images(domain, "xvda") == {f"qcow2:{overlay}"}
    # The rest of the configuration is untouched.
    assert domain.stored_config()["c_info"]["name"] == "web"


def test_a_disk_of_a_driver_domain_is_left_out_unless_it_is_named(world, agent):
    storage = world.add_domain("storage", disks=[])
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), {"vdev": "xvdb", "driver": storage}])
    reply = create(agent, domain)
    assert "xvda/path" in " ".join(reply)
    assert "domain 1 (storage)" in reply["result/disks/xvdb/skipped"]
    for operation in ("create", "rescan"):
        keys = {"disks": "xvdb"} | (
            {"memory": 0} if operation == "create" else {})
        reply = agent.request(operation, keys, domain="web")
        assert reply["state"] == "failed"
        assert reply["error/code"] == "unsupported-disk"
        assert "domain 1 (storage)" in reply["error/message"]
    world.remove_domain(storage)
    reply = create(agent, domain, name="s2")
    assert "domain 1 (which is gone)" in reply["result/disks/xvdb/skipped"]
