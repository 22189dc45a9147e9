# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quiesced snapshots by the keys of guest tools, which know no deadline and prepare
for long: whatever happens to them, to the agent and to the guardian, somebody answers
a guest that is frozen, and none of its keys stays (I1, I2, I5)."""

import os
import signal
import time
import uuid

import pytest

from native.expect import Picture, assert_failed
from native.guardians import guardians, kill_with_guardian, wait_no_guardian
from native.guest_agent import GuestAgent
from native.guest_helper import GuestHelper
from native.guest_tools import GuestTools
from native.quiesced import (assert_try_goes_without, create, held_switch, impatient,
                             submit)

SAID_NO = "failed: the toolstack says snapshots-failed"


@pytest.fixture
def domain(world):
    return world.add_domain("web")


@pytest.fixture
def tools(world, domain):
    one = GuestTools(world, domain)
    yield one
    one.close()


def assert_nothing_left(world, tools):
    """But what the toolstack made, with the rights that it gave."""
    wait_no_guardian(world, tools.domain)
    for path in (tools.control, tools.vss):
        assert world.store.ls(path) == []
        assert world.store.permissions(path) == ["n0", f"b{tools.domain.domid}"]


# -- as it should be ------------------------------------------------------------


def test_the_guest_is_frozen_for_the_switch_and_answered_after_it(
        world, agent, domain, tools):
    tools.start()
    request, switch = held_switch(agent, domain)
    assert tools.frozen
    assert world.store.read(f"{tools.control}/type") == "vm"
    switch.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "quiesced"
    assert tools.log == ["take", "freeze", "thaw", "end"]
    assert tools.failure is None
    assert_nothing_left(world, tools)
    assert create(agent, domain, name="s2")["result/consistency"] == "quiesced"


def test_windows_finds_what_it_looks_for(agent, domain, tools):
    """A name and two pages of identification for each disk's snapshot."""
    tools.start()
    assert create(agent, domain)["result/consistency"] == "quiesced"
    names = tools.snapshots
    assert len({uuid.UUID(name) for name in names}) == len(tools.disks)
    for name, serial, pages in zip(names, tools.pages[::2], tools.pages[1::2]):
        assert serial == b"\0\x80\0\x24" + name.encode()
        assert pages == b"\0\x83\0\x30\x02\x01\0\x2cXENSNAP " + name.encode()


def test_with_memory_it_is_thawed_before_it_is_suspended(
        world, agent_stopped, domain, tools, save):
    del save
    tools.start()
    reply = create(agent_stopped.start(), domain, memory=1)
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "full"
    assert tools.log == ["take", "freeze", "thaw", "end"]
    assert_nothing_left(world, tools)


def test_our_own_helper_and_qemus_agent_come_first(world, agent, domain):
    helper = GuestHelper(world, domain)
    try:
        tools = GuestTools(world, domain)
        qga = GuestAgent(world, domain)
        try:
            assert create(agent, domain)["result/consistency"] == "quiesced"
            assert qga.commands and not tools.log
            helper.start()
            assert create(agent, domain, name="s2")["result/consistency"] == "quiesced"
            assert "freeze root" in helper.done()
        finally:
            qga.close()
        assert world.store.ls(tools.control) == []
    finally:
        helper.close()


def test_either_feature_announces_them(agent, domain, tools):
    tools.start()
    tools.announce("0")
    tools.announce("1", "feature-quiesce")
    assert create(agent, domain)["result/consistency"] == "quiesced"


def test_not_asked_not_frozen(world, agent, domain, tools):
    tools.start()
    assert create(agent, domain, quiesce="0")["result/consistency"] == "crash"
    assert not tools.log
    assert_nothing_left(world, tools)


# -- guests that cannot ---------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "", "2", "11", "x" * 1900],
                         ids=["0", "nothing", "2", "11", "long"])
def test_tools_that_do_not_say_so_are_not_asked(world, agent, domain, tools, value):
    tools.start()
    tools.announce(value)
    assert_failed(create(agent, domain), "guest-unresponsive", "run xensnap-guest")
    assert not tools.log
    assert_nothing_left(world, tools)


def test_a_guest_that_may_not_write_is_given_no_rights(world, agent_stopped, domain):
    agent = impatient(agent_stopped)
    tools = GuestTools(world, domain, rights=False)
    tools.announce("1")
    assert_failed(create(agent, domain), "guest-unresponsive", "run xensnap-guest")
    assert world.store.read(tools.control) is None
    assert world.store.read(tools.vss) is None
    # By somebody who has forgotten that the guest has to take it.
    world.store.write(tools.vss, "")
    world.store.set_permissions(tools.vss, "n0")
    tools.start()
    try:
        before = Picture(agent, domain)
        assert_failed(create(agent, domain), "guest-unresponsive",
                      "did not acknowledge the freeze", "timeouts.freeze",
                      "see that the guest agent of its tools runs in it")
        before.assert_same()
        assert_try_goes_without(agent, domain, "did not acknowledge the freeze")
        assert not tools.log
        assert world.store.permissions(tools.vss) == ["n0"]
        assert world.store.permissions(tools.control) == ["n0", f"r{domain.domid}"]
        assert world.store.ls(tools.control) == world.store.ls(tools.vss) == []
    finally:
        tools.close()


def test_a_refusal_is_passed_on(world, agent, domain, tools):
    tools.refusal = "no volumes\n\x1b[2J"
    tools.start()
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive",
                  "its tools report VSS_ERROR no volumes??[2J 2147754772")
    before.assert_same()
    assert_try_goes_without(agent, domain, "no volumes")
    assert not tools.frozen
    assert_nothing_left(world, tools)


def test_tools_that_prepare_for_too_long_are_told_no(
        world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, guest_tools="1s")
    tools.hold("freeze")
    tools.start()
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive",
                  "did not acknowledge the freeze", "timeouts.guest-tools (1 s)")
    before.assert_same()
    assert_failed(create(agent, domain, name="s2"), "guest-unresponsive",
                  "an earlier freeze of it is not over yet")
    tools.release("freeze")
    tools.wait_log("end")
    assert SAID_NO in tools.log
    assert_nothing_left(world, tools)
    assert create(agent, domain, name="s3")["result/consistency"] == "quiesced"


def test_tools_that_hang_are_not_waited_for_for_ever(
        world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, guest_tools="500ms")
    tools.hold("freeze")
    tools.start()
    assert_failed(create(agent, domain), "guest-unresponsive", "did not acknowledge")
    assert_nothing_left(world, tools)


# -- what is no quiesced snapshot -------------------------------------------------


def test_writes_that_were_not_held_all_the_while(world, agent, domain, tools):
    """As Windows has it: for 10 s at most, and it says so at the end."""
    tools.holds_writes = 0.2
    tools.start()
    before = Picture(agent, domain)
    for quiesce in ("1", "try"):
        request, switch = held_switch(agent, domain, quiesce=quiesce)
        time.sleep(0.5)
        switch.release()
        reply = request.wait()
        if quiesce == "1":
            assert_failed(reply, "guest-unresponsive", "VSS_E_HOLD_WRITES_TIMEOUT")
            before.assert_same()
    assert reply["result/consistency"] == "crash", reply
    assert "VSS_E_HOLD_WRITES_TIMEOUT" in reply["result/not-quiesced"]
    assert tools.log.count("snapshots-destroyed") == 2
    assert_nothing_left(world, tools)


@pytest.mark.parametrize("key, value", [
    ("vss", None), ("vss", "provider-initialized"), ("vss", "snapshots-created"),
    ("control", "snapshot-created"), ("control", "snapshot-error"), ("type", None)])
def test_a_freeze_that_ended_before_the_switch(
        world, agent, domain, tools, key, value):
    tools.start()
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    path = {"vss": f"{tools.vss}/status", "control": f"{tools.control}/status",
            "type": f"{tools.control}/type"}[key]
    if value is None:
        world.store.rm(path)
    else:
        world.store.write(path, value)
    switch.release()
    assert_failed(request.wait(), "timeout", "has thawed its file systems before")
    before.assert_same()
    tools.wait_thawed()
    wait_no_guardian(world, domain)


def test_tools_that_never_end(world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, guest_tools="1s")
    tools.hold("end")
    tools.start()
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive",
                  "did not acknowledge the thaw")
    before.assert_same()
    assert not tools.frozen
    tools.release("end")
    wait_no_guardian(world, domain)


def test_a_switch_that_takes_too_long(world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, freeze="1900ms", max_freeze="2s")
    tools.start()
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    tools.wait_log(SAID_NO)
    assert not tools.frozen
    switch.release()
    assert_failed(request.wait(), "timeout", "timeouts.max-freeze")
    before.assert_same()
    assert_nothing_left(world, tools)


# -- the agent's end, and the guardian's -------------------------------------------


def test_an_agent_that_dies_leaves_no_guest_frozen(world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, max_freeze="1h")
    tools.start()
    before = Picture(agent, domain)
    request, _ = held_switch(agent, domain)
    agent.kill()
    tools.wait_log("end")
    assert SAID_NO in tools.log
    assert_nothing_left(world, tools)
    domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    before.assert_same()
    assert create(agent, domain)["result/consistency"] == "quiesced"


@pytest.mark.parametrize("stage", ["take", "freeze", "end"])
def test_an_agent_that_dies_while_it_waits(
        world, agent_stopped, domain, tools, stage):
    agent = impatient(agent_stopped, freeze="20s", max_freeze="1h")
    tools.hold(stage)
    tools.start()
    request = submit(agent, domain)
    if stage == "take":
        world.store.wait(f"{tools.control}/action", "create-snapshot")
    else:
        tools.wait_log(f"held {stage}")
    agent.kill()
    if stage == "take":
        wait_no_guardian(world, domain)
    tools.release(stage)
    if stage != "take":
        tools.wait_log("end")
    assert (SAID_NO in tools.log) == (stage == "freeze")
    assert_nothing_left(world, tools)
    assert (tools.log == []) == (stage == "take")
    agent.start()
    assert request.wait()["error/code"] == "interrupted"


def test_an_agent_that_is_stopped_leaves_no_guest_frozen(
        world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, freeze="1900ms", max_freeze="2s")
    tools.start()
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    agent.freeze()
    try:
        switch.release()
        tools.wait_log(SAID_NO)
    finally:
        agent.thaw()
    assert_failed(request.wait(), "timeout", "timeouts.max-freeze")
    before.assert_same()
    assert_nothing_left(world, tools)


def test_the_next_agent_answers_where_the_guardian_died_too(
        world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, max_freeze="1h")
    tools.start()
    request, _ = held_switch(agent, domain)
    kill_with_guardian(world, domain, agent)
    assert tools.frozen
    domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    tools.wait_log("end")
    assert SAID_NO in tools.log
    assert_nothing_left(world, tools)


def test_the_next_agent_withdraws_what_was_not_taken(
        world, agent_stopped, domain, tools):
    agent = impatient(agent_stopped, freeze="20s", max_freeze="1h")
    tools.hold("take")
    tools.start()
    request = submit(agent, domain)
    world.store.wait(f"{tools.control}/action", "create-snapshot")
    kill_with_guardian(world, domain, agent)
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    assert_nothing_left(world, tools)
    tools.release("take")
    assert not tools.log


def test_a_guardian_that_dies_is_not_missed(world, agent, domain, tools):
    tools.start()
    before = Picture(agent, domain)
    request, switch = held_switch(agent, domain)
    pid, = guardians(domain)
    os.kill(pid, signal.SIGKILL)
    tools.wait_log(SAID_NO)
    switch.release()
    assert_failed(request.wait(), "timeout", "has thawed")
    before.assert_same()
    assert_nothing_left(world, tools)


# -- whatever happens -----------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "refused"])
def test_a_snapshot_that_fails_is_told_as_one(world, agent, domain, tools, how):
    tools.start()
    switch = domain.interpose().fault(
        "transaction", "hold-before" if how == "cancel" else "error")
    request = submit(agent, domain)
    switch.wait_reached()
    if how == "cancel":
        assert tools.frozen
        request.cancel()
        switch.release()
    assert request.wait()["state"] == ("cancelled" if how == "cancel" else "failed")
    tools.wait_log("end")
    assert SAID_NO in tools.log
    assert_nothing_left(world, tools)


@pytest.mark.parametrize("stage", ["take", "freeze"])
def test_cancelled_while_the_guest_is_asked(world, agent, domain, tools, stage):
    tools.hold(stage)
    tools.start()
    request = submit(agent, domain)
    if stage == "take":
        world.store.wait(f"{tools.control}/action", "create-snapshot")
    else:
        tools.wait_log("held freeze")
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    if stage == "freeze":
        tools.release(stage)
        tools.wait_log("end")
        assert SAID_NO in tools.log
    assert_nothing_left(world, tools)


def test_what_was_left_of_others_is_passed_over(world, agent, domain, tools):
    """Of a toolstack that died, and of an earlier life of the guest."""
    for path, value in ((f"{tools.control}/action", "create-snapshot"),
                        (f"{tools.control}/status", "snapshot-error"),
                        (f"{tools.vss}/status", "create-snapshots"),
                        (f"{tools.vss}/snapshot/{uuid.uuid4()}/id", "x")):
        world.store.write(path, value)
    request = submit(agent, domain)
    world.store.wait(f"{tools.control}/type", "vm")
    tools.start()
    assert request.wait()["result/consistency"] == "quiesced"
    assert_nothing_left(world, tools)


# -- hostile guests -------------------------------------------------------------


@pytest.mark.parametrize("value", [
    b"", b"create-snapshot", b"create-snapshots\n", b"\xff\xfe\0create-snapshots",
    b"create-snapshots" * 100, b"../../create-snapshots"],
                         ids=["nothing", "short", "line", "bytes", "long", "path"])
def test_only_the_very_word_is_a_freeze(world, agent_stopped, domain, tools, value):
    agent = impatient(agent_stopped, guest_tools="1s")
    tools.babble = value
    tools.start()
    before = Picture(agent, domain)
    assert_failed(create(agent, domain), "guest-unresponsive", "did not acknowledge",
                  "timeouts.guest-tools")
    before.assert_same()
    assert "babble" in tools.log
    wait_no_guardian(world, domain)


def test_a_guest_that_names_what_are_no_disks(world, agent, domain, tools):
    """However many, and whatever they are called: they are keys, and no more."""
    names = [f"x{number}" for number in range(250)] + ["A" * 200, "-", "@", "a@b-c"]
    tools.more_names = names
    tools.start()
    assert create(agent, domain)["result/consistency"] == "quiesced"
    assert tools.answered == []
    assert_nothing_left(world, tools)


def test_a_guest_that_says_all_at_once_and_all_the_time(
        world, agent_stopped, domain, tools):
    """It harms itself: others are served meanwhile, and nothing of it stays."""
    agent = impatient(agent_stopped, guest_tools="2s", max_freeze="4s")
    other = world.add_domain("other")
    own = domain.xenstore()
    request = submit(agent, domain)
    world.store.wait(f"{tools.control}/action", "create-snapshot")
    own.rm(f"{tools.control}/action")
    words = ("create-snapshotinfo", "deport-snapshots", "import-snapshots",
             "destroy-snapshots", "create-snapshotinfo", "x" * 1900)
    until = time.monotonic() + 1.5
    served = None
    while time.monotonic() < until:
        for word in words:
            own.write(f"{tools.vss}/status", word)
            own.write(f"{tools.control}/status", word)
        served = served or submit(agent, other, quiesce="0")
    assert served.wait()["state"] == "done"
    own.write(f"{tools.control}/error", "e" * 1900)
    own.write(f"{tools.control}/error/message", "m" * 1900)
    own.write(f"{tools.control}/status", "snapshot-error")
    reply = request.wait()
    assert_failed(reply, "guest-unresponsive")
    wait_no_guardian(world, domain)


def test_a_guest_that_is_destroyed_while_it_is_frozen(world, agent, domain, tools):
    tools.start()
    request, switch = held_switch(agent, domain)
    world.store.rm(f"{domain.path}/control")
    switch.release()
    assert request.wait()["state"] == "failed"
    wait_no_guardian(world, domain)
    assert world.store.read(f"{domain.path}/control") is None


def test_a_xenstored_that_dies(world, agent_stopped, domain, tools):
    """With all that was asked and said: nobody waits for it for ever."""
    agent = impatient(agent_stopped, guest_tools="2s")
    switch = domain.interpose().fault("transaction", "hold-before")
    submit(agent, domain, quiesce="try")
    world.store.wait(f"{tools.control}/action", "create-snapshot")
    world.store.rm(f"{tools.control}/action")
    world.store.write(f"{tools.vss}/status", "create-snapshots")
    switch.wait_reached()
    world.restart_xenstored()
    agent.wait_ready()
    switch.release()
    wait_no_guardian(world, domain)
    assert_failed(submit(agent, domain, name="s2", id="next").wait(),
                  "guest-unresponsive", "run xensnap-guest")
    agent.wait_log("not quiesced: the guest \"web\" has thawed")
    assert world.store.read(tools.control) is None
    assert world.store.read(tools.vss) is None
