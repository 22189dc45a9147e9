# SPDX-License-Identifier: LGPL-2.1-or-later
"""A driver domain: a PV domain with the root that dom0 has, which serves disks of
its own with `xl devd`."""

import itertools
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from guest import ARTIFACTS, CONSOLES, LIMIT, xl
from waiting import GrowingFile
from xenstore import Store

HERE = Path(__file__).resolve().parent
FOLDERS = Path("/run/drivers")

# A QMP client: prints the answer to one command.
QMP = """
import json, socket, sys
qemu = socket.socket(socket.AF_UNIX)
qemu.settimeout(60)
qemu.connect(sys.argv[1])
lines = qemu.makefile("rw")
assert "QMP" in json.loads(lines.readline())
for command in "qmp_capabilities", sys.argv[2]:
    lines.write(json.dumps({"execute": command}) + "\\n")
    lines.flush()
    answer = lines.readline()
print(answer)
"""


class Driver:
    """Runs until close(). With `wrapper=False` its QEMUs have no QMP socket; with
    `images=True` a disk holds its images, and the next one of that name has them."""

    def __init__(self, name, wrapper=True, memory=600, images=False):
        self.name = name
        self.store = Store()
        self.folder = FOLDERS / name
        self.console = GrowingFile(CONSOLES / f"guest-{name}.log")
        self._numbers = itertools.count(1)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(HERE / "driver" / "start", self.folder)
        self.images = FOLDERS / f"{name}.ext4" if images else None
        if images and not self.images.exists():
            subprocess.run(["mke2fs", "-q", "-t", "ext4", self.images, "256M"], check=True)
        (self.folder / "environment").write_text("".join(
            f"export {key}={shlex.quote(str(value))}\n" for key, value in (
                ("CHECKOUT", HERE.parent.parent), ("WRAPPER", int(wrapper)),
                ("IMAGES", "/dev/xvda" if images else ""),
                ("BUILT_IN", os.environ.get("ARTIFACTS")),
                ("XENSNAP_BUILD", os.environ.get("XENSNAP_BUILD", "build")))))
        mark = self.console.size()
        config = self.folder / "config"
        config.write_text(self._config(memory))
        xl("create", config)
        self.domid = int(xl("domid", name))
        self.console.wait_match("driver ready", LIMIT, since=mark)

    def _config(self, memory):
        # Each of the folders is of one file system: QEMU's 9p server takes inodes
        # of several for one another.
        shares = [f"tag={tag},security_model=none,path={path}"
                  for tag, path in (("root", "/run/lower"), ("tree", "/run/host/tree"),
                                    ("rig", self.folder))]
        disks = [f"vdev=xvda,backendtype=qdisk,target={self.images}"] if self.images else []
        return "\n".join([
            f"name='{self.name}'", "type='pv'", f"memory={memory}", "vcpus=1",
            "driver_domain=1", f"kernel='{ARTIFACTS}/kernel/vmlinux'",
            f"ramdisk='{ARTIFACTS}/driver-initrd.cpio'",
            "cmdline='console=hvc0 quiet mitigations=off'", f"p9={shares}",
            f"disk={disks}"]) + "\n"

    def run(self, script):
        """Run shell commands there, and return what they print."""
        number = str(next(self._numbers))
        (self.folder / number).write_text(script + "\n")
        mark = self.console.size()
        tty = self.store.wait(f"/local/domain/{self.domid}/console/tty", bool)
        with open(tty, "wb", buffering=0) as console:
            console.write(number.encode() + b"\n")
        status = self.console.wait_match(rf"ran {number} (\d+)", LIMIT, since=mark).group(1)
        output = (self.folder / f"{number}.out").read_text(errors="replace")
        if status != "0":
            raise AssertionError(f"{self.name}: exit status {status} of {script}\n{output}")
        return output

    def qmp(self, guest, command):
        """What the QEMU there that serves this guest answers."""
        client = f"python3 - /run/xen/qmp-devd-{guest.domid} {command} <<'END'\n{QMP}END"
        return json.loads(self.run(client))["return"]

    def start_agent(self):
        """xensnapd with `role: backend`; waits until it is ready."""
        (self.folder / "agent.yaml").write_text("role: backend\n")
        program = "$CHECKOUT/${XENSNAP_BUILD:-build}/xensnapd"
        self.run(f"{program} --foreground --config /run/rig/agent.yaml "
                 ">>/run/rig/agent.log 2>&1 & echo $! >/run/rig/agent.pid")
        self.store.wait(f"{self.answers}/state", "ready", LIMIT)

    @property
    def answers(self):
        """Where its agent writes."""
        return f"/local/domain/{self.domid}/data/xensnapd"

    def kill(self):
        """As a crash would end it."""
        xl("destroy", self.domid)

    def close(self):
        if self.store.read(f"/local/domain/{self.domid}/name") == self.name:
            self.kill()
        self.store.close()

    def report(self):
        """For a failed test."""
        return [(f"console of {self.name}", self.console.tail(30)),
                *((f"{log} of {self.name}", GrowingFile(self.folder / log).tail(30))
                  for log in ("devd.log", "agent.log"))]
