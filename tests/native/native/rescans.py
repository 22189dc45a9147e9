# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of rescans have in common: a guest that writes all the time, and what a
toolstack does to the chain of its disk xvda meanwhile."""

import contextlib
import hashlib
import os
import random
import subprocess
import threading
import time
import traceback

SIZE = 64 << 20
PIECE = 4096


class Writer:
    """A guest that writes all the time, and remembers what. Like a guest's
    processor it only runs while its domain does: the shims' pause waits for
    the lock under which a request is put into the ring."""

    def __init__(self, domain, vdev="xvda", seed=1):
        self.front = domain.disks[vdev].front
        self.domain, self.vdev = domain, vdev
        self.written = {}
        self.error = None
        self.count = 0
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._word = self.front._word
        self.front._word = self._gated_word
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _gated_word(self, index, value=None):
        if index != 0 or value is None:
            return self._word(index, value)
        xen = self.domain.world.xen
        while True:
            with xen.lock():
                if xen.is_running(self.domain.domid):
                    return self._word(0, value)
            time.sleep(0.001)

    def _run(self):
        try:
            while not self._stop.is_set():
                offset = self._random.randrange(SIZE // PIECE) * PIECE
                data = self._random.randbytes(64) * (PIECE // 64)
                self.front.write(offset, data)
                self.written[offset] = data
                self.count += 1
                if self.count % 50 == 0:
                    self.front.flush()
        except Exception:  # pylint: disable=broad-except
            self.error = traceback.format_exc()

    def progress(self, more=20, timeout=20):
        """Waits until the guest has got on."""
        goal, deadline = self.count + more, time.monotonic() + timeout
        while self.count < goal:
            assert self.error is None, (self.vdev, self.error)
            assert time.monotonic() < deadline, "the guest does not get on"
            time.sleep(0.005)

    def stop(self):
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "the guest hangs"
        self.front._word = self._word
        assert self.error is None, (self.vdev, self.error)

    def check(self):
        """Everything written is there."""
        self.stop()
        for offset, data in self.written.items():
            assert self.front.read(offset, PIECE) == data, hex(offset)
        self.front.flush()

    def checksum(self):
        image = bytearray(SIZE)
        for offset, data in self.written.items():
            image[offset:offset + PIECE] = data
        return hashlib.sha256(image).hexdigest()


@contextlib.contextmanager
def unheard(front):
    """For three seconds QEMU does not hear of what is put into the ring: the guest's
    processor was stopped in between."""
    notify = front._ports.notify
    silent = threading.Event()
    front._ports.notify = lambda port: None if silent.is_set() else notify(port)

    def wake():
        time.sleep(3)
        silent.clear()
        notify(front._port)
    silent.set()
    thread = threading.Thread(target=wake)
    thread.start()
    yield
    thread.join()


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


def content(path, disk_format):
    """What a guest would see, as the file has it."""
    copy = f"{path}.content"
    qemu_img("convert", "-U", "-f", disk_format, "-O", "raw", path, copy)
    with open(copy, "rb") as file:
        result = hashlib.sha256(file.read()).hexdigest()
    os.unlink(copy)
    return result


def paths(domain, vdev="xvda"):
    return [path for path, _ in domain.chain(vdev)]


def paused(domain):
    return int(domain.world.xen.get(domain.domid)["paused"])


def commit_middle(world, domain, keys):
    """An inner image committed into its base and unlinked."""
    active, middle, base = paths(domain)
    yield
    qemu_img("commit", "-q", "-d", "-f", "qcow2", middle)
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", base, "-F", "raw", active)
    os.unlink(middle)
    yield [active, base]


def rebase_active(world, domain, keys):
    """What lay in the inner image pulled up."""
    active, middle, base = paths(domain)
    yield
    qemu_img("rebase", "-f", "qcow2", "-b", base, "-F", "raw", active)
    os.unlink(middle)
    yield [active, base]


def move_base(world, domain, keys):
    active, middle, base = paths(domain)
    moved = "/run/moved-base.raw"  # another file system
    yield
    subprocess.run(["mv", base, moved], check=True)
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", moved, "-F", "raw", middle)
    yield [active, middle, moved]


def convert_base(world, domain, keys):
    active, middle, base = paths(domain)
    converted = f"{world.images}/base.qcow2"
    yield
    qemu_img("convert", "-f", "raw", "-O", "qcow2", base, converted)
    os.unlink(base)
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", converted, "-F", "qcow2", middle)
    yield [active, middle, converted]


def overlay(world, domain, keys):
    active = paths(domain)[0]
    made = f"{world.images}/toolstack.qcow2"
    yield
    qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", made)
    keys.update({"disks/xvda/path": made, "disks/xvda/format": "qcow2"})
    yield [made, active]


def flatten(world, domain, keys):
    flat = f"{world.images}/flat.qcow2"
    active, middle, base = paths(domain)
    yield
    qemu_img("convert", "-f", "qcow2", "-O", "qcow2", active, flat)
    for path in (active, middle, base):
        os.unlink(path)
    keys.update({"disks/xvda/path": flat})
    yield [flat]


def flatten_to_raw(world, domain, keys):
    flat = f"{world.images}/flat.raw"
    active = paths(domain)[0]
    yield
    qemu_img("convert", "-f", "qcow2", "-O", "raw", active, flat)
    keys.update({"disks/xvda/path": flat, "disks/xvda/format": "raw"})
    yield [flat]


def nothing(world, domain, keys):
    before = paths(domain)
    yield
    yield before
