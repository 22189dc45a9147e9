# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host goes down in the middle of an operation and comes up again: domains, /run
and xenstore are empty, domids are given out anew, only the disks are what they were
(I2, I6)."""

import os
import shutil
import socket
import subprocess

import pytest

from native.agent import ROOT
from native.boot import Boot
from native.expect import assert_failed, assert_works, image_info, image_is_sound, \
    merge_job_id, named_images
from native.guardians import kill_with_guardian

DISKS = [("xvda", "qcow2"), ("xvdb", "raw")]
PIECE = 65536


class Stranger:
    """Whatever of a domain somebody could have touched."""

    def __init__(self, world, domain):
        self.world, self.domain = world, domain
        self.before = self.look()

    def look(self):
        domain = self.domain
        return {"configuration": domain.stored_config(),
                "hypervisor": self.world.xen.get(domain.domid),
                "places": {vdev: named_images(domain, vdev) for vdev in domain.disks},
                "chains": {vdev: domain.chain(vdev) for vdev in domain.disks}}

    def assert_untouched(self):
        assert self.look() == self.before
        for vdev in self.domain.disks:
            assert_works(self.domain, vdev)


class Host:
    """A domain "web", the agent, and a stranger that has web's domid afterwards."""

    def __init__(self, world, agent, save, boot):
        self.world, self.agent, self.save, self.boot = world, agent, save, boot
        self.web = world.add_domain("web", disks=DISKS)
        self.written = {}
        self.write("first")
        self.names = {}

    def write(self, text):
        """As web's guest, on all its disks, durably."""
        place = len(self.written) * PIECE
        for vdev, disk in self.web.disks.items():
            self.web.write(vdev, place, text.encode() * 512)
            disk.front.flush()
        self.written[place] = text.encode() * 512

    def ask(self, operation, **keys):
        reply = self.agent.request(operation, domain="web", **keys)
        assert reply["state"] == "done", reply

    def images(self):
        return {f"{self.world.images}/{name}" for name in os.listdir(self.world.images)}

    def go_down(self):
        """All at once; the stored configuration is a file on a disk, and stays."""
        agent, world, web = self.agent, self.world, self.web
        if agent.process.poll() is None:
            agent.kill()
        self.save.release()
        with open(web.config_path, "rb") as file:
            config = file.read()
        world.remove_domain(web)
        with open(web.config_path, "wb") as file:
            file.write(config)
        world.kill_xenstored()
        shutil.rmtree(agent.settings["store"]["run-folder"])
        self.boot.begin_anew()

    def come_up(self):
        """Another domain has the domid now; its guest must not notice anything."""
        agent, world = self.agent, self.world
        world.start_xenstored()
        world.add_domain("stranger", domid=self.web.domid, disks=DISKS)
        stranger = world.domains[self.web.domid]
        picture = Stranger(world, stranger)
        self.names = self.images()
        world.xen.forget_calls()
        agent.start()
        self.wait_no_note()
        assert world.xen.calls() == []
        assert not os.listdir(f"{agent.settings['store']['run-folder']}/held")
        return stranger, picture

    def wait_no_note(self):
        journal = f"{self.agent.settings['store']['folder']}/journal"
        self.world.eventually(lambda: os.listdir(journal) == [], 60, "no note stays")

    def come_up_with_web(self, images, same_domid):
        """It is started from a file of the toolstack's, on these images, before the
        agent is."""
        world, web = self.world, self.web
        world.start_xenstored()
        domid = web.domid if same_domid else web.domid + 7
        self.web = world.add_domain("web", domid=domid, uuid=web.uuid, disks=[
            {"vdev": vdev, "format": image_format, "path": path}
            for vdev, (path, image_format) in images.items()])
        self.agent.start()

    def assert_nothing_lost(self, tops):
        for vdev, (path, image_format) in tops.items():
            assert os.path.exists(path), vdev
            self.assert_content(vdev, path, image_format)

    def published(self):
        tree = self.world.store.tree(f"{ROOT}/snapshots/{self.web.uuid}")
        return {key.split("/")[0] for key in tree if key.endswith("/name")}

    def assert_content(self, vdev, path, image_format):
        """It holds all that the guest wrote."""
        if image_format == "qcow2":
            image_is_sound(path, may_leak=True)
        copy = f"{self.world.folder}/content"
        subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", path, copy],
                       check=True)
        with open(copy, "rb") as file:
            for place, data in self.written.items():
                file.seek(place)
                assert file.read(len(data)) == data, (vdev, place)

    def merged_into(self, vdev):
        """Where the active image's content went: the one over the last snapshot's."""
        left, = self.published()
        folder = f"{ROOT}/snapshots/{self.web.uuid}/{left}/disks/{vdev}"
        under = self.world.store.read(f"{folder}/path")
        over, = [path for path in self.images() if path.endswith(".qcow2") and
                 image_info(path).get("backing-filename") == under]
        return over, "qcow2"

    def assert_works(self, stranger):
        """The agent serves on."""
        reply = self.agent.request("create", domain="stranger", name="more", memory=0)
        assert reply["state"] == "done", reply
        assert len(stranger.chain("xvda")) == 2


@pytest.fixture
def host(world, agent_stopped, save, tmp_path):
    boot = Boot(tmp_path)
    yield Host(world, agent_stopped.start(), save, boot)
    boot.end()


def stop_at(host, command, kind, operation, **keys):
    fault = host.web.interpose().fault(command, kind)
    host.agent.submit(operation, domain="web", **keys)
    fault.wait_reached()
    host.agent.kill()
    fault.release()


def stop_suspended(host, operation, **keys):
    host.save.hold()
    host.agent.submit(operation, domain="web", **keys)
    host.world.eventually(lambda: not host.world.xen.is_running(host.web.domid), 20,
                          "the guest is suspended")
    host.agent.kill()


def assert_as_before(host, images):
    assert host.images() - host.names == set()
    own = {path for path in host.images() if os.path.basename(path).startswith("web")}
    assert own == images
    store = host.agent.settings["store"]
    assert not [name for _, _, names in os.walk(store["memory-folder"]) for name in names]


@pytest.mark.parametrize("at", ["planned", "switched", "suspended"])
def test_a_create_is_undone(host, at):
    images = host.images()
    if at == "suspended":
        stop_suspended(host, "create", name="s1", live=0)
    else:
        kind = "hold-before" if at == "planned" else "hold-after"
        stop_at(host, "transaction", kind, "create", name="s1", memory=0)
    host.go_down()
    stranger, picture = host.come_up()
    assert_as_before(host, images)
    assert host.published() == set()
    picture.assert_untouched()
    for vdev, disk in host.web.disks.items():
        host.assert_content(vdev, disk.path, disk.format)
    host.assert_works(stranger)


def test_what_the_guest_wrote_to_an_overlay_stays(host):
    """Behind the switch it did; the record came no more."""
    images = host.images()
    stop_at(host, "transaction", "hold-after", "create", name="s1", memory=0)
    host.write("second")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    host.go_down()
    _, picture = host.come_up()
    assert images | {path for path, _ in tops.values()} <= host.images()
    for vdev, (path, image_format) in tops.items():
        host.assert_content(vdev, path, image_format)
    picture.assert_untouched()


def test_a_revert_that_had_not_ended_the_domain_is_undone(host):
    host.ask("create", name="s1", memory=0)
    host.write("second")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    images = host.images()
    stop_suspended(host, "revert", name="s1", start="boot")
    host.go_down()
    stranger, picture = host.come_up()
    assert_as_before(host, images)
    assert host.published() == {"s1"}
    for vdev, (path, image_format) in tops.items():
        host.assert_content(vdev, path, image_format)
    picture.assert_untouched()
    host.assert_works(stranger)


@pytest.mark.parametrize("name, command", [("s1", "block-commit"), ("s2", "block-commit"),
                                           ("s2", "block-stream")])
def test_a_delete_is_carried_to_its_end(host, name, command):
    """By qemu-img, now that no QEMU has the images open."""
    for n in ("s1", "s2"):
        host.ask("create", name=n, memory=0)
        host.write(n)
    if command == "block-stream":
        for n in range(80):
            host.write(f"more{n:02}")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    stop_at(host, command, "hold-after", "delete", name=name)
    host.go_down()
    stranger, picture = host.come_up()
    assert host.published() == {"s1", "s2"} - {name}
    own = {path for path in host.images() if os.path.basename(path).startswith("web")}
    assert len(own) == 2 * len(host.web.disks)
    picture.assert_untouched()
    # What is on top now: the image that no other one is made over.
    for vdev, (path, image_format) in tops.items():
        if not os.path.exists(path):
            path, image_format = host.merged_into(vdev)
        host.assert_content(vdev, path, image_format)
    host.assert_works(stranger)


def test_a_hold_ends_with_its_domain(host):
    host.ask("rescan", phase="prepare", hold=3600)
    images = host.images()
    host.go_down()
    stranger, picture = host.come_up()
    assert_as_before(host, images)
    picture.assert_untouched()
    host.assert_works(stranger)
    # Nor is another one of that uuid held.
    web = host.world.add_domain("web", uuid=host.web.uuid, disks=list(host.web.disks.values()))
    reply = host.agent.request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    assert len(web.chain("xvda")) == 2


def bases_of(host):
    return {vdev: (disk.path, disk.format) for vdev, disk in host.web.disks.items()}


@pytest.mark.parametrize("same_domid", [True, False])
def test_a_create_leaves_what_the_guest_wrote_before_it_was_put_back(host, same_domid):
    """On the images that a toolstack's file names, which knows of no overlay."""
    bases = bases_of(host)
    stop_at(host, "transaction", "hold-after", "create", name="s1", memory=0)
    host.write("second")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    host.go_down()
    host.come_up_with_web(bases, same_domid)
    host.wait_no_note()
    host.assert_nothing_lost(tops)
    log = host.agent.log_text()
    for vdev, (path, _) in tops.items():
        assert f"disk {vdev} is on {bases[vdev][0]} now, and {path} alone " \
            "has what the guest wrote before: start it on that, or remove that" in log
    assert {disk["pdev_path"] for disk in host.web.stored_config()["disks"]} == \
        {path for path, _ in bases.values()}


@pytest.mark.parametrize("same_domid", [True, False])
@pytest.mark.parametrize("command, kind", [
    ("block-commit", "hold-before"), ("block-commit", "hold-after"),
    ("job-complete", "hold-before"), ("job-complete", "hold-after"),
    ("job-finalize", "hold-before")])
def test_a_delete_leaves_what_the_guest_wrote_before_it_was_put_back(host, command, kind,
                                                                     same_domid):
    """That QEMU has the base open without the overlay tells of a merge only in the
    domain in which that began."""
    bases = bases_of(host)
    host.ask("create", name="s1", memory=0)
    host.write("second")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    stop_at(host, command, kind, "delete", name="s1")
    host.go_down()
    host.come_up_with_web(bases, same_domid)
    host.wait_no_note()
    host.assert_nothing_lost(tops)


def test_a_delete_does_not_take_the_base_for_the_newer_image(host):
    """All was copied, but the guest went on where it was."""
    base = bases_of(host)["xvdb"]
    host.ask("create", name="s1", memory=0)
    host.write("second")
    over = host.web.chain("xvdb")[0]
    relay = host.web.interpose()
    first = relay.fault("job-finalize", "hold-before")
    host.agent.submit("delete", domain="web", name="s1")
    first.wait_reached()
    fault = relay.fault("job-finalize", "hold-before")
    first.release()
    fault.wait_reached()
    kill_with_guardian(host.world, host.web, host.agent)
    host.web.uninterpose()
    host.web.qmp("job-cancel", id=merge_job_id("xvdb", base[0]))
    host.write("third")
    images = {"xvda": host.web.chain("xvda")[0], "xvdb": base}
    host.go_down()
    host.come_up_with_web(images, same_domid=True)
    host.wait_no_note()
    assert f"disk xvdb: {over[0]} is merged into {base[0]}, and at that instant the domain " \
        "ended or was saved" in host.agent.log_text()
    host.assert_nothing_lost({"xvdb": over})
    # As the message says: it is on the one that is to be kept.
    host.ask("delete", name="s1")
    assert not os.path.exists(over[0])


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "no list"])
def test_domains_may_be_started_when_what_was_cut_short_is_seen_to(host, tmp_path, listed):
    """As systemd does it, by READY=1: in the middle of a merge no image is the right one.
    Nor where libxl cannot list the domains at first."""
    world, agent = host.world, host.agent
    bases = {vdev: (disk.path, disk.format) for vdev, disk in host.web.disks.items()}
    host.ask("create", name="s1", memory=0)
    host.write("second")
    stop_at(host, "block-commit", "hold-before", "delete", name="s1")
    host.go_down()
    (tmp_path / "qemu-img").write_text(
        f'#!/bin/sh\n[ "$1" != commit ] || [ -e {tmp_path}/go ] || '
        f'while [ ! -e {tmp_path}/go ]; do sleep 0.05; done\nexec /usr/bin/qemu-img "$@"\n')
    (tmp_path / "qemu-img").chmod(0o755)
    world.variables.update(PATH=f"{tmp_path}:{os.environ['PATH']}",
                           NOTIFY_SOCKET=f"{tmp_path}/notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{tmp_path}/notify")
        notify.settimeout(20)
        world.start_xenstored()
        world.xen.fail_lists(not listed)
        agent.start()
        assert notify.recv(4096).startswith(b"EXTEND_TIMEOUT_USEC=")
        notify.settimeout(1)
        with pytest.raises(TimeoutError):
            notify.recv(4096)
        world.xen.fail_lists(False)
        (tmp_path / "go").touch()
        notify.settimeout(20)
        assert notify.recv(4096) == b"READY=1"
    for vdev, (path, image_format) in bases.items():
        host.assert_content(vdev, path, image_format)
    assert host.published() == set()


def test_no_image_is_made_over_the_base_that_a_delete_was_merging_into(host):
    """It would look as if it had been over the image that was merged."""
    bases = bases_of(host)
    host.ask("create", name="s1", memory=0)
    host.write("second")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    stop_at(host, "block-commit", "hold-before", "delete", name="s1")
    host.go_down()
    host.come_up_with_web(bases, same_domid=True)
    host.wait_no_note()
    reply = host.agent.request("create", domain="web", name="s2", memory=0)
    assert_failed(reply, "snapshot-in-use", f"{tops['xvda'][0]} lies aside over")
    host.world.remove_domain(host.web)
    # The domain in between may have written to the bases.
    reply = host.agent.request("delete", domain=host.web.uuid, name="s1")
    assert_failed(reply, "snapshot-in-use", tops["xvda"][0], bases["xvda"][0], "was written to")
    host.assert_nothing_lost(tops)


def test_no_image_is_made_in_a_branch_beside_the_image_that_was_being_merged(host):
    """That branch then would look as if it had been over that image."""
    bases = bases_of(host)
    host.ask("create", name="s1", memory=0)
    host.write("second")
    tops = {vdev: host.web.chain(vdev)[0] for vdev in host.web.disks}
    stop_at(host, "block-commit", "hold-before", "delete", name="s1")
    host.go_down()
    sides = {}
    for vdev, (path, image_format) in bases.items():
        sides[vdev] = (f"{host.world.images}/side-{vdev}.qcow2", "qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path,
                        "-F", image_format, sides[vdev][0]], check=True)
    host.come_up_with_web(sides, same_domid=True)
    host.wait_no_note()
    reply = host.agent.request("create", domain="web", name="s2", memory=0)
    assert_failed(reply, "snapshot-in-use",
                  f"{tops['xvda'][0]} lies aside over {bases['xvda'][0]}")
    host.assert_nothing_lost(tops)
