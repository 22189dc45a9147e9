# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests that cannot be carried out: each fails with its code, a message
that names the value at fault, and leaves everything as it was."""

import os
import subprocess

import pytest

from native import loop
from native.expect import Picture, assert_failed, assert_works, checksum
from native.hypervisor import CRASH, POWEROFF


def create(agent, keys=None, **more):
    more.setdefault("domain", "web")
    more.setdefault("name", "s1")
    more.setdefault("memory", 0)
    return agent.request("create", keys, **more)


# -- values ---------------------------------------------------------------

# (key, value, code, what the message names if that is not the key)
VALUES = [
    ("name", "", "invalid-request"),
    ("name", "a/b", "invalid-request"),
    ("name", "a b", "invalid-request"),
    ("name", "-x", "invalid-request"),
    ("name", ".x", "invalid-request"),
    ("name", "n" * 65, "invalid-request"),
    ("name", "caf\u00e9", "invalid-request"),
    ("memory", "2", "invalid-request"),
    ("memory", "", "invalid-request"),
    ("memory", "TRUE", "invalid-request"),
    ("live", "maybe", "invalid-request"),
    ("live", "1", "invalid-request"),
    ("memory-path", "/x", "invalid-request"),
    ("quiesce", "perhaps", "invalid-request"),
    ("timeout", "0", "invalid-request"),
    ("timeout", "-1", "invalid-request"),
    ("timeout", "1.5", "invalid-request"),
    ("timeout", "soon", "invalid-request"),
    ("timeout", "99999999999999999999", "invalid-request"),
    ("notify-port", "0", "invalid-request"),
    ("notify-port", "x", "invalid-request"),
    ("notify-port", "4294967297", "invalid-request"),
    ("description", "line\nline", "invalid-request"),
    ("description", "d" * 2000, "invalid-request"),
    ("disks", "", "invalid-request"),
    ("disks", "   ", "invalid-request"),
    ("disks", "xvda xvda", "invalid-request"),
    ("disks", "xvda,xvdb", "invalid-request"),
    ("disks", "../xvda", "invalid-request"),
    ("disks", "xvdz", "no-such-disk", "xvdz"),
    ("disks", "xvda xvdq", "no-such-disk", "xvdq"),
    ("disks/xvda/external", "2", "invalid-request"),
    ("disks/xvda/format", "raw", "unsupported-disk"),
    ("disks/xvda/format", "vmdk", "unsupported-disk"),
    ("disks/xvda/format", "QCOW2", "invalid-request"),
    ("disks/xvda/name", "tag", "invalid-request"),
    ("disks/xvda/path", "relative", "path-not-allowed"),
    ("disks/xvda/path", "", "path-not-allowed"),
    ("disks/xvda/path", "/tmp/../etc/passwd", "path-not-allowed"),
    ("disks/xvda/path", "/tmp//x", "path-not-allowed"),
    ("disks/xvda/path", "/tmp/./x", "path-not-allowed"),
    ("disks/xvda/path", "/tmp/x/", "path-not-allowed"),
    ("disks/xvda/path", "nbd://host/x", "path-not-allowed"),
    ("disks/xvda/path", "json:{}", "path-not-allowed"),
    ("disks/xvda/path", "/tmp/a\nb", "path-not-allowed"),
    ("disks/xvda/path", "/" + "p" * 1100, "path-not-allowed"),
    ("disks/xvda/path", "/no/such/folder/x", "invalid-request", "xvda",
     "/no/such/folder/x"),
    ("disks/xvda/path", "/tmp/with a space.qcow2", "invalid-request", "xvda",
     "/tmp/with a space.qcow2", "choose a path without"),
    ("disks/xvda/path", "/dev/null", "invalid-request", "xvda",
     "/dev/null"),
    ("disks/xvda/path", "/dev/null/x", "invalid-request", "xvda",
     "/dev/null/x"),
    ("disks/xvdz/path", "/tmp/x", "no-such-disk", "xvdz"),
    ("disks/xvda/sparse", "1", "invalid-request"),
    ("disks/xvda", "1", "invalid-request"),
    ("nmae", "s1", "invalid-request"),
    ("keep-files", "1", "invalid-request"),
    ("phase", "prepare", "invalid-request"),
]


def test_a_value_at_fault_is_named(world, agent):
    """One world for all of them: each must leave it as it was."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    for key, value, code, *named in VALUES:
        reply = agent.request("create", {"domain": "web", "name": "s1",
                                         "memory": "0", key: value})
        assert_failed(reply, code, *(named or [key]))
        assert reply["error/message"].isprintable()
    picture.assert_same()


COMBINATIONS = [
    ({"name": "s1"}, "invalid-request", "domain"),
    ({"domain": ""}, "invalid-request", "domain"),
    ({"domain": "nobody"}, "no-such-domain", "nobody"),
    ({"domain": "77"}, "no-such-domain", "77"),
    ({"domain": "99999999999"}, "no-such-domain", "99999999999"),
    ({"domain": "12345678-1234-1234-1234-123456789abc"}, "no-such-domain",
     "12345678-1234-1234-1234-123456789abc"),
    ({"domain": "we\x07b"}, "invalid-request", "domain"),
    ({"domain": "d" * 300}, "invalid-request", "domain"),
    ({"domain": "web", "disks": "xvda", "disks/xvdb/path": "/tmp/x"},
     "invalid-request", "xvdb"),
    ({"domain": "web", "disks/xvda/path": "/tmp/x-same",
      "disks/xvdb/path": "/tmp/x-same"}, "invalid-request", "disks/xvdb/path"),
    ({"domain": "web", "memory": "1", "memory-path": "relative"},
     "path-not-allowed", "memory-path"),
    ({"domain": "web", "memory": "1", "memory-path": "/no/such/folder/x"},
     "invalid-request", "/no/such/folder"),
]


def test_keys_that_do_not_fit_are_named(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    for keys, code, word in COMBINATIONS:
        assert_failed(agent.request("create", {"memory": "0", **keys}), code,
                      word)
    picture.assert_same()


def test_an_unknown_operation_is_named(world, agent):
    world.add_domain("web")
    for operation in ("explode", "", "CREATE", "x" * 1000):
        assert_failed(agent.request(operation, domain="web"),
                      "unsupported-operation", "operation",
                      operation.split("x" * 90)[0])


def test_domain_0_is_no_domain_to_snapshot(world, agent):
    for name in ("0", "Domain-0"):
        reply = create(agent, domain=name)
        assert reply["state"] == "failed"
        assert reply["error/code"] in ("no-such-domain", "invalid-request")


def test_a_message_never_carries_control_characters(world, agent):
    world.add_domain("web")
    reply = create(agent, keys={"name": "a\x1b[31m\nb"})
    assert_failed(reply, "invalid-request", "name")
    assert reply["error/message"].isprintable()


# -- domains --------------------------------------------------------------

@pytest.mark.parametrize("reason", [POWEROFF, CRASH])
def test_a_domain_that_has_shut_down_is_inactive(world, agent, reason):
    domain = world.add_domain("web")
    world.xen.shut_down(domain.domid, reason)
    picture = Picture(agent, domain)
    assert_failed(create(agent), "domain-inactive", "web")
    picture.assert_same()


def test_a_dying_domain_is_inactive(world, agent):
    domain = world.add_domain("web")
    world.xen.set(domain.domid, dying=1)
    assert_failed(create(agent), "domain-inactive", "web")


@pytest.mark.parametrize("key", ["name", "uuid"])
def test_a_domain_that_is_known_and_gone_is_inactive(world, agent, key):
    domain = world.add_domain("web")
    assert create(agent)["state"] == "done"
    world.remove_domain(domain)
    assert_failed(create(agent, name="s2", domain=getattr(domain, key)),
                  "domain-inactive", getattr(domain, key))


def test_a_domain_without_disks_has_nothing_to_snapshot(world, agent):
    world.add_domain("web", disks=[])
    assert_failed(create(agent), "no-such-disk", "web")


def test_a_domain_with_only_a_cdrom_has_nothing_to_snapshot(world, agent):
    world.add_domain("web", disks=[{"vdev": "xvdc", "cdrom": True}])
    assert_failed(create(agent), "no-such-disk", "web")


def test_an_emulated_disk_that_is_still_there_is_refused(world, agent):
    domain = world.add_domain("web", "hvm", emulated=True)
    picture = Picture(agent, domain)
    assert_failed(create(agent), "unsupported-disk", "xvda")
    picture.assert_same()


def test_a_device_model_in_a_stub_domain_is_refused(world, agent):
    domain = world.add_domain("web", "hvm", device_model_stubdomain_override=1)
    picture = Picture(agent, domain)
    for keys in ({}, {"memory": "0"}, {"disks/xvda/external": "0"}):
        assert_failed(create(agent, keys), "unsupported-disk", "stub domain")
    assert_failed(agent.request("rescan", domain="web"), "unsupported-disk",
                  "device_model_stubdomain_override=0")
    picture.assert_same()


# -- disks ----------------------------------------------------------------

def test_a_cdrom_that_is_named_fails_the_request(world, agent):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), {"vdev": "xvdc", "cdrom": True}])
    picture = Picture(agent, domain)
    assert_failed(create(agent, disks="xvda xvdc"), "unsupported-disk",
                  "xvdc", "CD-ROM")
    assert_failed(create(agent, {"disks/xvdc/external": "1"}),
                  "unsupported-disk", "xvdc", "CD-ROM")
    picture.assert_same()


@pytest.mark.skipif(not loop.available(), reason="no loop devices")
@pytest.mark.parametrize("readonly, word", [(False, "phy"),
                                            (True, "read-only")])
def test_a_disk_that_cannot_be_taken_fails_when_named(world, agent, readonly,
                                                      word):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"),
        {"vdev": "xvdb", "format": "raw", "block": True, "backend": "phy",
         "size": "16M", "readonly": readonly}])
    picture = Picture(agent, domain)
    assert_failed(create(agent, disks="xvdb xvda"), "unsupported-disk",
                  "xvdb", word)
    picture.assert_same()


def test_a_snapshot_of_that_name_exists(world, agent):
    domain = world.add_domain("web")
    assert create(agent)["state"] == "done"
    picture = Picture(agent, domain)
    assert_failed(create(agent), "snapshot-exists", "s1", "web")
    picture.assert_same()


def test_two_domains_may_have_snapshots_of_one_name(world, agent):
    world.add_domain("web")
    world.add_domain("db")
    assert create(agent)["state"] == "done"
    assert create(agent, domain="db")["state"] == "done"


def test_a_path_that_is_taken_is_refused_and_not_touched(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    for path in (domain.disks["xvda"].path, domain.disks["xvdb"].path,
                 world.images, "/etc/passwd"):
        picture = Picture(agent, domain)
        before = os.path.isfile(path) and checksum(path)
        assert_failed(create(agent, {"disks/xvdb/path": path}),
                      "invalid-request", path)
        assert before == (os.path.isfile(path) and checksum(path))
        picture.assert_same()


def test_a_dangling_link_is_a_path_that_is_taken(world, agent):
    domain = world.add_domain("web")
    link = f"{world.images}/link"
    os.symlink(f"{world.images}/target", link)
    picture = Picture(agent, domain)
    assert_failed(create(agent, {"disks/xvda/path": link}),
                  "invalid-request", link)
    picture.assert_same()


def test_a_path_with_odd_characters_is_a_path(world, agent):
    domain = world.add_domain("web")
    path = f"{world.images}/a:b,c=\"d\"\u00e9.qcow2"
    reply = create(agent, {"disks/xvda/path": path})
    assert reply["state"] == "done", reply
    assert domain.chain("xvda")[0][0] == path
    assert_works(domain, "xvda")
    assert create(agent, name="s2")["state"] == "done"


def test_an_image_that_was_deleted_is_a_broken_chain(world, agent):
    domain = world.add_domain("web")
    path = domain.disks["xvda"].path
    os.rename(path, f"{path}.away")
    reply = create(agent)
    assert_failed(reply, "chain-broken", path)
    os.rename(f"{path}.away", path)
    picture = Picture(agent, domain)
    picture.assert_same()


def test_a_deleted_image_deep_in_the_chain_is_found(world, agent):
    domain = world.add_domain("web")
    path = domain.disks["xvda"].path
    assert create(agent)["state"] == "done"
    os.rename(path, f"{path}.away")
    assert_failed(create(agent, name="s2"), "chain-broken", path)
    os.rename(f"{path}.away", path)
    assert create(agent, name="s2")["state"] == "done"


def test_a_chain_that_qemu_has_otherwise_is_broken(world, agent):
    """Someone switched QEMU by hand and told nobody."""
    domain = world.add_domain("web")
    path = f"{world.images}/other.qcow2"
    domain.qmp("blockdev-snapshot-sync", node_name="xvda-qcow2",
               snapshot_file=path, format="qcow2",
               snapshot_node_name="other")
    assert_failed(create(agent), "chain-broken", path, "rescan")
    assert domain.chain("xvda")[0] == (path, "qcow2")


# -- room -----------------------------------------------------------------

@pytest.fixture(name="full_folder")
def fixture_full_folder(world):
    """A folder on a file system without a free byte."""
    folder = f"{world.folder}/full"
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "full", folder],
                   check=True)
    with open(f"{folder}/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_no_room_for_an_overlay(world, agent, full_folder):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    path = f"{full_folder}/x.qcow2"
    assert_failed(create(agent, {"disks/xvdb/path": path}), "no-space", path)
    assert os.listdir(full_folder) == ["filler"]
    picture.assert_same()


def test_no_room_for_the_record(world, agent_stopped, full_folder):
    agent = agent_stopped
    os.unlink(f"{full_folder}/filler")
    agent.configure("store", folder=full_folder)
    agent.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    filler = f"{full_folder}/snapshots/filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    reply = create(agent)
    os.unlink(filler)
    assert_failed(reply, "no-space")
    assert reply["error/step"] in ("make-overlays", "write-record")
    picture.assert_same()
    assert create(agent)["state"] == "done"


# -- memory ---------------------------------------------------------------

def test_a_save_that_fails_leaves_the_domain_running(world, agent):
    """No hypervisor, no memory to save: libxl fails, the domain runs on."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    reply = create(agent, memory=1, timeout=60)
    assert reply["state"] == "failed", reply
    assert reply["error/code"] == "libxl-error"
    assert reply["error/step"] == "save-memory"
    picture.assert_same()
    assert world.xen.is_running(domain.domid)


def test_live_is_refused_where_it_is_impossible(world, agent):
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    assert_failed(create(agent, memory=1, live=1), "live-not-supported",
                  "web")
    picture.assert_same()


def test_a_paused_domain_cannot_suspend(world, agent):
    domain = world.add_domain("web")
    world.xl("pause", "web")
    picture = Picture(agent, domain)
    assert_failed(create(agent, memory=1), "guest-unresponsive", "paused")
    picture.assert_same()


def test_no_room_for_the_memory_file(world, agent, full_folder):
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    path = f"{full_folder}/web.save"
    assert_failed(create(agent, memory=1, keys={"memory-path": path}),
                  "no-space", full_folder)
    picture.assert_same()


def test_no_room_in_the_memory_folder(world, agent_stopped, full_folder):
    agent = agent_stopped
    agent.configure("store", memory_folder=full_folder)
    agent.start()
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    assert_failed(create(agent, memory=1), "no-space", full_folder)
    picture.assert_same()


def test_a_memory_path_that_is_taken_is_not_touched(world, agent):
    domain = world.add_domain("web")
    path = f"{world.images}/web.save"
    with open(path, "w", encoding="ascii") as file:
        file.write("mine")
    picture = Picture(agent, domain)
    assert_failed(create(agent, memory=1, keys={"memory-path": path}),
                  "invalid-request", path)
    picture.assert_same()
    with open(path, encoding="ascii") as file:
        assert file.read() == "mine"
