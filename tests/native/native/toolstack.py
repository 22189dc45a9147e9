# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the domains that the agent asks libxl for; see shim/toolstack_shim.c."""

import contextlib
import json
import os

from native.domain import Disk
from native.xenstore import XenstoreError


class Toolstack:
    """Made once, it is at work whenever the world waits."""

    def __init__(self, world):
        self.world = world
        self.made = []  # the domains, the newest last
        self.refuse = 0  # how many of the next it does not make
        # How many of the next it does not answer for; with `leave` there is a
        # domain by then, which stays behind if the agent gives up.
        self.hang = 0
        self.leave = False
        self.block = False  # the agent's loop waits for those
        self.hanging = []  # the paths of those, without an ending
        self.needs_memory = False  # as much as is configured, free
        self.on_made = lambda domain: None
        self._folder = f"{world.xen.folder}/creations"
        os.mkdir(self._folder)
        world.attend = self._attend

    def _attend(self):
        self._end_serving()
        for name in sorted(os.listdir(self._folder)):
            base = f"{self._folder}/{name.removesuffix('.json')}"
            if not name.endswith(".json") or os.path.exists(f"{base}.done") or \
                    base in self.hanging:
                continue
            if self.hang:
                self.hang -= 1
                self.hanging.append(base)
                if self.block:
                    with open(f"{base}.block", "w", encoding="ascii"):
                        pass
                if self.leave:
                    self._put(base, ".left")
            else:
                self.read_on(base)
                self._put(base, ".done")

    @staticmethod
    def read_on(base):
        """It takes its time, and gets on."""
        with open(f"{base}.reading", "w", encoding="ascii"):
            pass

    def _put(self, base, ending):
        with open(f"{base}.new", "w", encoding="ascii") as file:
            file.write(f"{self._answer(base)}\n")
        os.rename(f"{base}.new", f"{base}{ending}")

    def go_on(self):
        """With all for which it did not answer."""
        for base in self.hanging:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{base}.block")
        self.hanging = []

    def _answer(self, base):
        if self.refuse:
            self.refuse -= 1
            return 0
        with open(f"{base}.json", encoding="utf-8") as file:
            config = json.load(file)
        if self.needs_memory and \
                self.world.xen.host()["free_kb"] < config["b_info"]["max_memkb"]:
            return 0
        if os.path.exists(f"{base}.reset"):
            with open(f"{base}.reset", encoding="ascii") as file:
                return self._reset(config, int(file.read())).domid
        try:
            return self._make(config).domid
        except XenstoreError:
            # Whoever asked was killed, and the next agent was quicker to destroy
            # this domain than we are to make it.
            domain = self.world.domains[max(self.world.domains)]
            if self.world.xen.get(domain.domid) is not None:
                raise
            self.world.remove_domain(domain)
            return 0

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

    def _reset(self, config, domid):
        """It keeps its number and its memory, and gets another QEMU."""
        self.world.remove_domain(self.world.domains[domid])
        return self._make(config, domid=domid)

    def _make(self, config, **settings):
        """Paused, as libxl hands it over."""
        info = config["c_info"]
        disks = [self._disk(disk) for disk in config["disks"]]
        domain = self.world.add_domain(
            info["name"], info["type"], disks, uuid=info["uuid"], paused=1,
            memory_kb=config["b_info"]["max_memkb"], **settings)
        self.made.append(domain)
        self.on_made(domain)
        return domain
