# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for events with a limit, and for text in a file that grows."""

import ctypes
import os
import re
import select
import time
from pathlib import Path

IN_MODIFY, IN_CREATE, IN_MOVED_TO = 0x2, 0x100, 0x80
_libc = ctypes.CDLL(None, use_errno=True)


class WaitFailed(AssertionError):
    """Something did not happen in time; the message says what was seen."""


class Deadline:
    """A limit that several waits share. Under emulation everything is slow, and
    more so when the machine is busy: limits only have to end what hangs."""

    def __init__(self, limit):
        self._end = time.monotonic() + limit

    def left(self):
        return max(0.0, self._end - time.monotonic())

    def wait_readable(self, *fds):
        """Those of `fds` that are readable; none when time is up."""
        return select.select(fds, [], [], self.left())[0]


class GrowingFile:
    """A log file that someone else appends to, and that need not exist yet."""

    def __init__(self, path):
        self.path = Path(path)

    def size(self):
        return self.path.stat().st_size if self.path.exists() else 0

    def text(self, since=0):
        if not self.path.exists():
            return ""
        with open(self.path, "rb") as file:
            file.seek(since)
            # A console ends its lines with \r\n.
            return file.read().decode(errors="replace").replace("\r", "")

    def tail(self, lines=15):
        return "\n".join(self.text().splitlines()[-lines:])

    def wait(self, accept, limit, what, since=0):
        """Wait until `accept(text)` gives something true, and return that."""
        deadline = Deadline(limit)
        fd = _watch_folder(self.path.parent)
        try:
            while True:
                found = accept(self.text(since))
                if found:
                    return found
                if not deadline.wait_readable(fd):
                    raise WaitFailed(f"no {what} in {self.path} within {limit} s, "
                                     f"which ends with:\n{self.tail()}")
                os.read(fd, 65536)
        finally:
            os.close(fd)

    def wait_match(self, pattern, limit, since=0):
        """Wait for a whole line that matches, and return the match."""
        expression = re.compile(rf"^(?:{pattern})$", re.MULTILINE)

        def accept(text):
            # What follows the last newline may be half a line.
            return expression.search(text[:text.rfind("\n") + 1])

        return self.wait(accept, limit, f"line {pattern!r}", since)


def _watch_folder(folder):
    fd = _libc.inotify_init1(os.O_CLOEXEC)
    mask = IN_MODIFY | IN_CREATE | IN_MOVED_TO
    if fd < 0 or _libc.inotify_add_watch(fd, os.fsencode(folder), mask) < 0:
        raise OSError(ctypes.get_errno(), f"cannot watch {folder}")
    return fd
