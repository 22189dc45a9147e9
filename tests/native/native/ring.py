# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest's own connection to xenstored, over its shared ring: what it does
meets the permissions, owners and quotas of that domain.

Layouts are those of xen/include/public/io/xs_wire.h.
"""

import mmap
import struct

from native.hypervisor import PAGE, STORE_PORT, GuestPorts

(_DIRECTORY, _READ, _GET_PERMS, _WATCH, _UNWATCH, _START, _END) = range(1, 8)
(_WRITE, _MKDIR, _RM, _SET_PERMS, _EVENT, _ERROR) = range(11, 17)
_HEADER = struct.Struct("=4I")
_RING = 1024
_RETRIES = 100
# Words behind the two rings.
_REQ_CONS, _REQ_PROD, _RSP_CONS, _RSP_PROD = range(4)


class Denied(Exception):
    """xenstored answered with an error; `code` is its name, e.g. EACCES."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class GuestXenstore:
    """The guest's client. Paths may be relative, as in a guest."""

    def __init__(self, xen, domid):
        self._ports = GuestPorts(xen, domid, "xenstore")
        self._ports.take_over(STORE_PORT)
        with open(f"{xen.folder}/grants/{domid}", "r+b") as file:
            self._page = mmap.mmap(file.fileno(), PAGE, offset=PAGE)
        # xenstored reads the indices meanwhile, and ignores a guest whose are
        # wrong for ever. struct.pack_into clears a word before it writes it; an
        # element of a memoryview is stored in one piece.
        self._words = memoryview(self._page).cast("I")
        self._serial = 0
        self._transaction = 0
        self._received = b""
        self._events = []

    def close(self):
        self._ports.close()
        self._words.release()
        self._page.close()

    # -- the ring ---------------------------------------------------------

    def _word(self, index, value=None):
        place = 2 * _RING // 4 + index
        if value is not None:
            self._words[place] = value
        return self._words[place]

    def send_raw(self, data):
        """Any bytes at all, for hostile guests."""
        while data:
            produced = self._word(_REQ_PROD)
            self._ports.wait_until(
                lambda p=produced: (p - self._word(_REQ_CONS)) % 2**32 < _RING)
            room = _RING - (produced - self._word(_REQ_CONS)) % 2**32
            start = produced % _RING
            piece = data[:min(room, _RING - start)]
            self._page[start:start + len(piece)] = piece
            self._word(_REQ_PROD, (produced + len(piece)) % 2**32)
            self._ports.notify(STORE_PORT)
            data = data[len(piece):]

    def _receive(self, length, timeout):
        while len(self._received) < length:
            consumed = self._word(_RSP_CONS)
            self._ports.wait_until(
                lambda c=consumed: self._word(_RSP_PROD) != c, timeout)
            start = consumed % _RING
            size = min((self._word(_RSP_PROD) - consumed) % 2**32,
                       _RING - start)
            self._received += self._page[_RING + start:_RING + start + size]
            self._word(_RSP_CONS, (consumed + size) % 2**32)
            self._ports.notify(STORE_PORT)
        data, self._received = (self._received[:length],
                                self._received[length:])
        return data

    def _receive_message(self, timeout=10):
        kind, serial, _, length = _HEADER.unpack(
            self._receive(_HEADER.size, timeout))
        return kind, serial, self._receive(length, timeout)

    def _note_event(self, body):
        path, token, *_ = body.split(b"\0")
        self._events.append((path.decode(), token.decode()))

    def _call(self, kind, *parts):
        """Sends strings, terminated but for a value at the end."""
        self._serial += 1
        body = b"".join(parts)
        self.send_raw(_HEADER.pack(kind, self._serial, self._transaction,
                                   len(body)) + body)
        while True:
            answer, serial, body = self._receive_message()
            if answer == _EVENT:
                self._note_event(body)
            elif answer == _ERROR:
                raise Denied(body.rstrip(b"\0").decode())
            elif serial == self._serial:
                return body

    # -- operations -------------------------------------------------------

    def read(self, path):
        try:
            return self._call(_READ, _text(path)).decode()
        except Denied as denial:
            if denial.code == "ENOENT":
                return None
            raise

    def write(self, path, value):
        data = value if isinstance(value, bytes) else str(value).encode()
        self._call(_WRITE, _text(path), data)

    def mkdir(self, path):
        self._call(_MKDIR, _text(path))

    def rm(self, path):
        self._call(_RM, _text(path))

    def ls(self, path):
        names = self._call(_DIRECTORY, _text(path))
        return [name.decode() for name in names.split(b"\0")[:-1]]

    def permissions(self, path):
        entries = self._call(_GET_PERMS, _text(path))
        return [entry.decode() for entry in entries.split(b"\0")[:-1]]

    def set_permissions(self, path, *permissions):
        self._call(_SET_PERMS, _text(path), *map(_text, permissions))

    def watch(self, path, token):
        self._call(_WATCH, _text(path), _text(token))

    def unwatch(self, path, token):
        self._call(_UNWATCH, _text(path), _text(token))

    def start_transaction(self):
        self._transaction = int(self._call(_START, b"\0").rstrip(b"\0"))

    def end_transaction(self, commit=True):
        try:
            self._call(_END, _text("T" if commit else "F"))
        finally:
            self._transaction = 0

    def write_all(self, values):
        """All of {path: value} at once, in order."""
        for _ in range(_RETRIES):
            self.start_transaction()
            for path, value in values.items():
                self.write(path, value)
            try:
                self.end_transaction()
                return
            except Denied as denial:
                if denial.code != "EAGAIN":
                    raise
        raise Denied("EAGAIN")

    def wait_event(self, timeout=10):
        """The next watch event, as (path, token)."""
        while not self._events:
            kind, _, body = self._receive_message(timeout)
            if kind == _EVENT:
                self._note_event(body)
        return self._events.pop(0)

    def wait(self, path, *values, timeout=10):
        """Waits, by watch, until the node has one of the values."""
        token = f"wait-{path}"
        self.watch(path, token)
        try:
            while (value := self.read(path)) not in values:
                self.wait_event(timeout)
            return value
        finally:
            self.unwatch(path, token)
            self._events = [event for event in self._events
                            if event[1] != token]


def _text(text):
    return text.encode() + b"\0"
