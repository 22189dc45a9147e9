# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quiesced snapshots by the QEMU guest agent, which knows no deadline: whatever
happens to it, to the agent and to the guardian, the guest is thawed (I1, I2, I5)."""

import os
import signal

import pytest

from native.expect import Picture, assert_failed
from native.guardians import guardians, kill_with_guardian, wait_no_guardian
from native.guest_agent import FREEZE, INFO, STATUS, SYNC, THAW, GuestAgent
from native.guest_helper import GuestHelper
from native.quiesced import (assert_try_goes_without, create, held_switch, impatient,
                             submit)


@pytest.fixture
def domain(world):
    return world.add_domain("web")


@pytest.fixture
def qga(world, domain):
    one = GuestAgent(world, domain)
    yield one
    one.close()


def assert_never_asked_to_freeze(qga):
    assert FREEZE not in qga.commands


# -- as it should be ------------------------------------------------------------


def test_the_guest_is_frozen_for_the_switch_and_thawed_after_it(
        world, agent, domain, qga):
    request, switch = held_switch(agent, domain)
    assert qga.frozen
    switch.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "quiesced"
    assert not qga.frozen
    assert [one for one in qga.commands if one != SYNC] == [INFO, STATUS, FREEZE, THAW]
    wait_no_guardian(world, domain)
    assert create(agent, domain, name="s2")["result/consistency"] == "quiesced"


def test_with_memory_it_is_thawed_before_it_is_suspended(
        world, agent_stopped, domain, qga, save):
    del save
    reply = create(agent_stopped.start(), domain, memory=1)
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "full"
    assert qga.commands.count(THAW) == 1
    wait_no_guardian(world, domain)


def test_our_own_helper_is_asked_where_there_is_one(world, agent, domain, qga):
    helper = GuestHelper(world, domain)
    try:
        helper.start()
        assert create(agent, domain)["result/consistency"] == "quiesced"
        assert "freeze root" in helper.done()
    finally:
        helper.close()
    assert not qga.commands


def test_not_asked_not_frozen(agent, domain, qga):
    assert create(agent, domain, quiesce="0")["result/consistency"] == "crash"
    assert not qga.commands


def test_what_is_left_of_another_client_is_passed_over(agent, domain, qga):
    qga.greeting = (b'{"return": 1}\n\xff{"return": 5}\n{"error": {"desc": "no"}}\n'
                    b'login: \x00\n' + b"x" * 70 + b'{"retu')
    assert create(agent, domain)["result/consistency"] == "quiesced"


# -- guests that cannot ---------------------------------------------------------


@pytest.mark.parametrize("channel", [
    {"name": "org.spice"}, {"connection": "pty"},
    {"backend": "/local/domain/3/backend/console/1/1"}])
def test_a_channel_of_another_kind(agent, domain, qga, channel):
    qga.write_channel(**channel)
    assert_failed(create(agent, domain), "guest-unresponsive", "run xensnap-guest")
    assert_try_goes_without(agent, domain, "run xensnap-guest")
    assert not qga.commands


def fault(qga, kind):
    if kind == "silent":
        qga.hold(SYNC)
    elif kind == "no-qemu":
        qga.end_qemu()
    elif kind == "flood":
        qga.greeting = b"x" * (1 << 20)
    elif kind == "lines":
        qga.greeting = b"{}\n" * (1 << 20)
    elif kind == "another-id":
        qga.answers[SYNC] = 1 << 40
    elif kind == "garbage":
        qga.answers[INFO] = b"\0\xfe{]\n"
    elif kind == "huge":
        qga.answers[INFO] = "x" * (1 << 20)
    elif kind == "deep":
        qga.answers[INFO] = b"[" * 1000 + b"\n"
    elif kind == "no-thaw":
        qga.disabled = (THAW,)
    elif kind == "frozen":
        qga.answers[STATUS] = "frozen"
    elif kind == "number":
        qga.answers[STATUS] = 7


@pytest.mark.parametrize("kind, words", [
    ("silent", "see that qemu-ga runs in it"),
    ("no-qemu", "cannot reach the guest agent"),
    ("flood", "a line without an end"),
    ("lines", "without an end"),
    ("another-id", "did not acknowledge"),
    ("garbage", "what is no answer"),
    ("huge", "a line without an end"),
    ("deep", "what is no answer"),
    ("no-thaw", "does not offer"),
    ("frozen", "something else"),
    ("number", "something else")])
def test_one_that_cannot_be_relied_on_is_not_frozen(
        world, agent_stopped, domain, qga, kind, words):
    fault(qga, kind)
    agent = impatient(agent_stopped)
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive", words)
    before.assert_same()
    assert_try_goes_without(agent, domain, words)
    assert_never_asked_to_freeze(qga)
    qga.close()
    wait_no_guardian(world, domain)


def test_a_refusal_is_passed_on_and_nothing_stays_frozen(world, agent, domain, qga):
    qga.errors[FREEZE] = "failed to freeze /data: Input/output\n\x1b error"
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive",
                  "refuses guest-fsfreeze-freeze: failed to freeze /data: "
                  "Input/output?? error")
    before.assert_same()
    assert qga.commands[-1] == THAW
    assert_try_goes_without(agent, domain, "failed to freeze /data")
    wait_no_guardian(world, domain)


@pytest.mark.parametrize("answer", [0, -1, None, "two", {}], ids=str)
def test_one_that_froze_nothing_is_not_quiesced(agent_stopped, domain, qga, answer):
    qga.answers[FREEZE] = b'{"return": null}\n' if answer is None else answer
    agent = impatient(agent_stopped, freeze="5s")
    assert_failed(create(agent, domain), "guest-unresponsive", "no file system")
    assert not qga.frozen


def test_one_that_something_thawed_is_not_quiesced(agent, domain, qga):
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    qga.frozen = False
    switch.release()
    assert_failed(request.wait(), "timeout", "has thawed its file systems before")
    before.assert_same()


# -- silence --------------------------------------------------------------------


def test_a_freeze_that_ends_too_late_is_thawed(world, agent_stopped, domain, qga):
    agent = impatient(agent_stopped)
    qga.hold(FREEZE)
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive", "did not acknowledge")
    before.assert_same()
    qga.release(FREEZE)
    qga.wait_asked(THAW)
    qga.wait_thawed()
    wait_no_guardian(world, domain)


@pytest.mark.parametrize("how", ["silent", "refused", "cut"])
def test_a_thaw_is_asked_for_until_it_comes(world, agent_stopped, domain, qga, how):
    agent = impatient(agent_stopped)
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    if how == "refused":
        qga.errors[THAW] = "not now"
    else:
        qga.hold(THAW)
    switch.release()
    assert_failed(request.wait(), "guest-unresponsive", "did not acknowledge the thaw")
    before.assert_same()
    qga.wait_asked(THAW)
    assert qga.frozen
    if how == "cut":
        qga.cut()
    if how == "refused":
        qga.wait_asked(THAW, 2)
        del qga.errors[THAW]
    else:
        qga.release(THAW)
    qga.wait_thawed()
    wait_no_guardian(world, domain)
    assert agent.log_text().count("cannot be asked to thaw them yet") <= 1


def test_a_guest_that_does_not_thaw_has_one_guardian(world, agent_stopped, domain, qga):
    """However often somebody asks for more, and whoever dies."""
    agent = impatient(agent_stopped)
    qga.hold(THAW)
    assert_failed(create(agent, domain), "guest-unresponsive")
    assert_failed(create(agent, domain, name="s2"), "guest-unresponsive",
                  "an earlier freeze of it is not over yet")
    assert qga.commands.count(FREEZE) == 1
    world.eventually(lambda: len(guardians(domain)) == 1, 10, "the first guardian alone")
    request = submit(agent, domain, name="s3")
    world.eventually(lambda: len(guardians(domain)) == 2, 10, "one more guardian")
    agent.kill()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    world.eventually(lambda: len(guardians(domain)) == 1, 10, "the first guardian alone")
    qga.release(THAW)
    qga.wait_thawed()
    wait_no_guardian(world, domain)
    assert create(agent, domain, name="s4")["result/consistency"] == "quiesced"


def test_a_connection_that_qemu_closed_is_made_anew(world, agent, domain, qga):
    request, switch = held_switch(agent, domain)
    qga.cut()
    switch.release()
    assert request.wait()["result/consistency"] == "quiesced"
    assert not qga.frozen
    wait_no_guardian(world, domain)


def test_no_guardian_stays_where_qemu_has_gone(world, agent, domain, qga):
    request, switch = held_switch(agent, domain)
    qga.end_qemu()
    switch.release()
    assert_failed(request.wait(), "timeout", "has thawed")
    wait_no_guardian(world, domain)


# -- its deadline, and the agent's end -------------------------------------------


def test_a_switch_that_takes_too_long_is_no_quiesced_snapshot(
        agent_stopped, domain, qga):
    agent = impatient(agent_stopped, freeze="1900ms", max_freeze="2s")
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    qga.wait_thawed()
    switch.release()
    assert_failed(request.wait(), "timeout", "timeouts.max-freeze")
    before.assert_same()


def test_an_agent_that_dies_leaves_no_guest_frozen(world, agent_stopped, domain, qga):
    agent = impatient(agent_stopped, freeze="10s", max_freeze="1h")
    before = Picture(agent, domain)
    request, _ = held_switch(agent, domain)
    agent.kill()
    qga.wait_thawed()
    wait_no_guardian(world, domain)
    domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    before.assert_same()
    assert create(agent, domain)["result/consistency"] == "quiesced"


@pytest.mark.parametrize("command", [SYNC, INFO, STATUS, FREEZE])
def test_an_agent_that_dies_while_it_asks(world, agent_stopped, domain, qga, command):
    agent = impatient(agent_stopped, freeze="10s", max_freeze="1h")
    qga.hold(command)
    request = submit(agent, domain)
    qga.wait_asked(command)
    agent.kill()
    qga.release(command)
    if command == FREEZE:
        qga.wait_asked(THAW)
    wait_no_guardian(world, domain)
    assert not qga.frozen
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    assert (FREEZE in qga.commands) == (command == FREEZE)


def test_an_agent_that_is_stopped_leaves_no_guest_frozen(
        world, agent_stopped, domain, qga):
    agent = impatient(agent_stopped, freeze="1900ms", max_freeze="2s")
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    agent.freeze()
    try:
        switch.release()
        qga.wait_thawed()
    finally:
        agent.thaw()
    assert_failed(request.wait(), "timeout", "timeouts.max-freeze")
    before.assert_same()
    wait_no_guardian(world, domain)


def test_the_next_agent_thaws_where_the_guardian_died_too(
        world, agent_stopped, domain, qga):
    agent = impatient(agent_stopped, freeze="10s", max_freeze="1h")
    request, _ = held_switch(agent, domain)
    kill_with_guardian(world, domain, agent)
    assert qga.frozen
    domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    qga.wait_thawed()
    wait_no_guardian(world, domain)


def test_a_guardian_that_dies_is_not_missed(world, agent, domain, qga):
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    pid, = guardians(domain)
    os.kill(pid, signal.SIGKILL)
    qga.wait_thawed()
    switch.release()
    assert_failed(request.wait(), "timeout", "has thawed")
    before.assert_same()
    wait_no_guardian(world, domain)


# -- whatever happens -----------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "refused"])
def test_a_snapshot_that_fails_thaws(world, agent, domain, qga, how):
    switch = domain.interpose().fault(
        "transaction", "hold-before" if how == "cancel" else "error")
    request = submit(agent, domain)
    switch.wait_reached()
    if how == "cancel":
        assert qga.frozen
        request.cancel()
        switch.release()
    assert request.wait()["state"] == ("cancelled" if how == "cancel" else "failed")
    assert not qga.frozen
    wait_no_guardian(world, domain)


@pytest.mark.parametrize("command", [SYNC, FREEZE])
def test_cancelled_while_the_guest_is_asked(world, agent, domain, qga, command):
    qga.hold(command)
    request = submit(agent, domain)
    qga.wait_asked(command)
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    qga.release(command)
    wait_no_guardian(world, domain)
    assert not qga.frozen
