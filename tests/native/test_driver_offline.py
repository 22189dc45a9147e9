# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting snapshots whose images a driver domain has, of a domain that does not run:
merged there by qemu-img, which must not write into what a QEMU opens."""

import os

import pytest

from native.agent import FINAL, ROOT
from native.backend import freeze_at
from native.expect import assert_failed, done
from native.faults import KILL_BEFORE, Faults
from native.held import Held
from native.merges import delete
from native.off import Off, kill_before_the_end, third, working, write_to
from native.rescans import content, paths, qemu_img


TODAY = 1600000000


@pytest.fixture(name="held")
def fixture_held(world, tmp_path):
    """Before the agents."""
    return lambda word, when="before": Held(world, tmp_path, word, when)


@pytest.fixture(name="commit")
def fixture_commit(held):
    """The first of them stays where it is; before the agents."""
    return held("commit")


@pytest.fixture(name="alice")
def fixture_alice(world, agent, backend, driver):
    del backend
    return Off(world, agent, driver)


@pytest.mark.parametrize("order", [("s1", "s2"), ("s2", "s1")])
def test_all_of_them(world, agent, alice, order):
    for name in order:
        done(delete(agent, name))
    assert not alice.snapshots()
    assert not [name for name in os.listdir(world.images) if ".s" in name]
    alice.assert_content(alice.base)
    alice.assert_rests()
    # No image keeps the time that marks it.
    assert os.stat(alice.base).st_mtime > TODAY


def test_the_middle_is_merged_into_the_base(world, agent, alice):
    done(delete(agent, "s1"))
    assert not os.path.exists(alice.middle)
    published = world.store.tree(f"{ROOT}/snapshots/{alice.uuid}")
    assert published["s2/disks/xvda/path"] == alice.base
    alice.assert_content(alice.active)
    assert paths(alice.start()) == [alice.active, alice.base]


def start_beside(world, agent, alice):
    """On another branch, of which the agent is told."""
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", alice.base, "-F", "raw", side)
    domain = alice.start(side)
    done(agent.request("rescan", domain="alice", disks="xvda"))
    return domain


def test_a_branch_that_was_left_is_merged_beside_the_domain_that_runs(world, agent, alice):
    """Nothing of what the domain has open is touched."""
    alice.start()
    done(agent.request("create", domain="alice", name="s3", memory=0, disks="xvda"))
    alice.end()
    domain = start_beside(world, agent, alice)
    done(delete(agent, "s2"))
    assert not os.path.exists(alice.active)
    assert paths(domain)[1:] == [alice.base]
    alice.assert_content(alice.middle)


def test_what_was_left_without_a_snapshot_stays(world, agent, alice):
    domain = start_beside(world, agent, alice)
    name = os.path.basename(alice.active)
    assert_failed(delete(agent, "s2"), "snapshot-in-use", f"no snapshot needs {name}: remove")
    alice.assert_content(alice.active)
    world.remove_domain(domain)
    assert_failed(agent.request("delete", domain=alice.uuid, name="s2"), "snapshot-in-use",
                  alice.active, "not known to be needed", "start the domain on it")
    os.unlink(alice.active)
    done(agent.request("delete", domain=alice.uuid, name="s2"))
    assert not os.path.exists(alice.middle)


def test_what_the_domain_was_started_beside_is_named(world, agent, alice):
    """Of two over the state it runs on the one, whatever the records tell."""
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", alice.middle, "-F", "qcow2", side)
    alice.start(side)
    assert_failed(delete(agent, "s2"), "snapshot-in-use", side, alice.active,
                  f"no snapshot needs {os.path.basename(alice.active)}: remove")


def test_the_state_that_the_domain_uses_is_not_written_to(agent, alice):
    alice.start(alice.middle)
    assert_failed(delete(agent, "s2"), "snapshot-in-use", alice.active, alice.middle)
    assert os.path.exists(alice.active)


@pytest.mark.parametrize("which", ["active", "middle"])
def test_an_image_that_a_program_has_open_is_left_alone(agent, alice, which):
    path = getattr(alice, which)
    with open(path, "rb"):
        assert_failed(delete(agent, "s2"), "snapshot-in-use", path)
    alice.assert_content(alice.active)
    done(delete(agent, "s2"))
    alice.assert_content(alice.middle)


def test_one_that_another_domain_was_given_is_left_alone(world, agent, alice, driver):
    """Its QEMU need not have it open yet."""
    backend = f"{driver.path}/backend/qdisk/77/51712"
    world.store.write_all({f"{backend}/params": f"qcow2:{alice.active}", f"{backend}/state": "1"})
    assert_failed(delete(agent, "s2"), "busy", alice.active)
    assert os.path.exists(alice.active)
    alice.assert_content(alice.active)
    world.store.rm(f"{driver.path}/backend/qdisk/77")
    done(delete(agent, "s2"))
    alice.assert_content(alice.middle)


# -- what was written to a state without a word ---------------------------------------------


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_what_was_written_to_the_state_is_not_merged_over(agent, alice, name):
    state, over = {"s1": (alice.base, alice.middle), "s2": (alice.middle, alice.active)}[name]
    write_to(alice, state)
    form = "raw" if state == alice.base else "qcow2"
    written = content(state, form)
    assert_failed(delete(agent, name), "snapshot-in-use", state, over, "written to")
    assert content(state, form) == written
    assert os.path.exists(over)
    # Who starts the domain on the other says that this counts.
    alice.start()
    done(delete(agent, name))


def assert_written_to(agent, alice, name, state):
    form = "raw" if state == alice.base else "qcow2"
    written = content(state, form)
    assert_failed(delete(agent, name), "snapshot-in-use", state, "written to")
    assert content(state, form) == written


@pytest.mark.parametrize("runs", [False, True], ids=["off", "runs"])
@pytest.mark.parametrize("name", ["s2", "s3"])
def test_what_is_written_to_another_state_behind_a_merge_is_seen(agent, alice, name, runs):
    """To the one that was moved, and to the one whose image was told of that."""
    over = third(agent, alice)
    if runs:
        alice.start(over)
    done(delete(agent, "s1"))
    if runs:
        alice.end()
    state = {"s2": alice.base, "s3": alice.active}[name]
    write_to(alice, state)
    assert_written_to(agent, alice, name, state)


@pytest.mark.parametrize("name", ["s2", "s3"])
def test_what_was_written_to_another_state_before_a_merge_stays_known(agent, alice, name):
    third(agent, alice)
    write_to(alice, {"s2": alice.middle, "s3": alice.active}[name])
    done(delete(agent, "s1"))
    assert_written_to(agent, alice, name, {"s2": alice.base, "s3": alice.active}[name])


def test_what_is_written_before_a_merge_that_was_only_marked_is_seen(world, agent, alice):
    """The agent died when nothing was written yet."""
    agent.stop()
    agent.faults = Faults(world.folder)
    agent.start()
    agent.faults.arm(KILL_BEFORE, 2, "make .tmp-s2.yaml")
    request = agent.submit("delete", domain="alice", name="s2")
    agent.process.wait(20)
    agent.faults.disarm()
    write_to(alice, alice.middle)
    agent.start()
    assert_failed(request.wait(), "snapshot-in-use", alice.middle, "written to")
    assert_written_to(agent, alice, "s2", alice.middle)


@pytest.mark.parametrize("order", [("s1", "s2", "s3"), ("s1", "s3", "s2")])
def test_what_a_merge_writes_is_no_stray_write(agent, alice, order):
    third(agent, alice)
    for name in order:
        done(delete(agent, name))
    assert not alice.snapshots()


# -- the domain is started meanwhile --------------------------------------------------------


@pytest.mark.parametrize("which", ["active", "middle", "base"])
def test_the_domain_is_started_meanwhile(world, commit, agent, alice, which):
    request = agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    domain = alice.start(getattr(alice, which))
    assert_failed(request.wait(20), "busy", alice.active, alice.middle)
    world.eventually(lambda: not working(world), 20, "it is killed")
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/deleting") == "1"
    assert os.path.exists(alice.active)
    alice.assert_content(alice.active)
    commit.release()
    if which == "active":
        done(delete(agent, "s2"))
        assert paths(domain) == [alice.middle, alice.base]
        alice.assert_content(alice.middle)


@pytest.mark.parametrize("dead", [True, False], ids=["killed", "hangs"])
def test_the_domain_is_started_while_our_agent_is_away(world, commit, agent, alice, dead):
    """Who has the images sees it by himself."""
    request = agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    if dead:
        agent.kill()
    else:
        agent.freeze()
    alice.start()
    world.eventually(lambda: not working(world), 20, "it is killed")
    commit.release()
    if dead:
        agent.start()
    else:
        agent.thaw()
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    if request.wait()["state"] != "done":
        done(delete(agent, "s2"))
    assert paths(alice.domain) == [alice.middle, alice.base]
    alice.assert_content(alice.middle)


# -- somebody dies ------------------------------------------------------------------------

ACTS = ["look", "merge-offline", "end"]


@pytest.mark.parametrize("name", ["s1", "s2"])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("who", ["there", "here", "both"])
def test_agents_are_killed(world, agent, alice, driver, backend, name, act, who):
    request = agent.submit("delete", domain="alice", name=name)
    freeze_at(world, driver, backend, act, request)
    if who in ("there", "both"):
        backend.kill()
    if who in ("here", "both"):
        agent.kill()
    if who in ("there", "both"):
        backend.start()
    else:
        backend.thaw()
    if who in ("here", "both"):
        agent.start()
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    if request.wait()["state"] != "done":
        done(delete(agent, name))
    assert name not in alice.snapshots()
    alice.assert_content(alice.active if name == "s1" else alice.middle)
    assert not os.path.exists(alice.middle if name == "s1" else alice.active)
    alice.assert_rests()


@pytest.mark.parametrize("who", ["there", "here"])
def test_an_agent_is_killed_while_it_copies(world, commit, agent, alice, backend, who):
    request = agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    if who == "there":
        backend.kill()
        world.eventually(lambda: not working(world), 20, "it dies with its agent")
        backend.start()
    else:
        agent.kill()
        agent.start()
    commit.release()
    done(request.wait(60))
    alice.assert_content(alice.middle)
    alice.assert_rests()


def test_xenstored_is_restarted_while_it_copies(world, impatient, commit, agent, alice, backend):
    del impatient
    agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    world.restart_xenstored()
    backend.wait_ready()
    world.eventually(lambda: not working(world), 20, "nobody waits for it")
    agent.wait_log("step=merge-in-backends failed")
    commit.release()
    world.eventually(lambda: delete(agent, "s2")["state"] == "done", 60, "deleted")
    alice.assert_content(alice.middle)
    alice.assert_rests()


# -- it takes long ------------------------------------------------------------------------


@pytest.fixture(name="impatient")
def fixture_impatient(agent_stopped):
    """Before `alice`."""
    agent_stopped.configure("timeouts", backend="1s")


def test_one_that_does_not_get_on_is_killed(world, impatient, commit, agent, alice):
    """That its agent looks at it all the time is no progress."""
    del impatient
    request = agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    assert_failed(request.wait(60), "timeout", "storage")
    world.eventually(lambda: not working(world), 20, "it is killed")
    commit.release()
    done(delete(agent, "s2"))
    alice.assert_content(alice.middle)


def test_a_cancel_is_heard_while_it_copies(world, commit, agent, alice):
    request = agent.submit("delete", domain="alice", name="s2")
    commit.wait()
    request.cancel()
    assert request.wait(20)["state"] == "cancelled"
    world.eventually(lambda: not working(world), 20, "it is killed")
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/deleting") == "1"
    alice.assert_content(alice.active)
    commit.release()
    done(delete(agent, "s2"))
    alice.assert_content(alice.middle)
    alice.assert_rests()


# -- which of the two a domain ran on since -------------------------------------------------


@pytest.mark.parametrize("which", ["active", "middle"])
def test_what_a_domain_wrote_after_the_copy_is_kept(world, commit, agent, alice, backend, which):
    """On whichever of the two, which held the same: it is looked at, not guessed."""
    request = kill_before_the_end(world, commit, agent, alice, backend)
    domain = alice.start(getattr(alice, which))
    alice.written[0] = b"new!" * 1024
    domain.write("xvda", 0, alice.written[0])
    domain.disks["xvda"].front.flush()
    alice.end()
    backend.start()
    agent.start()
    done(request.wait(60))
    assert not os.path.exists(alice.active)
    alice.assert_content(alice.middle)
    assert os.stat(alice.middle).st_mtime > TODAY
    alice.assert_rests()


def test_where_that_cannot_be_told_nothing_is_removed(world, commit, agent, alice, backend):
    """As after a power cut there, which no mark outlives."""
    request = kill_before_the_end(world, commit, agent, alice, backend)
    for path in alice.active, alice.middle:
        os.utime(path)
    backend.start()
    agent.start()
    assert_failed(request.wait(60), "snapshot-in-use", alice.active, alice.middle)
    assert os.path.exists(alice.active)
    alice.start()
    done(delete(agent, "s2"))
    alice.assert_content(alice.middle)
