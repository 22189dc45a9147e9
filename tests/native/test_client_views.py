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
    ("C.UTF-8", "├─", "└─", "│ "), ("C", "|-", "`-", "| ")])
def test_the_tree_shows_branches_and_where_it_runs(
        published, run, locale, branch, last, through):
    lines = shown(run, "tree", "web", LC_ALL=locale)
    assert lines[0] == f"web  {published.uuid}  domid {published.domid}"
    for line, start, facts in zip(lines[1:], (
            "o base ", f"{branch}o v1.0 ", f"{through}@ (current state) ",
            f"{last}o other "), (
            r"3\.0 MiB  disks only$", r" -  memory$", r"now +-  runs$",
            r" -  memory, live$"), strict=True):
        assert line.startswith(start)
        assert re.search(facts, line), line
        assert "ago" in line or "now" in line


def test_a_long_row_is_drawn_as_narrow_as_a_short_one(world, run):
    domain = world.add_domain("web")
    names = [f"daily-{i:03}" for i in range(200)]
    for i, name in enumerate(names):
        write_snapshot(world, domain.uuid, name, names[i - 1] if i else None,
                       created_at=f"2026-03-01T{i // 60:02}:{i % 60:02}:00.000Z")
    world.store.write(f"{ROOT}/snapshots/{domain.uuid}/current", names[-1])
    _, *lines = shown(run, "tree", "web", LC_ALL="C")
    assert [line.split("  ")[0] for line in lines] == [
        *(f"o {name}" for name in names), "@ (current state)"]
    assert max(map(len, lines)) < 80


def test_a_branch_off_a_row_is_indented_and_the_rest_of_it(world, run):
    domain = world.add_domain("web")
    for i, (name, parent) in enumerate((
            ("a", None), ("b", "a"), ("b1", "b"), ("b2", "b1"), ("c", "b"),
            ("other", None))):
        write_snapshot(world, domain.uuid, name, parent,
                       created_at=f"2026-03-01T09:30:0{i}.000Z")
    world.store.write(f"{ROOT}/snapshots/{domain.uuid}/current", "b")
    _, *lines = shown(run, "tree", "web", LC_ALL="C")
    assert [re.match(r"[|` -]*[o@] \S+", line)[0] for line in lines] == [
        "|-o a",
        "| o b",
        "| |-@ (current",
        "| |-o b1",
        "| | o b2",
        "| `-o c",
        "`-o other"]


def write_chain(world, uuid, vdev, depth, size):
    path = f"{ROOT}/chains/{uuid}/{vdev}"
    world.store.write_all({f"{path}/depth": depth, f"{path}/bytes": size})


def test_chains_of_the_disks_are_shown_and_told_where_long(
        world, published, run):
    write_chain(world, published.uuid, "xvda", 7, 3 << 20)
    assert shown(run, "tree", "web")[-1] == "xvda now on 7 images, 3.0 MiB"
    machine, = json.loads(run("tree", "--json").stdout)
    assert machine["chains"] == {"xvda": {"depth": 7, "bytes": 3 << 20}}
    assert re.search("^  chain now  7 images, 3.0 MiB$",
                     run("show", "web", "v1.0").stdout, re.M)
    assert json.loads(run("show", "web", "v1.0", "--json").stdout)["chains"] \
        == machine["chains"]
    # It is the running state's, and that does not lie over this one.
    assert "chain" not in run("show", "web", "other").stdout
    assert "chains" not in json.loads(
        run("show", "web", "other", "--json").stdout)
    for bound, long in ((0, False), (7, True), (8, False)):
        world.store.write(f"{ROOT}/status/warn-depth", str(bound))
        for command in (("tree", "web"), ("show", "web", "v1.0")):
            assert (f"long (limits.warn-depth is {bound})"
                    in run(*command).stdout) == long


def test_a_circle_of_parents_is_drawn_once(world, run):
    domain = world.add_domain("web")
    for name, parent in (("a", "b"), ("b", "a"), ("c", "c")):
        write_snapshot(world, domain.uuid, name, parent)
    text = "\n".join(shown(run, "tree", LC_ALL="C"))
    assert [len(re.findall(rf"^o {name} ", text, re.M)) for name in "abc"] == [1] * 3


def test_a_tree_of_a_domain_without_snapshots(world, agent, run):
    world.add_domain("web")
    assert shown(run, "tree", LC_ALL="C") == ["no snapshots"]
    assert shown(run, "tree", "web", LC_ALL="C")[1:] == ["no snapshots"]
    assert run("tree", "nobody").returncode == FAILED


@pytest.mark.parametrize("command", ["list", "tree"])
def test_lists_as_json(published, run, command):
    machine, = json.loads("\n".join(shown(run, command, "--json")))
    snapshots = machine.pop("snapshots")
    assert machine == {"uuid": published.uuid, "name": "web",
                       "domid": published.domid, "current": "v1.0"}
    assert [(entry["name"], entry["current"], entry["memory"])
            for entry in snapshots] == [("base", False, False),
                                        ("v1.0", True, True),
                                        ("other", False, True)]
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
    assert "xensnap: no-such-snapshot: " in result.stderr


def test_the_running_state_has_a_size_behind_any_snapshot(world, agent, run):
    """One may leave disks out, and an internal one is in the image that is written to."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "raw")])
    for name, keys in (("s1", {}), ("s2", {"disks/xvda/external": "0"})):
        disks = {"disks": "xvda"} if keys else {}
        assert agent.request("create", keys, domain="web", name=name, memory=0,
                             **disks)["state"] == "done"
    taken = sum(os.stat(domain.chain(vdev)[0][0]).st_blocks * 512 for vdev in domain.disks)
    one, = json.loads(run("tree", "web", "--json").stdout)
    assert one["active-bytes"] == taken
    line, = (line for line in shown(run, "tree", "web") if "current state" in line)
    assert re.search(r" \d+ KiB +runs$", line), line


def test_the_progress_does_not_tell_the_end(world, agent, run):
    """However short the request: that has words of its own, or a result."""
    world.add_domain("web")
    for _ in range(25):
        told = run("rescan", "web", "--complete").stderr.splitlines()
        assert not [line for line in told if line.startswith("running") and "failed" in line], told


def test_what_is_no_longer_whole_can_only_be_deleted(world, run):
    """Be it that a delete was cut short, or that a rescan told so."""
    domain = world.add_domain("web")
    write_snapshot(world, domain.uuid, "s1", deleting="1")
    write_snapshot(world, domain.uuid, "s2", "s1")
    for command in "list", "tree":
        lines = shown(run, command)
        whole = {name: next(line for line in lines if f" {name} " in line)
                 for name in ("s1", "s2")}
        assert "no longer whole" in whole["s1"] and "whole" not in whole["s2"]
        assert lines[-1] == "'s1' can only be deleted: xensnap delete web s1"
    assert "half" not in run("show", "web", "s1").stdout


def test_wide_characters_take_two_columns(world, run):
    for number, name in enumerate(("web", "\u6771\u4eac")):
        write_snapshot(world, f"00000000-0000-4000-8000-00000000000{number}",
                       "s1", domain_name=name.encode())
    rows = shown(run, "list", LC_ALL="C.UTF-8")[1:]
    assert len(rows) == 2

    def columns(text):
        return sum(2 if ord(letter) > 0x1100 else 1 for letter in text)

    assert len({columns(row[:row.index(" s1 ")]) for row in rows}) == 1


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
    ({"TERM": "dumb"}, False), ({"TERM": ""}, False)])
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


def test_a_hold_that_does_not_end_is_told(world, agent, run):
    domain = world.add_domain("web")
    path = f"{ROOT}/holds/{domain.uuid}"
    world.store.write_all({f"{path}/disks": "xvda",
                           f"{path}/until": "2199-03-01T09:30:00.000Z"})
    assert re.search(r"web is held until \d\d:\d\d:\d\d, for a rescan of xvda;",
                     run("status").stdout)
    world.store.write(f"{path}/until", "2026-03-01T09:30:00.000Z")
    assert re.search(r"web is held for a rescan of xvda, whose time was over at "
                     r"\d\d:\d\d:\d\d: letting go is tried again;",
                     run("status").stdout)


@pytest.mark.parametrize("command", [["list"], ["tree", "web"], ["tree"],
                                     ["show", "web", "s1"], ["requests"]])
def test_a_host_without_an_agent_does_not_look_empty(world, agent_stopped, run,
                                                     command):
    world.add_domain("web")
    for arguments in (command, [*command, "--json"]):
        result = run(*arguments)
        assert result.returncode == NO_AGENT
        assert result.stderr.startswith("xensnap: no-agent: ")
    assert json.loads(result.stdout)["error"]["code"] == "no-agent"
    agent = agent_stopped.start()
    assert run("create", "web", "--no-memory", "--name", "s1",
               "--quiet").returncode == DONE
    result = run(*command)
    assert result.returncode == DONE and result.stderr == ""
    shown_before = result.stdout
    for end in (agent.stop, lambda: agent.start().kill()):
        end()
        result = run(*command)
        assert result.returncode == DONE and "no agent runs" in result.stderr
        assert len(result.stdout) == len(shown_before) or "ago" in result.stdout
    world.restart_xenstored()
    assert run(*command).returncode == NO_AGENT


def test_images_of_a_driver_domain_are_not_taken_for_the_host_s(published, world,
                                                                 run):
    path = f"{ROOT}/snapshots/{published.uuid}/base/disks/xvda/driver-domain"
    world.store.write(path, "storage")
    text = run("show", "web", "base").stdout
    assert re.search(r"^  served by +storage$", text, re.M)
    assert re.search(r"^on disk +-$", text, re.M)
    assert "3.0 MiB" not in run("list").stdout + run("tree").stdout
    folder = f"{ROOT}/requests/r1"
    world.store.write_all({
        f"{folder}/operation": "create", f"{folder}/state": "done",
        f"{folder}/result/disks/xvda/driver-domain": "storage"})
    assert re.search(r"^  served by +storage$", run("watch", "r1").stdout, re.M)


def test_a_domain_that_is_held_is_shown(world, agent, run):
    domain = world.add_domain("web")
    for arguments in (["create", "web", "--no-memory", "--name", "s1"],
                      ["rescan", "web", "--prepare", "--disk", "xvda"]):
        assert run(*arguments, "--quiet").returncode == DONE
    words = r"held until \d\d:\d\d:\d\d, for a rescan of xvda"
    assert re.search(rf"^web is {words}; 'xensnap rescan web "
                     "--complete'", run("status").stdout, re.M)
    assert re.search(rf"\(current state\) .* {words}$", run("tree").stdout, re.M)
    hold, = json.loads(run("status", "--json").stdout)["holds"]
    assert hold["uuid"] == domain.uuid and hold["name"] == "web"
    assert hold["disks"] == "xvda" and hold["until"].endswith("Z")
    assert re.fullmatch(words, json.loads(run("tree", "--json").stdout)[0][
        "held"])
    assert run("rescan", "web", "--abort", "--quiet").returncode == DONE
    assert "held" not in run("status").stdout + run("tree").stdout
    assert json.loads(run("status", "--json").stdout)["holds"] == []


def test_disks_are_shown_in_their_order(world, agent, run):
    world.add_domain("web", disks=[("xvdb", "qcow2"), ("xvda", "qcow2")])
    created = run("create", "web", "--name", "s1", "--no-memory").stdout
    for text in (created, run("show", "web", "s1").stdout):
        assert re.findall(r"^disk (\w+):", text, re.M) == ["xvda", "xvdb"]


def test_no_answer_begins_with_an_empty_line(world, agent, run):
    world.add_domain("web")
    run("create", "web", "--name", "s1", "--no-memory")
    assert run("delete", "web", "s1").stdout == \
        "See what is left: xensnap tree web\n"


def test_the_root_may_be_named_before_the_command(world, agent, run):
    for root in (["--root", ROOT], [f"--root={ROOT}"]):
        assert "ready" in run(*root, "status").stdout
    result = run("--root", "/elsewhere", "status")
    assert result.returncode == NO_AGENT and "/elsewhere" in result.stderr
    for wrong in (["--root"], ["--root", ROOT], ["--root", "x y", "status"],
                  ["--root="]):
        assert run(*wrong).returncode == USAGE
