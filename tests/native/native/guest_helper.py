# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap-guest in a pretended guest: the real program, over the domain's own
ring, with file systems that shim/freeze_shim.c plays."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading

from native.ring import GuestXenstore

_RESET_WATCHES = 21
_RING = 1024
_REQ_CONS, _REQ_PROD, _RSP_CONS, _RSP_PROD = range(4)
STORE_PORT = 1


class RingSocket(GuestXenstore):
    """A socket that is to the helper what /dev/xen/xenbus is in a guest: what
    comes in goes to the domain's ring. One client at a time."""

    def __init__(self, xen, domid):
        super().__init__(xen, domid)
        self.path = f"{xen.folder}/xenbus-{domid}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1)
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        os.write(self._wake[1], b"x")
        self._thread.join()
        self._listener.close()
        for fd in self._wake:
            os.close(fd)
        super().close()

    def _serve(self):
        while True:
            ready = select.select([self._listener, self._wake[0]], [], [])[0]
            if self._wake[0] in ready:
                return
            client, _ = self._listener.accept()
            with client, contextlib.suppress(ConnectionError):
                # The kernel, too, forgets the watches of one that has gone.
                self._call(_RESET_WATCHES, b"\0")
                if not self._pass_on(client):
                    return

    def _pass_on(self, client):
        """False when it is all over."""
        ports = self._ports.fileno()
        while True:
            self._pass_up(client)
            ready = select.select([client, ports, self._wake[0]], [], [])[0]
            if self._wake[0] in ready:
                return False
            if ports in ready:
                self._ports.wait()
            if client in ready:
                data = client.recv(65536)
                if not data:
                    return True
                self._pass_down(client, data)

    def _pass_up(self, client):
        while self._word(_RSP_CONS) != self._word(_RSP_PROD):
            client.sendall(self._receive(1, 10) + self._received)
            self._received = b""

    def _pass_down(self, client, data):
        """As send_raw(), taking what comes up while the ring is full."""
        for start in range(0, len(data), _RING // 2):
            self.send_raw(data[start:start + _RING // 2])
            self._pass_up(client)


class GuestHelper:
    """The program in one guest, and its file systems `names`, in the order in
    which they were mounted."""

    def __init__(self, world, domain, names=("root", "data")):
        self.world = world
        self.domain = domain
        self.folder = f"{world.folder}/guest-{domain.domid}"
        self.process = None
        for name in ("frozen", "refuse", "slow", "mounts"):
            os.makedirs(f"{self.folder}/{name}")
        with open(f"{self.folder}/mountinfo", "w", encoding="ascii") as file:
            file.write("20 1 0:5 / /proc rw - proc proc rw\n")
            for number, name in enumerate(names):
                point = f"{self.folder}/mounts/{name}"
                os.mkdir(point)
                file.write(f"{30 + number} 1 202:{number} / {point} rw,noatime "
                           f"- ext4 /dev/xvd{number} rw\n")
        self.ring = RingSocket(world.xen, domain.domid)

    @property
    def store_path(self):
        return f"{self.domain.path}/data/xensnap-guest"

    def start(self):
        self.process = self.world.spawn(
            [f"{self.world.shims}/xensnap-guest"], "guest-helper.log",
            env=dict(self.world.environment(), XENSTORED_PATH=self.ring.path,
                     FAKE_XEN_DOMID=str(self.domain.domid),
                     FREEZE_SHIM=self.folder))
        self.world.store.wait(f"{self.store_path}/version", "1")
        return self

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.ring.close()

    @property
    def freezer_pid(self):
        """Of the process that freezes."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], check=True,
                               capture_output=True, text=True).stdout
        return int(found)

    def refuse(self, name, error):
        with open(f"{self.folder}/refuse/{name}", "w", encoding="ascii") as file:
            file.write(str(error))

    def hold(self, name):
        """Freezing it does not come to an end before release()."""
        with open(f"{self.folder}/slow/{name}", "wb"):
            pass

    def release(self, name):
        os.unlink(f"{self.folder}/slow/{name}")

    def frozen(self):
        return sorted(os.listdir(f"{self.folder}/frozen"))

    def wait_thawed(self, timeout=10):
        self.world.eventually(lambda: not self.frozen(), timeout, "a thaw")

    def wait_frozen(self, timeout=10):
        self.world.eventually(self.frozen, timeout, "a freeze")

    def done(self):
        """What was done to the file systems, in order: "freeze root"."""
        try:
            with open(f"{self.folder}/log", encoding="ascii") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(10)
