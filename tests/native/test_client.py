# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap, the command line, against a real agent."""

import os
import pty
import re
import signal
import subprocess
import time

import pytest

from native.agent import ROOT

DONE, FAILED, USAGE, NO_AGENT, CANCELLED = range(5)
REQUESTS = f"{ROOT}/requests"


@pytest.fixture(name="held")
def fixture_held(world, agent):
    """A domain whose snapshots stop before the switch of the disks."""
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    yield agent, domain, fault
    fault.release()


def requests(world):
    return world.store.ls(REQUESTS) or []


def wait_until_cancel_is_seen(agent, path):
    """Requests are read in order: once the agent has answered a later one, it
    has seen the cancel as well."""
    agent.world.store.wait(f"{path}/cancel", "1")
    assert agent.request("create", domain="nobody")["state"] == "failed"


def create(run, name, *more):
    result = run("create", "web", "--name", name, "--no-memory", *more)
    assert result.returncode == DONE, result.stderr
    return result


def test_create_prints_the_result_and_removes_its_request(world, agent, run):
    domain = world.add_domain("web")
    result = create(run, "s1", "--description", "two words")
    for pattern in (r"^name +s1$", r"^consistency +crash$",
                    r"^downtime +0 ms$", r"^disk xvda:$"):
        assert re.search(pattern, result.stdout, re.M), result.stdout
    assert domain.chain("xvda")[0][0] in result.stdout
    assert requests(world) == []
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}")
    assert published["s1/description"] == "two words"


def test_quiet_prints_nothing(world, agent, run):
    world.add_domain("web")
    result = create(run, "s1", "--quiet")
    assert result.stdout == "" and result.stderr == ""


def test_disks_and_internal_reach_the_agent(world, agent, run):
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), ("xvdb", "qcow2")])
    create(run, "s1", "--disk", "xvdb", "--internal")
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}")
    assert published["s1/disks/xvdb/external"] == "0"
    assert "s1/disks/xvda/external" not in published


def test_list_shows_all_by_name_domid_and_uuid(world, agent, run):
    domain = world.add_domain("web")
    create(run, "v1.0")
    create(run, "v1.1")
    world.add_domain("other")
    for arguments in ([], ["web"], [str(domain.domid)], [domain.uuid],
                      [domain.uuid.upper()]):
        result = run("list", *arguments)
        assert result.returncode == DONE, result.stderr
        lines = [line.split() for line in result.stdout.splitlines()]
        assert lines[0] == ["DOMAIN", "NAME", "CREATED", "SIZE", "PARENT",
                            "KIND"]
        assert lines[1][:2] == ["web", "v1.0"]
        assert lines[1][-3:] == ["-", "disks", "only"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", lines[1][2])
        assert lines[2][:3] == ["*", "web", "v1.1"]
        assert lines[2][-3:] == ["v1.0", "disks", "only"]
        assert len(lines) == 3
    assert len(run("list", "other").stdout.splitlines()) == 1
    result = run("list", "nobody")
    assert result.returncode == FAILED
    assert result.stderr.startswith("xensnap: no-such-domain: ")
    world.remove_domain(domain)
    assert "v1.0" in run("list", "web").stdout


def test_delete(world, agent, run):
    world.add_domain("web")
    create(run, "s1")
    result = run("delete", "web", "s1")
    assert result.returncode == DONE, result.stderr
    assert len(run("list").stdout.splitlines()) == 1


def test_a_failure_is_told_with_code_message_and_way_out(world, agent, run):
    world.add_domain("web")
    result = run("delete", "web", "nothing", "--quiet")
    assert result.returncode == FAILED
    lines = result.stderr.splitlines()
    assert lines[0].startswith("xensnap: no-such-snapshot: ")
    assert "xensnap list" in lines[1]
    assert result.stdout == ""
    assert requests(world) == []
    result = run("revert", "web", "nothing", "--start", "boot")
    assert result.returncode == FAILED
    assert "xensnap: no-such-snapshot: " in result.stderr


def test_an_unchanged_chain_is_rescanned(world, agent, run):
    world.add_domain("web")
    result = run("rescan", "web", "--disk", "xvda")
    assert result.returncode == DONE, result.stderr
    assert re.search(r"^  changed +no$", result.stdout, re.M)


def raw_copy(domain, path):
    """The disk's content in another form, as `qemu-img convert` makes it."""
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw",
                    domain.chain("xvda")[0][0], path], check=True)
    return path


def test_a_rescan_tells_the_new_format(world, agent, run):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "qcow2")])
    path = raw_copy(domain, f"{world.images}/web.raw")
    result = run("rescan", "web", "--disk", f"xvda={path}")
    assert result.returncode == FAILED and "format: is missing" in result.stderr
    for order in (["--format", "xvda=raw", "--disk", f"xvda={path}"],
                  ["--disk", "xvda", "--format", "xvda=raw"],
                  ["--format", "xvda=raw"]):
        result = run("rescan", "web", *order)
        assert result.returncode == DONE, result.stderr
        assert domain.chain("xvda") == [(path, "raw")]
        assert "not among the disks" in result.stdout  # xvdb


def test_no_agent_is_seen_before_anything_is_written(world, agent, run):
    world.add_domain("web")
    agent.stop()
    for arguments in (["create", "web"], ["status"], ["cancel", "x"]):
        result = run(*arguments)
        assert result.returncode == NO_AGENT
        assert result.stderr.startswith("xensnap: no-agent: ")
    assert requests(world) == []


def test_an_agent_that_crashed_or_is_not_ready_is_no_agent(world, agent, run):
    world.store.write(f"{ROOT}/status/state", "draining")
    result = run("create", "web")
    assert result.returncode == NO_AGENT and "draining" in result.stderr
    world.store.write(f"{ROOT}/status/state", "ready")
    agent.kill()
    result = run("create", "web")
    assert result.returncode == NO_AGENT and "unexpectedly" in result.stderr
    assert requests(world) == []


def test_no_xenstore(xensnap):
    result = subprocess.run(
        [xensnap, "list"], check=False, capture_output=True, text=True,
        env={**os.environ, "XENSTORED_PATH": "/nonexistent"}, timeout=10)
    assert result.returncode == NO_AGENT
    assert "xenstore" in result.stderr


def test_a_request_without_waiting_can_be_cancelled(world, held, run):
    agent, domain, fault = held
    before = domain.chain("xvda")
    result = run("create", "web", "--no-memory", "--no-wait")
    assert result.returncode == DONE
    request = result.stdout.strip()
    fault.wait_reached()
    world.store.wait(f"{REQUESTS}/{request}/step", "switching the disks")
    for command in ("status", "requests"):
        assert re.search(rf"^{request} +dom0 +create +web +running +just now "
                         "+70 % switching the disks$", run(command).stdout,
                         re.M)
    result = run("cancel", request, "--no-wait")
    assert result.returncode == DONE, result.stderr
    wait_until_cancel_is_seen(agent, f"{REQUESTS}/{request}")
    fault.release()
    world.store.wait(f"{REQUESTS}/{request}/state", "cancelled")
    assert domain.chain("xvda") == before
    for command, other, code in (("cancel", request, "request-finished"),
                                 ("cancel", "another", "no-such-request"),
                                 ("watch", "another", "no-such-request")):
        result = run(command, other)
        assert result.returncode == FAILED
        assert result.stderr.startswith(f"xensnap: {code}: ")
        assert "xensnap requests" in result.stderr
    assert request in requests(world)
    assert "another" not in requests(world)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_and_waits_for_the_end(world, held, spawn, number):
    agent, _, fault = held
    process = spawn("create", "web", "--no-memory")
    fault.wait_reached()
    process.send_signal(number)
    path = f"{REQUESTS}/{requests(world)[0]}"
    wait_until_cancel_is_seen(agent, path)
    fault.release()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == CANCELLED
    assert "xensnap: cancelled: " in errors
    assert world.store.read(f"{path}/operation") is None


def read_until(terminal, word):
    text = ""
    while word not in text:
        text += os.read(terminal, 4096).decode()
    return text


@pytest.mark.parametrize("answer, status", [("n", DONE), ("y", CANCELLED)])
def test_a_terminal_is_asked_once(world, held, spawn, answer, status):
    agent, _, fault = held
    terminal, other = pty.openpty()
    process = spawn("create", "web", "--no-memory", stdin=other, stderr=other)
    os.close(other)
    fault.wait_reached()
    process.send_signal(signal.SIGINT)
    assert "\x1b" not in read_until(terminal, "[y/N]")
    os.write(terminal, f"{answer}\n".encode())
    path = f"{REQUESTS}/{requests(world)[0]}"
    if answer == "y":
        wait_until_cancel_is_seen(agent, path)
    else:
        time.sleep(0.2)
        assert world.store.read(f"{path}/cancel") is None
    fault.release()
    assert process.wait(20) == status
    os.close(terminal)


def test_a_request_that_is_removed_ends_the_wait(world, held, spawn):
    _, _, fault = held
    process = spawn("create", "web", "--no-memory")
    fault.wait_reached()
    world.store.rm(f"{REQUESTS}/{requests(world)[0]}")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == NO_AGENT
    assert "is gone" in errors
    fault.release()


def test_the_end_of_xenstored_ends_the_wait(world, held, spawn):
    _, _, fault = held
    process = spawn("create", "web", "--no-memory")
    fault.wait_reached()
    world.restart_xenstored()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == NO_AGENT
    assert "lost xenstore" in errors
    fault.release()


@pytest.mark.parametrize("arguments, word", [
    ([], "command"), (["nonsense"], "nonsense"), (["create"], "missing"),
    (["create", "a", "b"], "b"), (["revert", "a"], "missing"),
    (["create", "a", "--nonsense"], "--nonsense"),
    (["create", "a", "--keep-files"], "--keep-files"),
    (["create", "a", "--name"], "--name"),
    (["create", "a", "--live", "--no-live"], "live"),
    (["create", "a", "--internal"], "--disk"),
    (["create", "a", "--disk", "xvda/../x"], "xvda/../x"),
    (["create", "a", "--disk", "xvda=/x"], "xvda=/x"),
    (["rescan", "a", "--prepare", "--abort"], "--prepare"),
    (["rescan", "a", "--format", "raw"], "raw"),
    (["rescan", "a", "--format", "xvda="], "xvda="),
    (["rescan", "a", "--format", "xvda=raw", "--format", "xvda=raw"],
     "repeated"),
    (["create", "a", "--format", "xvda=raw"], "--format"),
    (["cancel", "a/b"], "a/b"), (["status", "--no-memory"], "--no-memory"),
    (["list", "--no-wait"], "--no-wait"), (["tree", "-q"], "-q"),
    (["show", "a"], "missing"), (["watch", "a/b"], "a/b"),
    (["list", "-qj"], "'-q'"), (["create", "a", "--no-memory", "-xq"], "'-x'"),
    (["create", "a", "--live=1"], "'--live=1'"),
    (["create", "a", "--timeout", "abc"], "--timeout"),
    (["create", "a", "--timeout", "0"], "from 1 to 86400"),
    (["create", "a", "--expires", "5m"], "15min, 12h, 30d"),
    (["create", "a", "--expires", "tomorrow"], "--expires"),
    (["create", "a", "--expires", "7"], "15min, 12h, 30d"),
    (["create", "a", "--keep-for", "3"], "15min, 12h, 30d"),
    (["create", "a", "--expires", "3651d"], "at most 3650d"),
    (["create", "a", "--keep-for", "600w"], "at most 3650d"),
    (["create", "a", "--name", "a/b"], "--name"),
    (["create", "a", "--schedule", ".x"], "--schedule"),
    (["create", "a", "--memory-path", "x/y"], "--memory-path"),
    (["create", "a", "--description", "d" * 5000], "5000 bytes long"),
    (["create", "a", "--description", "two\nlines"], "--description"),
    (["create", "a", "--disk", "xvda", "--disk", "xvda"], "repeated"),
    (["create", "a", "--quiesce=no"], "--quiesce=try"),
    (["create", "a", "--no-memory", "--live"], "--no-memory"),
    (["create", "a", "--no-memory", "--memory-path", "/x"], "--no-memory"),
    (["create", "a", "--name", "x", "--name", "y"], "--name"),
    (["create", ""], "DOMAIN"), (["create", "d" * 5000], "DOMAIN"),
    (["revert", "a", "b/c"], "NAME"), (["delete", "a", ""], "NAME"),
    (["revert", "a", "b", "--start", "now"], "as-saved"),
    (["rescan", "a", "--hold", "5"], "--prepare"),
    (["rescan", "a", "--prepare", "--hold", "5s"], "--hold"),
    (["rescan", "a", "--disk", "xvda=x"], "--disk"),
    (["rescan", "a", "--abort", "--disk", "xvda=/x"], "--abort"),
    (["rescan", "a", "--format", "xvda=qcow3"], "raw, qcow2 or vhd"),
])
def test_wrong_usage(run, arguments, word):
    result = run(*arguments)
    assert result.returncode == USAGE
    assert word in result.stderr and "--help'" in result.stderr
    assert result.stdout == ""


def test_help_and_version(run):
    commands = ("create", "revert", "delete", "rescan", "list", "tree",
                "show", "requests", "cancel", "watch", "status")
    text = run("--help").stdout
    assert all(f"  {command} " in text for command in commands)
    assert "Exit status: 0 done" in text
    for arguments in ([], *([command] for command in commands)):
        result = run(*arguments, "--help")
        assert result.returncode == DONE
        assert result.stdout.startswith(" ".join(
            ["Usage: xensnap", *arguments]))
        assert max(map(len, result.stdout.splitlines())) <= 80
        for option in ("-h, --help", "-V, --version"):
            assert f"\n  {option} " in result.stdout
    assert re.fullmatch(r"xensnap \d+\.\d+\.\d+\n", run("--version").stdout)
