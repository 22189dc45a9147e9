# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host goes down in the middle of an operation and comes up again: domains, /run
and xenstore are empty, domids are given out anew, only the disks are what they were
(I2, I6)."""

import contextlib
import os
import shutil
import subprocess

import pytest

from native.agent import ROOT
from native.expect import assert_works, image_info, image_is_sound, named_images

HELPER = os.path.join(os.path.dirname(__file__), "native", "save_helper")
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

    def __init__(self, world, agent, hold):
        self.world, self.agent, self.hold = world, agent, hold
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
        with contextlib.suppress(FileNotFoundError):
            self.hold.unlink()
        with open(web.config_path, "rb") as file:
            config = file.read()
        world.remove_domain(web)
        with open(web.config_path, "wb") as file:
            file.write(config)
        world.kill_xenstored()
        shutil.rmtree(agent.settings["store"]["run-folder"])

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
        journal = f"{agent.settings['store']['folder']}/journal"
        world.eventually(lambda: os.listdir(journal) == [], 60, "no note stays")
        assert world.xen.calls() == []
        assert not os.listdir(f"{agent.settings['store']['run-folder']}/held")
        return stranger, picture

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
def host(world, agent_stopped, tmp_path, monkeypatch):
    hold = tmp_path / "hold"
    monkeypatch.setenv("LIBXL_SAVE_HELPER", HELPER)
    monkeypatch.setenv("SAVE_HELPER_HOLD", str(hold))
    return Host(world, agent_stopped.start(), hold)


def stop_at(host, command, kind, operation, **keys):
    fault = host.web.interpose().fault(command, kind)
    host.agent.submit(operation, domain="web", **keys)
    fault.wait_reached()
    host.agent.kill()
    fault.release()


def stop_suspended(host, operation, **keys):
    host.hold.touch()
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
