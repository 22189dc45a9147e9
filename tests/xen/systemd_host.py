# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd, which starts what we install for it: in namespaces of its own, since the
host's first process is another."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from agent import BUILD, CHECKOUT, LOGS
from guest import LIMIT
from waiting import Deadline, GrowingFile

BOOT = Path(__file__).with_name("systemd_boot")
VENDOR = Path("/lib/systemd/system")
# What services and timers need in any case, and what takes the log.
NEEDED = ("basic.target", "sysinit.target", "shutdown.target", "timers.target",
          "systemd-journald.service", "systemd-journald.socket",
          "systemd-journald-dev-log.socket")
UP = "systemd-is-up"


def prepare(folder, seen_as=None, role="host"):
    """The folders of units and settings, with our units and the fewest of systemd's
    own; `seen_as` is where it sees `folder`. What it writes to "up" is UP."""
    units, settings = folder / "units", folder / "settings"
    units.mkdir()
    for name in NEEDED:
        shutil.copy(VENDOR / name, units)
    (units / "default.target").write_text(
        f"[Unit]\nWants=systemd-journald.service {UP}.service\n")
    (units / f"{UP}.service").write_text(
        f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo {UP}'\n"
        f"StandardOutput=file:{seen_as or folder}/up\n")
    for unit in (CHECKOUT / "install").glob("*.service.in"):
        text = unit.read_text(encoding="utf-8")
        (units / unit.stem).write_text(
            text.replace("@sbindir@", str(BUILD)).replace("@bindir@", str(BUILD)))
    shutil.copy(CHECKOUT / "install" / "xensnap@.timer", units)
    settings.mkdir()
    text = (CHECKOUT / "conf" / "agent.yaml").read_text(encoding="utf-8")
    assert "\nrole: host\n" in text
    (settings / "agent.yaml").write_text(text.replace("\nrole: host\n", f"\nrole: {role}\n"))
    return units, settings


class Systemd:
    """In dom0."""

    def __init__(self, folder):
        self.units, self.settings = prepare(folder)
        self.up = GrowingFile(folder / "up")
        self.log = GrowingFile(LOGS / "systemd.log")
        self.wrappers = folder / "bin"
        self.process = None
        self.pid = None

    def write(self, name, text):
        path = self.units / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def start(self):
        with open(self.log.path, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--pid", "--mount", "--cgroup", "--fork", "--kill-child",
                 BOOT, self.units, self.settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.up.wait_match(UP, LIMIT)
        own = self.process.pid
        self.pid, = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        self._wrap("xl")
        return self

    def _wrap(self, program):
        """Processes know each other by their numbers: whoever makes or ends domains
        must be where the agent is."""
        self.wrappers.mkdir(exist_ok=True)
        words = shlex.join([*self._enter(), shutil.which(program)])
        path = self.wrappers / program
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)

    def _enter(self):
        return ["nsenter", "--target", self.pid, "--pid", "--mount", "--cgroup"]

    def run(self, command, fails=False):
        """A shell command where systemd is; what it prints."""
        done = subprocess.run(
            [*self._enter(), "sh", "-c", command], check=False, text=True,
            timeout=LIMIT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "SYSTEMD_UNIT_PATH": str(self.units),
                 "SYSTEMD_PAGER": ""})
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}"
        return done.stdout

    def show(self, unit, name):
        return self.run(f"systemctl show --value -p {name} {unit}").strip()

    def journal(self, unit):
        return self.run(f"journalctl -q -o cat -u {unit}")

    def wait_journal(self, unit, start):
        """Until a line of the journal begins so."""
        deadline = Deadline(LIMIT)
        seen = b""
        with subprocess.Popen(
                [*self._enter(), "journalctl", "-q", "-f", "-n", "all", "-o", "cat",
                 "-u", unit], stdout=subprocess.PIPE) as journal:
            while not any(line.startswith(start.encode()) for line in seen.split(b"\n")):
                assert deadline.wait_readable(journal.stdout), \
                    f"no line '{start}' of {unit}:\n{seen.decode()}"
                seen += os.read(journal.stdout.fileno(), 65536)
            journal.kill()

    def stop(self):
        """With all that runs there."""
        self.process.kill()
        self.process.wait(LIMIT)
        for folder in ("/run/systemd", "/run/log/journal"):
            shutil.rmtree(folder, ignore_errors=True)
