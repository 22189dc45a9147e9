# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent under test, and requests to it over xenstore."""

import itertools
import os
import signal
import subprocess
from pathlib import Path

from waiting import GrowingFile, WaitFailed
from xenstore import Store

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# Another build than the usual one, as one with sanitizers: XENSNAP_BUILD=build-asan
BUILD = CHECKOUT / os.environ.get("XENSNAP_BUILD", "build")
LOGS = Path("/var/log/xen")

STATUS = "/tool/xensnapd/status"
REQUESTS = "/tool/xensnapd/requests"
SNAPSHOTS = "/tool/xensnapd/snapshots"
FINAL = frozenset({"done", "failed", "cancelled"})
LIMIT = 300


class Agent:
    """xensnapd as a child process. Its log survives restarts of it."""

    _numbers = itertools.count(1)

    def __init__(self, config=None, environment=None):
        self.program = BUILD / "xensnapd"
        self.config = Path(config or CHECKOUT / "conf" / "agent.yaml")
        self.environment = environment or {}
        self.log = GrowingFile(LOGS / f"xensnapd-{next(self._numbers)}.log")
        self.store = Store()
        self.process = None

    # --- process

    def start(self, wait=True):
        # What a killed predecessor left there must not pass for this one's.
        self.store.rm(f"{STATUS}/state")
        with open(self.log.path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--foreground", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={**os.environ, **self.environment})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, limit=LIMIT):
        self.wait_node(f"{STATUS}/state", "ready", limit)

    def wait_node(self, path, accept, limit=LIMIT):
        """As Store.wait, and fails at once when the agent ends meanwhile."""
        ended = os.pidfd_open(self.process.pid)
        try:
            return self.store.wait(path, accept, limit, also=(ended,))
        except WaitFailed as failed:
            raise WaitFailed(f"{failed}; the agent's log ends with:\n"
                             f"{self.log.tail(20)}") from None
        finally:
            os.close(ended)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, limit=LIMIT):
        """Ask it to end; returns its exit status."""
        if self.running():
            self.process.terminate()
        return self.wait_end(limit)

    def kill9(self):
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        return self.wait_end()

    def wait_end(self, limit=LIMIT):
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise WaitFailed(f"the agent runs on after {limit} s; its log ends with:\n"
                             f"{self.log.tail(20)}") from None

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill9()
        self.store.close()

    # --- requests

    def submit(self, operation, request_id=None, **keys):
        """Write a request and return it without waiting. Keys as in the protocol,
        with `_` for `-`; those with a slash through a dictionary:
        submit("create", domain="a", **{"disks/xvda/external": False})"""
        request = Request(self, request_id)
        request.submit(operation, keys)
        return request

    def request(self, operation, limit=LIMIT, **keys):
        """Write a request, wait until it is final, and return its output keys."""
        return self.submit(operation, **keys).wait(limit)

    def snapshots(self, uuid):
        """The published records of a domain: {"<name>/<key>": value}."""
        return self.store.tree(f"{SNAPSHOTS}/{uuid}")


class Request:
    """One request's folder in xenstore."""

    _numbers = itertools.count(1)

    def __init__(self, agent, request_id=None):
        self.agent = agent
        self.id = request_id or f"test-{os.getpid()}-{next(self._numbers)}"
        self.path = f"{REQUESTS}/{self.id}"
        self.input = {}

    def submit(self, operation, keys):
        """With the public tool and in one call of it, as any shell user would:
        xenstore-write makes that one transaction."""
        self.input = {_key(name): _value(value) for name, value in keys.items()}
        self.input["operation"] = operation
        pairs = [text for name, value in self.input.items()
                 for text in (f"{self.path}/{name}", value)]
        subprocess.run(["xenstore-write", *pairs], check=True)

    def cancel(self):
        self.agent.store.write({f"{self.path}/cancel": "1"})

    def wait_state(self, *states, limit=LIMIT):
        """Wait until `state` is one of these, or final."""
        try:
            return self.agent.wait_node(f"{self.path}/state", FINAL.union(states), limit)
        except WaitFailed as failed:
            raise WaitFailed(f"{failed}\nthe request: {self.output()}") from None

    def wait(self, limit=LIMIT):
        """Wait for the end; returns every output key."""
        self.wait_state(limit=limit)
        return self.output()

    def output(self):
        """What the agent wrote: {"state": "done", "result/name": ...}."""
        found = self.agent.store.tree(self.path)
        return {name: value for name, value in found.items() if name not in self.input}

    def remove(self):
        self.agent.store.rm(self.path)


def _key(name):
    return name if "/" in name else name.replace("_", "-")


def _value(value):
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return str(value)
