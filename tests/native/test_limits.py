# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits: whoever exceeds one is told at once."""

import signal

import pytest

from native.expect import Picture, assert_failed, rewrite_settings


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
    assert agent.descriptor_count() == before
