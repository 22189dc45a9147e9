# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent of a driver domain, and jobs for it. Where no domain is named, domain 0
plays the driver domain as well; what the permissions are is proved on the emulated
host."""

import ctypes
import itertools

from native.agent import FINAL, Agent, ROOT

HOME = "/local/domain/0"
ANSWERS = f"{HOME}/data/xensnapd"
_CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


def _in_another_domain():
    """Called between fork and exec: libxl's locks there are not those of domain 0."""
    if _libc.unshare(_CLONE_NEWNS) or _libc.mount(
            b"native", b"/var/lib/xen", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "a /var/lib/xen of its own")


class Backend(Agent):
    """xensnapd with `role: backend`, with folders of its own."""

    def __init__(self, world, program, driver=None):
        super().__init__(world, program)
        self.driver = driver
        self.answers = (f"{driver.path}/data/xensnapd" if driver
                        else ANSWERS)
        if driver:
            self.options = {"preexec_fn": _in_another_domain}
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


def freeze_at(world, driver, backend, act, request):
    """It hangs as soon as it is told that, of a rescan or a merge; on a busy machine it
    may have done it before."""
    folder = f"{ROOT}/backends/{driver.domid}"
    while request.state() not in FINAL:
        if act in world.store.tree(folder).values():
            backend.freeze()
            return


class Liar:
    """Answers in the place of an agent."""

    def __init__(self, world, driver, vdev="xvdb"):
        self.store, self.vdev = world.store, vdev
        self.folder = f"{driver.path}/data/xensnapd"
        self.jobs = f"{ROOT}/backends/{driver.domid}"
        self.store.write_all({f"{self.folder}/protocol": "1", f"{self.folder}/state": "ready"})
        self.job = None

    def wait_told(self, phase):
        def told():
            found = [path for path, value in self.store.tree(self.jobs).items()
                     if path.endswith("/phase") and value == phase]
            self.job = found[0].split("/")[0] if found else None
            return found
        self.store.wait_for(self.jobs, told, 20)

    def wait_act(self, act):
        """Of a rescan or a merge."""
        def told():
            found = [path for path, value in self.store.tree(self.jobs).items()
                     if path.endswith("/act") and value == act]
            self.job = found[0].split("/")[0] if found else None
            return found
        self.store.wait_for(self.jobs, told, 20)

    def answer(self, state, **files):
        below = f"{self.folder}/jobs/{self.job}"
        values = {f"{below}/disks/{self.vdev}/{key.replace('_', '-')}": str(value)
                  for key, value in files.items()}
        self.store.write_all({**values, f"{below}/state": state})

    def fail(self, code):
        below = f"{self.folder}/jobs/{self.job}"
        self.store.write_all({f"{below}/error/code": code, f"{below}/error/message": code,
                              f"{below}/state": "undone"})
