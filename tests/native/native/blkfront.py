# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's end of a virtual disk: enough of a block frontend for tests to
read and write through QEMU's real xen-block, as a guest does.

Layouts are those of xen/include/public/io/{ring,blkif}.h for x86_64.
"""

import mmap
import struct

from native.hypervisor import PAGE, GuestPorts

SECTOR = 512
_READ, _WRITE, _FLUSH = 0, 1, 3
_HEADER = 64
_ENTRY = 112
_ENTRIES = 32
_MAX_SEGMENTS = 8
# Every disk gets its own stretch of the domain's granted pages: one for the
# ring, the rest for data. Page 1 is the xenstore ring.
_PAGES_PER_DISK = 1 + _MAX_SEGMENTS
_FIRST_PAGE = 16


class BlkFront:
    def __init__(self, world, domid, vdev, index):
        self._store = world.store
        self._path = None
        self._port = 2 + index
        self._ring_ref = _FIRST_PAGE + index * _PAGES_PER_DISK
        self._serial = 0
        self._domid = domid
        self._ports = GuestPorts(world.xen, domid, vdev)
        with open(f"{world.xen.folder}/grants/{domid}", "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._memory).cast("I")

    def close(self):
        self._ports.close()
        self._words.release()
        self._memory.close()

    def announce(self, path):
        """Goes to Initialised, upon which the backend connects."""
        self._path = path
        base = self._ring_ref * PAGE
        self._memory[base:base + PAGE] = bytes(PAGE)
        # req_prod, req_event, rsp_prod, rsp_event
        struct.pack_into("=4I", self._memory, base, 0, 1, 0, 1)
        self._ports.offer(self._port)
        self._store.write_all({
            f"{path}/ring-ref": self._ring_ref,
            f"{path}/event-channel": self._port,
            f"{path}/protocol": "x86_64-abi",
            f"{path}/state": 3,
        })

    def connected(self):
        self._store.write(f"{self._path}/state", 4)

    def _word(self, index, value=None):
        # QEMU polls the ring meanwhile. struct.pack_into clears a word before it
        # writes it; an element of a memoryview is stored in one piece.
        place = self._ring_ref * PAGE // 4 + index
        if value is not None:
            self._words[place] = value
        return self._words[place]

    def _request(self, operation, sector, length):
        produced = self._word(0)
        entry = (self._ring_ref * PAGE + _HEADER +
                 produced % _ENTRIES * _ENTRY)
        segments = b"".join(
            struct.pack("=IBBH", self._ring_ref + 1 + i, 0,
                        (min(PAGE, length - i * PAGE) // SECTOR) - 1, 0)
            for i in range((length + PAGE - 1) // PAGE))
        self._serial += 1
        self._memory[entry:entry + _ENTRY] = struct.pack(
            "=BBHxxxxQQ", operation, len(segments) // 8, 0, self._serial,
            sector) + segments.ljust(_ENTRY - 24, b"\0")
        # One request at a time: the answer to it is the next response.
        answered = self._word(2)
        self._word(3, answered + 1)
        self._word(0, produced + 1)
        self._ports.notify(self._port)
        self._ports.wait_until(lambda: self._word(2) != answered)
        entry = (self._ring_ref * PAGE + _HEADER +
                 answered % _ENTRIES * _ENTRY)
        serial, _, status = struct.unpack_from("=QBxh", self._memory, entry)
        if serial != self._serial or status != 0:
            raise OSError(f"disk answered {status} to request {serial}")

    def _pieces(self, offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0
        step = _MAX_SEGMENTS * PAGE
        for start in range(0, length, step):
            yield start, min(step, length - start), (offset + start) // SECTOR

    def write(self, offset, data):
        buffer = (self._ring_ref + 1) * PAGE
        for start, length, sector in self._pieces(offset, len(data)):
            self._memory[buffer:buffer + length] = data[start:start + length]
            self._request(_WRITE, sector, length)

    def read(self, offset, length):
        buffer = (self._ring_ref + 1) * PAGE
        data = b""
        for _, size, sector in self._pieces(offset, length):
            self._request(_READ, sector, size)
            data += self._memory[buffer:buffer + size]
        return data

    def flush(self):
        self._request(_FLUSH, 0, 0)
