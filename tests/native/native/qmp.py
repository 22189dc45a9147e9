# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small QMP client for the harness's own monitor of a QEMU."""

import json
import select
import socket
import time


class QmpError(Exception):
    """QEMU answered with an error."""

    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.error = error


class Qmp:
    def __init__(self, path, timeout=30):
        self._timeout = timeout
        self._buffer = b""
        self.events = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self.greeting = self._receive(timeout)
        self.command("qmp_capabilities")

    def close(self):
        self._socket.close()

    def _receive(self, timeout):
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise TimeoutError("QMP: no answer")
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("QMP: closed")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, **arguments):
        """Sends a command, '_' in argument names standing for '-'."""
        return self.send({"execute": name, "arguments": {
            key.replace("_", "-"): value for key, value in arguments.items()}})

    def send(self, message):
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while True:
            reply = self._receive(self._timeout)
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise QmpError(reply["error"])
            elif "return" in reply:
                return reply["return"]
            # else a greeting: now and then QEMU greets twice whoever was
            # connected before it had started

    def wait_event(self, name, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            reply = self._receive(max(0.001, deadline - time.monotonic()))
            if "event" in reply:
                self.events.append(reply)
