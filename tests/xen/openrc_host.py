# SPDX-License-Identifier: LGPL-2.1-or-later
"""OpenRC with our script, in dom0, whose first process is another: its services are
those of a folder of our own. All that it needs is unpacked, not installed."""

import os
import subprocess
from pathlib import Path

from agent import BUILD, CHECKOUT
from guest import ARTIFACTS, LIMIT

SERVICES = Path("/etc/init.d")
# What hosts with OpenRC have of their own.
LOCALMOUNT = "#!/sbin/openrc-run\nstart() {\n\t:\n}\n"


def unpack():
    packages = sorted((ARTIFACTS / "openrc").glob("*.deb"))
    assert packages, "no OpenRC was fetched: tests/xen/host build says why"
    for package in packages:
        subprocess.run(f"dpkg-deb --fsys-tarfile '{package}' | "
                       "tar -x -C / --keep-directory-symlink", shell=True, check=True)
    # Where Debian's looks for what LSB's names mean.
    Path("/etc/insserv.conf").touch()
    Path("/etc/insserv.conf.d").mkdir(exist_ok=True)


class OpenRC:
    def __init__(self, folder):
        self.services = folder / "init.d"
        self.options = Path("/etc/conf.d/xensnapd")

    def start(self, options=""):
        """Into the runlevel that our service is in."""
        unpack()
        self.services.mkdir()
        script = (CHECKOUT / "install" / "xensnapd.initd.in").read_text(encoding="utf-8")
        self._write("xensnapd", script.replace("@sbindir@", str(BUILD)))
        self._write("localmount", LOCALMOUNT)
        subprocess.run(["mount", "--bind", self.services, SERVICES], check=True)
        self.options.parent.mkdir(exist_ok=True)
        self.options.write_text(f"XENSNAPD_OPTS='{options}'\n")
        for link in Path("/etc/runlevels").glob("*/*"):
            link.unlink()
        self.run("rc-update add xensnapd default")
        self.run("openrc sysinit")
        self.run("openrc default")
        return self

    def _write(self, name, text):
        path = self.services / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, command, status=0):
        """What it says."""
        done = subprocess.run(["sh", "-c", command], check=False, text=True, timeout=LIMIT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "TERM": "dumb"})
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def service(self, word, status=0):
        return self.run(f"rc-service xensnapd {word}", status)

    def stop(self):
        self.run("rc-service --ifstarted xensnapd stop")
        subprocess.run(["umount", SERVICES], check=True)
