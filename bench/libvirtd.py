# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's daemon with its QEMU driver, for the benchmark alone, and domains of
it: emulated and never started, with the disks that the other contestants have.

tests/native/run has given the benchmark an empty /run, so the daemon's sockets are
where every client looks for them. Its settings and what it keeps are in memory, in
a mount namespace of its own: a libvirt that this machine has is not touched."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from native.domain import Disk

URI = "qemu:///system"
EMULATOR = "/usr/bin/qemu-system-x86_64"
LIMIT = 120

# No driver but QEMU's, and nothing around a domain that is not asked for here.
DRIVER = "libvirt_driver_qemu.so"
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
SETTINGS = {
    "libvirtd.conf": 'auth_unix_rw = "none"\nlog_outputs = "3:stderr"\n',
    "qemu.conf": 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
                 "dynamic_ownership = 0\nremember_owner = 0\nnamespaces = []\n"
                 'cgroup_controllers = []\nstdio_handler = "file"\n'}
# Debian's has to find a user of that name, whatever its settings name, and a
# package that is not needed here makes it.
START = """
{ cat /etc/passwd; echo libvirt-qemu:x:64055:64055::/:/bin/false; } >"$1/passwd"
{ cat /etc/group; echo libvirt-qemu:x:64055:; } >"$1/group"
mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group || exit
for folder in /etc/libvirt /var/lib /var/cache /var/log; do
    mount -t tmpfs libvirt "$folder" || exit
done
cp "$1"/*.conf /etc/libvirt && exec libvirtd
"""

DOMAIN = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>{emulator}</emulator>
{disks}    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""
DISK = """    <disk type='file' device='disk'>
      <driver name='qemu' type='{disk.format}'/>
      <source file='{disk.path}'/>
      <target dev='{disk.vdev}' bus='virtio'/>
    </disk>
"""


def _driver():
    found = (Path(folder, "libvirt/connection-driver", DRIVER)
             for folder in FOLDERS)
    return next(filter(Path.exists, found), None)


def missing(tools):
    """Why there is no such contestant; None if there is."""
    for program in ("libvirtd", "virsh", EMULATOR):
        if not shutil.which(program):
            return f"no {program}"
    if not _driver():
        return f"no {DRIVER}"
    if not os.path.exists(f"{tools}/libvirt"):
        return "no headers of libvirt"
    # libvirtd sets groups before it starts QEMU, which in a user namespace
    # (tests/native/run, not as root) is forbidden.
    if Path("/proc/self/setgroups").read_text(encoding="ascii") == "deny\n":
        return "needs root"
    return None


def version():
    return subprocess.run(["libvirtd", "--version"], check=True, text=True,
                          capture_output=True).stdout.strip()


def virsh(*arguments):
    done = subprocess.run(["virsh", "-q", "-c", URI, *arguments], text=True,
                          check=False, timeout=LIMIT, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"virsh {' '.join(arguments)}: {done.stderr}")


class Daemon:
    """One that runs, until close()."""

    def __init__(self, world):
        self._world = world
        folder = Path(world.folder, "libvirt")
        drivers = folder / "drivers"
        drivers.mkdir(parents=True)
        (drivers / DRIVER).symlink_to(_driver())
        for name, text in SETTINGS.items():
            (folder / name).write_text(text, encoding="ascii")
        notify = "/run/libvirt-notify"  # a socket's path must not be long
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(notify)
            ready.settimeout(LIMIT)
            self._process = world.spawn(
                ["unshare", "--mount", "sh", "-c", START, "sh", str(folder)],
                "libvirtd.log", cwd="/",
                env={**world.environment(), "NOTIFY_SOCKET": notify,
                     "LIBVIRT_DRIVER_DIR": str(drivers)})
            try:
                self._wait(ready)
            except (RuntimeError, TimeoutError) as error:
                log = Path(world.folder, "libvirtd.log")
                raise RuntimeError(f"{error}\n{log.read_text()}") from error

    @staticmethod
    def _wait(ready):
        while b"READY=1" not in ready.recv(4096):
            pass
        virsh("list")  # answers when its driver is up

    def add_domain(self, name, letters):
        return Guest(self._world, name, letters)

    def close(self):
        """Domains go first: it would leave theirs running."""
        self._process.terminate()
        self._process.wait(LIMIT)


class Guest:
    """A transient domain whose processor never runs."""

    def __init__(self, world, name, letters):
        self.name = name
        self.disks = [Disk(f"vd{letter}", size="10G") for letter in letters]
        for disk in self.disks:
            disk.make_image(world.images, name)
        config = Path(world.folder, f"{name}.xml")
        config.write_text(DOMAIN.format(
            name=name, emulator=EMULATOR,
            disks="".join(DISK.format(disk=disk) for disk in self.disks)),
            encoding="ascii")
        virsh("create", "--paused", str(config))

    def close(self):
        virsh("destroy", self.name)


class VirshProcess:
    """A process of virsh for each snapshot; measured like a Program."""

    def __init__(self, world, guest):
        self._guest = guest
        self._round = 0
        self._environment = world.environment()
        self._virsh = shutil.which("virsh")

    def _arguments(self):
        arguments = ["virsh", "-q", "-c", URI, "snapshot-create-as",
                     self._guest.name, f"virsh{self._round}", "--disk-only",
                     "--atomic", "--no-metadata"]
        for disk in self._guest.disks:
            overlay = f"{disk.path}.virsh{self._round}"
            arguments += ["--diskspec", f"{disk.vdev},file={overlay}"]
        return arguments

    def measure(self):
        """Microseconds."""
        arguments = self._arguments()
        self._round += 1
        # Not by subprocess, which takes a millisecond of its own.
        began = time.perf_counter()
        pid = os.posix_spawn(self._virsh, arguments, self._environment)
        status = os.waitpid(pid, 0)[1]
        taken = time.perf_counter() - began
        if status:
            raise RuntimeError(f"{' '.join(arguments)}: {status}")
        return taken * 1e6

    def close(self):
        """No process is left."""
