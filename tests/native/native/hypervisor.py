# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness's side of what shim/fake_xen.h describes."""

import contextlib
import fcntl
import os
import select
import struct
import time

VIRQ_DOM_EXC = 3
RUNNING = -1
POWEROFF, REBOOT, SUSPEND, CRASH, WATCHDOG, SOFT_RESET = range(6)
PAGE = 4096
STORE_PORT = 1
_GRANT_PAGES = 1024


class Hypervisor:
    """The faked hypervisor's state; every change is atomic for the shims."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("domains", "grants", "evtchn"):
            os.makedirs(f"{folder}/{name}", exist_ok=True)
        self._write("xsd_port", f"{STORE_PORT}\n")
        self._write("xsd_kva", "\0" * PAGE)
        self.set_host(total_kb=4 << 20, free_kb=2 << 20, cpus=2)
        self.add(0, uuid="00000000-0000-0000-0000-000000000000", kind="pv",
                 memory_kb=1 << 20)

    def _path(self, name):
        return f"{self.folder}/{name}"

    def _write(self, name, text):
        with open(self._path(name), "w", encoding="ascii") as file:
            file.write(text)

    @contextlib.contextmanager
    def lock(self):
        with open(self._path("lock"), "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # -- host and domains -------------------------------------------------

    def set_host(self, **values):
        self._host = values
        self._write("host", "".join(f"{key.replace('_', '-')}={value}\n"
                                    for key, value in values.items()))

    def host(self):
        return dict(self._host)

    def fail_lists(self, fails=True):
        """Domains can be looked at, each by its number, but not listed."""
        values = {name: value for name, value in self._host.items() if name != "no_lists"}
        self.set_host(**values, no_lists=int(fails))

    def add(self, domid, uuid, kind, memory_kb=131072, vcpus=1, paused=0):
        with open(self._path(f"grants/{domid}"), "wb") as file:
            file.truncate(_GRANT_PAGES * PAGE)
        # What a toolstack allocates for the domain's xenstore connection.
        self.offer_port(domid, STORE_PORT, "-")
        self._store(domid, {"uuid": uuid, "type": kind, "dying": 0,
                            "paused": paused, "shutdown": RUNNING,
                            "memory-kb": memory_kb, "max-kb": memory_kb + 1024,
                            "vcpus": vcpus})

    def _store(self, domid, values):
        text = "".join(f"{key}={value}\n" for key, value in values.items())
        self._write(f"domains/.new.{domid}", text)
        os.rename(self._path(f"domains/.new.{domid}"),
                  self._path(f"domains/{domid}"))

    def get(self, domid):
        """The domain's values as text, None where Xen does not know it."""
        try:
            with open(self._path(f"domains/{domid}"),
                      encoding="ascii") as file:
                return dict(line.strip().split("=", 1) for line in file)
        except FileNotFoundError:
            return None

    def domids(self):
        return sorted(int(name) for name in os.listdir(self._path("domains"))
                      if name.isdigit())

    def set(self, domid, **values):
        """Changes values; the shims and libxl see it at once."""
        with self.lock():
            domain = self.get(domid)
            domain.update((key.replace("_", "-"), value)
                          for key, value in values.items())
            self._store(domid, domain)

    def shut_down(self, domid, reason):
        """The domain stops by itself, and Xen tells who listens."""
        self.set(domid, shutdown=reason)
        self.raise_virq(VIRQ_DOM_EXC)

    def remove(self, domid):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(f"domains/{domid}"))
        self.raise_virq(VIRQ_DOM_EXC)

    @contextlib.contextmanager
    def destroy_held(self):
        """Domains that are destroyed meanwhile are only dying."""
        self._write("hold-destroy", "")
        try:
            yield
        finally:
            os.unlink(self._path("hold-destroy"))

    def is_running(self, domid):
        domain = self.get(domid)
        return (domain is not None and domain["paused"] == "0" and
                domain["shutdown"] == str(RUNNING))

    def calls(self):
        """Hypercalls so far that changed something or met no answer."""
        try:
            with open(self._path("hypercalls"), encoding="ascii") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def forget_calls(self):
        self._write("hypercalls", "")

    # -- event channels ---------------------------------------------------

    def offer_port(self, domid, port, fifo, remote=0):
        self._write(f"evtchn/port.{domid}.{port}",
                    f"unbound {fifo} {remote} 0\n")

    def send(self, fifo, port):
        """Puts an event into a handle's FIFO, lost where nobody reads."""
        if fifo == "-":
            return
        try:
            fd = os.open(self._path(f"evtchn/{fifo}"),
                         os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        # A full FIFO holds thousands of events: its reader wakes anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(fd, struct.pack("=I", port))
        os.close(fd)

    def raise_virq(self, virq):
        try:
            with open(self._path(f"evtchn/virq.{virq}"),
                      encoding="ascii") as file:
                fifo, port = file.read().split()
        except FileNotFoundError:
            return
        self.send(fifo, int(port))


class GuestPorts:
    """A guest's own ends of event channels, played by the harness."""

    def __init__(self, hypervisor, domid, name):
        self._hypervisor = hypervisor
        self._domid = domid
        self._fifo = f"guest.{domid}.{name}"
        path = f"{hypervisor.folder}/evtchn/{self._fifo}"
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def close(self):
        os.close(self._fd)
        os.unlink(f"{self._hypervisor.folder}/evtchn/{self._fifo}")

    def fileno(self):
        return self._fd

    def offer(self, port, remote=0):
        """Lets domain `remote` bind to `port`."""
        self._hypervisor.offer_port(self._domid, port, self._fifo, remote)

    def take_over(self, port):
        """Plays the guest's end of a port that somebody else bound."""
        path = f"{self._hypervisor.folder}/evtchn/port.{self._domid}.{port}"
        with self._hypervisor.lock():
            with open(path, encoding="ascii") as file:
                kind, _, *rest = file.read().split()
            with open(path, "w", encoding="ascii") as file:
                file.write(" ".join([kind, self._fifo, *rest]) + "\n")

    def notify(self, port):
        folder = f"{self._hypervisor.folder}/evtchn"
        with self._hypervisor.lock():
            with open(f"{folder}/port.{self._domid}.{port}",
                      encoding="ascii") as file:
                kind, _, remote, remote_port = file.read().split()
            if kind != "bound":
                return
            with open(f"{folder}/port.{remote}.{remote_port}",
                      encoding="ascii") as file:
                fifo = file.read().split()[1]
            self._hypervisor.send(fifo, int(remote_port))

    def wait(self, timeout=10):
        """The ports that became pending, at least one."""
        if not select.select([self._fd], [], [], timeout)[0]:
            raise TimeoutError(f"no event for domain {self._domid}")
        data = os.read(self._fd, 4096)
        return [port for port, in struct.iter_unpack("=I", data)]

    def wait_until(self, condition, timeout=10):
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing for domain {self._domid}")
            # The ring tells as well as an event, if one went astray.
            with contextlib.suppress(TimeoutError, BlockingIOError):
                self.wait(0.2)
