# SPDX-License-Identifier: LGPL-2.1-or-later
"""A socket before xenstored's, for one program: what happens between two of its
requests is made to happen there, and requests can be refused.

Layouts are those of xen/include/public/io/xs_wire.h.
"""

import os
import socket
import struct
import threading

DIRECTORY, READ, WATCH, TRANSACTION_END, WRITE = 1, 2, 4, 7, 11
_ERROR = 16
_HEADER = struct.Struct("=4I")
_XENSTORED = "/run/xenstored/socket"


def _receive(connection, length):
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class StoreRelay:
    """`environment` leads a program to it."""

    def __init__(self, folder):
        self.path = f"{folder}/store-relay"
        self.environment = {"XENSTORED_PATH": self.path}
        self._before = {}
        self._refused = set()
        self._refused_in_transactions = set()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        os.unlink(self.path)

    def before(self, kind, path, action):
        """Calls action() once, before xenstored gets the first such request."""
        self._before[kind, path] = action

    def refuse(self, kind):
        """xenstored gets none of them any more; the answer is ENOMEM."""
        self._refused.add(kind)

    def accept(self, kind):
        self._refused.discard(kind)

    def refuse_in_transactions(self, *kinds):
        """As a domain other than domain 0 finds it once its transaction has as many
        nodes as its quota allows."""
        self._refused_in_transactions.update(kinds)

    def _refuses(self, kind, transaction):
        return kind in self._refused or (
            transaction and kind in self._refused_in_transactions)

    def _accept(self):
        while True:
            try:
                program, _ = self._server.accept()
            except OSError:
                return
            xenstored = socket.socket(socket.AF_UNIX)
            xenstored.connect(_XENSTORED)
            for target in (self._pass_requests, self._pass_answers):
                threading.Thread(target=target, args=(program, xenstored),
                                 daemon=True).start()

    def _pass_requests(self, program, xenstored):
        try:
            while True:
                header = _receive(program, _HEADER.size)
                kind, request, transaction, length = _HEADER.unpack(header)
                body = _receive(program, length)
                path = body.split(b"\0")[0].decode()
                self._before.pop((kind, path), lambda: None)()
                if self._refuses(kind, transaction):
                    text = b"ENOMEM\0"
                    program.sendall(_HEADER.pack(_ERROR, request, transaction,
                                                 len(text)) + text)
                else:
                    xenstored.sendall(header + body)
        except (EOFError, OSError):
            xenstored.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _pass_answers(program, xenstored):
        try:
            while data := xenstored.recv(4096):
                program.sendall(data)
        except OSError:
            pass
        program.close()
        xenstored.close()
