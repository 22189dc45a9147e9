# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap --json: one document, whatever comes of it."""

import json
import os
import signal

import pytest

from native.agent import ROOT

DONE, FAILED, USAGE, NO_AGENT, CANCELLED, NOT_PRUNED = range(6)


def failure(result, status, code):
    """The error of a document that tells of nothing else."""
    assert result.returncode == status, result.stderr
    answer = json.loads(result.stdout)
    assert set(answer) == {"error", "exit-status"}
    assert answer["exit-status"] == status
    assert answer["error"]["code"] == code
    for key in ("message", "next"):
        assert answer["error"][key] in result.stderr
    return answer["error"]


@pytest.mark.parametrize("arguments", [
    ["create", "web"], ["status"], ["cancel", "x"]])
def test_no_agent(world, run, arguments):
    failure(run(*arguments, "--json"), NO_AGENT, "no-agent")


@pytest.mark.parametrize("arguments, code", [
    (["list", "nobody"], "no-such-domain"),
    (["tree", "nobody"], "no-such-domain"),
    (["show", "nobody", "s1"], "no-such-domain"),
    (["show", "web", "s1"], "no-such-snapshot"),
    (["watch", "nothing"], "no-such-request"),
    (["cancel", "nothing"], "no-such-request")])
def test_what_is_not_there(world, agent, run, arguments, code):
    world.add_domain("web")
    failure(run(*arguments, "--json"), FAILED, code)


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["create"], ["create", "web", "--nonsense"],
    ["create", "web", "--timeout", "abc"], ["watch", "a/b"]])
def test_wrong_usage(run, arguments):
    failure(run(*arguments, "--json"), USAGE, "usage")
    assert run(*arguments).stdout == ""


def test_a_root_that_is_none(run):
    environment = {**os.environ, "XENSNAPD_ROOT": "x"}
    failure(run("list", "--json", env=environment), USAGE, "usage")


def test_no_xenstore(run):
    environment = {**os.environ, "XENSTORED_PATH": "/nonexistent"}
    failure(run("list", "--json", env=environment), NO_AGENT, "no-xenstore")


def test_a_wait_that_xenstored_ends(world, agent, spawn):
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    process = spawn("create", "web", "--no-memory", "--json")
    events = spawn("watch", "--json")
    assert json.loads(events.stdout.readline())["time"]
    fault.wait_reached()
    world.restart_xenstored()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == NO_AGENT
    assert json.loads(output)["error"]["code"] == "no-xenstore"
    lines = events.communicate(timeout=20)[0].splitlines()
    assert json.loads(lines[-1])["error"]["code"] == "no-xenstore"
    fault.release()


def test_a_request_s_error_has_its_way_out_and_the_exit_status(
        world, agent, run):
    world.add_domain("web")
    result = run("delete", "web", "nothing", "--json")
    answer = json.loads(result.stdout)
    assert answer["exit-status"] == result.returncode == FAILED
    assert answer["error"]["code"] == "no-such-snapshot"
    assert answer["error"]["next"] == "'xensnap list' shows what there is."
    answer = json.loads(run("create", "web", "--no-memory", "--json").stdout)
    assert answer["exit-status"] == DONE and "error" not in answer


def create(run, name, *more):
    return run("create", "web", "--name", name, "--no-memory", *more)


def test_what_was_removed_is_told(world, agent, run):
    domain = world.add_domain("web")
    for name in ("s1", "s2", "s3"):
        create(run, name, "--schedule", "daily")
    domain.interpose().fault("block-commit", "error", description="Node busy")
    result = create(run, "s4", "--schedule", "daily", "--keep", "2", "--json")
    answer = json.loads(result.stdout)
    assert answer["exit-status"] == result.returncode == NOT_PRUNED
    assert answer["state"] == "done" and answer["result"]["name"] == "s4"
    first, second = answer["pruned"]
    assert first.pop("error")["code"] == "qmp-error"
    assert first == {"name": "s1", "state": "failed"}
    assert second == {"name": "s2", "state": "done"}
    result = create(run, "s5", "--schedule", "daily", "--keep", "9", "--json")
    assert json.loads(result.stdout)["pruned"] == []


def test_a_request_that_nobody_has_seen_is_new(world, run, spawn):
    world.store.write_all({f"{ROOT}/status/state": "ready",
                           f"{ROOT}/requests/mine/domain": "web",
                           f"{ROOT}/requests/mine/operation": "create"})
    request, = json.loads(run("requests", "--json").stdout)
    assert request["state"] == "new"


def test_one_snapshot_has_its_uuid_and_children(world, agent, run):
    domain = world.add_domain("web")
    for name in ("s1", "s2"):
        create(run, name)
    one = json.loads(run("show", "web", "s1", "--json").stdout)
    assert one["uuid"] == domain.uuid and one["children"] == ["s2"]
    two = json.loads(run("show", "web", "s2", "--json").stdout)
    assert two["children"] == []


def test_a_cancel_tells_the_end_of_what_it_cancels(world, agent, run, spawn):
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    request = run("create", "web", "--no-memory", "--no-wait").stdout.strip()
    fault.wait_reached()
    process = spawn("cancel", request, "--json")
    world.store.wait(f"{ROOT}/requests/{request}/cancel", "1")
    assert agent.request("create", domain="nobody")["state"] == "failed"
    fault.release()
    output, _ = process.communicate(timeout=20)
    answer = json.loads(output)
    assert answer["exit-status"] == process.returncode == DONE
    assert answer["state"] == "cancelled"


def test_a_cancelled_request_says_so(world, agent, spawn):
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    process = spawn("create", "web", "--no-memory", "--json")
    fault.wait_reached()
    process.send_signal(signal.SIGINT)
    path = f"{ROOT}/requests/{world.store.ls(f'{ROOT}/requests')[0]}"
    world.store.wait(f"{path}/cancel", "1")
    assert agent.request("create", domain="nobody")["state"] == "failed"
    fault.release()
    answer = json.loads(process.communicate(timeout=20)[0])
    assert answer["exit-status"] == process.returncode == CANCELLED
    assert answer["error"]["code"] == "cancelled"
