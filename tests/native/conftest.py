# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the native tier; see README.md."""

import ctypes
import faulthandler
import glob
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from native.agent import Agent
from native.backend import Backend
from native.clock import Clock
from native.saves import Save
from native.world import World

LOG_TAIL = 60
# Seconds. More than a test's own limit, whose report is the better one, but which ends
# no fixture that hangs when it is taken down.
HANG_LIMIT = 420
HANGS_AFTER = 120  # where the test has a limit of its own


def pytest_addoption(parser):
    parser.addoption(
        "--faults", default="0/384", metavar="PART/OF",
        help="of the runs of test_faults.py every OF-th, beginning with PART; "
             "0/1 is all of them")
    parser.addoption(
        "--second-kill", type=int, default=768, metavar="N",
        help="after these runs, of the points of each way to recover every "
             "N-th is one at which the agent is killed again; 0: none")
    parser.addoption(
        "--second-fail", type=int, default=1536, metavar="N",
        help="likewise, one at which that fails")
    parser.addoption(
        "--fault-point", metavar="'KIND NUMBER'",
        help="only this run of them, such as 'kill-before 17', or "
             "'kill-before 17 kill-before 3', or 'kill-before 17 fail 3'")


_CLONE_NEWNS = 0x00020000
_FIXED_FOLDERS = ("/run", "/var/lib/xen", "/var/log/xen")


def _own_fixed_folders():
    """A worker beside others needs fixed paths of its own, as tests/native/run
    made them for all; the shims stay where LD_PRELOAD can name them."""
    libc = ctypes.CDLL(None, use_errno=True)
    shims = os.environ["NATIVE_SHIMS"]
    with tempfile.TemporaryDirectory() as aside:
        shutil.copytree(shims, aside, dirs_exist_ok=True)
        if libc.unshare(_CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        for folder in _FIXED_FOLDERS:
            if os.path.isdir(folder) and libc.mount(
                    b"native", folder.encode(), b"tmpfs", 0, None):
                raise OSError(ctypes.get_errno(), "mount", folder)
        shutil.copytree(aside, shims)


def pytest_configure(config):
    if not os.environ.get("NATIVE_SHIMS"):
        raise pytest.UsageError(
            "start these tests with tests/native/run: they need namespaces "
            "of their own and the shims")
    # A shell's background job ignores it, and so would all that is started here.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):  # of pytest-xdist
        _own_fixed_folders()
    # Not captured here, as it is while a test runs.
    config.native_stderr = os.dup(2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """A hang is told of and ends the worker, of which pytest-xdist starts another and
    says during which test it ended: the run goes on, and ends."""
    own = item.get_closest_marker("timeout")
    limit = own.args[0] + HANGS_AFTER if own else HANG_LIMIT
    faulthandler.dump_traceback_later(limit, exit=True, file=item.config.native_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
    del nextitem


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the ends of all logs of a failed test's world."""
    outcome = yield
    report = outcome.get_result()
    folder = getattr(item, "world_folder", None)
    if not report.failed or folder is None:
        return
    for path in sorted(glob.glob(f"{folder}/*.log")):
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()[-LOG_TAIL:]
        if lines:
            report.sections.append((os.path.basename(path), "".join(lines)))
    del call


@pytest.fixture
def world(tmp_path, request):
    """A pretended Xen host, up, with no domain but dom0."""
    request.node.world_folder = str(tmp_path)
    instance = World(tmp_path, os.environ["NATIVE_SHIMS"])
    try:
        instance.start()
        yield instance
    finally:
        instance.stop()


@pytest.fixture
def agent_stopped(world):
    """The agent, not started: for tests that set it up first."""
    program = os.path.join(os.environ["NATIVE_BUILD"], "xensnapd")
    if not os.path.exists(program):
        pytest.skip(f"{program} is not built")
    instance = Agent(world, program)
    yield instance
    instance.check_end()


@pytest.fixture
def clock(agent_stopped):
    """The agent's time of day: before `agent`, which goes by it."""
    one = agent_stopped.clock = Clock(agent_stopped.world.folder)
    yield one
    agent_stopped.check_end()
    one.close()


@pytest.fixture(name="save")
def fixture_save(tmp_path, monkeypatch):
    """Checkpoints with a played save helper: before `agent`, which inherits this."""
    one = Save(tmp_path, monkeypatch)
    yield one
    one.release()


@pytest.fixture
def agent(agent_stopped):
    """The agent, ready for requests."""
    return agent_stopped.start()


@pytest.fixture(name="driver")
def fixture_driver(world):
    """A driver domain."""
    return world.add_domain("storage", disks=())


@pytest.fixture(name="backend_stopped")
def fixture_backend_stopped(world, driver):
    """Its agent, not started."""
    one = Backend(world, os.path.join(os.environ["NATIVE_BUILD"], "xensnapd"), driver)
    yield one
    if one.process and one.process.poll() is None:
        one.process.send_signal(signal.SIGCONT)
    one.check_end()


@pytest.fixture(name="backend")
def fixture_backend(backend_stopped):
    return backend_stopped.start()


@pytest.fixture(name="xensnap")
def fixture_xensnap():
    """The program."""
    path = os.path.join(os.environ["NATIVE_BUILD"], "xensnap")
    if not os.path.exists(path):
        pytest.skip(f"{path} is not built")
    return path


@pytest.fixture(name="run")
def fixture_run(world, xensnap):
    """Runs xensnap to its end."""
    def run(*arguments, **options):
        return subprocess.run(
            [xensnap, *arguments], check=False, text=True, timeout=30,
            stdin=subprocess.DEVNULL, capture_output=True,
            **{"env": world.environment(), **options})
    return run


@pytest.fixture(name="spawn")
def fixture_spawn(world, xensnap):
    """Starts xensnap, which is gone at the end in any case."""
    processes = []

    def spawn(*arguments, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "env": world.environment(),
                   **options}
        # pylint: disable=consider-using-with
        process = subprocess.Popen([xensnap, *arguments], text=True,
                                   **options)
        processes.append(process)
        return process

    yield spawn
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(name="hanging_sync")
def fixture_hanging_sync(world, tmp_path):
    """A sync(1) that tells what it flushes, and lasts for as long as that stands there."""
    told = tmp_path / "flushes"
    sync = tmp_path / "sync"
    sync.write_text(f'#!/bin/sh\necho "$@" >{told}.new\nmv {told}.new {told}\n'
                    f'while [ -e {told} ]; do sleep 0.05; done\n')
    sync.chmod(0o755)
    world.variables["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    return told
