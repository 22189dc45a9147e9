# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pretended host itself: what the agent's tests rely on."""

import json
import os
import socket
import subprocess

import pytest

from native import loop
from native.hypervisor import POWEROFF, SUSPEND
from native.qmp import Qmp, QmpError
from native.ring import Denied
from native.xenstore import XenstoreError


def probe(world, command, domid, **options):
    return world.run(f"{world.shims}/probe", command, str(domid), **options)


def overlay(world, base, base_format, name):
    path = f"{world.images}/{name}"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base,
                    "-F", base_format, path], check=True)
    return path


def snapshot(node, path):
    return {"type": "blockdev-snapshot-sync", "data": {
        "node-name": node, "snapshot-file": path, "format": "qcow2",
        "snapshot-node-name": f"snap-{node[:4]}", "mode": "existing"}}


# -- xenstored ------------------------------------------------------------

def test_xenstored_answers_the_usual_tools(world):
    subprocess.run(["xenstore-write", "/tool/x/a", "1", "/tool/x/b", "2"],
                   check=True)
    assert world.store.tree("/tool/x") == {"a": "1", "b": "2"}
    assert world.store.read("/local/domain/0/name") == "Domain-0"
    assert world.store.read("/tool/nothing") is None
    world.store.rm("/tool/x")
    assert world.store.ls("/tool/x") == []


def test_a_killed_xenstored_comes_back_with_the_domains(world):
    domain = world.add_domain("guest")
    world.store.write("/tool/x", "lost")
    world.restart_xenstored()
    assert world.store.read("/tool/x") is None
    assert world.store.read(f"{domain.path}/name") == "guest"
    assert f"listed={domain.domid}\n" in probe(world, "facts", domain.domid)


def test_a_node_can_be_given_only_to_a_domain_that_exists(world):
    domain = world.add_domain("guest", disks=[])
    world.store.write("/tool/x", "1")
    world.store.set_permissions("/tool/x", "n0", f"r{domain.domid}")
    assert world.store.permissions("/tool/x") == ["n0", f"r{domain.domid}"]
    with pytest.raises(XenstoreError):
        world.store.set_permissions("/tool/x", "n77")


def test_a_guest_speaks_to_xenstored_as_itself(world):
    domain = world.add_domain("guest", disks=[])
    other = world.add_domain("other", disks=[])
    guest = domain.xenstore()
    assert guest.read("name") == "guest"
    guest.write("data/x", "mine")
    path = f"{domain.path}/data/x"
    assert world.store.read(path) == "mine"
    assert world.store.permissions(path) == [f"n{domain.domid}"]
    for forbidden in ("/tool/x", f"{other.path}/data/x", "name"):
        with pytest.raises(Denied) as denial:
            guest.write(forbidden, "1")
        assert denial.value.code == "EACCES"
    with pytest.raises(Denied) as denial:
        guest.write("data/big", "x" * 2200)
    assert denial.value.code == "ENOSPC"


def test_a_guest_watches_and_uses_transactions(world):
    domain = world.add_domain("guest", disks=[])
    guest = domain.xenstore()
    guest.watch("data", "token")
    assert guest.wait_event() == ("data", "token")
    world.store.write(f"{domain.path}/data/y", "1")
    assert guest.wait_event() == ("data/y", "token")
    guest.write_all({"data/a": "1", "data/b": "2"})
    assert world.store.read(f"{domain.path}/data/b") == "2"
    assert sorted(guest.ls("data")) == ["a", "b", "y"]
    guest.set_permissions("data/a", f"n{domain.domid}", "r0", "b7")
    assert guest.permissions("data/a")[:2] == [f"n{domain.domid}", "r0"]
    guest.rm("data/a")
    assert guest.read("data/a") is None


# -- libxl over the faked hypervisor ---------------------------------------

@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_libxl_sees_a_domain_and_its_disks(world, kind):
    domain = world.add_domain("guest", kind, memory_kb=65536, disks=[
        ("xvda", "qcow2"), ("xvdb", "raw")])
    lines = probe(world, "facts", domain.domid).splitlines()
    paths = {vdev: disk.path for vdev, disk in domain.disks.items()}
    for expected in (
            "listed=0", f"listed={domain.domid}", f"uuid={domain.uuid}",
            "name=guest", f"type={kind}", "memory-kb=65536", "xen=4.17",
            f"stored=xvda:{paths['xvda']}", f"stored=xvdb:{paths['xvdb']}",
            f"retrieved=xvda:{paths['xvda']}",
            f"retrieved=xvdb:{paths['xvdb']}",
            f"listed-disk=xvda:unknown:{paths['xvda']}",
            f"listed-disk=xvdb:unknown:{paths['xvdb']}"):
        assert expected in lines
    assert not [call for call in world.xen.calls() if "unanswered" in call]


def test_the_stored_configuration_is_libxls_own_text(world):
    domain = world.add_domain("guest", on_crash="preserve")
    config = domain.stored_config()
    assert config["c_info"]["uuid"] == domain.uuid
    assert config["on_crash"] == "preserve"
    assert config["disks"][0]["vdev"] == "xvda"
    with open(domain.config_path, "rb") as file:
        assert file.read().endswith(b"}\n\0")


@pytest.mark.parametrize("kind", ["pv", "hvm"])
def test_pause_and_unpause_reach_the_hypervisor(world, kind):
    domain = world.add_domain("guest", kind)
    text = probe(world, "pause", domain.domid)
    assert [line for line in text.splitlines() if "paused" in line] == [
        "paused=1", "paused=0"]
    assert world.xen.calls() == [f"pause {domain.domid}",
                                 f"unpause {domain.domid}"]
    assert world.xen.is_running(domain.domid)


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_a_guest_suspends_and_goes_on(world, kind):
    domain = world.add_domain("guest", kind)
    text = probe(world, "suspend", domain.domid)
    assert f"shutdown=1\nreason={SUSPEND}\n" in text
    assert not world.xen.is_running(domain.domid)
    assert "shutdown=0" in probe(world, "resume", domain.domid)
    assert world.xen.is_running(domain.domid)
    # The guest is told that its suspend was cancelled.
    assert (f"set-vcpu-context {domain.domid} vcpu=0 rax=1"
            in world.xen.calls())
    assert domain.qmp("query-status")["running"]


def test_shutdown_and_death_reach_libxl(world):
    domain = world.add_domain("guest", disks=[])
    watcher = world.spawn([f"{world.shims}/probe", "deaths",
                           str(domain.domid)], "probe.log",
                          shim="hypervisor_shim.so", stdout=subprocess.PIPE,
                          text=True)
    assert watcher.stdout.readline() == "watching\n"
    world.xen.shut_down(domain.domid, POWEROFF)
    assert watcher.stdout.readline() == f"shutdown={POWEROFF}\n"
    world.remove_domain(domain)
    assert watcher.stdout.readline() == "dead\n"
    watcher.stdout.close()
    assert watcher.wait(10) == 0


def test_xl_works_on_the_pretended_host(world):
    domain = world.add_domain("guest")
    assert "guest" in world.xl("list")
    world.xl("pause", "guest")
    assert not world.xen.is_running(domain.domid)
    world.xl("destroy", "guest")
    assert world.xen.get(domain.domid) is None
    assert domain.qemu.wait(10) is not None


# -- disks ----------------------------------------------------------------

def test_a_guest_reads_what_it_wrote(world):
    domain = world.add_domain("guest", disks=[("xvda", "qcow2"),
                                              ("xvdb", "raw")])
    data = os.urandom(100 * 512)
    for vdev in domain.disks:
        domain.write(vdev, 8 * 512, data)
        domain.disks[vdev].front.flush()
        assert domain.read(vdev, 8 * 512, len(data)) == data
    with open(domain.disks["xvdb"].path, "rb") as file:
        file.seek(8 * 512)
        assert file.read(len(data)) == data


def test_disks_stand_in_qemu_and_xenstore_as_on_a_xen_host(world):
    domain = world.add_domain("guest", disks=[
        ("xvda", "qcow2"), ("xvdb", "raw"),
        {"vdev": "xvdc", "cdrom": True}])
    # An empty drive stays as libxl wrote it: xen-block does not take it.
    assert world.store.read(f"{domain.backend_path('xvdc')}/state") == "1"
    nodes = {vdev: domain.block_entry(vdev)["inserted"]["node-name"]
             for vdev in ("xvda", "xvdb")}
    assert nodes == {"xvda": "xvda-qcow2", "xvdb": "xvdb-raw"}
    threads = {thread["id"] for thread in domain.qmp("query-iothreads")}
    assert threads == {"xvda", "xvdb"}
    path = domain.disks["xvda"].path
    store = world.store
    assert store.read(f"{domain.backend_path('xvda')}/params") == (
        f"qcow2:{path}")
    assert store.read(f"{domain.libxl_path('xvda')}/params") == f"qcow2:{path}"
    assert store.read(f"{domain.backend_path('xvda')}/state") == "4"
    assert domain.open_files() == {disk.path
                                   for disk in domain.disks.values()
                                   if disk.path}


def test_an_hvm_guest_may_still_have_its_emulated_disk(world):
    domain = world.add_domain("guest", "hvm", emulated=True, vcpus=2)
    devices = {entry["device"]: entry["inserted"]["image"]["filename"]
               for entry in domain.qmp("query-block") if "inserted" in entry}
    assert devices == {"ide0-hd0": domain.disks["xvda"].path,
                       "": domain.disks["xvda"].path}
    assert len(domain.qmp("query-cpus-fast")) == 2
    assert "type=hvm" in probe(world, "facts", domain.domid)


def test_a_transaction_snapshots_two_running_disks(world):
    domain = world.add_domain("guest", disks=[("xvda", "qcow2"),
                                              ("xvdb", "raw")])
    old = b"o" * 4096
    new = b"n" * 4096
    paths = {}
    for vdev, disk in domain.disks.items():
        domain.write(vdev, 0, old)
        paths[vdev] = overlay(world, disk.path, disk.format, f"{vdev}.snap")
    domain.qmp("transaction", actions=[
        snapshot("xvda-qcow2", paths["xvda"]),
        snapshot("xvdb-raw", paths["xvdb"])])
    for vdev, disk in domain.disks.items():
        assert domain.chain(vdev) == [(paths[vdev], "qcow2"),
                                      (disk.path, disk.format)]
        assert domain.read(vdev, 0, 4096) == old
        domain.write(vdev, 0, new)
        assert domain.read(vdev, 0, 4096) == new
    with open(domain.disks["xvdb"].path, "rb") as file:
        assert file.read(4096) == old


def test_xl_takes_a_snapshotted_disk_away_cleanly(world):
    domain = world.add_domain("guest", disks=[("xvda", "qcow2"),
                                              ("xvdb", "qcow2")])
    path = overlay(world, domain.disks["xvdb"].path, "qcow2", "b.snap")
    domain.qmp("transaction", actions=[snapshot("xvdb-qcow2", path)])
    domain.unplug("xvdb")
    # libxl does not wait for QEMU to close the images.
    world.eventually(
        lambda: domain.open_files() == {domain.disks["xvda"].path})
    # And libxl leaves the disk in the stored configuration, where whoever
    # reads that has to ignore it.
    lines = probe(world, "facts", domain.domid)
    assert "stored=xvdb" in lines and "retrieved=xvdb" not in lines


@pytest.mark.skipif(not loop.available(), reason="no loop devices")
@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_disk_can_lie_on_a_block_device(world, format):
    # pylint: disable=redefined-builtin
    disk = {"vdev": "xvda", "format": format, "block": True, "size": "16M"}
    domain = world.add_domain("guest", disks=[disk])
    assert domain.disks["xvda"].path.startswith("/dev/loop")
    domain.write("xvda", 0, b"x" * 512)
    assert domain.read("xvda", 0, 512) == b"x" * 512
    assert domain.open_files() == {domain.disks["xvda"].path}


# -- the relay ------------------------------------------------------------

def connect(path, timeout=10):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    client.connect(path)
    return client


def test_both_qmp_sockets_answer(world):
    domain = world.add_domain("guest")
    for path in (domain.qmp_path,
                 f"/var/run/xen/qmp-libxenstat-{domain.domid}"):
        client = Qmp(path)
        assert client.command("query-status")["running"]
        client.close()


def test_the_relay_passes_on_and_serves_one_client_at_a_time(world):
    domain = world.add_domain("guest")
    relay = domain.interpose()
    first = Qmp(domain.qmp_path)
    assert first.command("qom-get", path=domain.block_entry("xvda")["qdev"],
                         property="vdev").startswith("xvda")
    second = connect(domain.qmp_path, timeout=0.2)
    with pytest.raises(TimeoutError):
        second.recv(1)
    first.close()
    second.settimeout(10)
    assert b"QMP" in second.recv(4096)
    second.close()
    assert [message["execute"] for message in relay.commands] == [
        "qmp_capabilities", "qom-get"]
    # libxl finds its way through, too.
    probe(world, "facts", domain.domid)


def test_the_relay_keeps_silent_or_withholds_the_greeting(world):
    domain = world.add_domain("guest")
    relay = domain.interpose()
    for fault in ("silent", "no_greeting"):
        setattr(relay, fault, True)
        client = connect(domain.qmp_path, timeout=0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.close()
        setattr(relay, fault, False)
    Qmp(domain.qmp_path).close()


def test_the_relay_loses_commands_and_replies(world):
    domain = world.add_domain("guest")
    relay = domain.interpose()
    for kind, running in (("drop-before", True), ("drop-after", False)):
        client = Qmp(domain.qmp_path)
        relay.fault("stop", kind)
        with pytest.raises((ConnectionError, TimeoutError)):
            client.command("stop")
        client.close()
        assert domain.qmp("query-status")["running"] == running


def test_the_relay_holds_answers_and_invents_errors(world):
    domain = world.add_domain("guest")
    relay = domain.interpose()
    client = Qmp(domain.qmp_path)
    relay.fault("query-block", "error", description="no blocks today")
    with pytest.raises(QmpError, match="no blocks today"):
        client.command("query-block")
    client.close()

    held = relay.fault("query-status", "hold-after")
    client = connect(domain.qmp_path)
    client.sendall(json.dumps({"execute": "qmp_capabilities"}).encode() +
                   json.dumps({"execute": "query-status"}).encode())
    held.wait_reached()
    client.settimeout(0.2)
    text = b""
    with pytest.raises(TimeoutError):
        while b"running" not in text:
            text += client.recv(4096)
    held.release()
    client.settimeout(10)
    while b"running" not in text:
        text += client.recv(4096)
    client.close()


def test_the_relay_changes_what_qemu_says(world):
    domain = world.add_domain("guest")
    domain.interpose().amend(
        "query-block", lambda value: value + [{"device": "ide0-hd0"}])
    client = Qmp(domain.qmp_path)
    assert [entry["device"] for entry in client.command("query-block")] == [
        "", "ide0-hd0"]
    assert client.command("query-status")["running"]
    client.close()


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_the_relay_kills_qemu_at_a_command(world, kind):
    domain = world.add_domain("guest")
    path = overlay(world, domain.disks["xvda"].path, "qcow2", "a.snap")
    fault = domain.interpose().fault("transaction", kind)
    client = Qmp(domain.qmp_path)
    with pytest.raises((ConnectionError, TimeoutError)):
        client.command("transaction", actions=[snapshot("xvda-qcow2", path)])
    fault.wait_reached()
    client.close()
    assert domain.qemu.wait(10) is not None
