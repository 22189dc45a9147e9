# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent of a driver domain, and jobs for it. Where no domain is named, domain 0
plays the driver domain as well; what the permissions are is proved on the emulated
host."""

import itertools
import signal

from native.agent import Agent, ROOT

HOME = "/local/domain/0"
ANSWERS = f"{HOME}/data/xensnapd"


class Backend(Agent):
    """xensnapd with `role: backend`, with folders of its own."""

    def __init__(self, world, program, driver=None):
        super().__init__(world, program)
        self.driver = driver
        self.answers = (f"{driver.path}/data/xensnapd" if driver
                        else ANSWERS)
        self.folder = f"{world.folder}/backend"
        self.log = f"{world.folder}/backend.log"
        self.settings["role"] = "backend"
        self.settings["store"] = {
            name: value.replace("/agent/", "/backend/")
            for name, value in self.settings["store"].items()}
        self._job_ids = itertools.count(1)

    def wait_ready(self, timeout=20):
        store = self.world.store
        store.wait_for(self.answers, lambda: (
            store.read(f"{self.answers}/pid") == str(self.process.pid) and
            store.read(f"{self.answers}/state") == "ready"), timeout)

    def job(self, domain, vdevs=None, **keys):
        """Writes one for these disks of the domain, `phase` last."""
        values = {"guest": domain.domid, "uuid": domain.uuid, "name": "s1"}
        for vdev in vdevs or domain.disks:
            disk = domain.disks[vdev]
            values[f"disks/{vdev}/path"] = disk.path
            values[f"disks/{vdev}/format"] = disk.format
        return self.bare_job(**{**values, **keys})

    def bare_job(self, **keys):
        job = Job(self, f"job-{next(self._job_ids)}")
        job.write(keys)
        job.say("prepare")
        return job


class Job:
    """What domain 0 writes, and what is answered."""

    def __init__(self, backend, name):
        self._store = backend.world.store
        self.path = f"{ROOT}/backends/0/{name}"
        self.answers = f"{ANSWERS}/jobs/{name}"

    def write(self, values):
        self._store.write_all({f"{self.path}/{key}": str(value)
                               for key, value in values.items()})

    def say(self, phase):
        self._store.write(f"{self.path}/phase", phase)

    def wait(self, state, timeout=30):
        """Waits for that state, or the end; gives all of the answer."""
        self._store.wait(f"{self.answers}/state", state, "undone",
                         "committed", timeout=timeout)
        answer = self._store.tree(self.answers)
        assert answer["state"] == state, answer
        return answer

    def remove(self):
        self._store.rm(self.path)
        self._store.wait_gone(f"{self.answers}/state")


def wait_suspended(world, domain):
    world.eventually(lambda: not world.xen.is_running(domain.domid), 20, "suspended")


def freeze(backend):
    """It hangs."""
    backend.process.send_signal(signal.SIGSTOP)


def thaw(backend):
    backend.process.send_signal(signal.SIGCONT)
