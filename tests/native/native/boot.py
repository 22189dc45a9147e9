# SPDX-License-Identifier: LGPL-2.1-or-later
"""By what the kernel tells one boot of the host from another."""

import os
import subprocess
import uuid

PLACE = "/proc/sys/kernel/random/boot_id"


class Boot:
    def __init__(self, folder):
        self.path = f"{folder}/boot-id"

    def begin_anew(self):
        """The host has been started anew: for all that asks from here on."""
        with open(self.path, "w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")
        if not os.path.samefile(self.path, PLACE):
            subprocess.run(["mount", "--bind", self.path, PLACE], check=True)

    def end(self):
        if os.path.exists(self.path) and os.path.samefile(self.path, PLACE):
            subprocess.run(["umount", PLACE], check=True)
