# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs one job on one freshly booted host: prepares the run folder, starts the
emulator, passes the job's output on, and ends everything in time."""

import contextlib
import fcntl
import os
import selectors
import shlex
import shutil
import signal
import sys
import tempfile
import time

from . import artifacts, paths
from .emulator import Emulator

BOOT_LIMIT = 300
GATHER_LIMIT = 120
# dom0 is asked whether it is there; a host that is silent for so long has hung.
LOOK_EVERY = 30
SILENCE_LIMIT = 240
HOST_FAILED = 125
TIMED_OUT = 124
KEPT_RUNS = 10


class Stopped(Exception):
    """A signal asked the runner to end."""


def run(job, options):
    """Run `job` (shell text) in dom0 and return its exit status. The run folder
    is kept when the job failed, for the logs in it."""
    artifacts.build()
    turn = None if options.beside else _wait_for_turn()
    _note("booting")
    folder = _make_run_folder(job, options)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    emulator = Emulator(folder, options)
    try:
        status = _Session(emulator, options).follow()
    except Stopped as stopped:
        status = 128 + stopped.args[0]
    finally:
        emulator.kill()
        if turn:
            turn.close()
        shutil.rmtree(folder / "tree", ignore_errors=True)
    if status == 0 and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _note(f"exit status {status}, logs in {os.path.relpath(folder)}")
        if status == HOST_FAILED:
            _show_console(folder)
    return status


def _wait_for_turn():
    """Not all at a time: a host that gets little of a processor takes long, and its
    runner's limits are of real time. Half as many again as there are processors,
    since a host waits for its clock a quarter of the time."""
    turn = _take_turn()
    if turn:
        return turn
    _note("waiting for another host to end")
    with open(paths.WORK / "queue.lock", "w", encoding="ascii") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        # The first in the queue looks: nobody can wait for one of several locks.
        while not (turn := _take_turn()):
            time.sleep(0.5)
    return turn


def _take_turn():
    for number in range(os.cpu_count() * 3 // 2):
        lock = open(paths.WORK / f"turn-{number}.lock", "w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            lock.close()
    return None


def _on_signal(number, _frame):
    raise Stopped(number)


def _note(text):
    print(f"xen host: {text}", file=sys.stderr, flush=True)


def _show_console(folder):
    """The last words of Xen and of dom0's kernel, which is all there is to go by
    when the host itself broke."""
    lines = (folder / "console.log").read_text(errors="replace").splitlines()
    print("\n".join(lines[-25:]), file=sys.stderr)


# --- the run folder ----------------------------------------------------------


def _make_run_folder(job, options):
    """What dom0 sees as /run/host: the job, its environment, a copy of the
    checkout, and room for logs."""
    paths.OUT.mkdir(exist_ok=True)
    _forget_old_runs()
    folder = tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=paths.OUT)
    folder = paths.Path(folder)
    folder.chmod(0o755)
    shutil.copy(paths.XEN_TESTS / "dom0" / "start", folder / "start")
    (folder / "job").write_text(job + "\n")
    (folder / "environment").write_text(_environment(options))
    shutil.copytree(paths.CHECKOUT, folder / "tree", symlinks=True, ignore=_not_needed,
                    copy_function=_copy_if_there)
    return folder


def _not_needed(folder, names):
    here = paths.Path(folder)
    if here == paths.CHECKOUT:
        return {".git"}
    if here == paths.WORK.parent:
        return {paths.WORK.name}
    # Tests that run beside us leave sockets and pipes in the build folder.
    return {name for name in names
            if name == "__pycache__" or not _is_copied(here / name)}


def _is_copied(path):
    return path.is_symlink() or path.is_file() or path.is_dir()


def _copy_if_there(source, target):
    """A build that goes on may remove its temporary files under our hands."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


def _environment(options):
    values = {"CHECKOUT": str(paths.CHECKOUT), "ARTIFACTS": str(paths.WORK),
              "XENSTORED": options.xenstored,
              "XEN_HOST_LOGS": "/run/host/logs",
              "PYTHONPATH": str(paths.XEN_TESTS)}
    for name, value in os.environ.items():
        if name.startswith("XENSNAP"):
            values[name] = value
    for assignment in options.env:
        name, _, value = assignment.partition("=")
        values[name] = value
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def _forget_old_runs():
    """Only runs that ended: a running host has its copy of the checkout."""
    ended = sorted(f for f in paths.OUT.iterdir() if not (f / "tree").exists())
    for folder in ended[:-KEPT_RUNS]:
        shutil.rmtree(folder, ignore_errors=True)


# --- a running host ----------------------------------------------------------


class _Session:
    """Follows a host from power-on to the job's exit status."""

    def __init__(self, emulator, options):
        self.emulator = emulator
        self.options = options
        self.pending = b""
        self.status = None
        self.stopping = False
        self.started = time.monotonic()
        self.deadline = self.started + BOOT_LIMIT
        self.next_look = self.deadline
        self.last_word = self.started
        self.selector = selectors.DefaultSelector()
        self.selector.register(emulator.output, selectors.EVENT_READ, self._pass_on)
        self.selector.register(emulator.control, selectors.EVENT_READ, self._listen)

    def follow(self):
        while self.status is None:
            try:
                until = min(self.deadline, self.next_look)
                events = self.selector.select(max(0, until - time.monotonic()))
            except Stopped as stopped:
                # The second signal ends the gathering of logs as well.
                self._stop(f"signal {stopped.args[0]}")
                self.final = 128 + stopped.args[0]
                continue
            for key, _ in events:
                key.data()
            now = time.monotonic()
            if self.status is None and now >= self.deadline:
                self._out_of_time()
            elif self.status is None and now >= self.next_look:
                self._look(now)
        self._drain()
        return self.final if self.stopping else self.status

    def _pass_on(self):
        data = self.emulator.output.recv(65536)
        if not data:
            self._host_died()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def _drain(self):
        """The job's last output was sent before its exit status was."""
        self.emulator.output.setblocking(False)
        try:
            while data := self.emulator.output.recv(65536):
                sys.stdout.buffer.write(data)
        except BlockingIOError:
            pass
        sys.stdout.buffer.flush()

    def _listen(self):
        data = self.emulator.control.recv(4096)
        if not data:
            self._host_died()
        self.last_word = time.monotonic()
        self.pending += data
        while b"\n" in self.pending:
            line, self.pending = self.pending.split(b"\n", 1)
            self._heard(line.decode().split())

    def _heard(self, words):
        if words[0] == "ready":
            self.deadline = self.started + self.options.time_limit
            self.next_look = time.monotonic() + LOOK_EVERY
            if self.options.verbose:
                _note(f"up after {time.monotonic() - self.started:.0f} s")
        elif words[0] == "exit":
            self.status = int(words[1])

    def _host_died(self):
        if self.status is None:
            _note("the emulated machine went down")
            self.status = HOST_FAILED
            self.selector.unregister(self.emulator.output)
            self.selector.unregister(self.emulator.control)

    def _look(self, now):
        """No program of dom0's can keep this shell from answering: if nothing
        comes, Xen or dom0's kernel is stuck."""
        if now - self.last_word > SILENCE_LIMIT:
            _note("dom0 does not answer any more")
            self.status = self.final if self.stopping else HOST_FAILED
            return
        self.next_look = now + LOOK_EVERY
        self.emulator.control.send(b"ping\n")

    def _out_of_time(self):
        if self.stopping:
            _note("dom0 does not answer any more")
            # Then it was no job that took too long.
            if self.final == TIMED_OUT:
                self.final = HOST_FAILED
            self.status = self.final
        else:
            self._stop("out of time")
            self.final = TIMED_OUT

    def _stop(self, why):
        """Ask dom0 to end the job and to gather its logs."""
        if self.stopping:
            self.status = self.final
            return
        _note(f"{why}: stopping the job")
        self.stopping = True
        self.deadline = time.monotonic() + GATHER_LIMIT
        self.emulator.control.send(b"stop\n")
