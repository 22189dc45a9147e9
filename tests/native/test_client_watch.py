# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap watch and requests that are removed as soon as they have ended."""

import json
import re
import signal

from native.agent import ROOT

DONE, FAILED = range(2)


def read_until(process, word):
    while True:
        line = process.stdout.readline()
        assert line, "the end"
        if word in line:
            return line


def test_a_watch_tells_the_end_of_what_is_removed_at_once(world, agent, run,
                                                          spawn):
    world.add_domain("web")
    watch = spawn("watch")
    read_until(watch, "ready")
    for name in ("s1", "s2", "s1"):
        run("create", "web", "--name", name, "--no-memory")
    run("delete", "web", "s2")
    ends = []
    while len(ends) < 4:
        assert (line := watch.stdout.readline())
        ends += re.findall(r": (?:(\w+) of web, )?(done|failed)", line)
    assert [state for _, state in ends] == ["done", "done", "failed", "done"]


def test_a_watch_that_comes_too_late_tells_the_ends_all_the_same(
        world, agent, run, spawn):
    """All is over and removed before it reads anything."""
    domain = world.add_domain("web")
    watch, machine = spawn("watch"), spawn("watch", "--json")
    for process in (watch, machine):
        read_until(process, "ready")
    fault = domain.interpose().fault("transaction", "hold-before")
    slow = spawn("create", "web", "--name", "s1", "--no-memory")
    for process in (watch, machine):
        read_until(process, "switching")
        process.send_signal(signal.SIGSTOP)
    fault.release()
    assert slow.wait(20) == DONE
    assert run("create", "web", "--name", "s1",
               "--no-memory").returncode == FAILED
    assert agent.request("create", domain="web", name="s2",
                         memory=0)["state"] == "done"
    for process in (watch, machine):
        process.send_signal(signal.SIGCONT)
    assert re.search(r": create of web, done$", watch.stdout.readline())
    assert re.search(r"xensnap-\S+: failed$", watch.stdout.readline())
    assert re.search(r": create of web, done", watch.stdout.readline())
    told = [json.loads(machine.stdout.readline()) for _ in range(3)]
    assert [one["state"] for one in told] == ["done", "failed", "done"]
    assert told[0]["operation"] == "create" and told[0]["domain"] == "web"
    assert "operation" not in told[1]


def test_a_watch_tells_that_the_agent_has_died(world, agent, spawn):
    """Whose status stays."""
    text, machine = spawn("watch"), spawn("watch", "--json")
    for process in (text, machine):
        read_until(process, "ready")
    agent.kill()
    assert text.stdout.readline().endswith("  agent gone\n")
    assert json.loads(machine.stdout.readline())["agent"] == "gone"
    assert world.store.read(f"{ROOT}/status/state") == "ready"
    assert spawn("watch").stdout.readline().endswith("  agent gone\n")
    for _ in range(2):
        agent.start()
        read_until(text, "agent ready")
        agent.kill()
        assert text.stdout.readline().endswith("  agent gone\n")


def test_a_watch_tells_what_is_removed_before_its_end(world, spawn):
    path = f"{ROOT}/requests/r1"
    world.store.write_all({f"{ROOT}/status/state": "ready"})
    watch = spawn("watch")
    read_until(watch, "ready")
    world.store.write_all({f"{path}/operation": "create", f"{path}/domain": "web",
                           f"{path}/state": "running"})
    assert "r1: create of web, running" in watch.stdout.readline()
    world.store.rm(path)
    assert "r1: create of web, removed" in watch.stdout.readline()
