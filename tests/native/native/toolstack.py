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
        self.refuse = 0  # how many of the next it does not make
        self._folder = f"{world.xen.folder}/creations"
        os.mkdir(self._folder)
        world.attend = self._attend

    def _attend(self):
        self._end_serving()
        for name in sorted(os.listdir(self._folder)):
            base = f"{self._folder}/{name.removesuffix('.json')}"
            if name.endswith(".json") and not os.path.exists(f"{base}.done"):
                with open(f"{base}.new", "w", encoding="ascii") as file:
                    file.write(f"{self._answer(base)}\n")
                os.rename(f"{base}.new", f"{base}.done")

    def _answer(self, base):
        if self.refuse:
            self.refuse -= 1
            return 0
        with open(f"{base}.json", encoding="utf-8") as file:
            return self._make(json.load(file)).domid

    def _disk(self, disk):
        driver = next((one for one in self.world.domains.values()
                       if one.name == disk.get("backend_domname")), None)
        return Disk(disk["vdev"], disk["format"], path=disk["pdev_path"],
                    driver=driver, devd=driver is not None)

    def _end_serving(self):
        """As `xl devd` removes devices that are closed, and ends their QEMU."""
        store = self.world.store
        for domain in self.world.domains.values():
            served = [vdev for vdev, disk in domain.disks.items() if disk.driver]
            if not served or any(store.read(f"{domain.backend_path(vdev)}/state") != "6"
                                 for vdev in served):
                continue
            for qemu in domain.served.values():
                qemu.kill()
            for vdev in served:
                store.rm(domain.backend_path(vdev))

    def _make(self, config):
        """Paused, as libxl hands it over."""
        info = config["c_info"]
        disks = [self._disk(disk) for disk in config["disks"]]
        domain = self.world.add_domain(
            info["name"], info["type"], disks, uuid=info["uuid"], paused=1,
            memory_kb=config["b_info"]["max_memkb"])
        self.made.append(domain)
        return domain
