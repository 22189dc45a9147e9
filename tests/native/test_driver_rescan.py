# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rescan of a disk that a driver domain serves: its QEMU and its agent are the real
ones, and the guest writes all the time to it and to one of domain 0."""

import os
import time

import pytest

from native.agent import ROOT
from native.backend import Liar, freeze_at
from native.domain import Disk
from native.expect import assert_disk_is_on, assert_failed, done
from native.rescans import (Writer, commit_middle, convert_base, flatten_to_raw, move_base,
                            nothing, overlay, paths, paused, qemu_img, rebase_active, unheard)

DISKS = "xvda xvdb"


def rescan(agent, phase=None, disks=DISKS, keys=None, **more):
    """`keys` are those of a disk."""
    if phase:
        more["phase"] = phase
    if phase not in ("complete", "abort"):
        more["disks"] = disks
    return agent.request("rescan", keys or {}, domain="alice", **more)


def create(agent, name):
    done(agent.request("create", domain="alice", name=name, memory=0, disks="xvda"))


@pytest.fixture(name="alice")
def fixture_alice(world, agent, backend, driver):
    """xvda is the driver domain's, and has a chain of three."""
    del backend
    domain = world.add_domain("alice", disks=[
        Disk("xvda", "raw", driver=driver, devd=True), ("xvdb", "qcow2")])
    domain.writers = [Writer(domain, vdev) for vdev in domain.disks]
    progress(domain)
    for name in "s1", "s2":
        create(agent, name)
        progress(domain)
    return domain


def progress(domain):
    for writer in domain.writers:
        writer.progress()


def open_there(domain, driver):
    folder = f"/proc/{domain.served[driver.domid].process.pid}/fd"
    return {os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)} & {
        f"{domain.world.images}/{name}" for name in os.listdir(domain.world.images)}


def assert_goes_on(world, agent, domain, driver):
    """With all that was written, and with what names its images agreeing."""
    progress(domain)
    for writer in domain.writers:
        writer.check()
    assert paused(domain) == 0
    active, form = domain.chain("xvda")[0]
    assert_disk_is_on(domain, "xvda", active, form)
    for path, form in domain.chain("xvda"):
        if form == "qcow2":
            qemu_img("check", "-U", "-q", path)
    create(agent, "after")
    assert paths(domain)[1] == active
    # No job, and no node that nobody needs.
    assert not [key for key in world.store.tree(f"{ROOT}/backends/{driver.domid}")
                if "/" in key]
    nodes = domain.served[driver.domid].qmp("query-named-block-nodes", flat=True)
    assert not [node for node in nodes
                if node["node-name"].endswith(("-held", "-look"))], nodes


# ---- as with disks of domain 0 ----


def test_an_unchanged_chain_costs_no_pause(world, agent, alice, driver):
    chain = alice.chain("xvda")
    world.xen.forget_calls()
    reply = done(rescan(agent))
    for vdev in alice.disks:
        assert reply[f"result/disks/{vdev}/changed"] == "0"
    assert reply["result/disks/xvda/driver-domain"] == "storage"
    for n, (path, form) in enumerate(chain):
        assert reply[f"result/disks/xvda/chain/{n}/path"] == path
        assert reply[f"result/disks/xvda/chain/{n}/format"] == form
    assert not [call for call in world.xen.calls() if "pause" in call]
    assert_goes_on(world, agent, alice, driver)


def test_an_overlay_of_the_toolstack_becomes_active(world, agent, alice, driver):
    keys = {}
    steps = overlay(world, alice, keys)
    next(steps)
    expected = next(steps)
    reply = done(rescan(agent, keys=keys))
    assert reply["result/disks/xvda/changed"] == "1"
    assert reply["result/disks/xvdb/changed"] == "0"
    assert paths(alice)[:2] == expected
    published = world.store.tree(f"{ROOT}/snapshots/{alice.uuid}/s2/disks/xvda")
    assert published["active"] == expected[0]
    # What lies under the toolstack's is not removed any more, whatever is deleted.
    assert {value for key, value in published.items() if key.startswith("foreign/")} == set(
        expected)
    assert not [key for key in published if key.startswith("overlays/")]
    assert_goes_on(world, agent, alice, driver)


@pytest.mark.parametrize("change", [commit_middle, rebase_active, move_base, convert_base,
                                    overlay, flatten_to_raw, nothing])
def test_what_a_toolstack_does_between_prepare_and_complete(world, agent, alice, driver, change):
    keys = {}
    steps = change(world, alice, keys)
    next(steps)
    done(rescan(agent, "prepare", hold=60))
    assert paused(alice) == 1
    assert not open_there(alice, driver)
    assert not alice.open_files()
    expected = next(steps)
    reply = done(rescan(agent, "complete", keys=keys))
    assert reply["result/disks/xvda/changed"] == str(int(change is not nothing))
    assert paths(alice)[:len(expected)] == expected
    assert_goes_on(world, agent, alice, driver)


def test_records_follow(world, agent, alice):
    """Moved, then committed: s2's state lies in the base then, and s1's is gone."""
    for change in (move_base, commit_middle):
        steps = change(world, alice, {})
        next(steps)
        done(rescan(agent, "prepare"))
        now = next(steps)
        done(rescan(agent, "complete"))
        published = world.store.tree(f"{ROOT}/snapshots/{alice.uuid}")
        if change is move_base:
            assert published["s1/disks/xvda/path"] == now[-1]
    assert published["s1/deleting"] == "1"
    assert published["s2/disks/xvda/path"] == now[-1]
    assert published["s2/disks/xvda/format"] == "raw"
    assert "s2/deleting" not in published


def test_a_request_under_way_is_waited_for(world, agent, alice, driver):
    """It runs on for a moment."""
    with unheard(alice.writers[0].front):
        done(rescan(agent, "prepare"))
    done(rescan(agent, "complete"))
    assert_goes_on(world, agent, alice, driver)


def test_abort_and_the_deadline(world, agent, alice, driver):
    before = alice.chain("xvda")
    done(rescan(agent, "prepare"))
    done(rescan(agent, "abort"))
    assert alice.chain("xvda") == before
    progress(alice)
    done(rescan(agent, "prepare", hold=1))
    world.eventually(lambda: not paused(alice), 20, "let go at the deadline")
    assert alice.chain("xvda") == before
    assert_failed(rescan(agent, "complete"), "timeout", "hold")
    assert_goes_on(world, agent, alice, driver)


@pytest.mark.parametrize("how", ["missing", "damaged", "smaller"])
def test_a_wrong_chain_is_told_and_the_domain_goes_on(world, agent, alice, driver, how):
    before = alice.chain("xvda")
    wrong = f"{world.images}/wrong.qcow2"
    if how == "damaged":
        qemu_img("create", "-q", "-f", "qcow2", wrong, "64M")
        with open(wrong, "r+b") as file:
            file.seek(40)
            file.write(b"\xff" * 8)
    elif how == "smaller":
        qemu_img("create", "-q", "-f", "qcow2", wrong, "32M")
    keys = {"disks/xvda/path": wrong, "disks/xvda/format": "qcow2"}
    assert_failed(rescan(agent, keys=keys), "chain-broken", "storage", wrong)
    done(rescan(agent, "prepare"))
    reply = rescan(agent, "complete", keys=keys)
    # Here nobody has looked by QEMU's eyes before.
    assert_failed(reply, "qmp-error" if how == "damaged" else "chain-broken", "storage")
    assert paused(alice) == 1
    done(rescan(agent, "abort"))
    assert alice.chain("xvda") == before
    assert_goes_on(world, agent, alice, driver)


def test_a_raw_image_is_not_taken_for_another_format(world, agent, alice, driver):
    raw = f"{world.images}/disguise"
    qemu_img("convert", "-U", "-f", "qcow2", "-O", "raw", paths(alice)[0], raw)
    assert_failed(rescan(agent, keys={"disks/xvda/path": raw}), "invalid-request",
                  "format", raw)
    assert_goes_on(world, agent, alice, driver)


def test_without_its_agent_it_is_refused(agent, alice, backend):
    backend.stop()
    assert_failed(rescan(agent), "unsupported-disk", "xvda", "storage", "role: backend")
    # One that nobody names is left out.
    reply = done(agent.request("rescan", domain="alice"))
    assert "storage" in reply["result/disks/xvda/skipped"]
    progress(alice)


# ---- a driver domain that fails ----


@pytest.fixture(name="bounded")
def fixture_bounded(agent_stopped):
    """Before `alice`: no guest waits for longer."""
    agent_stopped.configure("timeouts", backend="6s", max_pause="4s")


def test_one_that_hangs_does_not_hold_the_guest(world, bounded, agent, alice, backend):
    del bounded
    before = paths(alice)
    done(rescan(agent, "prepare", hold=60))
    backend.freeze()
    began = time.monotonic()
    assert_failed(rescan(agent, "abort"), "timeout", "storage")
    world.eventually(lambda: not paused(alice), 30, "the guest goes on")
    assert time.monotonic() - began < 20
    # Its disk there fails, and loses nothing; the hold is still to be ended.
    alice.writers[1].progress()
    assert_failed(agent.request("create", domain="alice", memory=0, disks="xvdb"), "busy")
    backend.thaw()
    world.eventually(lambda: agent.request(
        "create", domain="alice", memory=0, disks="xvdb")["state"] == "done", 60, "let go")
    assert paths(alice) == before


def test_what_cannot_be_let_go_is_not_tried_without_a_pause(world, agent_stopped, backend, driver):
    """Also once driver domains need not be waited for any more."""
    del backend
    agent_stopped.configure("timeouts", backend="6s", max_pause="3s")
    agent = agent_stopped.start()
    domain = world.add_domain("alice", disks=[
        Disk("xvda", "raw", driver=driver, devd=True), ("xvdb", "qcow2")])
    path = domain.disks["xvdb"].path
    done(rescan(agent, "prepare", hold=2))
    os.rename(path, path + ".away")
    time.sleep(8)
    before = agent.log_text().count("letting go")
    time.sleep(3)
    assert 1 < before and agent.log_text().count("letting go") - before <= 4
    os.rename(path + ".away", path)
    world.eventually(lambda: not paused(domain), 30, "goes on")


@pytest.mark.parametrize("act", ["close", "open"])
def test_one_that_hangs_in_the_pause(world, bounded, agent, alice, backend, driver, act):
    """Of a rescan without a phase.  Nobody knows how far it came: what it has open in the
    end is what the configuration names, and nothing that was written is lost."""
    del bounded
    keys = {}
    steps = overlay(world, alice, keys)
    next(steps)
    expected = next(steps)
    before = paths(alice)
    alice.writers[0].stop()
    request = agent.submit("rescan", keys, domain="alice", disks=DISKS)
    freeze_at(world, driver, backend, act, request)
    reply = request.wait()
    world.eventually(lambda: not paused(alice), 30, "the guest goes on")
    backend.thaw()
    world.eventually(lambda: agent.request(
        "create", domain="alice", memory=0, disks="xvdb")["state"] == "done", 60, "let go")
    assert paths(alice)[:2] in (expected, before[:2])
    if reply["state"] == "done":
        assert paths(alice)[:2] == expected
    assert_disk_is_on(alice, "xvda", paths(alice)[0])
    alice.writers[0].check()


def test_one_that_dies_while_it_is_held(world, agent, alice, backend, driver):
    done(rescan(agent, "prepare", hold=60))
    backend.kill()
    alice.served[driver.domid].kill()
    world.remove_domain(driver)
    reply = done(rescan(agent, "abort"))
    assert "result/disks/xvda/path" not in reply
    assert paused(alice) == 0
    alice.writers[1].progress()


@pytest.mark.parametrize("phase", ["prepare", "complete", None])
def test_its_agent_is_killed_at_any_time(world, agent, alice, backend, driver, phase):
    """Jobs are done again from their beginning."""
    keys = {}
    steps = overlay(world, alice, keys)
    next(steps)
    if phase != "prepare":
        expected = next(steps)
    if phase == "complete":
        done(rescan(agent, "prepare", hold=60))
    backend.freeze()
    request = agent.submit("rescan", keys if phase != "prepare" else {}, domain="alice",
                           **({"disks": DISKS} if phase != "complete" else {}),
                           **({"phase": phase} if phase else {}))
    world.store.wait_for(f"{ROOT}/backends/{driver.domid}", lambda: [
        key for key in world.store.tree(f"{ROOT}/backends/{driver.domid}") if "/act" in key], 20)
    backend.kill()
    backend.start()
    done(request.wait())
    if phase == "prepare":
        assert not open_there(alice, driver)
        done(rescan(agent, "abort"))
    else:
        assert paths(alice)[:2] == expected
    assert_goes_on(world, agent, alice, driver)


# ---- a driver domain that lies ----


@pytest.fixture(name="web")
def fixture_web(world, driver):
    return world.add_domain("alice", disks=[
        ("xvda", "qcow2"), Disk("xvdb", "raw", driver=driver, devd=True)])


def told(path, **more):
    return {"virtual_bytes": 1 << 26, "node": "xvdb-raw", "chain/0": f"raw 1:2 3 {path}", **more}


def test_answers_that_cannot_be(world, agent, web, driver):
    liar = Liar(world, driver)
    base = web.disks["xvdb"].path
    for files, word in ((told(base, virtual_bytes=0), "virtual-bytes"),
                        (told(base, node="a b"), "node"), (told(base, node="x" * 32), "node"),
                        (told("relative"), "chain"), (told("/a/../b"), "chain"),
                        (told(base, **{"chain/0": f"raw {base}"}), "chain"),
                        (told("/images/other.raw"), "/images/other.raw")):
        world.xen.forget_calls()
        request = agent.submit("rescan", domain="alice", phase="prepare", disks=DISKS)
        liar.wait_act("inspect")
        liar.answer("prepared", **files)
        reply = request.wait()
        assert reply["state"] == "failed" and "storage" in reply["error/message"], reply
        assert word in reply["error/message"]
        assert not [call for call in world.xen.calls() if "pause" in call]
        liar.store.rm(f"{liar.folder}/jobs")
    assert paths(web, "xvdb") == [base]


def test_one_that_closes_something_else(world, agent, web, driver):
    """The guest goes on, and names what it named."""
    liar = Liar(world, driver)
    base = web.disks["xvdb"].path
    request = agent.submit("rescan", domain="alice", phase="prepare", disks=DISKS)
    liar.wait_act("inspect")
    liar.answer("prepared", **told(base))
    liar.wait_act("close")
    liar.answer("prepared", **told("/images/other.raw"))
    liar.wait_act("open")
    liar.answer("prepared")
    assert_failed(request.wait(), "internal-error", "xvdb", "storage", "chain")
    assert paused(web) == 0
    assert_disk_is_on(web, "xvda", web.disks["xvda"].path)
    assert_disk_is_on(web, "xvdb", base, "raw")


def test_where_one_waits_for_the_guest_the_other_opens_first(world, agent, driver):
    """It runs on for a moment, and must not find its other disk closed."""
    domain = world.add_domain("alice", disks=[
        Disk("xvda", "raw", driver=driver),
        Disk("xvdb", "raw", driver=world.add_domain("archive", disks=()))])
    liars = [Liar(world, disk.driver, vdev) for vdev, disk in domain.disks.items()]
    bases = [disk.path for disk in domain.disks.values()]
    request = agent.submit("rescan", domain="alice", phase="prepare", disks=DISKS)

    def answer_all(act, **more):
        for liar, base in zip(liars, bases):
            liar.wait_act(act)
            liar.answer("prepared", **(told(base) if act != "open" else {}), **more)

    answer_all("inspect")
    for liar in liars:
        liar.wait_act("close")
    liars[0].answer("prepared", **told(bases[0]))
    liars[1].fail("guest-unresponsive")
    for liar in liars:
        liar.wait_act("open")
    assert paused(domain) == 1
    world.xen.forget_calls()
    for liar in liars:
        liar.answer("prepared")
    answer_all("close")
    done(request.wait())
    assert [call for call in world.xen.calls() if "unpause" in call]
    assert paused(domain) == 1


# ---- domain 0's agent is killed ----


def test_killed_while_holding_it_holds_on(world, agent, alice, driver):
    keys = {}
    steps = overlay(world, alice, keys)
    next(steps)
    done(rescan(agent, "prepare", hold=60))
    expected = next(steps)
    agent.kill()
    agent.start()
    assert paused(alice) == 1 and not open_there(alice, driver)
    done(rescan(agent, "complete", keys=keys))
    assert paths(alice)[:2] == expected
    assert_goes_on(world, agent, alice, driver)


@pytest.mark.parametrize("act", ["close", "open"])
def test_killed_in_the_middle_it_lets_go(world, agent, alice, backend, driver, act):
    before = paths(alice)
    if act == "open":
        done(rescan(agent, "prepare", hold=60))
    request = agent.submit("rescan", domain="alice", phase="prepare" if act == "close" else
                           "abort", **({"disks": DISKS} if act == "close" else {}))
    freeze_at(world, driver, backend, act, request)
    agent.kill()
    backend.thaw()
    agent.start()
    reply = request.wait()
    assert reply["state"] in ("failed", "done"), reply
    if paused(alice) and act == "close" and reply["state"] == "done":
        done(rescan(agent, "abort"))
    world.eventually(lambda: not paused(alice), 30, "let go")
    assert paths(alice) == before
    assert_goes_on(world, agent, alice, driver)
