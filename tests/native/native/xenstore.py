# SPDX-License-Identifier: LGPL-2.1-or-later
"""libxenstore, as far as the tests need it."""

import contextlib
import ctypes
import errno
import os
import select
import time

_lib = ctypes.CDLL("libxenstore.so.4", use_errno=True)
_libc = ctypes.CDLL(None)
_libc.free.argtypes = [ctypes.c_void_p]

NONE, READ, WRITE = 0, 1, 2
_LETTERS = {"n": NONE, "r": READ, "w": WRITE, "b": READ | WRITE}
_TRANSACTION_RETRIES = 100


class _Permission(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint), ("perms", ctypes.c_int)]


def _declare(name, result, *arguments):
    function = getattr(_lib, name)
    function.restype = result
    function.argtypes = arguments
    return function


_H, _T, _S = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
_U, _B, _P = ctypes.c_uint, ctypes.c_bool, ctypes.c_void_p
_UP = ctypes.POINTER(ctypes.c_uint)
_open = _declare("xs_open", _H, ctypes.c_ulong)
_close = _declare("xs_close", None, _H)
_directory = _declare("xs_directory", _P, _H, _T, _S, _UP)
_read = _declare("xs_read", _P, _H, _T, _S, _UP)
_write = _declare("xs_write", _B, _H, _T, _S, ctypes.c_char_p, _U)
_mkdir = _declare("xs_mkdir", _B, _H, _T, _S)
_rm = _declare("xs_rm", _B, _H, _T, _S)
_get_permissions = _declare("xs_get_permissions", _P, _H, _T, _S, _UP)
_set_permissions = _declare("xs_set_permissions", _B, _H, _T, _S,
                            ctypes.POINTER(_Permission), _U)
_start = _declare("xs_transaction_start", _T, _H)
_end = _declare("xs_transaction_end", _B, _H, _T, _B)
_watch = _declare("xs_watch", _B, _H, _S, _S)
_unwatch = _declare("xs_unwatch", _B, _H, _S, _S)
_fileno = _declare("xs_fileno", ctypes.c_int, _H)
_check_watch = _declare("xs_check_watch", _P, _H)
_introduce = _declare("xs_introduce_domain", _B, _H, _U, ctypes.c_ulong, _U)
_release = _declare("xs_release_domain", _B, _H, _U)


class XenstoreError(OSError):
    """An operation that xenstored refused; `errno` says why."""


def _fail(what, path):
    code = ctypes.get_errno()
    raise XenstoreError(code, f"{what}: {os.strerror(code)}", path)


def _check(done, what, path):
    if not done:
        _fail(what, path)


class Store:
    """One connection. Not to be shared between threads."""

    def __init__(self):
        self._handle = _open(0)
        if not self._handle:
            _fail("xs_open", "")
        self._transaction = 0

    def close(self):
        if self._handle:
            _close(self._handle)
        self._handle = None

    # -- nodes ------------------------------------------------------------

    def read(self, path):
        """The value as text, None where there is no such node."""
        length = ctypes.c_uint()
        data = _read(self._handle, self._transaction, path.encode(),
                     ctypes.byref(length))
        if not data:
            if ctypes.get_errno() == errno.ENOENT:
                return None
            _fail("read", path)
        value = ctypes.string_at(data, length.value)
        _libc.free(data)
        return value.decode(errors="replace")

    def write(self, path, value):
        data = value if isinstance(value, bytes) else str(value).encode()
        _check(_write(self._handle, self._transaction, path.encode(), data,
                      len(data)), "write", path)

    def mkdir(self, path):
        _check(_mkdir(self._handle, self._transaction, path.encode()),
               "mkdir", path)

    def rm(self, path):
        if not _rm(self._handle, self._transaction, path.encode()):
            if ctypes.get_errno() != errno.ENOENT:
                _fail("rm", path)

    def ls(self, path):
        """Names of the children; [] where there is no such node."""
        count = ctypes.c_uint()
        names = _directory(self._handle, self._transaction, path.encode(),
                           ctypes.byref(count))
        if not names:
            if ctypes.get_errno() == errno.ENOENT:
                return []
            _fail("ls", path)
        found = ctypes.cast(names, ctypes.POINTER(ctypes.c_char_p))
        result = [found[i].decode() for i in range(count.value)]
        _libc.free(names)
        return result

    def tree(self, path):
        """{relative path: value} of everything below `path`."""
        result = {}
        for name in self.ls(path):
            result[name] = self.read(f"{path}/{name}")
            for key, value in self.tree(f"{path}/{name}").items():
                result[f"{name}/{key}"] = value
        return result

    def permissions(self, path):
        """As xenstore-ls -p shows them: ["n0", "r5"]."""
        count = ctypes.c_uint()
        data = _get_permissions(self._handle, self._transaction,
                                path.encode(), ctypes.byref(count))
        if not data:
            _fail("permissions", path)
        entries = ctypes.cast(data, ctypes.POINTER(_Permission))
        letters = {value: letter for letter, value in _LETTERS.items()}
        result = [f"{letters[entries[i].perms & 3]}{entries[i].id}"
                  for i in range(count.value)]
        _libc.free(data)
        return result

    def set_permissions(self, path, *permissions):
        entries = (_Permission * len(permissions))(
            *[_Permission(int(text[1:]), _LETTERS[text[0]])
              for text in permissions])
        _check(_set_permissions(self._handle, self._transaction,
                                path.encode(), entries, len(permissions)),
               "set_permissions", path)

    # -- transactions -----------------------------------------------------

    def transact(self, body):
        """Runs body() in a transaction, again for as long as it collides."""
        for _ in range(_TRANSACTION_RETRIES):
            self._transaction = _start(self._handle)
            _check(self._transaction, "transaction", "")
            try:
                result = body()
            except BaseException:
                transaction, self._transaction = self._transaction, 0
                _end(self._handle, transaction, True)
                raise
            transaction, self._transaction = self._transaction, 0
            if _end(self._handle, transaction, False):
                return result
            if ctypes.get_errno() != errno.EAGAIN:
                _fail("commit", "")
        raise XenstoreError(errno.EAGAIN, "transaction collides for ever", "")

    def write_all(self, values):
        """All of {path: value} at once, in order."""
        def body():
            for path, value in values.items():
                self.write(path, value)
        self.transact(body)

    # -- watches ----------------------------------------------------------

    def watch(self, path, token="wait"):
        _check(_watch(self._handle, path.encode(), token.encode()),
               "watch", path)

    def unwatch(self, path, token="wait"):
        _check(_unwatch(self._handle, path.encode(), token.encode()),
               "unwatch", path)

    def fileno(self):
        return _fileno(self._handle)

    def events(self):
        """Watch events that have come in, as (path, token)."""
        result = []
        while True:
            event = _check_watch(self._handle)
            if not event:
                return result
            parts = ctypes.cast(event, ctypes.POINTER(ctypes.c_char_p))
            result.append((parts[0].decode(), parts[1].decode()))
            _libc.free(event)

    def wait_for(self, path, condition, timeout=10):
        """Waits, by watch, until condition() is true; gives what it gave."""
        with contextlib.ExitStack() as stack:
            self.watch(path)
            stack.callback(self.unwatch, path)
            deadline = time.monotonic() + timeout
            while True:
                self.events()
                result = condition()
                if result:
                    return result
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self.fileno()], [], [],
                                                  left)[0]:
                    raise TimeoutError(
                        f"{path}: nothing fit in {timeout} s; it is "
                        f"{self.read(path)!r} with {self.tree(path)}")

    def wait(self, path, *values, timeout=10):
        """Waits until the node has one of the values; gives it."""
        def fits():
            value = self.read(path)
            return (value,) if value in values else None
        return self.wait_for(path, fits, timeout)[0]

    def wait_gone(self, path, timeout=10):
        self.wait_for(path, lambda: self.read(path) is None, timeout)

    # -- domains ----------------------------------------------------------

    def introduce(self, domid, gfn, port):
        _check(_introduce(self._handle, domid, gfn, port), "introduce",
               str(domid))

    def release(self, domid):
        _check(_release(self._handle, domid), "release", str(domid))
