# SPDX-License-Identifier: LGPL-2.1-or-later
"""What xensnap shows: the tree, one snapshot, JSON, and what happens."""

import json
import os
import pty
import re
import select

import pytest

from native.agent import ROOT

DONE, FAILED, USAGE, NO_AGENT, CANCELLED = range(5)


def write_snapshot(world, uuid, name, parent=None, **keys):
    """A record as the agent publishes it; `disks/...` with '__' for '/'."""
    path = f"{ROOT}/snapshots/{uuid}/{name.replace('.', '@2e')}"
    values = {"name": name, "created-at": "2026-03-01T09:30:00.125Z",
              "memory": "0", "domain-name": "web", "consistency": "crash",
              **({"parent": parent} if parent else {})}
    values.update((key.replace("__", "/").replace("_", "-"), value)
                  for key, value in keys.items())
    world.store.write_all({f"{path}/{key}": value
                           for key, value in values.items()})


@pytest.fixture(name="published")
def fixture_published(world):
    """base <- two branches, on the first of which the domain runs."""
    domain = world.add_domain("web")
    image = f"{world.images}/base.qcow2"
    with open(image, "wb") as file:
        file.write(b"x" * (3 << 20))
    over = {"disks__xvda__format": "qcow2", "disks__xvda__external": "1"}
    write_snapshot(world, domain.uuid, "base", disks__xvda__path=image, **over)
    for i, name in enumerate(("v1.0", "other")):
        write_snapshot(world, domain.uuid, name, "base",
                       created_at=f"2026-03-02T09:30:0{i}.000Z", memory="1",
                       live=str(i), disks__xvda__path=f"/none/{name}.qcow2",
                       disks__xvda__overlays__0=f"/none/{name}.over.qcow2",
                       **over)
    world.store.write(f"{ROOT}/snapshots/{domain.uuid}/current", "v1.0")
    return domain


def shown(run, *arguments, **variables):
    result = run(*arguments, env={**os.environ, **variables})
    assert result.returncode == DONE, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize("locale, branch, last, through", [
    ("C.UTF-8", "├─ ", "└─ ", "│  "), ("C", "|- ", "`- ", "|  ")])
def test_the_tree_shows_branches_and_where_it_runs(
        published, run, locale, branch, last, through):
    lines = shown(run, "tree", "web", LC_ALL=locale)
    assert lines[0] == f"web  {published.uuid}  domid {published.domid}"
    for line, start, facts in zip(lines[1:], (
            f"{last}base ", f"   {branch}v1.0 ",
            f"   {through}{last}(current state) ", f"   {last}other "), (
            r"3\.0 MiB  depth 1  disks only$", r" -  depth 2  memory$",
            r"now +-  depth 3  runs$", r" -  depth 2  memory, live$"),
            strict=True):
        assert line.startswith(start)
        assert re.search(facts, line), line
        assert "ago" in line or "now" in line


def test_a_circle_of_parents_is_drawn_once(world, run):
    domain = world.add_domain("web")
    for name, parent in (("a", "b"), ("b", "a"), ("c", "c")):
        write_snapshot(world, domain.uuid, name, parent)
    text = "\n".join(shown(run, "tree", LC_ALL="C"))
    assert [len(re.findall(rf"`- {name} ", text)) for name in "abc"] == [1] * 3


def test_a_tree_of_a_domain_without_snapshots(world, run):
    world.add_domain("web")
    assert shown(run, "tree", "web", LC_ALL="C")[1:] == ["`- no snapshots"]
    assert run("tree", "nobody").returncode == FAILED


@pytest.mark.parametrize("command", ["list", "tree"])
def test_lists_as_json(published, run, command):
    machine, = json.loads("\n".join(shown(run, command, "--json")))
    snapshots = machine.pop("snapshots")
    assert machine == {"uuid": published.uuid, "name": "web",
                       "domid": published.domid, "current": "v1.0"}
    assert [(entry["name"], entry["current"], entry["depth"], entry["memory"])
            for entry in snapshots] == [("base", False, 1, False),
                                        ("v1.0", True, 2, True),
                                        ("other", False, 2, True)]
    assert snapshots[0]["disk-bytes"] == 3 << 20
    assert snapshots[1]["disks"]["xvda"] == {
        "format": "qcow2", "external": True, "path": "/none/v1.0.qcow2",
        "overlays": ["/none/v1.0.over.qcow2"]}


def test_json_is_valid_whatever_a_text_holds(world, published, run):
    path = f"{ROOT}/snapshots/{published.uuid}/base/description"
    world.store.write(path, b'"\\\x01\t\xff\xc3\xa9\xed\xa0\x80 \xf0\x9f\x98\x80')
    base = json.loads(run("show", "web", "base", "--json").stdout)
    assert base["description"] == '"\\\x01\t\ufffdé\ufffd\ufffd\ufffd 😀'


def test_one_snapshot_with_all_that_is_known(published, run):
    text = run("show", "web", "base").stdout
    for pattern in (r"^name +base$", r"^kind +disks only$",
                    r"^on disk +3\.0 MiB$", r"^children +v1\.0\n +other$",
                    r"xensnap revert web base --start boot$"):
        assert re.search(pattern, text, re.M), text
    assert "current" not in text
    assert re.search(r"^current +yes", run("show", "web", "v1.0").stdout, re.M)
    result = run("show", "web", "nothing")
    assert result.returncode == FAILED
    assert result.stderr.startswith("xensnap: no-such-snapshot: ")


def read_terminal(spawn, *arguments, **variables):
    """All that a command writes to a terminal."""
    terminal, other = pty.openpty()
    process = spawn(*arguments, stdout=other,
                    env={**os.environ, "TERM": "xterm", **variables})
    os.close(other)
    text = b""
    try:
        while select.select([terminal], [], [], 20)[0]:
            text += os.read(terminal, 4096)
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert process.wait(20) == DONE
    return text.decode()


@pytest.mark.parametrize("variables, coloured", [
    ({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True),
    ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals(published, run, spawn, variables, coloured):
    for command in ("tree", "list"):
        text = read_terminal(spawn, command, **variables)
        assert "base" in text
        assert ("\033[" in text) == coloured
        assert "\033" not in run(command).stdout


# ---- answers, and what happens ----

def test_an_answer_as_json(world, agent, run):
    domain = world.add_domain("web")
    result = run("create", "web", "--name", "s1", "--no-memory", "--json")
    assert result.returncode == DONE and result.stderr == ""
    answer = json.loads(result.stdout)
    assert answer["state"] == "done" and answer["progress"] == 100
    assert answer["result"]["name"] == "s1"
    assert answer["result"]["downtime-ms"] == 0
    disk = answer["result"]["disks"]["xvda"]
    assert disk["path"] == domain.chain("xvda")[0][0]
    assert disk["external"] is True and disk["depth"] == 2

    result = run("rescan", "web", "--json")
    chain = json.loads(result.stdout)["result"]["disks"]["xvda"]["chain"]
    assert [image["path"] for image in chain] == [
        path for path, _ in domain.chain("xvda")]

    result = run("create", "web", "--name", "s1", "--no-memory", "--json")
    assert result.returncode == FAILED
    assert json.loads(result.stdout)["error"]["code"] == "snapshot-exists"
    assert "xensnap: snapshot-exists: " in result.stderr


def test_what_to_do_next_is_told(world, agent, run):
    world.add_domain("web")
    text = run("create", "web", "--name", "s1", "--no-memory").stdout
    assert "\nGo back to it: xensnap revert web s1 --start boot\n" in text
    assert "xensnap tree web" in run("delete", "web", "s1").stdout


def test_a_request_of_another_can_be_followed(world, agent, run, spawn):
    world.add_domain("web")
    fault = next(iter(world.domains.values())).interpose().fault(
        "transaction", "hold-before")
    request = run("create", "web", "--no-memory", "--name", "s1",
                  "--no-wait").stdout.strip()
    fault.wait_reached()
    world.store.wait(f"{ROOT}/requests/{request}/step", "switching the disks")
    process = spawn("watch", request)
    line = process.stderr.readline()
    assert "running" in line
    fault.release()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == DONE and "s1" in output
    # It is there still: whoever asked may want to look.
    assert world.store.read(f"{ROOT}/requests/{request}/state") == "done"
    assert json.loads(run("requests", "--json").stdout)[0]["id"] == request
    agent_, = json.loads("[" + run("status", "--json").stdout + "]")
    assert agent_["state"] == "ready" and agent_["pid"] == agent.process.pid
    assert agent_["requests"][0]["result"]["name"] == "s1"


def read_until(process, word):
    while True:
        line = process.stdout.readline()
        assert line, "the end"
        if word in line:
            return line


def test_everything_can_be_followed(world, agent, spawn):
    text, machine = spawn("watch"), spawn("watch", "--json")
    for process in (text, machine):
        read_until(process, "ready")
    world.add_domain("web")
    assert agent.request("create", domain="web", name="s1", memory=0,
                         id="mine")["state"] == "done"
    assert agent.request("delete", domain="web", name="nothing",
                         id="other")["state"] == "failed"
    assert re.fullmatch(r"[\d:]{8}  mine: create of web, done, 100 %\n",
                        read_until(text, "done"))
    assert "other: delete of web, failed, " in (line := read_until(
        text, "failed"))
    assert line.endswith(", no-such-snapshot\n")
    event = json.loads(read_until(machine, '"done"'))
    del event["time"]
    assert event == {"request": "mine", "operation": "create", "domain": "web",
                     "state": "done", "step": "done", "progress": 100}
    assert json.loads(read_until(machine, '"failed"'))["error"] == \
        "no-such-snapshot"
    agent.stop()
    read_until(text, "agent gone")
    assert json.loads(read_until(machine, "gone"))["agent"] == "gone"
    world.restart_xenstored()
    for process in (text, machine):
        _, errors = process.communicate(timeout=20)
        assert process.returncode == NO_AGENT
        assert "lost xenstore" in errors
