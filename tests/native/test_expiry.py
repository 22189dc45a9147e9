# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots that the agent deletes by itself."""

import datetime
import os
import re

import pytest

from native.agent import ROOT
from native.clock import HOUR


def create(agent, name, **more):
    return agent.request("create", domain="alice", name=name, memory=0, **more)


def names(world, domain):
    return sorted(node for node in
                  world.store.ls(f"{ROOT}/snapshots/{domain.uuid}") or []
                  if node != "current")


def wait_gone(world, domain, name, timeout=20):
    world.store.wait_gone(f"{ROOT}/snapshots/{domain.uuid}/{name}/name",
                          timeout=timeout)


def utc(seconds):
    when = (datetime.datetime.now(datetime.timezone.utc) +
            datetime.timedelta(seconds=seconds))
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_snapshot_is_deleted_when_its_time_has_come(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"1" * 4096)
    chain = domain.chain("xvda")
    reply = create(agent, "short", expires=2)
    assert reply["state"] == "done", reply
    create(agent, "kept")
    overlay = reply["result/disks/xvda/path"]
    wait_gone(world, domain, "short")
    assert names(world, domain) == ["kept"]
    assert domain.read("xvda", 0, 4096) == b"1" * 4096
    assert not os.path.exists(overlay) or len(domain.chain("xvda")) == 2
    assert agent.request("delete", domain="alice", name="kept")[
        "state"] == "done"
    assert len(domain.chain("xvda")) == len(chain)
    assert re.search(r"ended dom=alice .* op=delete name=short result=done",
                     agent.log_text())


def test_the_time_is_published_and_shown(world, agent, run):
    domain = world.add_domain("alice")
    assert run("create", "alice", "--name", "s1", "--no-memory",
               "--expires", "2h").returncode == 0
    at = world.store.read(f"{ROOT}/snapshots/{domain.uuid}/s1/expires-at")
    seconds = (datetime.datetime.fromisoformat(at.replace("Z", "+00:00")) -
               datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 7100 < seconds <= 7201
    assert re.search(r"^expires +\d{4}-", run("show", "alice", "s1").stdout,
                     re.M)
    assert ", until 2" in run("list").stdout
    assert run("create", "alice", "--name", "s2", "--no-memory",
               "--expires", "2199-12-31T23:59:59Z").returncode == 0
    assert world.store.read(f"{ROOT}/snapshots/{domain.uuid}/s2/expires-at"
                            ) == "2199-12-31T23:59:59.000Z"


def test_no_snapshot_goes_before_its_time_is_over(world, agent):
    """Times are kept in whole seconds, and snapshots made in between."""
    domain = world.add_domain("alice")

    def read(name, key):
        return datetime.datetime.fromisoformat(world.store.read(
            f"{ROOT}/snapshots/{domain.uuid}/{name}/{key}").replace("Z", "+00:00"))

    create(agent, "timely", expires="2199-12-31T23:59:58.001Z")
    assert read("timely", "expires-at").second == 59
    for number in range(3):
        create(agent, f"s{number}", expires=3600)
        life = read(f"s{number}", "expires-at") - read(f"s{number}", "created-at")
        assert 3600 <= life.total_seconds() < 3601


@pytest.mark.parametrize("value", ["yesterday", "30d", "0"])
def test_what_is_no_time_is_refused(world, agent, value):
    world.add_domain("alice")
    reply = create(agent, "s1", expires=value)
    assert reply["error/code"] == "invalid-request"
    assert reply["error/message"].startswith("expires: ")


def test_a_time_that_is_over_is_refused(world, agent):
    domain = world.add_domain("alice")
    reply = create(agent, "s1", expires=utc(-10))
    assert reply["error/code"] == "invalid-request"
    assert "over already" in reply["error/message"]
    assert not names(world, domain) and len(domain.chain("xvda")) == 1


def test_what_expired_meanwhile_goes_at_start(world, clock, agent):
    domain = world.add_domain("alice")
    create(agent, "s1", expires=3600)
    create(agent, "s2", expires=36000)
    agent.stop()
    clock.jump(2 * HOUR)
    agent.start()
    wait_gone(world, domain, "s1")
    assert names(world, domain) == ["s2"]


def test_a_clock_that_is_set_forth_is_noticed_with_the_next_operation(
        world, clock, agent):
    domain = world.add_domain("alice")
    create(agent, "s1", expires=3600)
    clock.jump(2 * HOUR)
    create(agent, "s2")
    wait_gone(world, domain, "s1")
    clock.jump(-2 * HOUR)
    create(agent, "s3", expires=3600)
    create(agent, "s4")
    assert names(world, domain) == ["s2", "s3", "s4"]


def test_of_a_domain_that_does_not_run_too(world, clock, agent):
    domain = world.add_domain("alice")
    create(agent, "s1", expires=3600)
    agent.stop()
    clock.jump(2 * HOUR)
    world.remove_domain(domain)
    agent.start()
    wait_gone(world, domain, "s1")


def test_one_that_cannot_be_deleted_stays_until_it_can(world, clock, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    create(agent, "s1", expires=3600)
    create(agent, "s2")
    agent.stop()
    clock.jump(2 * HOUR)
    domain.interpose().fault("block-commit", "error", description="Node busy")
    agent.start()
    agent.wait_log("s1 of", timeout=20)
    agent.wait_log("has expired and cannot be deleted yet: ", timeout=20)
    assert names(world, domain) == ["s1", "s2"]
    # Not before something has changed: the next try is in ten minutes.
    assert agent.request("create", domain="nobody")["state"] == "failed"
    assert names(world, domain) == ["s1", "s2"]
    assert create(agent, "s3")["state"] == "done"
    wait_gone(world, domain, "s1")
    assert names(world, domain) == ["s2", "s3"]


def test_a_crash_in_the_middle_is_carried_to_its_end(world, clock, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    create(agent, "s1", expires=3600)
    create(agent, "s2")
    agent.stop()
    clock.jump(2 * HOUR)
    fault = domain.interpose().fault("block-commit", "hold-before")
    agent.start()
    fault.wait_reached()
    agent.kill()
    fault.release()
    agent.start()
    wait_gone(world, domain, "s1")
    assert names(world, domain) == ["s2"]
    world.eventually(lambda: not [path for path in agent.records()
                                  if "journal/op-" in path], 10, "no note")
    assert len(domain.chain("xvda")) == 2


def test_a_held_domain_is_let_alone(world, clock, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    create(agent, "s1", expires=3600)
    held = agent.request("rescan", domain="alice", phase="prepare", hold=60)
    assert held["state"] == "done", held
    agent.stop()
    clock.jump(2 * HOUR)
    agent.start()
    agent.wait_log("has expired and cannot be deleted yet: ", timeout=20)
    assert "held for a rescan" in agent.log_text()
    assert names(world, domain) == ["s1"]
    assert agent.request("rescan", domain="alice", phase="abort")[
        "state"] == "done"
    wait_gone(world, domain, "s1")


def armed(agent):
    """Whether the agent's timer on the wall clock runs."""
    folder = f"/proc/{agent.process.pid}/fdinfo"
    for fd in os.listdir(folder):
        with open(f"{folder}/{fd}", encoding="ascii") as file:
            found = re.search(r"^it_value: \((\d+), (\d+)\)", file.read(), re.M)
        if found:
            return found.groups() != ("0", "0")
    raise AssertionError("the agent has no timer")


def test_no_timer_runs_where_nothing_expires(world, agent):
    world.add_domain("alice")
    create(agent, "s1")
    assert not armed(agent)
    create(agent, "s2", expires=3600)
    world.eventually(lambda: armed(agent), 10, "a timer")
    assert agent.request("delete", domain="alice", name="s2")["state"] == "done"
    world.eventually(lambda: not armed(agent), 10, "no timer")
