# SPDX-License-Identifier: LGPL-2.1-or-later
"""Xenstore over its own socket. Starting a program costs a tenth of a second
under emulation, and a watch has to be an event: so no xenstore-* tools here."""

import errno
import itertools
import socket
import struct

from waiting import Deadline, WaitFailed

SOCKET = "/run/xenstored/socket"
HEADER = struct.Struct("<IIII")  # type, request, transaction, length

DIRECTORY, READ, GET_PERMS, WATCH = 1, 2, 3, 4
TRANSACTION_START, TRANSACTION_END = 6, 7
WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR = 11, 12, 13, 14, 15, 16


class StoreError(OSError):
    """xenstored refused; `errno` says why."""


class Store:
    """One connection, as dom0."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(SOCKET)
        self._ids = itertools.count(1)
        self._events = []

    def close(self):
        self._socket.close()

    def fileno(self):
        return self._socket.fileno()

    # --- values

    def read(self, path, default=None):
        """The value as text, `default` where there is no such node."""
        try:
            return self._call(READ, path).decode()
        except StoreError as error:
            if error.errno == errno.ENOENT:
                return default
            raise

    def ls(self, path):
        """The names of the children; none where there is no such node."""
        try:
            names = self._call(DIRECTORY, path).decode()
        except StoreError as error:
            if error.errno == errno.ENOENT:
                return []
            raise
        return names.rstrip("\0").split("\0") if names else []

    def tree(self, path, prefix=""):
        """{relative path: value} of everything below `path`."""
        found = {}
        for name in self.ls(path):
            below = f"{path}/{name}"
            value = self.read(below)
            children = self.tree(below, f"{prefix}{name}/")
            if value is not None and (value or not children):
                found[f"{prefix}{name}"] = value
            found.update(children)
        return found

    def write(self, pairs):
        """Write {path: value} in one transaction, in the order given."""
        while True:
            transaction = int(self._call(TRANSACTION_START, "").rstrip(b"\0"))
            for path, value in pairs.items():
                self._send_path(WRITE, path, str(value).encode(), transaction)
            try:
                self._call(TRANSACTION_END, "T", transaction=transaction)
                return
            except StoreError as error:
                # Somebody changed what the transaction saw: the protocol asks
                # for another go.
                if error.errno != errno.EAGAIN:
                    raise

    def mkdir(self, path):
        self._call(MKDIR, path)

    def rm(self, path):
        """Remove a node and all below; fine where there is none."""
        try:
            self._call(RM, path)
        except StoreError as error:
            if error.errno != errno.ENOENT:
                raise

    def permissions(self, path):
        """As in `xenstore-ls -p`: ["n0", "r5"], the owner first."""
        return self._call(GET_PERMS, path).decode().rstrip("\0").split("\0")

    def set_permissions(self, path, permissions):
        payload = "\0".join([path, *permissions]).encode() + b"\0"
        self._exchange(SET_PERMS, payload, 0)

    # --- waiting

    def wait(self, path, accept, limit=120, also=()):
        """Wait until the value at `path` is accepted, and return it. `accept` is
        a value, a set of values or a function; None stands for no such node.
        `also` are file descriptors that end the wait when they get readable."""
        accepts = _acceptor(accept)
        deadline = Deadline(limit)
        watcher = Store()
        try:
            watcher._exchange(WATCH, f"{path}\0w\0".encode(), 0)
            while True:
                value = watcher.read(path) if path.startswith("/") else None
                if accepts(value):
                    return value
                ready = deadline.wait_readable(watcher, *also) if not watcher._events \
                    else [watcher]
                if watcher not in ready:
                    raise WaitFailed(_describe(path, accept, value, ready, limit))
                watcher._next_event()
        finally:
            watcher.close()

    # --- the wire

    def _call(self, kind, path, transaction=0):
        return self._exchange(kind, path.encode() + b"\0", transaction)

    def _send_path(self, kind, path, value, transaction):
        return self._exchange(kind, path.encode() + b"\0" + value, transaction)

    def _exchange(self, kind, payload, transaction):
        request = next(self._ids)
        self._socket.sendall(
            HEADER.pack(kind, request, transaction, len(payload)) + payload)
        while True:
            kind, answered, body = self._receive()
            if kind == WATCH_EVENT:
                self._events.append(body)
            elif answered == request:
                break
        if kind == ERROR:
            name = body.rstrip(b"\0").decode()
            raise StoreError(getattr(errno, name, 0), f"{name}: {payload!r}")
        return body

    def _next_event(self):
        if not self._events:
            self._events.append(self._receive()[2])
        # One event is as good as many: the value is read after it.
        self._events.clear()

    def _receive(self):
        kind, request, _, length = HEADER.unpack(self._receive_bytes(HEADER.size))
        return kind, request, self._receive_bytes(length)

    def _receive_bytes(self, count):
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise StoreError(errno.ECONNRESET, "xenstored closed the connection")
            data += more
        return data


def _acceptor(accept):
    if callable(accept):
        return accept
    if isinstance(accept, (set, frozenset, tuple, list)):
        return lambda value: value in accept
    return lambda value: value == accept


def _describe(path, accept, value, ready, limit):
    wanted = "an accepted value" if callable(accept) else repr(accept)
    why = "the process ended" if ready else f"{limit} s went by"
    return f"{why}, and {path} is {value!r} instead of {wanted}"
