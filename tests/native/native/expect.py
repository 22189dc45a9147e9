# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of operations compare: files, images, and the places that name
a disk's image."""

import contextlib
import glob
import hashlib
import json
import os
import re
import subprocess

from native.agent import FINAL, ROOT

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def checksum(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def image_info(path):
    """What is in an image's own header, without the chain under it."""
    # -U: QEMU holds the image open.
    return json.loads(subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", path], check=True,
        capture_output=True, text=True).stdout)


def image_is_sound(path, may_leak=False):
    """A QEMU that was killed may leave clusters that nothing uses: no harm."""
    result = subprocess.run(["qemu-img", "check", "-U", "-q", path],
                            check=False, capture_output=True, text=True)
    assert result.returncode == 0 or (may_leak and result.returncode == 3), \
        f"{path}: {result.stdout}{result.stderr}"
    return True


def internal_snapshots(path):
    return [entry["name"] for entry in image_info(path).get("snapshots", [])]


def files_below(*folders):
    """Every path below, folders included, links as what they name."""
    found = set()
    for top in folders:
        for folder, folders_in, names in os.walk(top):
            found.update(f"{folder}/{name}" for name in folders_in)
            for name in names:
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):
                    path += f" -> {os.readlink(path)}"
                found.add(path)
    return found


def named_images(domain, vdev):
    """The image that each of the places where a reboot, a save or a migration
    looks names for the disk, as libxl's `format:path`."""
    disk, = [entry for entry in domain.stored_config()["disks"]
             if entry["vdev"] == vdev]
    name = "aio" if disk["format"] == "raw" else disk["format"]
    store = domain.world.store
    return {f"{name}:{disk['pdev_path']}",
            store.read(f"{domain.libxl_path(vdev)}/params"),
            store.read(f"{domain.backend_path(vdev)}/params")}


def assert_disk_is_on(domain, vdev, path, image_format="qcow2"):
    """Everything agrees that this image is the active one."""
    name = "aio" if image_format == "raw" else image_format
    assert domain.chain(vdev)[0] == (path, image_format)
    assert named_images(domain, vdev) == {f"{name}:{path}"}


def assert_works(domain, vdev, offset=1 << 20):
    """The guest can use its disk."""
    data = os.urandom(4096)
    domain.write(vdev, offset, data)
    assert domain.read(vdev, offset, len(data)) == data


def merge_job_id(vdev, path):
    """By which QEMU knows the merge of that image with the one over it."""
    value = 0xcbf29ce484222325  # FNV-1a
    for byte in path.encode():
        value = (value ^ byte) * 0x100000001b3 % (1 << 64)
    return f"xensnapd-delete-{vdev}-{value:016x}"


class Picture:
    """Everything that a failed request must leave as it was."""

    def __init__(self, agent, domain):
        self._agent = agent
        self._domain = domain
        # A note goes only when its request's result is there to be read.
        agent.world.eventually(lambda: not self._notes_of_the_ended(), 10,
                               "no note of an earlier operation")
        self._before = self._take()

    def _notes_of_the_ended(self):
        notes = glob.glob(
            f"{self._agent.settings['store']['folder']}/journal/op-*.json")
        ids = [os.path.basename(note)[len("op-"):].rsplit(".", 2)[0]
               for note in notes]
        return [one for one in ids if self._agent.world.store.read(
            f"{ROOT}/requests/{one}/state") in FINAL]

    def _folders(self):
        settings = self._agent.settings["store"]
        return (self._agent.world.images, settings["folder"],
                settings["memory-folder"], settings["disk-folder"])

    def _take(self):
        domain, world = self._domain, self._agent.world
        served = [vdev for vdev, disk in domain.disks.items() if disk.front]
        facts = {
            "files": files_below(*self._folders()),
            "configuration": domain.stored_config(),
            "published": world.store.tree("/tool/xensnapd/snapshots"),
            "hypervisor": world.xen.get(domain.domid),
            "params": {vdev: named_images(domain, vdev) for vdev in served},
        }
        if domain.qemu and domain.qemu.poll() is None:
            facts["chains"] = {vdev: domain.chain(vdev) for vdev in served}
            facts["jobs"] = domain.qmp("query-jobs")
            facts["internal"] = {
                vdev: internal_snapshots(domain.chain(vdev)[0][0])
                for vdev in served}
        return facts

    def assert_same(self):
        """Nothing has changed, and if QEMU lives the guest can go on."""
        journal = f"{self._agent.settings['store']['folder']}/journal"
        self._agent.world.eventually(
            lambda: files_below(journal) <= self._before["files"],
            10, "no note of this operation")
        now = self._take()
        for fact, value in now.items():
            assert value == self._before[fact], fact
        for vdev in now.get("chains", ()):
            if not self._domain.disks[vdev].readonly:
                assert_works(self._domain, vdev)


def done(reply):
    """The request succeeded; its keys."""
    assert reply["state"] == "done", reply
    return reply


def assert_failed(reply, code, *words):
    """The request failed with the code, and its message has the words."""
    assert reply["state"] == ("cancelled" if code == "cancelled"
                              else "failed"), reply
    assert reply["error/code"] == code, reply
    for word in words:
        assert word in reply["error/message"], reply
    assert TIME.fullmatch(reply["finished-at"])
    assert not [key for key in reply if key.startswith("result")], reply


def rewrite_settings(agent):
    """Writes what configure() was given into the file of a running agent."""
    path = f"{agent.world.folder}/agent.yaml"
    with open(path, "w", encoding="ascii") as file:
        json.dump(agent.settings, file)
    return path
