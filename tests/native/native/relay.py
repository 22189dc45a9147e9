# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QMP socket that misbehaves on request.

The relay takes QEMU's place on a socket path and passes everything through,
file descriptors included, to the real socket, which it has renamed. Like
QEMU it serves one client at a time: further ones connect, and get no
greeting before the first has left. Faults apply to clients and commands that
come after they were set.
"""

import contextlib
import json
import os
import select
import socket
import threading

_DECODER = json.JSONDecoder()
_MAX_FDS = 16


class _Stream:
    """Cuts a byte stream into the JSON values it is made of."""

    def __init__(self):
        self._text = b""

    def feed(self, data):
        """[(bytes, value)], the bytes being exactly what came in."""
        self._text += data
        result = []
        while True:
            text = self._text.decode(errors="surrogateescape")
            start = len(text) - len(text.lstrip())
            try:
                value, end = _DECODER.raw_decode(text, start)
            except ValueError:
                return result
            raw = text[:end].encode(errors="surrogateescape")
            self._text = self._text[len(raw):]
            result.append((raw, value))


class Fault:
    """What happens to one command name; see Relay for the kinds."""

    def __init__(self, kind, times=1, **details):
        self.kind = kind
        self.left = times
        self.details = details
        self.reached = threading.Event()
        self.released = threading.Event()
        self.dropped = False

    def wait_reached(self, timeout=30):
        """Waits until the command has met the fault."""
        if not self.reached.wait(timeout):
            raise TimeoutError(f"no command met the fault {self.kind}")

    def release(self):
        """Lets a held command or reply go on."""
        self.released.set()

    def drop(self):
        """Forgets what is held, and closes the connection."""
        if not self.released.is_set():
            self.dropped = True
            self.released.set()


class Relay:
    """Sits on `path`; `kill` ends the QEMU behind it.

    For every client:
      silent           accepts, then neither answers nor passes anything on
      no_greeting      passes everything on but QEMU's greeting
    For the next command of a name, or the next `times`, by fault(command, kind):
      drop-before      closes the connection, QEMU never sees the command
      drop-after       QEMU carries the command out, its reply is lost
      hold-before      keeps the command back until the fault's release(); after
                       its drop() QEMU never sees the command
      hold-after       keeps QEMU's reply back until release()
      kill-before      kills QEMU when the command arrives
      kill-after       kills QEMU when it has replied; the reply is lost
      error            answers with an error (description=...), QEMU never
                       sees the command
      garbage          answers with text that is no JSON
    amend(command, function) changes what QEMU returned, every time.
    """

    def __init__(self, path, kill=None):
        self.path = path
        self.upstream_path = f"{path}.qemu"
        self.silent = False
        self.no_greeting = False
        self.commands = []
        self.received = 0  # bytes from clients
        self._kill = kill
        self._faults = {}
        self._met = []
        self._amendments = {}
        self._lock = threading.Lock()
        os.rename(path, self.upstream_path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        # QEMU's own backlog: what queues there is part of the behaviour.
        self._listener.listen(1)
        self._wake_read, self._wake_write = os.pipe()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        """Gives the path back to QEMU. What is held is dropped."""
        self._closing = True
        with self._lock:
            for fault in [*self._faults.values(), *self._met]:
                fault.drop()
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.upstream_path, self.path)

    def fault(self, command, kind, **details):
        fault = Fault(kind, **details)
        with self._lock:
            self._faults[command] = fault
        return fault

    def amend(self, command, function):
        """function(value) makes what clients get of what QEMU returned."""
        self._amendments[command] = function

    def amended(self, command, message):
        """The message to pass on, None for QEMU's own bytes."""
        function = self._amendments.get(command)
        if function is None or "return" not in message:
            return None
        return {**message, "return": function(message["return"])}

    def _take_fault(self, command):
        with self._lock:
            fault = self._faults.get(command)
            if fault:
                fault.left -= 1
                if fault.left == 0:
                    del self._faults[command]
                self._met.append(fault)
        return fault

    # -- the thread -------------------------------------------------------

    def _wait(self, *readers):
        """The readers with something to read; none when closing."""
        ready = select.select([self._wake_read, *readers], [], [])[0]
        return [] if self._wake_read in ready else ready

    def _serve(self):
        while self._wait(self._listener):
            client, _ = self._listener.accept()
            with client:
                with contextlib.suppress(OSError):
                    self._serve_client(client)

    def _serve_client(self, client):
        if self.silent:
            while self._wait(client) and client.recv(65536):
                pass
            return
        with socket.socket(socket.AF_UNIX) as qemu:
            qemu.connect(self.upstream_path)
            _Session(self, client, qemu).run()

    def end_qemu(self):
        if self._kill:
            self._kill()


class _Session:
    """One client's time with QEMU."""

    def __init__(self, relay, client, qemu):
        self._relay = relay
        self._client = client
        self._qemu = qemu
        self._from_client = _Stream()
        self._from_qemu = _Stream()
        self._awaiting = []  # (command, fault or None) under way, in order

    def run(self):
        while True:
            ready = self._relay._wait(self._client, self._qemu)
            if not ready:
                return
            if self._qemu in ready and not self._pass_replies():
                return
            if self._client in ready and not self._pass_commands():
                return

    def _hold(self, fault):
        """Whether what was held is to go on."""
        fault.reached.set()
        fault.released.wait()
        return not fault.dropped

    def _pass_commands(self):
        data, fds, _, _ = socket.recv_fds(self._client, 65536, _MAX_FDS)
        try:
            if not data:
                return False
            self._relay.received += len(data)
            for raw, message in self._from_client.feed(data):
                if not self._pass_command(raw, message, fds):
                    return False
                self._close_fds(fds)
        finally:
            self._close_fds(fds)
        return True

    @staticmethod
    def _close_fds(fds):
        while fds:
            os.close(fds.pop())

    def _pass_command(self, raw, message, fds):
        name = message.get("execute") or message.get("exec-oob")
        fault = self._relay._take_fault(name)
        self._relay.commands.append(message)
        kind = fault.kind if fault else ""
        if kind == "hold-before" and not self._hold(fault):
            return False
        if kind == "kill-before":
            self._relay.end_qemu()
        elif kind in ("error", "garbage"):
            self._answer(fault, message)
        if fault and not kind.endswith("-after"):
            fault.reached.set()
        if kind in ("drop-before", "kill-before"):
            return False
        if kind not in ("error", "garbage"):
            socket.send_fds(self._qemu, [raw], fds)
            self._awaiting.append((name, fault))
        return True

    def _answer(self, fault, message):
        # Replies come in the order of the commands.
        while self._awaiting:
            self._pass_replies()
        if fault.kind == "garbage":
            self._client.sendall(b"this is not JSON\r\n")
            return
        reply = {"error": {
            "class": fault.details.get("error_class", "GenericError"),
            "desc": fault.details.get("description", "made to fail")}}
        if "id" in message:
            reply["id"] = message["id"]
        self._client.sendall(json.dumps(reply).encode() + b"\r\n")

    def _pass_replies(self):
        data = self._qemu.recv(65536)
        if not data:
            return False
        for raw, message in self._from_qemu.feed(data):
            if "QMP" in message and self._relay.no_greeting:
                continue
            if self._awaiting and ("return" in message or "error" in message):
                name, fault = self._awaiting.pop(0)
                if fault and not self._meet_reply(fault):
                    return False
                amended = self._relay.amended(name, message)
                if amended is not None:
                    raw = json.dumps(amended).encode()
            self._client.sendall(raw.lstrip() + b"\r\n")
        return True

    def _meet_reply(self, fault):
        if fault.kind == "hold-after":
            return self._hold(fault)
        if fault.kind == "kill-after":
            self._relay.end_qemu()
            fault.reached.set()
            return False
        if fault.kind == "drop-after":
            fault.reached.set()
            return False
        return True
