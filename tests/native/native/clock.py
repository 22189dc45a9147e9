# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent's clocks, which the test sets; see shim/clock_shim.c."""

import mmap
import struct

HOUR = 3600


class Clock:
    """Shared with the agent's shim, also with the next one's."""

    def __init__(self, folder):
        self.path = f"{folder}/clock"
        with open(self.path, "w+b") as file:
            file.truncate(mmap.PAGESIZE)
            self._memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def jump(self, seconds):
        """It is so far ahead of the real one now; negative: behind."""
        self._memory[:8] = struct.pack("=q", seconds)

    def pass_steadily(self, seconds):
        """That much goes by on the steady clocks. The agent sees it when it wakes up
        for whatever else: a timer counts what was left when it fell asleep."""
        passed, = struct.unpack_from("=q", self._memory, 8)
        struct.pack_into("=q", self._memory, 8, passed + seconds)

    def close(self):
        self._memory.close()
