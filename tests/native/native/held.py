# SPDX-License-Identifier: LGPL-2.1-or-later
"""A qemu-img that stays where it is."""

import fcntl
import os

# What an unlucky moment is: before qemu-img has changed anything, in its middle, or when
# only its end is not known yet.
WRAPPER = """#!/bin/sh
case "$*" in
"{word}"*)
    if [ ! -e {folder}/there ]; then
        {real}
        : >{folder}/there
        flock {folder}/go true
    fi ;;
esac
exec /usr/bin/qemu-img "$@"
"""


class Held:
    """The first qemu-img with that command stays where it is."""

    def __init__(self, world, folder, word, when):
        self.world, self.there = world, f"{folder}/there"
        # Without a loop, so that it does nothing at all.
        self._lock = open(f"{folder}/go", "wb")  # pylint: disable=consider-using-with
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        real = '/usr/bin/qemu-img "$@"' if when == "after" else ":"
        with open(f"{folder}/qemu-img", "w", encoding="ascii") as file:
            file.write(WRAPPER.format(word=word, folder=folder, real=real))
        os.chmod(f"{folder}/qemu-img", 0o755)
        world.variables["PATH"] = f"{folder}:{os.environ['PATH']}"

    def wait(self):
        self.world.eventually(lambda: os.path.exists(self.there), 30, "qemu-img")

    def release(self):
        self._lock.close()
