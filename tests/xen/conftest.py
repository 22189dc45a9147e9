# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the scenarios. They only work in the dom0 of a host that
`tests/xen/host test` boots: elsewhere every scenario is skipped."""

import contextlib
import json
import os
import re
import shutil
import subprocess

import pytest

import xenhost

STORE = "/var/lib/xensnapd"
IN_DOM0 = os.path.exists("/proc/xen/capabilities")


def pytest_configure(config):
    config.addinivalue_line("markers", "hvm: has a guest with emulated devices")
    config.addinivalue_line("markers", "slow: left out by tests/xen/all")


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "callspec") and "hvm" in item.callspec.params.values():
            item.add_marker(pytest.mark.hvm)
    if not IN_DOM0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="runs only in `tests/xen/host test`"))


@pytest.fixture
def store():
    connection = xenhost.Store()
    yield connection
    connection.close()


@pytest.fixture
def guests(request):
    """guests(NAME, kind=..., disks=[...]) makes a guest that ends with the test."""
    made = xenhost.Guests()
    request.node.reporters = [*getattr(request.node, "reporters", []), made.report]
    yield made
    made.close()


def _run_agent(request, one):
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("agent's log", one.log.tail(60))]]
    # Memory files live in dom0's memory: a few tests' worth of them fill it.
    shutil.rmtree(STORE, ignore_errors=True)
    one.start()
    yield one
    one.close()


@pytest.fixture
def agent(request):
    """A running agent, ended with the test."""
    yield from _run_agent(request, xenhost.Agent())


@pytest.fixture
def configured(request, tmp_path):
    """configured({"limits": {...}}) is a running agent with such settings."""
    with contextlib.ExitStack() as ends:
        def start(settings):
            path = tmp_path / "agent.yaml"
            path.write_text(json.dumps(settings))
            running = contextlib.contextmanager(_run_agent)
            return ends.enter_context(running(request, xenhost.Agent(path)))
        yield start


@pytest.fixture
def stoppable(request, tmp_path):
    """The same, and it can be stopped at any point of its work."""
    yield from _run_agent(request, xenhost.StoppableAgent(tmp_path))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what guests and agent said last, without asking for it."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for reporter in getattr(item, "reporters", []):
            report.sections.extend(reporter())


# --- crashes that no test looked for ------------------------------------------


def _crashes():
    """dom0's kernel notes each program that dies of a fault or an abort."""
    log = subprocess.run(["dmesg"], check=False, stdout=subprocess.PIPE,
                         text=True, errors="replace").stdout
    return re.findall(r"^.*(?:segfault at|traps: |fatal signal).*$", log, re.MULTILINE)


def pytest_sessionfinish(session, exitstatus):
    """A crash fails the run even where the scenario got over it: either the agent
    is broken or the host is, and then no result can be trusted."""
    if IN_DOM0 and exitstatus == 0 and _crashes():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    crashes = _crashes() if IN_DOM0 else []
    if crashes:
        terminalreporter.section("crashes in dom0")
        terminalreporter.write_line("\n".join(crashes))
