# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenstored ended and started again, as a crash of it and as an upgrade do it."""

import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

from waiting import Deadline, WaitFailed
from xenstore import SOCKET

LIMIT = 60
BACKENDS = "/local/domain/0/backend"
TOOLS = "/usr/lib/xen-4.17/bin"


class Xenstored:
    """The one that serves this host, whichever of Xen's two it is."""

    def __init__(self):
        names = {"xenstored", "oxenstored"}
        self.pid, = (int(comm.parent.name) for comm in Path("/proc").glob("[0-9]*/comm")
                     if comm.read_text().strip() in names)
        words = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        self.command = [os.fsdecode(word) for word in words.rstrip(b"\0").split(b"\0")]

    def kill(self):
        """All that was in the store is lost."""
        fd = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        ended = select.select([fd], [], [], LIMIT)[0]
        os.close(fd)
        assert ended, "xenstored does not end"

    def start(self):
        """An empty store, as after a boot: no guest is known to it."""
        subprocess.run(self.command, check=True, env=_environment())
        self.wait_served()
        subprocess.run([f"{TOOLS}/xen-init-dom0"], check=True)

    def wait_served(self):
        deadline = Deadline(LIMIT)
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(SOCKET) == 0:
                    return
            if not deadline.left():
                raise WaitFailed(f"nobody serves {SOCKET} after {LIMIT} s")
            time.sleep(0.1)  # a socket that is not there cannot be waited for

    def update(self):
        """Replace the program and keep the store, the guests and all connections."""
        program = Path(f"/proc/{self.pid}/exe").resolve()
        subprocess.run(["xenstore-control", "live-update", "-t", str(LIMIT), program],
                       check=True)


def _environment():
    return {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}


class Memory:
    """What the store knew of a guest. xenstored has no memory of its own, so that
    after a crash of it only a copy like this makes a guest known again."""

    def __init__(self, guest):
        store = guest.store
        self.domid = guest.domid
        roots = [f"/local/domain/{self.domid}", f"/vm/{guest.uuid}", f"/libxl/{self.domid}"]
        roots += [f"{BACKENDS}/{kind}/{self.domid}" for kind in store.ls(BACKENDS)]
        self.nodes = {f"{root}/{name}": value for root in roots
                      for name, value in store.tree(root).items()}

    def bring_back(self, store):
        store.write(self.nodes)
        ring, port = (int(self.nodes[f"/local/domain/{self.domid}/store/{name}"])
                      for name in ("ring-ref", "port"))
        library = ctypes.CDLL("libxenstore.so.4", use_errno=True)
        library.xs_open.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(library.xs_open(0))
        introduced = library.xs_introduce_domain(
            handle, ctypes.c_uint(self.domid), ctypes.c_ulong(ring), ctypes.c_uint(port))
        assert introduced & 0xff, os.strerror(ctypes.get_errno())
        library.xs_close(handle)
