# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain as libxl leaves it behind: hypervisor, xenstore, stored
configuration, and the real Xen QEMU serving its disks."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import uuid as uuid_module

from native import loop
from native.tools import xen_tool
from native.blkfront import BlkFront
from native.hypervisor import REBOOT, POWEROFF, STORE_PORT, SUSPEND
from native.qmp import Qmp, QmpError
from native.relay import Relay
from native.ring import GuestXenstore

QEMU = "/usr/libexec/xen-qemu-system-i386"
USERDATA = "/var/lib/xen/userdata-d"
_GUEST_WRITABLE = ("control/shutdown", "control/feature-poweroff",
                   "control/feature-reboot", "control/feature-suspend",
                   "control/sysrq", "device/suspend/event-channel", "data",
                   "drivers", "feature", "attr", "error")


@dataclasses.dataclass
class Disk:
    """What a test says about a disk; `path` is filled in where it is not."""
    vdev: str
    format: str = "qcow2"
    size: str = "64M"
    path: str = None        # made by the harness where absent
    block: bool = False     # on a loop device
    readonly: bool = False
    cdrom: bool = False     # without a path: an empty drive
    backend: str = "qdisk"  # or "phy": no QEMU
    driver: object = None   # the Domain that serves it: no QEMU either,
    devd: bool = False      # unless it is played

    def __post_init__(self):
        self.front = None
        self.loop = None

    @property
    def devid(self):
        number = ord(self.vdev[-1]) - ord("a")
        if self.vdev.startswith("xvd"):
            return 202 << 8 | number << 4
        major = 3 if number < 2 else 22
        return major << 8 | (number & 1) << 6

    def make_image(self, folder, domain_name):
        if self.path is None and not self.cdrom:
            self.path = f"{folder}/{domain_name}-{self.vdev}.{self.format}"
            target = self.path
            if self.block:
                target += ".backing"
                subprocess.run(["truncate", "-s", "256M", target], check=True)
                self.loop = loop.attach(target)
                target = self.path = self.loop.path
            subprocess.run(["qemu-img", "create", "-q", "-f", self.format,
                            target, self.size], check=True)
        if self.cdrom and self.path is None:
            self.format = "empty"

    def specification(self):
        """The line of an xl configuration."""
        parts = [f"vdev={self.vdev}",
                 f"access={'r' if self.readonly or self.cdrom else 'rw'}"]
        if self.format != "empty":
            parts.append(f"format={self.format}")
        if self.cdrom:
            parts.append("devtype=cdrom")
        if self.block:
            parts.append(f"backendtype={self.backend}")
        if self.driver:
            parts.append(f"backendtype=qdisk,backend={self.driver.name}")
        return ",".join([*parts, f"target={self.path or ''}"])

    @property
    def backend_domid(self):
        return self.driver.domid if self.driver else 0

    @property
    def in_qemu(self):
        return self.backend == "qdisk" and (self.devd or not self.driver)

    def params(self):
        if self.backend == "phy":
            return self.path
        name = "aio" if self.format in ("raw", "empty") else self.format
        return f"{name}:{self.path or ''}"


def _as_disk(disk):
    if isinstance(disk, Disk):
        return disk
    return Disk(**disk) if isinstance(disk, dict) else Disk(*disk)


class ServingQemu:
    """The QEMU of a driver domain that serves a guest's disks, as `xl devd` and
    our wrapper start it there."""

    def __init__(self, guest, driver):
        world = guest.world
        self.socket = guest.devd_qmp_path
        monitor = f"{world.xen.folder}/monitor-{driver.domid}-{guest.domid}"
        arguments = [QEMU, "-xen-domid", str(guest.domid), "-xen-attach",
                     "-machine", "xenpv", "-m", "32", "-nodefaults",
                     "-no-user-config", "-display", "none", "-vnc", "none"]
        environment = world.environment("hypervisor_shim.so")
        environment["LD_PRELOAD"] += f" {world.shims}/identity_shim.so"
        environment["FAKE_DOMID"] = str(driver.domid)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(monitor)
            listener.listen(1)
            for name, where in (("test", f"fd={listener.fileno()}"),
                                ("devd", f"path={self.socket}")):
                arguments += ["-chardev",
                              f"socket,id={name},{where},server=on,wait=off",
                              "-mon", f"chardev={name},mode=control"]
            self.process = world.spawn(
                arguments, f"qemu-{driver.domid}-{guest.domid}.log",
                env=environment, pass_fds=[listener.fileno()])
        self._monitor = Qmp(monitor)
        self.qmp = self._monitor.command
        world.store.write(f"{driver.path}/libxl/{guest.domid}/"
                          "qdisk-backend-pid", self.process.pid)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self._monitor.close()
        self.kill()


class Domain:
    """One domain. Made by World.add_domain()."""

    def __init__(self, world, domid, name, kind, disks, **settings):
        self.world = world
        self.domid = domid
        self.name = name
        self.kind = kind
        self.uuid = str(settings.pop("uuid", None) or uuid_module.uuid4())
        self.memory_kb = settings.pop("memory_kb", 131072)
        self.vcpus = settings.pop("vcpus", 1)
        self.responsive = settings.pop("responsive", True)
        self.emulated = settings.pop("emulated", False)
        self.devd = settings.pop("devd", False)
        self.paused = settings.pop("paused", 0)
        self.settings = settings
        self.disks = {}
        for disk in map(_as_disk, disks):
            disk.make_image(world.images, name)
            self.disks[disk.vdev] = disk
        self.qemu = None
        self.served = {}  # by driver domain
        self.relay = None
        self._monitor = None
        self._xenstore = None
        # Not in the test's folder: a socket's path has room for 107 bytes.
        self._monitor_path = f"{world.xen.folder}/monitor-{domid}"

    # -- paths ------------------------------------------------------------

    @property
    def path(self):
        return f"/local/domain/{self.domid}"

    def frontend_path(self, vdev):
        return f"{self.path}/device/vbd/{self.disks[vdev].devid}"

    def backend_path(self, vdev):
        disk = self.disks[vdev]
        kind = "vbd" if disk.backend == "phy" else "qdisk"
        return (f"/local/domain/{disk.backend_domid}/backend/{kind}/"
                f"{self.domid}/{disk.devid}")

    def libxl_path(self, vdev):
        return f"/libxl/{self.domid}/device/vbd/{self.disks[vdev].devid}"

    @property
    def config_path(self):
        return f"{USERDATA}.{self.domid}.{self.uuid}.libxl-json"

    @property
    def qmp_path(self):
        return f"/var/run/xen/qmp-libxl-{self.domid}"

    @property
    def devd_qmp_path(self):
        """As install/qemu-devd would give it."""
        return f"/run/xen/qmp-devd-{self.domid}"

    # -- coming up --------------------------------------------------------

    def start(self):
        self.world.xen.add(self.domid, self.uuid, self.kind, self.memory_kb,
                           self.vcpus, self.paused)
        self.world.store.transact(self._write_nodes)
        self.world.store.introduce(self.domid, 1, STORE_PORT)
        self._store_config()
        if any(disk.in_qemu and not disk.driver
               for disk in self.disks.values()):
            self._start_qemu()
        for driver in {disk.driver.domid: disk.driver
                       for disk in self.disks.values() if disk.devd}.values():
            self.served[driver.domid] = ServingQemu(self, driver)
        for vdev in self.disks:
            self._plug(vdev)

    def reintroduce(self):
        """Writes xenstore anew, after xenstored lost it."""
        self.world.store.transact(self._write_nodes)
        self.world.store.introduce(self.domid, 1, STORE_PORT)
        for vdev in self.disks:
            self.world.store.transact(lambda v=vdev: self._write_disk(v, 4))

    def _write_nodes(self):
        store, guest = self.world.store, f"n{self.domid}"
        readable = ("n0", f"r{self.domid}")
        vm_path = f"/vm/{self.uuid}"
        libxl = f"/libxl/{self.domid}"
        for path in (self.path, vm_path):
            store.mkdir(path)
            store.set_permissions(path, *readable)
        store.write(libxl, "")
        store.set_permissions(libxl, "n0")
        store.write(f"{self.path}/vm", vm_path)
        for name in ("cpu", "memory", "device", "control"):
            store.mkdir(f"{self.path}/{name}")
            store.set_permissions(f"{self.path}/{name}", *readable)
        for name in _GUEST_WRITABLE:
            store.write(f"{self.path}/{name}", "")
            store.set_permissions(f"{self.path}/{name}", guest)
        # An empty node here would be taken for a suspend event channel.
        store.rm(f"{self.path}/device/suspend")
        values = {
            "name": self.name, "domid": self.domid,
            "memory/static-max": self.memory_kb,
            "memory/target": self.memory_kb, "memory/videoram": 0,
            "store/port": STORE_PORT, "store/ring-ref": 1,
            "control/platform-feature-multiprocessor-suspend": 1,
            "control/platform-feature-xs_reset_watches": 1,
        }
        for cpu in range(self.vcpus):
            values[f"cpu/{cpu}/availability"] = "online"
        for key, value in values.items():
            store.write(f"{self.path}/{key}", value)
        store.write(f"{vm_path}/uuid", self.uuid)
        store.write(f"{vm_path}/name", self.name)
        store.write(f"{libxl}/type", self.kind)
        store.write(f"{libxl}/dm-version", "qemu_xen")

    def xl_config(self):
        """The domain as an xl configuration file."""
        lines = {"name": self.name, "type": self.kind, "uuid": self.uuid,
                 "memory": self.memory_kb // 1024, "vcpus": self.vcpus,
                 "disk": [disk.specification()
                          for disk in self.disks.values()]}
        if self.kind == "hvm":
            lines["vnc"] = 0
        else:
            lines["kernel"] = "/boot/vmlinuz"
        lines.update(self.settings)
        # Python's literals for text, numbers and lists are also xl's.
        return "".join(f"{key}={value!r}\n" for key, value in lines.items())

    def _store_config(self):
        """Lets xl itself turn the configuration into libxl's JSON."""
        file = f"{self.world.folder}/{self.name}.cfg"
        with open(file, "w", encoding="ascii") as out:
            out.write(self.xl_config())
        text = self.world.xl("create", "-n", "-q", file)
        with open(self.config_path, "wb") as out:
            # libxl counts the terminator as part of the data.
            out.write(text.encode() + b"\0")

    def stored_config(self):
        with open(self.config_path, "rb") as file:
            return json.loads(file.read().rstrip(b"\0"))

    # -- QEMU -------------------------------------------------------------

    def _start_qemu(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._monitor_path)
        with socket.socket(socket.AF_UNIX) as listener:
            # Bound before QEMU runs, so that the first connection waits for
            # the greeting instead of looking for the socket.
            listener.bind(self._monitor_path)
            listener.listen(1)
            self.qemu = self.world.spawn(
                self._qemu_arguments(listener.fileno()),
                f"qemu-{self.domid}.log", pass_fds=[listener.fileno()],
                shim="hypervisor_shim.so")
        self._monitor = Qmp(self._monitor_path)
        self.world.store.write(f"{self.path}/image/device-model-pid",
                               self.qemu.pid)

    def _qemu_arguments(self, monitor_fd):
        arguments = [QEMU, "-xen-domid", str(self.domid), "-no-shutdown"]
        sockets = (("libxl-cmd", f"path={self.qmp_path}"),
                   ("libxenstat-cmd",
                    f"path=/var/run/xen/qmp-libxenstat-{self.domid}"),
                   ("test-cmd", f"fd={monitor_fd}"))
        if self.devd:
            sockets += (("devd-cmd", f"path={self.devd_qmp_path}"),)
        for name, where in sockets:
            arguments += ["-chardev",
                          f"socket,id={name},{where},server=on,wait=off",
                          "-mon", f"chardev={name},mode=control"]
        arguments += ["-nodefaults", "-no-user-config", "-name", self.name,
                      "-vnc", "none", "-display", "none", "-nographic"]
        if self.kind != "hvm":
            return arguments + ["-xen-attach", "-machine", "xenpv", "-m", "32"]
        arguments += ["-smp", f"{self.vcpus},maxcpus={self.vcpus}",
                      "-machine", "xenfv,suppress-vmdesc=on",
                      "-device", "VGA,vgamem_mb=8",
                      "-m", str(self.memory_kb // 1024)]
        for index, disk in enumerate(self.disks.values()):
            # The emulated twin of each disk, gone once PV drivers unplug it.
            if self.emulated and disk.format != "empty":
                arguments += ["-drive", f"file={disk.path},if=ide,"
                              f"index={index},media=disk,"
                              f"format={disk.format},cache=writeback"]
        return arguments

    def qmp(self, command, **arguments):
        """A command on the harness's own monitor; '_' stands for '-'."""
        return self._monitor.command(command, **arguments)

    def wait_event(self, name, timeout=30):
        return self._monitor.wait_event(name, timeout)

    def interpose(self, devd=False):
        """Puts a relay before the QMP socket that libxl and the agent use, or that
        which a driver domain's agent uses."""
        if self.relay is None:
            self.relay = Relay(self.devd_qmp_path if devd else self.qmp_path,
                               self.kill_qemu)
        return self.relay

    def uninterpose(self):
        """Takes the relay away; QEMU never sees what it held back."""
        self.relay.close()
        self.relay = None

    def kill_qemu(self):
        self.qemu.kill()
        self.qemu.wait()

    # -- disks ------------------------------------------------------------

    def _write_disk(self, vdev, state):
        """What libxl's device_disk_add writes, in all three places."""
        store, disk = self.world.store, self.disks[vdev]
        back, front = self.backend_path(vdev), self.frontend_path(vdev)
        libxl = self.libxl_path(vdev)
        device_type = "cdrom" if disk.cdrom else "disk"
        writable = not (disk.readonly or disk.cdrom)
        backend = {
            "params": disk.params(), "frontend-id": self.domid, "online": 1,
            "removable": int(disk.cdrom), "bootable": 1, "state": state,
            "dev": vdev, "type": disk.backend,
            "mode": "w" if writable else "r", "device-type": device_type,
            "discard-enable": int(writable), "specification": "xen"}
        if disk.backend == "phy":
            backend["script"] = "/etc/xen/scripts/block"
        frontend = {
            "backend": back, "backend-id": disk.backend_domid, "state": state,
            "virtual-device": disk.devid, "device-type": device_type,
            "trusted": 1}
        for path, permissions, values in (
                (libxl, ("n0",), {"frontend": front, "backend": back,
                                  **backend}),
                (front, (f"n{self.domid}", "r0"), frontend),
                (back, ("n0", f"r{self.domid}"), {"frontend": front,
                                                  **backend})):
            store.rm(path)
            store.mkdir(path)
            store.set_permissions(path, *permissions)
            for key, value in values.items():
                store.write(f"{path}/{key}", value)

    def _plug(self, vdev):
        """Makes the device known, connects its frontend like the guest."""
        disk, store = self.disks[vdev], self.world.store
        if not disk.in_qemu:
            store.transact(lambda: self._write_disk(vdev, 4))
            return
        store.transact(lambda: self._write_disk(vdev, 1))
        if disk.format == "empty":
            # The real xen-block does not take it: the device stays as libxl
            # wrote it.
            return
        back = self.backend_path(vdev)
        store.wait(f"{back}/state", "2", timeout=30)
        disk.front = BlkFront(self.world, self.domid, vdev,
                              list(self.disks).index(vdev))
        disk.front.announce(self.frontend_path(vdev))
        store.wait(f"{back}/state", "4", timeout=30)
        disk.front.connected()

    def unplug(self, vdev):
        """Takes a disk away by xl, the guest playing along."""
        front, store = self.frontend_path(vdev), self.world.store
        back = self.backend_path(vdev)
        detach = self.world.spawn(
            [xen_tool("xl"), "block-detach", str(self.domid), vdev],
            f"detach-{self.domid}.log", shim="hypervisor_shim.so")
        store.wait(f"{back}/state", "5")
        store.write(f"{front}/state", 6)
        if detach.wait(30):
            # QEMU removes the backend's nodes right after it has closed. Where
            # it does so before libxl has looked, libxl takes that for a
            # failure and leaves its own nodes behind.
            self.world.xl("block-detach", "--force", str(self.domid), vdev)
        if store.read(self.libxl_path(vdev)) is not None:
            raise RuntimeError(f"xl left {vdev} in xenstore")
        disk = self.disks.pop(vdev)
        disk.front.close()
        disk.front = None

    def write(self, vdev, offset, data):
        """Writes as the guest does, through ring and xen-block."""
        self.disks[vdev].front.write(offset, data)

    def read(self, vdev, offset, length):
        return self.disks[vdev].front.read(offset, length)

    def block_entry(self, vdev):
        """The disk's entry of query-block."""
        driver = self.disks[vdev].driver
        qmp = self.served[driver.domid].qmp if driver else self.qmp
        for entry in qmp("query-block"):
            with contextlib.suppress(QmpError, KeyError):
                name = qmp("qom-get", path=entry["qdev"], property="vdev")
                # QEMU 7.2 writes the partition number even where it is 0.
                if name in (vdev, f"{vdev}0"):
                    return entry
        raise KeyError(f"{self.name} has no {vdev} in QEMU")

    def chain(self, vdev):
        """[(path, format)], the active image first, as QEMU has it open."""
        image = self.block_entry(vdev)["inserted"]["image"]
        result = []
        while image:
            name = image["filename"]
            if name.startswith("json:"):
                name = json.loads(name[5:])["file"]["filename"]
            result.append((name, image["format"]))
            image = image.get("backing-image")
        return result

    def open_files(self):
        """Regular files and block devices of the world that QEMU has open."""
        result = set()
        folder = f"/proc/{self.qemu.pid}/fd"
        devices = {disk.loop.path for disk in self.disks.values()
                   if disk.loop}
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                path = os.readlink(f"{folder}/{fd}")
                if path.startswith(self.world.images) or path in devices:
                    result.add(path)
        return result

    # -- the guest --------------------------------------------------------

    def xenstore(self):
        """The guest's own connection to xenstored."""
        if self._xenstore is None:
            self._xenstore = GuestXenstore(self.world.xen, self.domid)
        return self._xenstore

    def on_control(self):
        """The guest's side of control/shutdown, see World's guest thread."""
        store = self.world.guest_store
        path = f"{self.path}/control/shutdown"
        wish = store.read(path)
        reason = {"suspend": SUSPEND, "poweroff": POWEROFF, "halt": POWEROFF,
                  "reboot": REBOOT}.get(wish)
        if reason is not None and self.responsive:
            store.write(path, "")
            self.world.xen.shut_down(self.domid, reason)

    # -- going away -------------------------------------------------------

    def vanish(self):
        """Gone at once, as if another toolstack had destroyed it."""
        self.close()
        store = self.world.store
        for vdev in self.disks:
            store.rm(self.backend_path(vdev))
        for path in (self.path, f"/vm/{self.uuid}", f"/libxl/{self.domid}"):
            store.rm(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.config_path)
        self.world.xen.remove(self.domid)
        with contextlib.suppress(OSError):
            store.release(self.domid)

    def close(self):
        if self.relay:
            self.uninterpose()
        if self._xenstore:
            self._xenstore.close()
            self._xenstore = None
        if self._monitor:
            self._monitor.close()
            self._monitor = None
        if self.qemu and self.qemu.poll() is None:
            self.qemu.send_signal(signal.SIGKILL)
            self.qemu.wait()
        for qemu in self.served.values():
            qemu.close()
        for disk in self.disks.values():
            if disk.front:
                disk.front.close()
                disk.front = None
            if disk.loop:
                disk.loop.close()
                disk.loop = None
