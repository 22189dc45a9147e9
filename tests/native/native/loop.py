# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loop devices that go away by themselves, however the test ends."""

import errno
import fcntl
import os
import struct

_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_AUTOCLEAR = 4


class Loop:
    """A block device; detached by the kernel when its last user closes."""

    def __init__(self, path, fd):
        self.path = path
        self._fd = fd

    def close(self):
        os.close(self._fd)


def available():
    return os.access("/dev/loop-control", os.R_OK | os.W_OK)


def attach(file):
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            path = f"/dev/loop{number}"
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: fd, block size, struct loop_info64 with
            # lo_flags behind 52 bytes, then reserved words.
            config = struct.pack("=II52xI176x64x", backing, 0, _AUTOCLEAR)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
                return Loop(path, fd)
            except OSError as error:
                os.close(fd)
                # Somebody else took the same free number first.
                if error.errno != errno.EBUSY:
                    raise
    finally:
        os.close(control)
        os.close(backing)
