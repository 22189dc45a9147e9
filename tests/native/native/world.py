# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole pretended host: xenstored, hypervisor, domains.

Paths are those of a real host (/run/xenstored, /run/xen, /var/lib/xen):
tests/native/run gives each run a mount and PID namespace of its own.
"""

import contextlib
import os
import select
import shutil
import subprocess
import threading
import time

from native.domain import Domain
from native.hypervisor import Hypervisor
from native.tools import xen_tool
from native.xenstore import Store, XenstoreError

FAKE_XEN_DIR = "/run/fake-xen"
_OWN_FOLDERS = ("/run/xen", "/run/xenstored", "/var/lib/xen", "/var/log/xen",
                FAKE_XEN_DIR)


class World:
    """What the `world` fixture gives."""

    def __init__(self, folder, shims):
        self.folder = str(folder)
        self.images = f"{self.folder}/images"
        self.shims = str(shims)
        self.variables = {}  # of the environment of what is started
        self.domains = {}
        self.xen = None
        self.store = None
        self.guest_store = None
        self.xenstored = None
        self._guests = None
        self._guest_wake = None
        self._next_domid = 1
        self.attend = None  # what is to be done while something is waited for
        self._processes = []
        os.makedirs(self.images)

    # -- processes --------------------------------------------------------

    def environment(self, shim=None):
        """Environment for a program; under a shim if one is named."""
        variables = dict(os.environ, FAKE_XEN_DIR=FAKE_XEN_DIR,
                         **self.variables)
        if shim:
            variables["LD_PRELOAD"] = f"{self.shims}/{shim}"
        return variables

    def spawn(self, arguments, log, shim=None, **options):
        """Starts a program that ends with the world; its output to a log."""
        options.setdefault("env", self.environment(shim))
        with open(f"{self.folder}/{log}", "ab") as out:
            options.setdefault("stdout", out)
            options.setdefault("stderr", out)
            # pylint: disable=consider-using-with
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                       **options)
        self._processes.append(process)
        return process

    def run(self, *arguments, check=True, timeout=60):
        """Runs a program under the hypervisor shim; gives its output."""
        result = subprocess.run(
            arguments, env=self.environment("hypervisor_shim.so"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, check=False, timeout=timeout)
        if check and result.returncode:
            raise RuntimeError(f"{arguments} gave {result.returncode}: "
                               f"{result.stderr}")
        return result.stdout if check else result

    def xl(self, *arguments, **options):
        """The real xl."""
        return self.run(xen_tool("xl"), *arguments, **options)

    # -- up and down ------------------------------------------------------

    def start(self):
        for path in _OWN_FOLDERS:
            os.makedirs(path, exist_ok=True)
        self.xen = Hypervisor(FAKE_XEN_DIR)
        self.start_xenstored()

    def stop(self):
        self._stop_guests()
        for domain in self.domains.values():
            domain.close()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        if self.store:
            self.store.close()
        for path in _OWN_FOLDERS:
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)

    def start_xenstored(self):
        """Starts xenstored and does what the boot of dom0 does with it."""
        self.xen.offer_port(0, 1, "-")
        self.xenstored = self.spawn(
            [xen_tool("xenstored"), "--no-fork", "--output-pid",
             "--pid-file", "/run/xenstored/xenstored.pid"],
            "xenstored.log", shim="xenstored_shim.so",
            stdout=subprocess.PIPE)
        # It prints its pid once its sockets are there.
        if not select.select([self.xenstored.stdout], [], [], 10)[0] or \
                not self.xenstored.stdout.readline():
            raise RuntimeError("xenstored did not start")
        self.xenstored.stdout.close()
        self.store = Store()
        self.run(xen_tool("xen-init-dom0"))
        self._start_guests()

    def kill_xenstored(self):
        """As a crash does: the store's content is lost."""
        self._stop_guests()
        self.xenstored.kill()
        self.xenstored.wait()
        # A handle is dead for good when its daemon is.
        self.store.close()
        self.store = None
        for name in ("socket", "xenstored.pid"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"/run/xenstored/{name}")

    def restart_xenstored(self):
        """A crash and a fresh start; domains are made known again, as a
        toolstack that recovers them does."""
        self.kill_xenstored()
        self.start_xenstored()
        for domain in self.domains.values():
            domain.reintroduce()
            self._watch_guest(domain)

    # -- domains ----------------------------------------------------------

    def add_domain(self, name, kind="pv", disks=(("xvda", "qcow2"),),
                   **settings):
        """A running domain. `disks`: Disk, its arguments, or a dict of them.
        Settings: uuid, domid, memory_kb, vcpus, responsive (does the guest
        answer to suspend), emulated (an HVM guest that still has its IDE
        disks), devd (its QEMU also has the socket of one in a driver
        domain); anything else goes into the xl configuration."""
        domid = settings.pop("domid", self._next_domid)
        self._next_domid = max(self._next_domid, domid + 1)
        domain = Domain(self, domid, name, kind, disks, **settings)
        self.domains[domid] = domain
        domain.start()
        self._watch_guest(domain)
        return domain

    def forget_domain(self, domain):
        """libxl has destroyed it; only the test's part of it is left."""
        with contextlib.suppress(KeyError):
            del self.domains[domain.domid]
        self._unwatch_guest(domain)
        domain.close()

    def remove_domain(self, domain):
        """The domain goes away without anybody asking the agent."""
        with contextlib.suppress(KeyError):
            del self.domains[domain.domid]
        self._unwatch_guest(domain)
        domain.vanish()

    # -- guests -----------------------------------------------------------

    def _start_guests(self):
        """One thread plays all guests' side of control/shutdown."""
        self.guest_store = Store()
        self._guest_wake = os.pipe()
        self._guests = threading.Thread(target=self._play_guests, daemon=True)
        self._guest_lock = threading.Lock()
        self._guests.start()

    def _stop_guests(self):
        if self._guests is None:
            return
        os.write(self._guest_wake[1], b"x")
        self._guests.join()
        self._guests = None
        for fd in self._guest_wake:
            os.close(fd)
        self.guest_store.close()

    def _watch_guest(self, domain):
        with self._guest_lock:
            self.guest_store.watch(f"{domain.path}/control/shutdown",
                                   str(domain.domid))

    def _unwatch_guest(self, domain):
        """Its domid may be another's next."""
        with self._guest_lock, contextlib.suppress(XenstoreError):
            self.guest_store.unwatch(f"{domain.path}/control/shutdown",
                                     str(domain.domid))

    def _play_guests(self):
        readers = [self.guest_store, self._guest_wake[0]]
        while True:
            ready = select.select(readers, [], [])[0]
            if self._guest_wake[0] in ready:
                return
            with self._guest_lock, contextlib.suppress(XenstoreError):
                for _, token in self.guest_store.events():
                    self._play_guest(self.domains.get(int(token)))

    @staticmethod
    def _play_guest(domain):
        """One that is just being destroyed is not the others' concern."""
        if domain:
            with contextlib.suppress(XenstoreError):
                domain.on_control()

    # -- waiting for what has no event ------------------------------------

    def eventually(self, condition, timeout=10, what="condition"):
        """For facts that nothing announces, such as a file's absence."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.attend:
                self.attend()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} not met in {timeout} s")
            time.sleep(0.01)
