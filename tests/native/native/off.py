# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain that is off, and of whose images a driver domain has some."""

import subprocess

from native.agent import ROOT
from native.domain import Disk
from native.expect import done
from native.rescans import Writer, paths, qemu_img


class Off:
    """A domain whose disk xvda is the driver domain's, and has a chain of three: s1's
    state, s2's, and what the guest wrote to last. It does not run any more."""

    def __init__(self, world, agent, driver):
        self.world, self.agent, self.driver = world, agent, driver
        self.domain = world.add_domain("alice", disks=[
            Disk("xvda", "raw", driver=driver, devd=True), ("xvdb", "qcow2")])
        self.uuid = self.domain.uuid
        writer = Writer(self.domain)
        writer.progress()
        for name in "s1", "s2":
            done(agent.request("create", domain="alice", name=name, memory=0, disks="xvda"))
            writer.progress()
        writer.stop()
        self.domain.disks["xvda"].front.flush()
        self.written = writer.written
        self.active, self.middle, self.base = paths(self.domain)
        world.remove_domain(self.domain)

    def start(self, path=None):
        """From a file of the toolstack's."""
        path = path or self.active
        form = "raw" if path == self.base else "qcow2"
        self.domain = self.world.add_domain("alice", uuid=self.uuid, disks=[
            Disk("xvda", form, path=path, driver=self.driver, devd=True), ("xvdb", "qcow2")])
        return self.domain

    def end(self):
        self.world.remove_domain(self.domain)

    def assert_content(self, path):
        """All that was written is to be seen there."""
        raw = f"{self.world.folder}/content"
        form = "raw" if path == self.base else "qcow2"
        if form == "qcow2":
            qemu_img("check", "-U", "-q", path)
        subprocess.run(["qemu-img", "convert", "-U", "-f", form, "-O", "raw", path, raw],
                       check=True)
        with open(raw, "rb") as file:
            data = file.read()
        lost = [place for place, piece in self.written.items()
                if data[place:place + len(piece)] != piece]
        assert not lost

    def snapshots(self):
        return {key.split("/")[0] for key in
                self.world.store.tree(f"{ROOT}/snapshots/{self.uuid}")} - {"current"}

    def assert_rests(self):
        """Nothing is under way, and it can be started."""
        folder = f"{ROOT}/backends/{self.driver.domid}"
        assert not [key for key in self.world.store.tree(folder) if "/" in key]
        assert not working(self.world)


def working(world):
    """The qemu-img at work, held or not."""
    return subprocess.run(["pgrep", "-f", f"qemu-img (commit|rebase).*{world.images}"], check=False,
                          capture_output=True, text=True).stdout


def write_to(alice, path):
    """As the domain does, started by a file that still names it."""
    domain = alice.start(path)
    domain.write("xvda", 0, b"stray" * 100 + b"." * 12)
    domain.disks["xvda"].front.flush()
    alice.end()


def third(agent, alice):
    """Another snapshot, whose state is the image that was active."""
    alice.start()
    done(agent.request("create", domain="alice", name="s3", memory=0, disks="xvda"))
    over = paths(alice.domain)[0]
    alice.end()
    return over


def kill_before_the_end(world, commit, agent, alice, backend):
    """The delete of s2 has copied and noted that, and no more."""
    request = agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    agent.freeze()
    commit.release()
    folder = f"{ROOT}/backends/{alice.driver.domid}"
    job, = [key.split("/")[0] for key, value in world.store.tree(folder).items()
            if value == "merge-offline"]
    world.store.wait(f"{alice.driver.path}/data/xensnapd/jobs/{job}/state", "prepared")
    backend.freeze()
    agent.thaw()
    world.eventually(lambda: "end" in world.store.tree(folder).values(), 20, "the next job")
    agent.kill()
    backend.kill()
    return request
