# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnapd under test."""

import functools
import itertools
import json
import os
import re
import signal
import subprocess
import time

ROOT = "/tool/xensnapd"
FINAL = ("done", "failed", "cancelled")
_REPORT = re.compile(r"ERROR: (Address|Leak|Undefined\w*)Sanitizer"
                     r"|runtime error:")


def process_state(pid):
    """As in ps(1): "T" is stopped."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


# epoll_wait(), epoll_pwait(), epoll_pwait2(), of x86-64.
EPOLL = ("232", "281", "441")


def waits_for_events(pid):
    """Also of one that is stopped."""
    with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        return file.read().split()[0] in EPOLL


class Request:
    """A request in the store."""

    def __init__(self, agent, path):
        self._agent = agent
        self.path = path

    @property
    def _store(self):
        return self._agent.world.store

    def output(self):
        """Everything below the request, input keys included."""
        return self._store.tree(self.path)

    def state(self):
        return self._store.read(f"{self.path}/state")

    def wait_state(self, *states, timeout=30):
        return self._store.wait(f"{self.path}/state", *states,
                                timeout=timeout)

    def wait(self, timeout=30):
        """Waits for the final state; gives the output."""
        self.wait_state(*FINAL, timeout=timeout)
        return self.output()

    def cancel(self):
        self._store.write(f"{self.path}/cancel", "1")

    def remove(self):
        self._store.rm(self.path)


@functools.cache
def _asan_runtimes(program):
    """None, or one. Looking costs as much as starting the agent."""
    needs = subprocess.run(["ldd", program], check=False, capture_output=True,
                           text=True).stdout
    return re.findall(r"libasan\S* => (\S+)", needs)


def preloads(program, *libraries):
    """The ASan runtime, where the program has one, must come first."""
    return [*_asan_runtimes(program), *libraries]


class Agent:
    """One agent, startable many times over the same folders."""

    def __init__(self, world, program):
        self.world = world
        self.program = os.path.abspath(program)
        self.under = ()  # a program that runs it, such as callgrind
        self.process = None
        self.log = f"{world.folder}/agent.log"
        self.folder = f"{world.folder}/agent"
        self.settings = {
            "log": {"level": "debug"},
            "store": {
                "folder": f"{self.folder}/records",
                "memory-folder": f"{self.folder}/memory",
                "disk-folder": f"{self.folder}/disks",
                "run-folder": f"{self.folder}/run",
            },
        }
        self.faults = None  # a Faults, of which the next start takes notice
        self.clock = None  # a Clock, likewise
        self.costs = None  # a Costs, likewise
        self.unreadable = None  # a path, likewise
        self.unreadable_from = None  # the byte from which it is
        self.relay = None  # a StoreRelay, likewise
        self.driver = None  # the Domain that it runs in; None: domain 0
        self.options = {}  # further ones of subprocess.Popen
        self._ids = itertools.count(1)

    # -- the process ------------------------------------------------------

    def configure(self, section, **values):
        """Settings of a section of the file, '_' standing for '-'."""
        self.settings.setdefault(section, {}).update(
            (key.replace("_", "-"), value) for key, value in values.items())

    def _preloads(self):
        shims = (["fault_shim.so"] if self.faults else []) + (
            ["clock_shim.so"] if self.clock else []) + (
            ["cost_shim.so"] if self.costs else []) + (
            ["unreadable_shim.so"] if self.unreadable else []) + (
            ["identity_shim.so"] if self.driver else []) + [
            "hypervisor_shim.so"]
        return preloads(self.program,
                        *(f"{self.world.shims}/{shim}" for shim in shims))

    def start(self, *arguments, ready=True):
        """Starts the agent; waits until it takes requests."""
        for folder in self.settings["store"].values():
            os.makedirs(folder, exist_ok=True)
        config = f"{os.path.splitext(self.log)[0]}.yaml"
        with open(config, "w", encoding="ascii") as file:
            json.dump(self.settings, file, indent=1)  # JSON is YAML
        environment = self.world.environment()
        environment["LD_PRELOAD"] = " ".join(self._preloads())
        if self.faults:
            environment["FAULT_POINTS"] = self.faults.path
        if self.clock:
            environment["CLOCK_OFFSET"] = self.clock.path
        if self.costs:
            environment["COSTS"] = self.costs.path
            if self.costs.with_qmp:
                environment["COSTS_QMP"] = "1"
        if self.unreadable:
            environment["UNREADABLE"] = self.unreadable
            if self.unreadable_from is not None:
                environment["UNREADABLE_FROM"] = str(self.unreadable_from)
        if self.relay:
            environment.update(self.relay.environment)
        if self.driver:
            environment["FAKE_DOMID"] = str(self.driver.domid)
        environment.setdefault("ASAN_OPTIONS", "exitcode=99")
        environment.setdefault("UBSAN_OPTIONS",
                               "print_stacktrace=1:halt_on_error=1")
        self.process = self.world.spawn(
            [*self.under, self.program, "--foreground", "--config", config, *arguments],
            os.path.basename(self.log), env=environment, **self.options)
        if ready:
            self.wait_ready()
        return self

    def is_ready(self):
        store = self.world.store
        # What a killed predecessor left says nothing about this one.
        return (store.read(f"{ROOT}/status/pid") == str(self.process.pid) and
                store.read(f"{ROOT}/status/state") == "ready")

    def wait_ready(self, timeout=20):
        status, store = f"{ROOT}/status", self.world.store

        def ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the agent ended with "
                                   f"{self.process.returncode}")
            return self.is_ready()

        # A process that ends fires no watch, so look up now and then.
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                store.wait_for(status, ready, min(left, 0.5))
                return
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise

    def kill(self):
        """As a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self):
        """It stops, but does not take the pretended hypervisor's lock along, which
        everybody needs, and not in the middle of a message to xenstored, which would
        serve nobody before it had the rest."""
        deadline = time.monotonic() + 5
        while True:
            with self.world.xen.lock():
                self.process.send_signal(signal.SIGSTOP)
                while process_state(self.process.pid) != "T":
                    time.sleep(0.0001)  # nothing tells of it
                if waits_for_events(self.process.pid) or time.monotonic() > deadline:
                    return
                self.process.send_signal(signal.SIGCONT)
            time.sleep(0.0001)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self, timeout=30):
        """Asks it to end; gives its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout)

    def wait_exit(self, timeout=30):
        return self.process.wait(timeout)

    def restart(self):
        self.stop()
        return self.start()

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def check_end(self):
        """Ends the agent, which must go in peace and without a report."""
        if self.process is None:
            return
        killed = self.process.poll() == -signal.SIGKILL
        status = self.stop()
        report = _REPORT.search(self.log_text())
        assert not report, f"sanitizer: {report[0]}, see {self.log}"
        assert killed or status == 0, f"the agent's exit status is {status}"

    def descriptor_count(self):
        """Open descriptors, to compare before and after."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    # -- requests ---------------------------------------------------------

    def submit(self, operation, keys=None, id=None, guest=None, **more):
        """Writes a request in one transaction, `operation` last. Keyword
        arguments are keys with '_' for '-'; `keys` holds paths such as
        "disks/xvda/path". With `guest`, a Domain, that domain itself asks,
        over its own ring."""
        # pylint: disable=redefined-builtin
        store, root = self.world.store, f"{ROOT}/requests"
        if guest:
            store, root = guest.xenstore(), f"{guest.path}/snapshot/requests"
        path = f"{root}/{id or f'test-{next(self._ids)}'}"
        values = {key.replace("_", "-"): value for key, value in more.items()}
        values.update(keys or {})
        values["operation"] = operation
        store.write_all({f"{path}/{key}": value
                         for key, value in values.items()})
        return Request(self, path)

    def request(self, operation, keys=None, timeout=30, **more):
        """Submits, waits for the final state, gives all of the output.
        (The protocol's own `timeout` key goes into `keys`.)"""
        return self.submit(operation, keys, **more).wait(timeout)

    def records(self):
        """Files of the record folder, relative."""
        base = self.settings["store"]["folder"]
        return sorted(os.path.relpath(os.path.join(folder, name), base)
                      for folder, _, names in os.walk(base) for name in names)

    def wait_log(self, text, timeout=10):
        """Waits for a line in the log that nothing else announces."""
        self.world.eventually(lambda: text in self.log_text(), timeout,
                              f"log line {text!r}")

