# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU guest agent that a script plays: on the UNIX socket of a channel, as QEMU
serves it, one client at a time."""

import contextlib
import json
import socket
import threading

NAME = "org.qemu.guest_agent.0"
FREEZE, THAW, STATUS, INFO, SYNC = (
    "guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-status",
    "guest-info", "guest-sync-delimited")


class GuestAgent:
    """`count` file systems. What it does otherwise is set by command's name:

      answers[command]   what is sent instead of the answer, as bytes or as a value
                         that becomes JSON; None: nothing. A frozen guest is frozen
                         all the same
      errors[command]    the words of a refusal, of which nothing comes
      held(command)      the answer, and what it does, wait for release(command)
    """

    def __init__(self, world, domain, count=2):
        self.world = world
        self.domain = domain
        self.count = count
        self.frozen = False
        self.commands = []
        self.answers = {}
        self.errors = {}
        self.disabled = ()
        self.greeting = b""
        self._held = {}
        self.path = f"{world.folder}/qga-{domain.domid}.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1)
        self._client = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.write_channel()

    def write_channel(self, **other):
        """As libxl does."""
        folder = f"/libxl/{self.domain.domid}/device/console/1"
        values = {"name": NAME, "connection": "socket", "path": self.path,
                  "backend": f"/local/domain/0/backend/console/{self.domain.domid}/1"}
        for key, value in {**values, **other}.items():
            self.world.store.write(f"{folder}/{key}", value)

    def end_qemu(self):
        """Nobody is at the socket any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    def close(self):
        for event in self._held.values():
            event.set()
        self.end_qemu()

    def cut(self):
        """QEMU closes the connection."""
        with self._lock:
            if self._client:
                with contextlib.suppress(OSError):
                    self._client.shutdown(socket.SHUT_RDWR)

    def hold(self, command):
        self._held[command] = threading.Event()

    def release(self, command):
        self._held[command].set()

    def wait_asked(self, command, times=1):
        self.world.eventually(lambda: self.commands.count(command) >= times, 20,
                              f"{command} is asked {times} times")

    def wait_thawed(self, timeout=20):
        self.world.eventually(lambda: not self.frozen, timeout, "a thaw")

    def wait_frozen(self):
        self.world.eventually(lambda: self.frozen, 20, "a freeze")

    # -- the thread -----------------------------------------------------------

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._client = client
            with client, contextlib.suppress(OSError):
                client.sendall(self.greeting)
                self._serve_client(client)
            with self._lock:
                self._client = None

    def _serve_client(self, client):
        rest = b""
        while data := client.recv(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                message = json.loads(line.rpartition(b"\xff")[2])
                answer = self._carry_out(message)
                if answer is not None:
                    client.sendall(answer)

    def _carry_out(self, message):
        command = message["execute"]
        self.commands.append(command)
        if command in self._held:
            self._held[command].wait()
        if command in self.errors:
            return self._line({"error": {"class": "GenericError",
                                         "desc": self.errors[command]}})
        value = self._value(command, message)
        if command in self.answers:
            value = self.answers[command]
            if value is None or isinstance(value, bytes):
                return value
        line = self._line({"return": value})
        return b"\xff" + line if command == SYNC else line

    @staticmethod
    def _line(value):
        return json.dumps(value).encode() + b"\n"

    def _value(self, command, message):
        if command == SYNC:
            return message["arguments"]["id"]
        if command == INFO:
            return {"version": "7.2.0", "supported_commands": [
                {"name": name, "enabled": name not in self.disabled,
                 "success-response": True} for name in (SYNC, INFO, STATUS, FREEZE, THAW)]}
        if command == STATUS:
            return "frozen" if self.frozen else "thawed"
        count = self.count if self.frozen != (command == FREEZE) else 0
        self.frozen = command == FREEZE and self.count > 0
        return count
