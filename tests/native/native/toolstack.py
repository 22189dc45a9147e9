# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the domains that the agent asks libxl for; see shim/toolstack_shim.c."""

import json
import os

from native.domain import Disk


class Toolstack:
    """Made once, it is at work whenever the world waits."""

    def __init__(self, world):
        self.world = world
        self.made = []  # the domains, the newest last
        self.refuse = False
        self._folder = f"{world.xen.folder}/creations"
        os.mkdir(self._folder)
        world.attend = self._attend

    def _attend(self):
        for name in sorted(os.listdir(self._folder)):
            base = f"{self._folder}/{name.removesuffix('.json')}"
            if name.endswith(".json") and not os.path.exists(f"{base}.done"):
                with open(f"{base}.new", "w", encoding="ascii") as file:
                    file.write(f"{self._answer(base)}\n")
                os.rename(f"{base}.new", f"{base}.done")

    def _answer(self, base):
        if self.refuse:
            return 0
        with open(f"{base}.json", encoding="utf-8") as file:
            return self._make(json.load(file)).domid

    def _make(self, config):
        """Paused, as libxl hands it over."""
        info = config["c_info"]
        disks = [Disk(disk["vdev"], disk["format"], path=disk["pdev_path"])
                 for disk in config["disks"]]
        domain = self.world.add_domain(
            info["name"], info["type"], disks, uuid=info["uuid"], paused=1,
            memory_kb=config["b_info"]["max_memkb"])
        self.made.append(domain)
        return domain
