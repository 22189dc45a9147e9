# SPDX-License-Identifier: LGPL-2.1-or-later
"""The points at which the agent changes something outside of it, and what is
to happen at one of them; see shim/fault_points.c."""

import mmap
import os
import struct

FAIL, KILL_BEFORE, KILL_AFTER = "fail", "kill-before", "kill-after"
STOP_BEFORE = "stop-before"
FAIL_ON = "fail-on"  # that point, and all after it
_ACTIONS = {None: 0, FAIL: 1, KILL_BEFORE: 2, KILL_AFTER: 3, STOP_BEFORE: 4, FAIL_ON: 5}
_PLAN = struct.Struct("=IIIII64s")  # struct plan
# What goes on by itself once it was begun. After the other points nothing
# happens until the next one, so that being killed there is the same as being
# killed before that.
_GO_ON = ("qmp", "spawn", "fork", "libxl")


class Faults:
    """Shared with the agent's shim. One action at a time."""

    def __init__(self, folder):
        self.path = f"{folder}/faults"
        with open(self.path, "w+b") as file:
            file.truncate(mmap.PAGESIZE)
            self._memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def arm(self, action=None, target=0, wanted=""):
        """Counts from now on; at point `target` (from 1) does that. Where a
        name, or its beginning, is wanted, no others are counted."""
        self.disarm()
        with open(f"{self.path}.names", "wb"):
            pass
        self._memory[:_PLAN.size] = _PLAN.pack(0, 0, _ACTIONS[action], target,
                                               0, wanted.encode())
        self._memory[:4] = struct.pack("=I", 1)

    def disarm(self):
        self._memory[:4] = struct.pack("=I", 0)

    def reached(self):
        return _PLAN.unpack(self._memory[:_PLAN.size])[4] != 0

    def names(self):
        """The points so far, in order."""
        with open(f"{self.path}.names", encoding="utf-8",
                  errors="replace") as file:
            return file.read().splitlines()

    def close(self):
        self._memory.close()
        os.unlink(self.path)


def kinds_at(names, number):
    """The actions that make a difference at that point."""
    kinds = [FAIL, KILL_BEFORE]
    if number == len(names) or names[number - 1].split()[0] in _GO_ON:
        kinds.append(KILL_AFTER)
    return kinds
