# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits: whoever exceeds one is told at once."""

import os
import signal
import subprocess

import pytest

from native.expect import Picture, assert_failed, done, rewrite_settings


def submit(agent, name, domain="web"):
    return agent.submit("create", domain=domain, name=name, memory=0)


@pytest.fixture(name="limited")
def fixture_limited(world, agent_stopped):
    """An agent with small limits, one operation of the domain held."""
    agent_stopped.configure("limits", per_domain=2, total=4)
    agent_stopped.start()
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    first = submit(agent_stopped, "s1")
    fault.wait_reached()
    yield agent_stopped, domain, fault, first
    fault.release()


def test_one_domain_may_have_so_many_waiting(limited):
    agent, domain, fault, first = limited
    waiting = [submit(agent, f"w{index}") for index in range(2)]
    for request in waiting:
        request.wait_state("queued")
    assert_failed(submit(agent, "over").wait(), "busy", "per-domain")
    assert first.state() == "running"
    fault.release()
    for request in (first, *waiting):
        assert request.wait()["state"] == "done"
    assert len(domain.chain("xvda")) == 4
    # And there is room again.
    assert submit(agent, "later").wait()["state"] == "done"


def test_all_domains_together_may_have_so_many(world, limited):
    agent, _, fault, first = limited
    other = world.add_domain("db")
    held = other.interpose().fault("transaction", "hold-before")
    running = submit(agent, "s1", "db")
    held.wait_reached()
    waiting = [submit(agent, "w1"), submit(agent, "w1", "db")]
    for request in waiting:
        request.wait_state("queued")
    third = world.add_domain("mail")
    picture = Picture(agent, third)
    assert_failed(submit(agent, "s1", "mail").wait(), "busy", "total")
    picture.assert_same()
    held.release()
    fault.release()
    for request in (first, running, *waiting):
        assert request.wait()["state"] == "done"


def test_a_cancelled_request_makes_room(limited):
    agent, _, _, _ = limited
    waiting = [submit(agent, f"w{index}") for index in range(2)]
    for request in waiting:
        request.wait_state("queued")
    waiting[0].cancel()
    waiting[0].wait()
    submit(agent, "again").wait_state("queued")


def test_limits_change_with_the_settings(limited):
    agent, _, fault, _ = limited
    waiting = [submit(agent, f"w{index}") for index in range(2)]
    waiting[1].wait_state("queued")
    agent.configure("limits", per_domain=3)
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log("settings read again")
    waiting.append(submit(agent, "w3"))
    waiting[2].wait_state("queued")
    fault.release()
    for request in waiting:
        assert request.wait()["state"] == "done"


def test_a_hundred_requests_all_get_their_answer(world, agent):
    world.add_domain("web", disks=[("xvda", "qcow2")])
    requests = [submit(agent, f"s{index}") for index in range(100)]
    states = [request.wait(60)["state"] for request in requests]
    assert states[0] == "done"
    refused = [request.output() for request, state in zip(requests, states)
               if state != "done"]
    for reply in refused:
        assert_failed(reply, "busy", "per-domain")


def test_nothing_is_left_open(world, agent):
    world.add_domain("web")
    assert submit(agent, "s0").wait()["state"] == "done"
    before = agent.descriptor_count()
    for index in range(1, 6):
        assert submit(agent, f"s{index}").wait()["state"] == "done"
        assert_failed(submit(agent, "s0").wait(), "snapshot-exists")
    assert agent.descriptor_count() <= before


def test_what_a_killed_agent_left_is_put_right_whatever_the_limits(world, agent):
    domains = [world.add_domain(name) for name in ("web", "db", "mail")]
    chains = [domain.chain("xvda") for domain in domains]
    faults = [domain.interpose().fault("transaction", "hold-after")
              for domain in domains]
    requests = [submit(agent, "s1", name) for name in ("web", "db", "mail")]
    for fault in faults:
        fault.wait_reached()
    agent.kill()
    for domain in domains:
        domain.uninterpose()
    agent.configure("limits", total=1, per_owner=1, per_domain=1)
    agent.start()
    for request in requests:
        assert request.wait()["error/code"] == "interrupted"
    assert [domain.chain("xvda") for domain in domains] == chains
    world.eventually(
        lambda: not [name for name in agent.records()
                     if name.startswith("journal/op-")], 10, "no note left")


def test_a_hold_ends_in_time_whatever_the_limits(world, agent_stopped):
    agent = agent_stopped
    agent.configure("limits", total=1)
    agent.start()
    held = world.add_domain("web")
    fault = world.add_domain("db").interpose().fault("transaction",
                                                     "hold-before")
    reply = agent.request("rescan", domain="web", phase="prepare", hold=2)
    assert reply["state"] == "done", reply
    other = submit(agent, "s1", "db")
    fault.wait_reached()
    # That one keeps the only place until the hold has come to its end.
    world.eventually(lambda: world.xen.get(held.domid)["paused"] == "0", 30,
                     "the domain let go")
    assert other.state() == "running"
    fault.release()
    assert other.wait()["state"] == "done"


# -- requesters, memory saves ----------------------------------------------

def test_one_requester_may_have_so_many(world, agent_stopped):
    agent = agent_stopped
    agent.configure("limits", per_owner=2)
    agent.start()
    faults = [world.add_domain(name).interpose().fault("transaction",
                                                       "hold-before")
              for name in ("web", "db")]
    held = [submit(agent, "s1", name) for name in ("web", "db")]
    for fault in faults:
        fault.wait_reached()
    picture = Picture(agent, world.add_domain("mail"))
    assert_failed(submit(agent, "s1", "mail").wait(), "busy", "per-owner")
    picture.assert_same()
    for fault in faults:
        fault.release()
    for request in held:
        assert request.wait()["state"] == "done"
    assert submit(agent, "s1", "mail").wait()["state"] == "done"


def test_only_so_many_memories_are_saved_at_a_time(world, agent_stopped):
    """Those that wait for it keep nobody waiting who needs none. (There is no
    hypervisor here to save a memory; that they begin is told by QEMU being
    asked.)"""
    agent = agent_stopped
    agent.configure("limits", memory_saves=1)
    agent.configure("timeouts", qmp_reply="5min")
    agent.start()
    first = world.add_domain("web").interpose().fault("query-block",
                                                      "hold-before")
    second = world.add_domain("db").interpose().fault("query-block",
                                                      "hold-before")
    world.add_domain("mail")
    saves = [agent.submit("create", domain="web", name="s1")]
    first.wait_reached()
    saves.append(agent.submit("create", domain="db", name="s1"))
    saves[1].wait_state("queued")
    assert submit(agent, "s1", "mail").wait()["state"] == "done"
    assert saves[1].state() == "queued"
    assert not second.reached.is_set()
    first.release()
    assert saves[0].wait()["error/step"] == "save-memory"
    second.wait_reached()
    second.release()
    assert saves[1].wait()["error/step"] == "save-memory"


# -- sizes -----------------------------------------------------------------

@pytest.mark.parametrize("keys, words", [
    ({"name": "n" * 65}, "name"),
    ({"description": "d" * 1025}, "description"),
    ({"domain": "w" * 256}, "domain"),
    ({"disks/xvda/path": "/" + "p" * 1023}, "disks/xvda/path"),
    ({"disks/xvda/format": "f" * 16}, "disks/xvda/format"),
    ({"disks": " ".join(f"xv{index}" for index in range(65))}, "at most 64"),
    ({f"disks/xv{index}/{key}": "1" for index in range(100)
      for key in ("external", "format", "path", "name")}, "320 keys"),
    ({f"key{index}": "1" for index in range(400)}, "320 keys"),
    ({"colour": "c" * 3000}, "colour"),
])
def test_what_is_too_long_or_too_much_is_refused(world, agent, keys, words):
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    reply = agent.request("create", {"domain": "web", "memory": 0, **keys})
    assert reply["state"] == "failed"
    assert reply["error/code"] in ("invalid-request", "path-not-allowed")
    assert words in reply["error/message"]
    picture.assert_same()


def test_what_is_just_not_too_long_is_taken(world, agent):
    domain = world.add_domain("web")
    reply = agent.request("create", domain="web", memory=0, name="n" * 64,
                          description="d" * 1024)
    assert reply["state"] == "done"
    assert len(domain.chain("xvda")) == 2


# -- the reserve -----------------------------------------------------------

@pytest.fixture(name="small_folder")
def fixture_small_folder(world):
    """A folder on a file system of 8 MiB."""
    folder = f"{world.folder}/small"
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", folder],
                   check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_an_overlay_leaves_the_reserve_alone(world, agent_stopped,
                                             small_folder):
    agent = agent_stopped
    agent.configure("store", reserve="16MiB")
    agent.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    path = f"{small_folder}/x.qcow2"
    request = {"domain": "web", "memory": 0, "disks/xvdb/path": path}
    assert_failed(agent.request("create", request), "no-space",
                  f"16 MiB are to stay free where {path}")
    assert not os.listdir(small_folder)
    picture.assert_same()
    agent.stop()
    agent.configure("store", reserve="4MiB")
    agent.start()
    assert agent.request("create", request)["state"] == "done"
    assert domain.chain("xvdb")[0] == (path, "qcow2")


def test_a_memory_file_leaves_the_reserve_alone(world, agent_stopped):
    agent = agent_stopped
    agent.configure("store", reserve="1024GiB")
    agent.start()
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    assert_failed(agent.request("create", domain="web", name="s1"),
                  "no-space", f"{1 << 20} MiB are to stay free")
    picture.assert_same()


@pytest.mark.parametrize("held", ["already", "meanwhile"])
def test_a_held_domain_is_let_go_also_where_memory_saves_are_used_up(
        world, agent_stopped, save, held):
    """What it does not permit is refused at once, and nothing waits behind it."""
    agent = agent_stopped
    agent.configure("limits", memory_saves=1)
    agent.start()
    alice = world.add_domain("alice", disks=[("xvda", "qcow2")])
    world.add_domain("bob", disks=[("xvda", "qcow2")])
    save.hold()
    other = agent.submit("create", domain="bob", name="b1", live=0)
    other.wait_state("running")
    fault = alice.interpose().fault("blockdev-mirror", "hold-before")
    prepare = agent.submit("rescan", {"phase": "prepare", "hold": 3}, domain="alice")
    fault.wait_reached()
    if held == "already":
        fault.release()
        done(prepare.wait())
    create = agent.submit("create", domain="alice", name="a1", live=0)
    if held == "meanwhile":
        create.wait_state("queued")
        fault.release()
        done(prepare.wait())
    assert_failed(create.wait(), "busy", "held for a rescan")
    world.eventually(lambda: world.xen.get(alice.domid)["paused"] == "0", 10)
    assert other.state() == "running"
    save.release()
    done(other.wait())
