# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's daemon with its Xen driver in dom0, and guests that it runs."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from agent import BUILD, CHECKOUT, LOGS
from guest import ARTIFACTS, LIMIT, Guest
from waiting import GrowingFile

DRIVERS = Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver")
HOOK = Path("/etc/libvirt/hooks/libxl.d/xensnapd")
URI = "xen:///system"
# The emulated processor lacks something of each model that libvirt knows, and then
# the driver does not start: here is one that any processor is.
CPU_MODEL = Path("/usr/share/libvirt/cpu_map/x86_486.xml")
ANY_CPU = """<cpus>
  <model name='486'>
    <decode host='on' guest='on'/>
    <feature name='fpu'/>
  </model>
</cpus>
"""


def run(*command):
    done = subprocess.run(command, check=False, text=True, timeout=LIMIT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def virsh(*arguments):
    return run("virsh", "-q", "-c", URI, *map(str, arguments))


def install_hook():
    """As `make install` does, but for where the agent and its settings are."""
    text = (CHECKOUT / "install" / "libvirt-hook.in").read_text(encoding="utf-8")
    HOOK.parent.mkdir(parents=True, exist_ok=True)
    HOOK.write_text(text.replace("@sbindir@", str(BUILD)))
    HOOK.chmod(0o755)
    config = Path("/etc/xensnapd/agent.yaml")
    config.parent.mkdir(exist_ok=True)
    shutil.copy(CHECKOUT / "conf" / "agent.yaml", config)


class Libvirt:
    """The daemon, with no driver but Xen's: the others take long to start here."""

    def __init__(self, folder):
        self.drivers = folder / "drivers"
        self.drivers.mkdir()
        (self.drivers / "libvirt_driver_libxl.so").symlink_to(
            DRIVERS / "libvirt_driver_libxl.so")
        self.config = folder / "libvirtd.conf"
        self.config.write_text('auth_unix_rw = "none"\nlog_outputs = "3:stderr"\n')
        CPU_MODEL.write_text(ANY_CPU)
        self.log = GrowingFile(LOGS / "libvirtd.log")
        self.process = None

    def start(self):
        """It says when its sockets are there, and answers when its driver is up."""
        path = self.config.with_name("notify")
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            notify.settimeout(LIMIT)
            with open(self.log.path, "ab") as log:
                self.process = subprocess.Popen(
                    ["libvirtd", "--config", self.config], stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, cwd="/",
                    env={**os.environ, "LIBVIRT_DRIVER_DIR": str(self.drivers),
                         "NOTIFY_SOCKET": str(path)})
            while b"READY=1" not in notify.recv(4096):
                pass
        virsh("list")
        return self

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(LIMIT)

    def restart(self):
        self.stop()
        return self.start()


class LibvirtGuest(Guest):
    """Defined in libvirt and started by it."""

    def __init__(self, name, folder):
        super().__init__(name)
        self.folder = folder
        self.config_path = folder / "config"

    def start(self, paused=False, wait=True):
        mark = self.console.size()
        virsh("define", self.config_path)
        virsh("start", self.name, *(["--paused"] if paused else []))
        if wait and not paused:
            self.wait_boot(since=mark)

    def libvirt_state(self):
        return virsh("domstate", self.name).strip()

    def close(self):
        self.destroy()
        subprocess.run(["virsh", "-q", "-c", URI, "undefine", self.name], check=False,
                       capture_output=True)
        super().close()

    def _config(self, kind, disks, memory, hz, extra):
        assert kind == "pv"
        images = "".join(self._disk(disk) for disk in disks)
        return f"""<domain type='xen'>
  <name>{self.name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='xenpv'>linux</type>
    <kernel>{ARTIFACTS}/kernel/vmlinux</kernel>
    <initrd>{ARTIFACTS}/guest-initrd.cpio</initrd>
    <cmdline>console=hvc0 quiet mitigations=off tick.hz={hz}</cmdline>
  </os>
  <on_reboot>{extra.get('on_reboot', 'restart')}</on_reboot>
  <devices>
{images}    <console type='pty'>
      <target type='xen' port='0'/>
    </console>
  </devices>
</domain>
"""

    def _disk(self, disk):
        path = self.folder / f"{disk.vdev}.{disk.format}"
        return f"""    <disk type='file' device='disk'>
      <driver name='qemu' type='{disk.format}'/>
      <source file='{path}'/>
      <target dev='{disk.vdev}' bus='xen'/>
    </disk>
"""
