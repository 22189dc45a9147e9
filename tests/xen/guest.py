# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose main program is guest/tick.c: how to make one and how to see what
has become of it."""

import os
import re
import select
import shutil
import signal
import stat
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from waiting import GrowingFile, WaitFailed
from xenstore import Store

ARTIFACTS = Path(os.environ.get("ARTIFACTS_IN_DOM0", "/run/artifacts"))
IMAGES = Path("/var/lib/xen/images")
CONSOLES = Path("/var/log/xen/console")
LIMIT = 300

# The letter in the fifth column of `xl list`, by what made the domain shut down.
SHUTDOWN_REASONS = {"-": "poweroff", "r": "reboot", "s": "suspend", "c": "crash",
                    "w": "watchdog", "S": "soft-reset"}

# An unpacked kernel starts faster; only QEMU, which loads an HVM guest's kernel,
# needs the packed one.
KINDS = {
    "pv": ["type='pv'", f"kernel='{ARTIFACTS}/kernel/vmlinux'"],
    "pvh": ["type='pvh'", f"kernel='{ARTIFACTS}/kernel/vmlinux'"],
    "hvm": ["type='hvm'", f"kernel='{ARTIFACTS}/kernel/vmlinuz'",
            "vnc=0", "vga='none'", "usb=0"],
}


def xl(*arguments, limit=LIMIT):
    """Run xl and return what it prints; what it says on failure is in the error."""
    done = subprocess.run(["xl", *map(str, arguments)], check=False, timeout=limit,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise AssertionError(f"xl {' '.join(map(str, arguments))}: exit status "
                             f"{done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Disk:
    """`backend` is libxl's backendtype: qdisk (QEMU) or phy (the kernel). `driver`
    is the driver domain (driver.py) that has the image and serves it."""
    vdev: str
    format: str = "qcow2"
    backend: str = "qdisk"
    size: str = "64M"
    readonly: bool = False
    driver: object = None


class Guest:
    """Found by its name each time, since a reboot or a revert changes its domid."""

    def __init__(self, name):
        self.name = name
        self.kind = None
        self.images = {}
        self.folder = IMAGES / name
        self.config_path = self.folder / "config"
        self.console = GrowingFile(CONSOLES / f"guest-{name}.log")
        self.store = Store()

    # --- life

    def create(self, kind="pv", disks=(Disk("xvda"),), memory=None, hz=2, paused=False,
               wait=True, **extra):
        """Make images and configuration, start the guest, and wait until it ticks.
        `extra` goes into xl's configuration: on_reboot="preserve"."""
        self.kind = kind
        # An earlier guest of that name may have left overlays there.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for disk in disks:
            self._make_image(disk)
        memory = memory or (128 if kind == "pv" else 160)
        self.config_path.write_text(self._config(kind, disks, memory, hz, extra))
        self.start(paused=paused, wait=wait)
        return self

    def start(self, paused=False, wait=True):
        """Start it (again) from its configuration."""
        mark = self.console.size()
        xl("create", *(["-p"] if paused else []), self.config_path)
        if wait and not paused:
            self.wait_boot(since=mark)

    def start_on(self, **images):
        """As its owner does, by the configuration: on these images of its disks."""
        text = self.config_path.read_text()
        for vdev, image in images.items():
            text = re.sub(rf"(vdev={vdev},[^']*target=)[^']*", rf"\g<1>{image}", text)
        self.config_path.write_text(text)
        self.start()

    def save(self, path, leave_running=True):
        xl("save", *(["-c"] if leave_running else []), self.name, path)

    def restore(self, path):
        xl("restore", path)

    def destroy(self):
        """End it, whatever state it is in; fine when there is none."""
        while (domid := self.domid) is not None:
            xl("destroy", domid)
            self.store.wait(f"/local/domain/{domid}", None)

    def close(self):
        self.destroy()
        self.store.close()

    # --- identity

    @property
    def domid(self):
        for domid in self.store.ls("/local/domain"):
            if self.store.read(f"/local/domain/{domid}/name") == self.name:
                return int(domid)
        return None

    @property
    def path(self):
        """Its folder in xenstore, which has to exist."""
        domid = self.domid
        if domid is None:
            raise AssertionError(f"there is no domain {self.name}")
        return f"/local/domain/{domid}"

    @property
    def uuid(self):
        return self.store.read(f"{self.path}/vm").removeprefix("/vm/")

    def state(self):
        """running, paused, dying, a reason of SHUTDOWN_REASONS, None (no domain)."""
        listed = re.search(rf"^{re.escape(self.name)} .*?([r-][b-][p-][s-]\S[d-])\s",
                           xl("list"), re.MULTILINE)
        if not listed:
            return None
        flags = listed.group(1)
        if flags[5] == "d":
            return "dying"
        if flags[3] == "s":
            return SHUTDOWN_REASONS[flags[4]]
        return "paused" if flags[2] == "p" else "running"

    def wait_state(self, *states, limit=LIMIT):
        """Wait until state() is one of these. xenstored says that some domain
        shut down or went away, not which: so each time, look."""
        def reached(_):
            return self.state() in states

        try:
            self.store.wait("@releaseDomain", reached, limit)
        except WaitFailed:
            raise WaitFailed(f"{self.name} is {self.state()} instead of {states} "
                             f"after {limit} s") from None

    # --- console

    def ticks(self):
        """The last tick on the console."""
        seen = re.findall(r"^tick (\d+)$", self.console.text(), re.MULTILINE)
        return int(seen[-1]) if seen else None

    def wait_boot(self, since=0, limit=LIMIT):
        """Wait for the first tick of a boot; returns {vdev: tick on that disk}."""
        line = self.wait_console(r"boot: ?(.*) id=\S+", since=since, limit=limit)
        self.wait_console(r"tick \d+", since=since, limit=limit)
        return {vdev: int(n) for vdev, n in
                (pair.split("=") for pair in line.group(1).split())}

    def wait_tick(self, at_least=None, more=None, limit=LIMIT):
        """Wait for `more` ticks from now on (default 2), or until a tick that is
        `at_least` so high is the last one. Returns the last tick."""
        if at_least is None:
            self._wait_more_ticks(more or 2, limit)
        else:
            self.console.wait(lambda _: (self.ticks() or 0) >= at_least, limit,
                              f"tick {at_least}")
        return self.ticks()

    def _wait_more_ticks(self, more, limit):
        mark = self.console.size()
        self.console.wait(lambda text: len(re.findall(r"^tick \d+$", text, re.M)) >= more,
                          limit, f"{more} more ticks", since=mark)

    def wait_console(self, pattern, since=0, limit=LIMIT):
        """Wait for a line that matches; returns the match."""
        return self.console.wait_match(pattern, limit, since)

    def command(self, text, expect=None, limit=LIMIT):
        """Type a command of guest/tick.c; with `expect`, wait for its answer."""
        mark = self.console.size()
        tty = self.store.wait(f"{self.path}/console/tty", bool, limit)
        with open(tty, "wb", buffering=0) as console:
            console.write(text.encode() + b"\n")
        return self.wait_console(expect, since=mark, limit=limit) if expect else None

    def write_key(self, key, value):
        self.command(f"write {key} {value}", rf"written {key} .*")

    def read_key(self, key):
        """{vdev: text} of what `write_key` put there."""
        return _pairs(self.command(f"read {key}", rf"value {key}( .*)?").group(1))

    def checksums(self):
        """{vdev: checksum of the area that only commands change}."""
        return _pairs(self.command("sum", r"sum( .*)?").group(1))

    def complete_records(self):
        """{vdev: (first, last)}: the unbroken row of ticks found on that disk."""
        rows = _pairs(self.command("verify", r"records( .*)?").group(1))
        return {vdev: tuple(map(int, row.split(".."))) for vdev, row in rows.items()}

    # --- device model and images

    @property
    def qemu_pid(self):
        pid = self.store.read(f"{self.path}/image/device-model-pid")
        return int(pid) if pid else None

    def kill_qemu(self):
        """As a crash of it would; its disks do not answer any more then."""
        qemu = os.pidfd_open(self.qemu_pid)
        signal.pidfd_send_signal(qemu, signal.SIGKILL)
        ended = select.select([qemu], [], [], LIMIT)[0]
        os.close(qemu)
        assert ended, "QEMU does not end"

    def open_files(self):
        """The images that its QEMU has open."""
        found = set()
        folder = Path(f"/proc/{self.qemu_pid}/fd")
        for entry in folder.iterdir():
            try:
                if stat.S_ISREG(entry.stat().st_mode):
                    found.add(os.readlink(entry))
            except FileNotFoundError:
                continue
        return {name for name in found
                if not name.startswith(("/dev/", "/proc/", "/memfd:", "/var/log/"))}

    def image(self, vdev):
        """The image that the disk was created with."""
        return self.images[vdev]

    def _make_image(self, disk):
        path = self.images[disk.vdev] = self.folder / f"{disk.vdev}.{disk.format}"
        command = f"qemu-img create -q -f {disk.format} {path} {disk.size}"
        if disk.driver:
            disk.driver.run(f"mkdir -p {self.folder} && {command}")
        else:
            subprocess.run(command.split(), check=True)

    def _config(self, kind, disks, memory, hz, extra):
        lines = [f"name='{self.name}'", f"uuid='{uuid.uuid4()}'", f"memory={memory}",
                 "vcpus=1", f"ramdisk='{ARTIFACTS}/guest-initrd.cpio'",
                 f"cmdline='console=hvc0 quiet mitigations=off tick.hz={hz}'",
                 f"disk={[self.disk_line(disk) for disk in disks]}"]
        settings = [f"{name}={value!r}" for name, value in extra.items()]
        return "\n".join(lines + KINDS[kind] + settings) + "\n"

    def disk_line(self, disk):
        """As in a configuration, and for `xl block-attach`."""
        access = "r" if disk.readonly else "rw"
        backend = f"backend={disk.driver.name}," if disk.driver else ""
        # `target` takes the rest of the line, so it comes last.
        return (f"format={disk.format},vdev={disk.vdev},access={access},"
                f"backendtype={disk.backend},{backend}"
                f"target={self.folder / f'{disk.vdev}.{disk.format}'}")


def _pairs(text):
    """" xvda=one two xvdb=three" as {"xvda": "one two", "xvdb": "three"}."""
    return dict(re.findall(r"(xvd\w+)=(.*?)(?= xvd\w+=|$)", text or ""))


class Guests:
    """Makes guests and ends those that are left, at the end of a test."""

    def __init__(self):
        self.made = []

    def __call__(self, name, **options):
        guest = Guest(name)
        self.made.append(guest)
        return guest.create(**options)

    def close(self):
        while self.made:
            self.made.pop().close()

    def report(self):
        """For a failed test: the end of each console."""
        return [(f"console of {guest.name}", guest.console.tail(30))
                for guest in self.made]
