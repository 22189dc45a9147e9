# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quiesced snapshots: a guest freezes its file systems, and is thawed whatever
happens (I1, I2, I5)."""

import errno
import os
import re
import signal

import pytest

from native.expect import Picture, assert_disk_is_on, assert_works
from native.guest_helper import GuestHelper
from native.quiesced import create, submit


@pytest.fixture
def domain(world):
    return world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "raw")])


@pytest.fixture
def guest(world, domain):
    """The guest with its helper, not started yet."""
    one = GuestHelper(world, domain)
    yield one
    one.close()


def hold_switch(domain):
    """The switch comes no further; gives the fault."""
    return domain.interpose().fault("transaction", "hold-before")


def assert_refused(reply, code, words):
    assert reply["state"] == "failed", reply
    assert reply["error/code"] == code, reply
    assert words in reply["error/message"]


def assert_asked_no_more(world, guest):
    assert world.store.read(f"{guest.store_path}/request") is None


# -- as it should be ------------------------------------------------------------


def test_the_guest_is_frozen_for_the_switch_and_thawed_after_it(
        world, agent, domain, guest):
    guest.start()
    switch = hold_switch(domain)
    request = submit(agent, domain)
    switch.wait_reached()
    assert guest.frozen() == ["data", "root"]
    switch.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "quiesced"
    assert "result/not-quiesced" not in reply
    assert guest.done() == ["freeze data", "freeze root", "thaw root", "thaw data"]
    assert_asked_no_more(world, guest)
    assert world.store.read(
        f"/tool/xensnapd/snapshots/{domain.uuid}/s1/consistency") == "quiesced"
    agent.wait_log("the guest has rung")


def test_again_and_again(agent, domain, guest):
    guest.start()
    for number in range(3):
        reply = create(agent, domain, name=f"s{number}")
        assert reply["result/consistency"] == "quiesced", reply
    assert guest.done().count("thaw root") == 3


def test_with_memory_the_disks_are_flushed_and_the_guest_thawed_before_it_is_suspended(
        world, agent_stopped, domain, guest, save):
    save.hold()
    agent_stopped.start()
    guest.start()
    request = submit(agent_stopped, domain, memory=1)
    world.eventually(lambda: not world.xen.is_running(domain.domid), 20, "a suspend")
    assert not guest.frozen()
    assert guest.done().count("freeze root") == 1
    save.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "full"


def test_one_that_cannot_be_frozen_is_flushed(agent, domain, guest):
    guest.refuse("data", errno.EOPNOTSUPP)
    guest.start()
    assert create(agent, domain)["result/consistency"] == "quiesced"
    assert guest.done() == ["flush data", "freeze root", "thaw root"]


def test_not_asked_not_frozen(agent, domain, guest):
    guest.start()
    reply = create(agent, domain, quiesce="0")
    assert reply["result/consistency"] == "crash"
    assert not guest.done()


# -- guests that cannot ---------------------------------------------------------


def test_a_guest_without_a_helper(world, agent, domain):
    before = Picture(agent, domain)
    assert_refused(create(agent, domain), "guest-unresponsive", "run xensnap-guest")
    before.assert_same()
    reply = create(agent, domain, quiesce="try")
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "crash"
    assert "run xensnap-guest" in reply["result/not-quiesced"]


@pytest.mark.parametrize("state", [
    None, "frozen", "frozen 0000000000000000", "frozen " + "f" * 1900, b"\xff\0\n"],
    ids=["nothing", "no-id", "another-id", "long", "bytes"])
def test_a_freeze_that_is_never_acknowledged(world, agent_stopped, domain, state):
    agent_stopped.configure("timeouts", freeze="300ms")
    agent = agent_stopped.start()
    path = f"{domain.path}/data/xensnap-guest"
    own = domain.xenstore()
    own.write(f"{path}/version", "1")
    if state is not None:
        own.write(f"{path}/state", state) if isinstance(state, str) else \
            world.store.write(f"{path}/state", state)
    before = Picture(agent, domain)
    assert_refused(create(agent, domain), "guest-unresponsive", "did not acknowledge")
    before.assert_same()
    assert own.read(f"{path}/request") is None
    reply = create(agent, domain, quiesce="try")
    assert reply["result/consistency"] == "crash", reply
    assert "did not acknowledge" in reply["result/not-quiesced"]
    assert own.read(f"{path}/request") is None


def test_a_guest_that_refuses(agent, domain, guest):
    guest.refuse("root", errno.EIO)
    guest.start()
    before = Picture(agent, domain)
    assert_refused(create(agent, domain), "guest-unresponsive", "Input/output error")
    before.assert_same()
    assert guest.done() == ["freeze data", "thaw data"]


def test_what_something_else_has_frozen_stays_so(agent, domain, guest):
    with open(f"{guest.folder}/frozen/root", "wb"):
        pass
    guest.start()
    assert_refused(create(agent, domain), "guest-unresponsive", "something else")
    assert guest.frozen() == ["root"]


def test_a_freeze_that_ends_too_late_is_thawed(world, agent_stopped, domain, guest):
    agent_stopped.configure("timeouts", freeze="300ms")
    agent = agent_stopped.start()
    guest.hold("root")
    guest.start()
    assert_refused(create(agent, domain), "guest-unresponsive", "did not acknowledge")
    assert guest.frozen() == ["data"]
    guest.release("root")
    guest.wait_thawed()
    assert guest.done()[-1].startswith("thaw ")


# -- its own deadline -----------------------------------------------------------


def test_a_switch_that_takes_too_long_is_no_quiesced_snapshot(
        agent_stopped, domain, guest):
    agent_stopped.configure("timeouts", freeze="1900ms", max_freeze="2s")
    agent = agent_stopped.start()
    guest.start()
    before = Picture(agent, domain)
    for quiesce in ("1", "try"):
        switch = hold_switch(domain) if quiesce == "1" else \
            domain.relay.fault("transaction", "hold-before")
        request = submit(agent, domain, quiesce=quiesce)
        switch.wait_reached()
        guest.wait_thawed()
        switch.release()
        reply = request.wait()
        if quiesce == "1":
            assert_refused(reply, "timeout", "timeouts.max-freeze")
            before.assert_same()
    assert reply["result/consistency"] == "crash", reply
    assert "timeouts.max-freeze" in reply["result/not-quiesced"]


def test_an_agent_that_dies_leaves_no_guest_frozen(
        world, agent_stopped, domain, guest):
    agent_stopped.configure("timeouts", freeze="1900ms", max_freeze="2s")
    agent = agent_stopped.start()
    guest.start()
    before = Picture(agent, domain)
    switch = hold_switch(domain)
    request = submit(agent, domain)
    switch.wait_reached()
    agent.kill()
    guest.wait_thawed()
    assert guest.done() == ["freeze data", "freeze root", "thaw root", "thaw data"]
    domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    before.assert_same()
    assert create(agent, domain)["result/consistency"] == "quiesced"


def test_the_next_agent_thaws_at_once(world, agent_stopped, domain, guest):
    agent_stopped.configure("timeouts", max_freeze="1h")
    agent = agent_stopped.start()
    guest.start()
    switch = hold_switch(domain)
    request = submit(agent, domain)
    switch.wait_reached()
    agent.kill()
    assert guest.frozen() == ["data", "root"]
    domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    guest.wait_thawed()
    assert_asked_no_more(world, guest)


# -- whatever happens -----------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "qemu", "refused"])
def test_a_snapshot_that_fails_thaws(world, agent, domain, guest, how):
    guest.start()
    relay = domain.interpose()
    switch = relay.fault("transaction", "hold-before" if how == "cancel" else {
        "qemu": "kill-before", "refused": "error"}[how])
    request = submit(agent, domain)
    switch.wait_reached()
    if how == "cancel":
        assert guest.frozen()
        request.cancel()
        switch.release()
    assert request.wait()["state"] == ("cancelled" if how == "cancel" else "failed")
    assert not guest.frozen()
    assert guest.done() == ["freeze data", "freeze root", "thaw root", "thaw data"]
    assert_asked_no_more(world, guest)


def test_cancelled_while_the_guest_freezes(world, agent, domain, guest):
    guest.hold("root")
    guest.start()
    request = submit(agent, domain)
    guest.wait_frozen()
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    assert_asked_no_more(world, guest)
    guest.release("root")
    guest.wait_thawed()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_helper_that_ends_leaves_nothing_frozen(agent_stopped, domain, guest, how):
    agent_stopped.configure("timeouts", freeze="2s")
    agent = agent_stopped.start()
    guest.start()
    before = Picture(agent, domain)
    switch = hold_switch(domain)
    request = submit(agent, domain)
    switch.wait_reached()
    guest.end(how)
    guest.wait_thawed()
    switch.release()
    reply = request.wait()
    assert reply["error/code"] == ("timeout" if how == signal.SIGTERM
                                   else "guest-unresponsive"), reply
    before.assert_same()


def test_a_freezer_that_is_killed_leaves_nothing_frozen(
        agent_stopped, domain, guest):
    agent_stopped.configure("timeouts", freeze="2s")
    agent = agent_stopped.start()
    guest.start()
    switch = hold_switch(domain)
    request = submit(agent, domain)
    switch.wait_reached()
    os.kill(guest.freezer_pid, signal.SIGKILL)
    guest.wait_thawed()
    switch.release()
    assert request.wait()["state"] == "failed"
    assert guest.process.wait(10) == 1
    guest.start()
    assert create(agent, domain, name="s2")["result/consistency"] == "quiesced"


def test_a_helper_is_there_again_after_a_restore(world, agent, domain, guest):
    """Its folder is empty then, and its watch is told so."""
    guest.start()
    world.store.rm(guest.store_path)
    world.store.wait(f"{guest.store_path}/version", "1")
    assert create(agent, domain)["result/consistency"] == "quiesced"


def test_a_helper_that_left_is_not_asked(world, agent, domain, guest):
    guest.start()
    assert guest.end() == 0
    assert world.store.tree(guest.store_path) == {}
    assert_refused(create(agent, domain), "guest-unresponsive", "run xensnap-guest")
    assert_works(domain, "xvda")
    assert_disk_is_on(domain, "xvda", domain.disks["xvda"].path)


# -- the client -----------------------------------------------------------------


def test_the_client_asks_and_tells(agent, domain, guest, run):
    result = run("create", "web", "--no-memory", "--quiesce", "--name", "s0")
    assert result.returncode == 1
    assert "guest-unresponsive" in result.stderr
    result = run("create", "web", "--no-memory", "--quiesce=try", "--name", "s1")
    assert result.returncode == 0, result.stderr
    assert "\nconsistency  crash\nnot quiesced nothing in the guest" in result.stdout
    guest.start()
    result = run("create", "web", "--no-memory", "--quiesce", "--name", "s2")
    assert "\nconsistency  quiesced\n" in result.stdout, result
    assert re.search("^consistency +quiesced$", run("show", "web", "s2").stdout, re.M)
