# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap with the streams and signals that scripts and cron leave it."""

import os
import signal
import subprocess

import pytest

from native.agent import ROOT

DONE, FAILED, USAGE, NO_AGENT, CANCELLED = range(5)


def run_in_shell(world, xensnap, command, stdout=subprocess.PIPE):
    return subprocess.run(
        ["sh", "-c", command, "sh", xensnap], check=False, text=True,
        timeout=30, env=world.environment(), stdin=subprocess.DEVNULL,
        stdout=stdout, stderr=subprocess.PIPE)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-",
                                    "<&- >&- 2>&-"])
def test_closed_streams_do_not_disturb_xenstore(world, agent, xensnap, closed):
    world.add_domain("web")
    result = run_in_shell(
        world, xensnap, f'"$1" create web --name s1 --no-memory {closed}')
    assert result.returncode == DONE
    if closed == "2>&-":
        assert "name         s1\n" in result.stdout
    result = run_in_shell(world, xensnap, f'"$1" delete web no {closed}')
    assert result.returncode == FAILED
    assert ("no-such-snapshot" in result.stderr) == ("2>&-" not in closed)
    assert not world.store.ls(f"{ROOT}/requests")


@pytest.mark.parametrize("arguments", [
    "list", "list --json", "tree", "status", "status --json", "requests",
    "show web s1", "--help", "create --help", "--version", "watch",
    "create web --name s2 --no-memory", "delete web s1 --json"])
def test_an_answer_that_cannot_be_written_is_no_success(
        world, agent, run, xensnap, arguments):
    world.add_domain("web")
    assert run("create", "web", "--name", "s1",
               "--no-memory").returncode == DONE
    result = run_in_shell(world, xensnap, f'"$1" {arguments} >/dev/full')
    assert result.returncode == FAILED
    assert "standard output: No space left on device" in result.stderr
    assert not world.store.ls(f"{ROOT}/requests")


def test_a_failure_keeps_its_exit_status_where_nothing_can_be_written(
        world, run, xensnap):
    result = run_in_shell(world, xensnap, '"$1" status >/dev/full')
    assert result.returncode == NO_AGENT


@pytest.mark.parametrize("name, number", [("INT", signal.SIGINT),
                                          ("TERM", signal.SIGTERM)])
def test_a_signal_that_is_ignored_stays_ignored(world, agent, xensnap, name,
                                                number):
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    with subprocess.Popen(
            ["sh", "-c", f'trap "" {name}; exec "$1" create web --no-memory',
             "sh", xensnap], env={**os.environ, **world.environment()},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True) as process:
        fault.wait_reached()
        process.send_signal(number)
        assert agent.request("create", domain="nobody")["state"] == "failed"
        path = f"{ROOT}/requests/{world.store.ls(f'{ROOT}/requests')[0]}"
        assert world.store.read(f"{path}/cancel") is None
        fault.release()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == DONE, errors


def test_a_reader_that_has_gone_leaves_no_request(world, agent, xensnap):
    world.add_domain("web")
    read, write = os.pipe()
    os.close(read)
    result = run_in_shell(world, xensnap,
                          '"$1" create web --name s1 --no-memory', write)
    os.close(write)
    assert result.returncode == FAILED
    assert "standard output: Broken pipe" in result.stderr
    assert not world.store.ls(f"{ROOT}/requests")
