# SPDX-License-Identifier: LGPL-2.1-or-later
"""The places that name a disk's image: libxl's stored configuration, and the
`params` of libxl and of the backend in xenstore."""

import fcntl
import os

import pytest

from native.expect import (Picture, assert_disk_is_on, assert_failed,
                           named_images)


def submit(agent, name="s1", keys=None):
    return agent.submit("create", keys, domain="web", name=name, memory=0)


def lock_path(domain):
    return (f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}"
            ".domain-userdata-lock")


@pytest.fixture(name="hasty")
def fixture_hasty(agent_stopped):
    agent_stopped.configure("timeouts", lock="2s")
    return agent_stopped.start()


def test_only_the_snapshotted_disks_are_renamed(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    before = domain.stored_config()
    reply = submit(agent, keys={"disks": "xvdb"}).wait()
    after = domain.stored_config()
    disk, = [entry for entry in after["disks"] if entry["vdev"] == "xvdb"]
    assert disk["pdev_path"] == reply["result/disks/xvdb/path"]
    assert disk["format"] == "qcow2"
    for config in (before, after):
        for entry in config["disks"]:
            if entry["vdev"] == "xvdb":
                entry.pop("pdev_path")
                entry.pop("format")
    assert after == before
    assert named_images(domain, "xvda") == {
        f"qcow2:{domain.disks['xvda'].path}"}


def test_names_are_changed_before_qemu_switches(world, agent):
    """Whoever opens the disk anew in between finds the right data either
    way: an overlay without writes shows what is under it."""
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent)
    fault.wait_reached()
    overlay = f"{world.images}/web-xvda.s1.qcow2"
    assert named_images(domain, "xvda") == {f"qcow2:{overlay}"}
    assert domain.chain("xvda")[0][0] == domain.disks["xvda"].path
    fault.release()
    assert request.wait()["state"] == "done"


def test_permissions_of_the_nodes_stay(world, agent):
    domain = world.add_domain("web")
    paths = [f"{domain.libxl_path('xvda')}/params",
             f"{domain.backend_path('xvda')}/params"]
    before = [world.store.permissions(path) for path in paths]
    assert submit(agent).wait()["state"] == "done"
    assert [world.store.permissions(path) for path in paths] == before
    # As libxl makes it.
    assert os.stat(domain.config_path).st_mode & 0o777 == 0o600


def test_no_lock_or_temporary_file_stays(world, agent):
    world.add_domain("web")
    before = sorted(os.listdir("/var/lib/xen"))
    assert submit(agent).wait()["state"] == "done"
    assert submit(agent).wait()["state"] == "failed"
    after = [name for name in sorted(os.listdir("/var/lib/xen"))
             if not name.startswith("userdata-l.")]
    assert after == [name for name in before
                     if not name.startswith("userdata-l.")]


@pytest.fixture(name="locked")
def fixture_locked(world, hasty):
    """A request that finds libxl's lock taken when it wants to change the
    configuration. (To read that, libxl itself would wait, and all with it.)"""
    domain = world.add_domain("web")
    picture = Picture(hasty, domain)
    fault = domain.interpose().fault("query-block", "hold-after")
    request = submit(hasty)
    fault.wait_reached()
    world.store.wait(f"{request.path}/step", "asking QEMU for the disks' chains")
    with open(lock_path(domain), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fault.release()
        world.store.wait(f"{request.path}/step",
                         "naming the overlays in the stored configuration")
        yield domain, picture, request


def test_libxls_lock_is_waited_for(locked):
    domain, _, request = locked
    assert named_images(domain, "xvda") == {
        f"qcow2:{domain.disks['xvda'].path}"}
    os.unlink(lock_path(domain))  # as libxl does when it lets go
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])


def test_libxls_lock_is_not_waited_for_without_end(locked):
    _, picture, request = locked
    reply = request.wait()
    assert_failed(reply, "busy")
    assert reply["error/step"] == "adjust-config"
    assert "putting things back" not in reply["error/message"]
    picture.assert_same()


def test_a_wait_for_libxls_lock_is_cancelled(locked):
    _, picture, request = locked
    request.cancel()
    reply = request.wait(5)
    assert_failed(reply, "cancelled")
    assert "putting things back" not in reply["error/message"]
    picture.assert_same()


def test_a_configuration_that_a_reboot_would_not_use(world, agent):
    """`xl config-update` leaves one that beats the stored one."""
    domain = world.add_domain("web")
    path = f"/var/lib/xen/userdata-d.{domain.domid}.{domain.uuid}.xl"
    with open(path, "w", encoding="ascii") as file:
        file.write(domain.xl_config())
    picture = Picture(agent, domain)
    reply = submit(agent).wait()
    assert_failed(reply, "libxl-error", "config-update", "reboot")
    assert "putting things back" not in reply["error/message"]
    picture.assert_same()
    os.unlink(path)
    assert submit(agent).wait()["state"] == "done"


def test_a_stored_configuration_that_is_damaged(world, agent):
    domain = world.add_domain("web")
    with open(domain.config_path, "rb") as file:
        good = file.read()
    # Always with libxl's terminator: without it libxl reads on beyond.
    for bad in (b"\0", b"{\0", good[:100] + b"\0"):
        with open(domain.config_path, "wb") as file:
            file.write(bad)
        reply = submit(agent).wait()
        assert reply["state"] == "failed", bad
        assert reply["error/code"] == "libxl-error"
        with open(domain.config_path, "rb") as file:
            assert file.read() == bad
    with open(domain.config_path, "wb") as file:
        file.write(good)
    picture = Picture(agent, domain)
    picture.assert_same()
    assert submit(agent).wait()["state"] == "done"


def test_a_node_that_vanished_from_xenstore(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    path = f"{domain.backend_path('xvdb')}/params"
    value = world.store.read(path)
    world.store.rm(path)
    reply = submit(agent).wait()
    assert reply["state"] == "failed"
    assert "putting things back" not in reply["error/message"], reply
    assert world.store.read(path) is None
    world.store.write(path, value)
    picture = Picture(agent, domain)
    picture.assert_same()
    assert named_images(domain, "xvda") == {
        f"qcow2:{domain.disks['xvda'].path}"}
    assert submit(agent).wait()["state"] == "done"


def test_a_disk_that_is_unplugged_is_no_longer_part(world, agent):
    """libxl leaves it in the stored configuration."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    domain.unplug("xvdb")
    reply = submit(agent).wait()
    assert reply["state"] == "done", reply
    assert not [key for key in reply if key.startswith("result/disks/xvdb/")
                and not key.endswith("skipped")]
    assert_failed(submit(agent, "s2", {"disks": "xvdb"}).wait(),
                  "no-such-disk", "xvdb")


def test_a_save_by_xl_names_the_overlay(world, agent):
    domain = world.add_domain("web")
    overlay = submit(agent).wait()["result/disks/xvda/path"]
    listed = world.xl("list", "-l", "web")
    assert overlay in listed
    assert f'"{domain.disks["xvda"].path}"' not in listed
