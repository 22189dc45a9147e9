# SPDX-License-Identifier: LGPL-2.1-or-later
"""One operation of each recipe that this tier can run, for the fault tests: how
its world looks before, the request, and what must be true of its outcome."""

import os
import subprocess

from native.backend import Backend
from native.domain import Disk
from native.expect import internal_snapshots
from native.merges import content
from native.toolstack import Toolstack

PIECE = 4096


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *arguments], check=True,
                   stdout=subprocess.DEVNULL)


def overlay(world, base, name):
    path = f"{world.images}/{name}.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", path)
    return path


class Recipe:
    """A domain with one disk; subclasses say what is done to it. `foreign`
    are images that the test's toolstack made."""

    disks = (("xvda", "qcow2"),)
    operation = None
    keys = {}
    runs = True  # the domain, after a success and a failure alike
    # Beginnings of the names of points at which every part of the runs looks.
    always = ()
    # A qemu-img that is killed leaves clusters behind that nothing uses.
    may_leak = False

    def __init__(self, world, agent):
        self.world, self.agent = world, agent
        self.domain = self.make_domain()
        self.data = {}
        self.foreign = {disk.path for disk in self.domain.disks.values()}

    def make_domain(self):
        return self.world.add_domain("alice", disks=list(self.disks))

    def write(self, vdev, place):
        """As the guest, what can be told from all that was written before."""
        data = os.urandom(PIECE)
        self.domain.write(vdev, place * 65536, data)
        self.data[vdev, place * 65536] = data

    def ask(self, operation, **keys):
        reply = self.agent.request(operation, keys, domain="alice")
        assert reply["state"] == "done", reply
        return reply

    def create(self, name, **keys):
        return self.ask("create", name=name, memory=0, **keys)

    def submit(self):
        return self.agent.submit(self.operation, self.keys, domain="alice")

    def published(self):
        """The names of the snapshots that are there."""
        tree = self.world.store.tree(
            f"/tool/xensnapd/snapshots/{self.domain.uuid}")
        return {key.split("/")[0] for key in tree if key.endswith("/name")}

    def current(self):
        """What the state that runs descends from, or None."""
        return self.world.store.read(
            f"/tool/xensnapd/snapshots/{self.domain.uuid}/current")

    def prepare(self):
        """All that comes before the operation."""

    def settle(self, reply):
        """What a toolstack does about a failure, if the domain waits for
        it."""

    def check(self, reply):
        """What this operation promises besides."""


class Create(Recipe):
    """One external disk, one internal."""

    disks = (("xvda", "qcow2"), ("xvdb", "qcow2"))
    operation = "create"
    keys = {"name": "s1", "memory": 0, "disks/xvdb/external": 0}

    def prepare(self):
        self.write("xvda", 0)
        self.write("xvdb", 0)

    def check(self, reply):
        done = reply["state"] == "done"
        assert self.published() == ({"s1"} if done else set())
        assert self.current() == ("s1" if done else None)
        assert len(self.domain.chain("xvda")) == (2 if done else 1)


class Checkpoint(Create):
    """With the memory, for which the guest stands still."""

    keys = {"name": "s1", "memory": 1}


class DeleteActive(Recipe):
    """The active image is merged into the one under it."""

    operation = "delete"
    keys = {"name": "s1"}
    depth_after = 1
    left = set()

    def prepare(self):
        self.write("xvda", 0)
        self.create("s1")
        self.write("xvda", 1)

    def settle(self, reply):
        # What failed behind the first change is finished by asking again.
        if self.keys["name"] in self.published():
            self.ask("delete", **self.keys)

    def check(self, reply):
        assert self.published() == self.left
        if self.runs:
            assert len(self.domain.chain("xvda")) == self.depth_after


class DeleteCheckpoint(DeleteActive):
    """With the memory, and the overlay for `xl restore`."""

    def prepare(self):
        self.write("xvda", 0)
        self.ask("create", name="s1", live=0)
        self.write("xvda", 1)


class DeleteInner(DeleteActive):
    """Two images beneath the active one are merged."""

    depth_after = 2
    left = {"s2"}

    def prepare(self):
        super().prepare()
        self.create("s2")
        self.write("xvda", 2)


class DeleteStreamed(DeleteInner):
    """What the snapshot holds goes into the larger image over it."""

    keys = {"name": "s2"}
    left = {"s1"}

    def prepare(self):
        super().prepare()
        for place in range(3, 8):
            self.write("xvda", place)


class DeleteInternal(DeleteActive):
    """One inside of the image."""

    def prepare(self):
        self.write("xvda", 0)
        self.create("s1", **{"disks/xvda/external": 0})
        self.write("xvda", 1)


class DeleteOffline(DeleteInner):
    """By qemu-img: the domain does not run."""

    runs = False

    def prepare(self):
        super().prepare()
        self.domain.disks["xvda"].front.flush()
        self.top = self.domain.chain("xvda")[0][0]
        self.world.remove_domain(self.domain)

    def check(self, reply):
        super().check(reply)
        copy = f"{self.world.folder}/content"
        qemu_img("convert", "-f", "qcow2", "-O", "raw", self.top, copy)
        with open(copy, "rb") as file:
            for (_, offset), data in self.data.items():
                file.seek(offset)
                assert file.read(PIECE) == data, hex(offset)


class Rescan(Recipe):
    """The toolstack put an overlay over the active image."""

    operation = "rescan"

    def prepare(self):
        self.write("xvda", 0)
        self.create("s1")
        self.write("xvda", 1)
        self.domain.disks["xvda"].front.flush()
        self.grow()

    def grow(self):
        self.top = overlay(self.world, self.domain.chain("xvda")[0][0], "new")
        self.foreign.add(self.top)
        self.keys = {**self.keys, "disks/xvda/path": self.top,
                     "disks/xvda/format": "qcow2"}

    def settle(self, reply):
        # A hold is for whoever began it to end, one of a dead request's is not.
        if self.is_held():
            self.agent.wait_ready()
            self.agent.request("rescan", {"phase": "complete"}, domain="alice")

    def is_held(self):
        return bool(int(self.world.xen.get(self.domain.domid)["paused"]))

    def check(self, reply):
        if reply["state"] == "done":
            assert self.domain.chain("xvda")[0][0] == self.top
        assert self.published() == {"s1"}


class Prepare(Rescan):
    """It is about to change."""

    keys = {"phase": "prepare", "hold": 60}

    def grow(self):
        self.top = self.domain.chain("xvda")[0][0]

    def settle(self, reply):
        if reply["state"] == "done":
            assert self.is_held()
            assert not self.domain.open_files()
            self.ask("rescan", phase="complete")
            return
        self.world.eventually(lambda: not self.is_held(), 30,
                              "the domain let go")
        # A hold that came to its end is remembered until somebody asks.
        self.agent.request("rescan", {"phase": "complete"}, domain="alice")


class Complete(Rescan):
    """It has changed."""

    keys = {"phase": "complete"}

    def grow(self):
        active = self.domain.chain("xvda")[0][0]
        self.ask("rescan", phase="prepare", hold=60)
        self.top = overlay(self.world, active, "new")
        self.foreign.add(self.top)
        self.keys = {**self.keys, "disks/xvda/path": self.top}

    def settle(self, reply):
        # Held for another try, unless letting go came first.
        if reply["state"] != "done" and self.is_held():
            self.agent.request("rescan", self.keys, domain="alice")


class Abort(Complete):
    """It has not changed after all."""

    keys = {"phase": "abort"}

    def grow(self):
        self.top = self.domain.chain("xvda")[0][0]
        self.ask("rescan", phase="prepare", hold=60)


class Revert(Recipe):
    """The running domain goes back, with its memory, whose content nobody
    looks at. Its running state is kept until then."""

    operation = "revert"
    keys = {"name": "s1"}
    memory = 1
    # Where the domain is neither there nor gone.
    always = ("libxl libxl_domain_destroy", "unlink /var/run/xen/qmp-libxenstat")

    def __init__(self, world, agent):
        super().__init__(world, agent)
        self.toolstack = Toolstack(world)

    def prepare(self):
        self.write("xvda", 0)
        self.ask("create", name="s1", memory=self.memory)
        self.then = dict(self.data)
        self.write("xvda", 1)
        self.domain.disks["xvda"].front.flush()

    def settle(self, reply):
        if self.toolstack.made:
            self.domain = self.toolstack.made[-1]
        if reply["state"] == "done":
            self.data = {**self.then, ("xvda", 65536): bytes(PIECE)}

    def check(self, reply):
        assert self.published() == {"s1"}
        assert len(self.world.xen.domids()) == 2, "dom0 and one domain"


class RevertByBooting(Revert):
    """To the disks alone, and its new domain is booted."""

    keys = {"name": "s1", "start": "boot"}
    memory = 0
    # The folder for the running state is made for that alone.
    always = ("make running-state",)


class OfBoth(Recipe):
    """With a disk that a driver domain serves, whose agent has its part."""

    def make_domain(self):
        driver = self.world.add_domain("storage", disks=())
        self.backend = Backend(self.world, self.agent.program, driver).start()
        return self.world.add_domain("alice", disks=[
            ("xvda", "qcow2"), Disk("xvdb", "raw", driver=driver, devd=True)])

    def checkpoint(self):
        self.ask("create", name="s1", live=0, disks="xvda xvdb")


class DeleteOfBoth(OfBoth):
    """The active images of both are merged into those under them."""

    operation = "delete"
    keys = {"name": "s1"}

    def prepare(self):
        for vdev in self.domain.disks:
            self.write(vdev, 0)
        self.checkpoint()
        for vdev in self.domain.disks:
            self.write(vdev, 1)

    def settle(self, reply):
        # What failed behind the first change is finished by asking again, once the
        # domain is let go.
        self.world.eventually(lambda: self.world.xen.get(self.domain.domid)["paused"] == "0",
                              30, "the domain let go")
        if "s1" in self.published():
            self.world.eventually(lambda: self.agent.request(
                "delete", self.keys, domain="alice")["state"] == "done", 30, "deleted")

    def check(self, reply):
        assert self.published() == set()
        assert {len(self.domain.chain(vdev)) for vdev in self.domain.disks} == {1}


class RescanOfBoth(OfBoth):
    """The toolstack put an overlay over the active image of each."""

    operation = "rescan"
    keys = {"disks": "xvda xvdb"}

    def prepare(self):
        for vdev in self.domain.disks:
            self.write(vdev, 0)
        self.checkpoint()
        self.tops = {}
        for vdev in self.domain.disks:
            self.write(vdev, 1)
            self.domain.disks[vdev].front.flush()
            top = overlay(self.world, self.domain.chain(vdev)[0][0], f"new-{vdev}")
            self.tops[vdev] = top
            self.foreign.add(top)
            self.keys = {**self.keys, f"disks/{vdev}/path": top,
                         f"disks/{vdev}/format": "qcow2"}

    def settle(self, reply):
        self.world.eventually(lambda: self.world.xen.get(self.domain.domid)["paused"] == "0",
                              30, "the domain let go")

    def check(self, reply):
        tops = {vdev: self.domain.chain(vdev)[0][0] for vdev in self.domain.disks}
        if reply["state"] == "done":
            assert tops == self.tops
        assert self.published() == {"s1"}


class RevertOfBoth(OfBoth, Revert):
    """Both go back."""

    always = ("libxl libxl_domain_destroy", "xenstore prepare", "xenstore commit")

    def prepare(self):
        for vdev in self.domain.disks:
            self.write(vdev, 0)
        self.checkpoint()
        self.then = dict(self.data)
        for vdev in self.domain.disks:
            self.write(vdev, 1)
            self.domain.disks[vdev].front.flush()

    def settle(self, reply):
        super().settle(reply)
        if reply["state"] == "done":
            self.data["xvdb", 65536] = bytes(PIECE)
        self.world.eventually(lambda: not [name for name in self.backend.records()
                                           if "op-" in name], 30, "no note there")

    def check(self, reply):
        assert self.published() == {"s1"}
        assert len(self.world.xen.domids()) == 3, "dom0, the driver domain and one more"


class StartFromSnapshot(Recipe):
    """A revert of a domain that does not run. Only a hypervisor can start it,
    so that here it fails at the latest in its step `restore`: what was before
    is to be put back."""

    operation = "revert"
    keys = {"name": "s1", "start": "boot"}
    runs = False

    def prepare(self):
        self.write("xvda", 0)
        self.create("s1")
        self.domain.disks["xvda"].front.flush()
        self.world.remove_domain(self.domain)

    def check(self, reply):
        assert reply["state"] == "failed", reply
        assert self.published() == {"s1"}


class Internal(Recipe):
    """Two disks whose snapshots are internal, and one whose is external. What
    those hold is kept until the revert is over, and put back where it fails."""

    disks = (("xvda", "qcow2"), ("xvdb", "qcow2"), ("xvdc", "qcow2"))
    operation = "revert"
    may_leak = True
    refuse = 0  # how many domains the toolstack does not make
    memory = 0

    def __init__(self, world, agent):
        super().__init__(world, agent)
        self.toolstack = Toolstack(world)
        self.inside = [self.domain.disks[vdev].path for vdev in ("xvda", "xvdb")]

    def prepare(self):
        for vdev in self.domain.disks:
            self.write(vdev, 0)
        self.ask("create", name="s1", memory=self.memory,
                 **{"disks/xvda/external": 0, "disks/xvdb/external": 0})
        self.then = {**self.data, **{(vdev, 65536): bytes(PIECE)
                                     for vdev in self.domain.disks}}
        for vdev in self.domain.disks:
            self.write(vdev, 0)
            self.write(vdev, 1)
            self.domain.disks[vdev].front.flush()
        self.tops = {vdev: self.domain.chain(vdev)[0][0] for vdev in self.domain.disks}
        self.toolstack.refuse = self.refuse

    def settle(self, reply):
        if reply["state"] == "done" or "snapshot's disks" in reply.get("error/message", ""):
            self.data = self.then

    def check(self, reply):
        assert self.published() == {"s1"}
        told = reply.get("error/message", "") + reply.get("result/warning", "")
        for path in self.inside:
            kept = [name for name in internal_snapshots(path) if name != "s1"]
            assert "s1" in internal_snapshots(path)
            assert all(name in told for name in kept), (path, kept)
        if not self.runs:
            for (vdev, offset), data in self.data.items():
                assert content(self.tops[vdev], offset) == data, (vdev, hex(offset))


class StartFromInternal(Internal):
    """The domain does not run, and it does not after a failure."""

    keys = {"name": "s1", "start": "boot"}

    def prepare(self):
        super().prepare()
        self.world.remove_domain(self.domain)

    def settle(self, reply):
        super().settle(reply)
        self.runs = reply["state"] == "done"
        if self.runs:
            self.domain = self.toolstack.made[-1]


class StartFromInternalRefused(StartFromInternal):
    """No domain can be made."""

    # Each of what is kept, applied, put back and deleted.
    always = ("fork",)
    runs = False
    refuse = 100

    def check(self, reply):
        assert reply["state"] == "failed", reply
        super().check(reply)


class RevertInternal(Internal):
    """A domain that runs."""

    keys = {"name": "s1"}
    memory = 1

    def settle(self, reply):
        super().settle(reply)
        if self.toolstack.made:
            self.domain = self.toolstack.made[-1]

    def check(self, reply):
        super().check(reply)
        assert len(self.world.xen.domids()) == 2, "dom0 and one domain"


class RevertInternalRefused(RevertInternal):
    """The domain is brought back to the state that it was in."""

    refuse = 1
    always = ("unlink running-state", "unlink alice-xvdc.s1-1.qcow2")


RECIPES = {
    "create": Create,
    "checkpoint": Checkpoint,
    "delete-active": DeleteActive,
    "delete-checkpoint": DeleteCheckpoint,
    "delete-inner": DeleteInner,
    "delete-streamed": DeleteStreamed,
    "delete-internal": DeleteInternal,
    "delete-offline": DeleteOffline,
    "rescan": Rescan,
    "rescan-prepare": Prepare,
    "rescan-complete": Complete,
    "rescan-abort": Abort,
    "revert": Revert,
    "revert-by-booting": RevertByBooting,
    "revert-of-both": RevertOfBoth,
    "delete-of-both": DeleteOfBoth,
    "rescan-of-both": RescanOfBoth,
    "start-from-snapshot": StartFromSnapshot,
    "start-from-internal": StartFromInternal,
    "start-from-internal-refused": StartFromInternalRefused,
    "revert-internal": RevertInternal,
    "revert-internal-refused": RevertInternalRefused,
}
