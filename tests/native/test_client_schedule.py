# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap create --keep: a schedule's old snapshots are removed."""

import re
import shlex
import signal
from pathlib import Path

import pytest

from native.agent import ROOT
from native.clock import HOUR

UNIT = Path(__file__).resolve().parents[2] / "install" / "xensnap@.service.in"
DONE, FAILED, USAGE, NO_AGENT, CANCELLED, NOT_PRUNED = range(6)


def names(world, domain):
    """The snapshots that are published, and the schedules of those that have
    one."""
    keys = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}")
    return {path.split("/")[0]: keys.get(path.replace("/name", "/schedule"))
            for path in keys if path.count("/") == 1 and
            path.endswith("/name")}


def create(run, name, *more):
    return run("create", "web", "--name", name, "--no-memory", *more)


def test_keep_removes_the_oldest_of_its_schedule_alone(world, agent, run):
    domain = world.add_domain("web")
    for name, more in (("hand", []), ("weekly1", ["--schedule", "weekly"]),
                       ("d1", ["--schedule", "daily", "--keep", "2"]),
                       ("d2", ["--schedule", "daily", "--keep", "2"])):
        result = create(run, name, *more)
        assert result.returncode == DONE, result.stderr
        assert "removed" not in result.stdout
    result = create(run, "d3", "--schedule", "daily", "--keep", "2")
    assert result.returncode == DONE, result.stderr
    assert "removed      d1\n" in result.stdout
    assert names(world, domain) == {"hand": None, "weekly1": "weekly",
                                    "d2": "daily", "d3": "daily"}
    assert "schedule     daily\n" in run("show", "web", "d3").stdout
    assert not world.store.ls(f"{ROOT}/requests")


def test_keep_without_a_schedule_counts_those_of_the_same_kind(
        world, agent, run):
    domain = world.add_domain("web")
    create(run, "hand")
    for name in ("s1", "s2"):
        result = create(run, name, "--keep", "1", "--quiet")
        assert result.returncode == DONE and result.stdout == ""
    assert names(world, domain) == {"hand": None, "s2": "default"}


def test_keep_for_removes_what_is_older(world, clock, agent, run):
    domain = world.add_domain("web")
    clock.jump(-25 * HOUR)
    create(run, "s1", "--schedule", "default")
    create(run, "hand")
    clock.jump(-23 * HOUR)
    create(run, "s2", "--schedule", "default")
    assert set(names(world, domain)) == {"s1", "hand", "s2"}
    clock.jump(0)
    result = create(run, "s3", "--keep-for", "1d")
    assert result.returncode == DONE, result.stderr
    assert set(names(world, domain)) == {"hand", "s2", "s3"}


def test_what_was_just_made_stays_when_the_clock_was_set_back(
        world, clock, agent, run):
    domain = world.add_domain("web")
    clock.jump(0)
    for name in ("d1", "d2"):
        create(run, name, "--schedule", "daily")
    clock.jump(-2 * HOUR)
    result = create(run, "d3", "--schedule", "daily", "--keep", "2")
    assert result.returncode == DONE, result.stderr
    assert "removed      d1\n" in result.stdout
    assert set(names(world, domain)) == {"d2", "d3"}


def test_one_that_cannot_be_removed_is_told_and_the_others_go(
        world, agent, run):
    domain = world.add_domain("web")
    for name in ("s1", "s2", "s3"):
        create(run, name, "--schedule", "daily")
    domain.interpose().fault("block-commit", "error", description="Node busy")
    result = create(run, "s4", "--schedule", "daily", "--keep", "2")
    assert result.returncode == NOT_PRUNED
    assert "old snapshot 's1' could not be removed" in result.stderr
    assert "qmp-error: " in result.stderr and "Node busy" in result.stderr
    assert "name         s4\n" in result.stdout
    assert set(names(world, domain)) == {"s1", "s3", "s4"}
    result = create(run, "s5", "--schedule", "daily", "--keep", "2")
    assert result.returncode == DONE, result.stderr
    assert set(names(world, domain)) == {"s4", "s5"}


@pytest.mark.parametrize("arguments", [
    ("--keep", "0"), ("--keep", "-1"), ("--keep", "many"),
    ("--keep-for", "7 d"), ("--keep-for", "0d"),
    ("--keep", "1", "--no-wait"),
])
def test_wrong_rules_are_refused(world, agent, run, arguments):
    domain = world.add_domain("web")
    assert create(run, "s1", *arguments).returncode == USAGE
    assert not names(world, domain)


def test_nothing_is_removed_where_no_snapshot_was_made(world, agent, run):
    domain = world.add_domain("web")
    create(run, "s1", "--schedule", "daily")
    result = create(run, "s1", "--schedule", "daily", "--keep", "1")
    assert result.returncode == FAILED
    assert set(names(world, domain)) == {"s1"}


def test_the_night_s_unit_keeps_the_guest_running_and_takes_disks_alone(
        world, agent, run):
    domain = world.add_domain("web")
    unit = UNIT.read_text(encoding="utf-8")
    options, = re.findall(r'^Environment="XENSNAP_OPTIONS=(.*)"$', unit, re.M)
    command, = re.findall(r"^ExecStart=@bindir@/xensnap (.*)$", unit, re.M)
    command = command.replace("%i", "web").replace("$XENSNAP_OPTIONS", options)
    for _ in range(8):
        result = run(*shlex.split(command))
        assert result.returncode == DONE, result.stderr
        assert result.stdout == ""
    keys = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}")
    assert [value for path, value in keys.items()
            if path.endswith("/memory")] == ["0"] * 7
    assert set(names(world, domain).values()) == {"daily"}


def test_a_removal_that_is_cancelled_takes_nothing_from_the_create(
        world, agent, run, spawn):
    domain = world.add_domain("web")
    for name in ("k1", "k2"):
        assert create(run, name, "--schedule", "default").returncode == DONE
    fault = domain.interpose().fault("block-commit", "hold-before")
    process = spawn("create", "web", "--name", "k3", "--no-memory",
                    "--keep", "1")
    fault.wait_reached()
    process.send_signal(signal.SIGINT)
    path = f"{ROOT}/requests/{world.store.ls(f'{ROOT}/requests')[0]}"
    world.store.wait(f"{path}/cancel", "1")
    assert agent.request("create", domain="nobody")["state"] == "failed"
    fault.release()
    output, errors = process.communicate(timeout=20)
    assert process.returncode == NOT_PRUNED
    assert "name         k3\n" in output
    assert "the old snapshot 'k1' stays: its removal was cancelled" in errors
    assert "as it was" not in errors
    # Nor is the next one removed.
    assert set(names(world, domain)) == {"k1", "k2", "k3"}
