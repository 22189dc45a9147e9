# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap as a user has it in dom0: at a prompt, in a script, on a terminal."""

import os
import pty
import re
import subprocess

from agent import BUILD, CHECKOUT, LIMIT, SNAPSHOTS
from waiting import Deadline, WaitFailed

DONE, FAILED, USAGE, NO_AGENT, CANCELLED, NOT_PRUNED = range(6)
PROGRAM = BUILD / "xensnap"
COMPLETIONS = CHECKOUT / "install"
# Programs say the same whatever the building machine's locale is.
ENVIRONMENT = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "LC_ALL": "C"}


def xensnap(*words, status=DONE):
    """What it prints, as subprocess.run() gives it, once it has ended so."""
    done = subprocess.run([PROGRAM, *map(str, words)], check=False, text=True, timeout=LIMIT,
                          stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT)
    assert done.returncode == status, f"xensnap {' '.join(map(str, words))}: {done}"
    return done


def snapshots(guest):
    """The names of its snapshots."""
    return set(guest.store.ls(f"{SNAPSHOTS}/{guest.uuid}")) - {"current"}


class Terminal:
    """A program on a terminal of its own, so that a typed Ctrl-C is a signal."""

    def __init__(self, *command, **variables):
        self.fd, other = pty.openpty()
        # The job that these scenarios are runs in the background of a shell, which has
        # those ignore it.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "env", "--default-signal=INT", *map(str, command)], stdin=other,
            stdout=other, stderr=other, env={**ENVIRONMENT, "TERM": "xterm", **variables})
        os.close(other)
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)

    def type(self, text):
        os.write(self.fd, text.encode())

    def read_until(self, pattern, limit=LIMIT):
        """The match; what came up to its end is forgotten."""
        deadline = Deadline(limit)
        while not (match := re.search(pattern, self.text)):
            if not deadline.wait_readable(self.fd):
                raise WaitFailed(f"no {pattern!r} within {limit} s in {self.text!r}")
            try:
                self.text += os.read(self.fd, 4096).decode()
            except OSError:  # nobody holds the other end any more
                raise WaitFailed(f"it ended without {pattern!r}: {self.text!r}") from None
        self.text = self.text[match.end():]
        return match

    def wait(self, limit=LIMIT):
        """Its exit status."""
        return self.process.wait(limit)
