# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap in a domain that asks for itself, and what domain 0 sees of it."""

import json
import os
import re

import pytest

from native.agent import ROOT, preloads

DONE, FAILED, USAGE, NO_AGENT, CANCELLED, _NOT_PRUNED = range(6)
DOM0 = {"who": "domid 0", "operations": "all", "targets": "any",
        "folders": "any"}
FOLDER = "snapshot/requests"


def start(world, agent, *rules):
    """The agent with a policy; waits for the folders of those that it has."""
    agent.settings["policy"] = [DOM0, *rules]
    agent.start()
    for domain in world.domains.values():
        if rules:
            path = f"{domain.path}/{FOLDER}"
            world.store.wait_for(
                path, lambda path=path: world.store.read(path) is not None)


@pytest.fixture(name="web")
def fixture_web(world, agent_stopped):
    """A domain that may ask for anything; another one has a snapshot, too."""
    web = world.add_domain("web")
    world.add_domain("alice")
    start(world, agent_stopped, {"who": "*", "operations": "all",
                                 "targets": "any"})
    return web


def inside(world, domain):
    """Options of `run` and `spawn`: xensnap as that domain's."""
    environment = world.environment()
    environment["LD_PRELOAD"] = " ".join(preloads(
        os.path.join(os.environ["NATIVE_BUILD"], "xensnap"),
        f"{world.shims}/identity_shim.so"))
    environment["FAKE_DOMID"] = str(domain.domid)
    return {"env": environment}


@pytest.fixture(name="here")
def fixture_here(world, run, web):
    """Runs xensnap in the domain."""
    return lambda *arguments: run(*arguments, **inside(world, web))


def create(here, name, *more):
    result = here("create", *more, "--name", name, "--no-memory")
    assert result.returncode == DONE, result.stderr
    return result.stdout


# ---- in the domain ----

def test_a_domain_asks_in_its_own_folder(world, web, here):
    text = create(here, "s1", "web")
    assert "xensnap revert web s1 --start boot" in text
    assert web.chain("xvda")[0][0] in text
    assert world.store.ls(f"{web.path}/{FOLDER}") == []
    published = world.store.tree(f"{ROOT}/snapshots/{web.uuid}")
    assert published["s1/name"] == "s1"
    result = here("delete", "web", "s1", "--json")
    assert result.returncode == DONE, result.stderr
    assert json.loads(result.stdout)["requester"] == web.domid


def test_without_a_domain_it_is_meant_itself(web, here, run):
    text = create(here, "s1", "--keep", "1")
    assert "xensnap revert s1 --start boot" in text
    assert "removed      s1" in create(here, "s2", "--keep", "1")
    assert re.search(r"^name +s2$", here("show", "s2").stdout, re.M)
    assert here("delete", "s2").returncode == DONE
    assert len(web.chain("xvda")) == 1
    for arguments in (["create"], ["show", "s2"], ["delete", "s2"]):
        assert run(*arguments).returncode == USAGE


def test_a_failure_is_told(here):
    result = here("revert", "nothing", "--quiet")
    assert result.returncode == FAILED
    assert result.stderr.startswith("xensnap: no-such-snapshot: ")


def test_its_requests_are_shown_followed_and_cancelled(world, web, here,
                                                       spawn):
    fault = web.interpose().fault("transaction", "hold-before")
    request = here("create", "--no-memory", "--no-wait").stdout.strip()
    fault.wait_reached()
    world.store.wait(f"{web.path}/{FOLDER}/{request}/step",
                     "switching the disks")
    for command in ("requests", "status"):
        assert re.search(rf"^{request} +web +create +web +running ",
                         here(command).stdout, re.M)
    process = spawn("watch", request, **inside(world, web))
    assert "running" in process.stderr.readline()
    follower = spawn("watch", **inside(world, web))
    while "switching" not in follower.stdout.readline():
        pass
    assert here("cancel", request, "--no-wait").returncode == DONE
    fault.release()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == CANCELLED and "cancelled: " in errors
    while "cancelled" not in (line := follower.stdout.readline()):
        assert line
    assert request in line


def test_what_cannot_be_seen_is_not_told(world, web, here, run):
    alice = next(domain for domain in world.domains.values()
                 if domain.name == "alice")
    for domain in ("alice", "web"):
        create(here, "s1", domain)
    header, tree, current, _ = here("tree", "alice").stdout.splitlines()
    assert header == f"alice  {alice.uuid}"
    assert re.search(r"(ago|just now) +disks only$", tree), tree
    assert re.search(r"@ \(current state\) +now *$", current), current
    assert f"domid {web.domid}" in (text := here("tree", "web").stdout)
    assert re.search(r"now +runs$", text, re.M)
    assert here("list").stdout.splitlines()[0].split() == [
        "DOMAIN", "NAME", "CREATED", "PARENT", "KIND"]
    assert "on disk" not in here("show", "alice", "s1").stdout
    machine = {one["name"]: one for one in json.loads(
        here("list", "--json").stdout)}
    assert "domid" not in machine["alice"]
    assert machine["web"]["domid"] == web.domid
    for one in machine.values():
        assert "disk-bytes" not in one["snapshots"][0]
        assert "active-bytes" not in one
    # There it is known.
    assert f"domid {alice.domid}" in run("tree", "alice").stdout
    assert here("list", "nobody").returncode == FAILED


def test_of_domains_that_had_one_name_the_newest_snapshot_counts(world, web,
                                                                here):
    """As for the agent: --keep would remove another VM's otherwise."""
    create(here, "s1", "alice", "--keep", "1")
    for uuid, created in (("0" * 8, "2001"), ("f" * 8, "2002")):
        path = f"{ROOT}/snapshots/{uuid}-0000-4000-8000-000000000000/old"
        world.store.write_all({
            f"{path}/name": "old", f"{path}/domain-name": "alice",
            f"{path}/schedule": "default",
            f"{path}/created-at": f"{created}-03-01T09:30:00.125Z"})
    assert "removed      s1" in create(here, "s2", "alice", "--keep", "1")
    assert re.search(r"^name +s2$", here("show", "alice", "s2").stdout, re.M)


def test_a_domain_without_a_folder_is_told_why(world, agent_stopped, run):
    web = world.add_domain("web")
    start(world, agent_stopped)
    for command in (["create"], ["requests"], ["watch"], ["cancel", "x"]):
        result = run(*command, **inside(world, web))
        assert result.returncode == FAILED, command
        assert result.stderr.startswith("xensnap: permission-denied: ")
        assert "policy" in result.stderr
    result = run("status", **inside(world, web))
    assert result.returncode == DONE and "ready" in result.stdout
    assert "permission-denied" in result.stderr
    agent_stopped.stop()
    result = run("create", **inside(world, web))
    assert result.returncode == NO_AGENT


# ---- in domain 0 ----

def test_domain_0_sees_requests_of_domains(world, web, run, spawn):
    follower = spawn("watch", "--json")
    while "ready" not in follower.stdout.readline():
        pass
    late = world.add_domain("late")
    fault = web.interpose().fault("transaction", "hold-before")
    mine = web.xenstore()
    mine.write_all({f"{FOLDER}/r1/memory": 0, f"{FOLDER}/r1/operation": "create"})
    key = f"{web.domid}:r1"
    fault.wait_reached()
    world.store.wait(f"{web.path}/{FOLDER}/r1/step", "switching the disks")
    for command in ("requests", "status"):
        assert re.search(rf"^{key} +web +create +web +running ",
                         run(command).stdout, re.M)
    told, = json.loads(run("requests", "--json").stdout)
    assert told["id"] == key and told["requester"] == web.domid
    process = spawn("watch", key)
    assert "running" in process.stderr.readline()
    assert run("cancel", key, "--no-wait").returncode == DONE
    mine.wait(f"{FOLDER}/r1/cancel", "1")
    fault.release()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == CANCELLED and "cancelled: " in errors
    path = f"{late.path}/{FOLDER}"
    world.store.wait_for(path, lambda: world.store.read(path) is not None)
    late.xenstore().write_all({f"{FOLDER}/r2/name": "none",
                               f"{FOLDER}/r2/operation": "delete"})
    seen = {}
    while f"{late.domid}:r2" not in seen or seen[f"{late.domid}:r2"][
            "state"] != "failed":
        event = json.loads(follower.stdout.readline())
        seen[event.get("request")] = event
    assert seen[key]["state"] == "cancelled"
    assert seen[f"{late.domid}:r2"]["domain"] == "late"
    for other in (f"{web.domid}:none", "99:r1"):
        assert run("cancel", other).returncode == FAILED
    assert run("watch", "x:r1").returncode == USAGE


def test_a_guest_forges_nothing_in_what_is_shown(world, web, agent_stopped,
                                                 run):
    agent_stopped.freeze()
    web.xenstore().write_all({f"{FOLDER}/r1/domain": "\x1b[31mx",
                              f"{FOLDER}/r1/state": "done",
                              f"{FOLDER}/r1/operation": "create"})
    text = run("requests").stdout
    agent_stopped.thaw()
    assert re.search(rf"^{web.domid}:r1 +web +create +\?\[31mx +new ", text,
                     re.M), text


# Without an operation the agent does not look at a request.

def test_what_a_guest_writes_moves_nothing_on_a_terminal(web, run):
    hostile = "a\u0085\u202eb".encode() + b"\x9bc"
    web.xenstore().write_all({f"{FOLDER}/r1/domain": hostile})
    assert re.search(r" a\?{5}b\?c +new ", run("requests").stdout)
    machine = run("requests", "--json").stdout
    assert machine.isascii()
    assert json.loads(machine)[0]["domain"] == "a\u0085\u202eb\ufffdc"


def test_an_answer_that_a_guest_wrote_is_none(web, run):
    key = f"{web.domid}:r1"
    web.xenstore().write_all({
        f"{FOLDER}/r1/{name}": value for name, value in {
            "state": "done", "step": "x", "progress": "7", "error/code": "foo",
            "bytes-done": "1", "bytes-total": "2", "result/name": "x",
            "finished-at": "2026-03-01T09:30:00.125Z"}.items()})
    machine = run("requests", "--json").stdout
    assert json.loads(machine) == [{"id": key, "requester": web.domid, "state": "new"}]
    assert machine.count('"state"') == 1
    assert re.search(rf"^{key} +web +- +web +new +- *$", run("requests").stdout, re.M)


# ---- another root ----

def test_another_root(world, agent_stopped, run):
    web = world.add_domain("web")
    agent_stopped.settings["xenstore"] = {"root": "/tool/other"}
    agent_stopped.start(ready=False)
    world.store.wait("/tool/other/status/state", "ready")
    result = run("status")
    assert result.returncode == NO_AGENT and "--root" in result.stderr
    other = {**world.environment(), "XENSNAPD_ROOT": "/tool/other"}
    result = run("create", "web", "--no-memory", "--name", "s1", env=other)
    assert result.returncode == DONE, result.stderr
    assert "s1" in run("list", "--root", "/tool/other").stdout
    assert "s1" in run("show", "web", "s1", "--json", "--root=/tool/other",
                       env={**other, "XENSNAPD_ROOT": "/x"}).stdout
    assert world.store.ls("/tool/other/requests") == []
    assert len(web.chain("xvda")) == 2
    for bad in ("tool", "/tool/", "/a//b", "", "/a b"):
        assert run("status", "--root", bad).returncode == USAGE
    assert run("status", env={**os.environ,
                              "XENSNAPD_ROOT": "x"}).returncode == USAGE
