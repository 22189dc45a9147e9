# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rescan: the chain changed, or is about to, under a running domain that writes
all the time."""

import os
import re
import subprocess
import time
from datetime import datetime

import pytest

from native.agent import ROOT
from native.expect import assert_failed
from native.rescans import (PIECE, SIZE, Writer, commit_middle, content, convert_base, flatten,
                            flatten_to_raw, move_base, nothing, overlay, paths, paused,
                            qemu_img, rebase_active, unheard)



def assert_whole(domain, vdev="xvda"):
    for path, disk_format in domain.chain(vdev):
        if disk_format == "qcow2":
            qemu_img("check", "-U", "-q", path)


def assert_nothing_deleted_is_open(domain):
    assert not [path for path in domain.open_files() if path.endswith("(deleted)")]


def rescan(agent, **keys):
    return agent.request("rescan", keys, domain="alice")


def prepare(agent, **keys):
    reply = rescan(agent, phase="prepare", **keys)
    assert reply["state"] == "done", reply
    return reply


def complete(agent, **keys):
    reply = rescan(agent, phase="complete", **keys)
    assert reply["state"] == "done", reply
    return reply


def create(agent, name, **keys):
    reply = agent.request("create", domain="alice", name=name, memory=0, **keys)
    assert reply["state"] == "done", reply
    return reply["result/disks/xvda/path"]


def assert_still_works(world, agent, domain, writer):
    """What must work after each: reads, a create, a delete, unplug and
    plugging in again. (Reboot and revert: tests/xen.)"""
    writer.check()
    assert paused(domain) == 0
    assert_whole(domain)
    assert_nothing_deleted_is_open(domain)
    active = paths(domain)[0]
    stored = [disk for disk in domain.stored_config()["disks"]
              if disk["vdev"] == "xvda"][0]
    assert stored["pdev_path"] == active
    params = world.store.read(f"{domain.backend_path('xvda')}/params")
    assert params.split(":", 1)[1] == active
    assert world.store.read(f"{domain.libxl_path('xvda')}/params") == params
    assert create(agent, "after") == paths(domain)[0]
    reply = agent.request("delete", domain="alice", name="after")
    assert reply["state"] == "done", reply
    assert paths(domain)[0] == active
    disk = domain.disks["xvda"]
    disk.path, disk.format = active, domain.chain("xvda")[0][1]
    domain.unplug("xvda")
    assert not domain.qmp("query-named-block-nodes", flat=True)
    assert not domain.open_files()
    assert content(active, disk.format) == writer.checksum()
    domain.disks["xvda"] = disk
    domain._plug("xvda")
    for offset, data in list(writer.written.items())[:20]:
        assert domain.read("xvda", offset, PIECE) == data


@pytest.fixture
def alice(world, agent):
    """A domain with two snapshots, so a chain of three."""
    domain = world.add_domain("alice", disks=[("xvda", "raw")])
    writer = Writer(domain)
    writer.progress()
    create(agent, "s1")
    writer.progress()
    create(agent, "s2")
    writer.progress()
    domain.writer = writer
    return domain


# ---- it has changed ----

def test_an_unchanged_chain_costs_no_pause(world, agent, alice):
    chain = alice.chain("xvda")
    world.xen.forget_calls()
    reply = rescan(agent)
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvda/changed"] == "0"
    for n, (path, disk_format) in enumerate(chain):
        assert reply[f"result/disks/xvda/chain/{n}/path"] == path
        assert reply[f"result/disks/xvda/chain/{n}/format"] == disk_format
    assert not [call for call in world.xen.calls() if "pause" in call]
    assert alice.chain("xvda") == chain
    assert_still_works(world, agent, alice, alice.writer)


def test_a_fresh_overlay_that_the_toolstack_made_becomes_active(world, agent, alice):
    active = paths(alice)[0]
    overlay = f"{world.images}/toolstack.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", overlay)
    reply = rescan(agent, **{"disks/xvda/path": overlay, "disks/xvda/format": "qcow2"})
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvda/changed"] == "1"
    assert paths(alice)[:2] == [overlay, active]
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


@pytest.mark.parametrize("held", [False, True])
def test_a_path_that_no_start_would_find_is_refused(world, agent, alice, held):
    """QEMU reads it from xenstore up to the first space."""
    active = paths(alice)[0]
    overlay = f"{world.images}/with a space.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", overlay)
    keys = {"disks/xvda/path": overlay, "disks/xvda/format": "qcow2"}
    if held:
        prepare(agent)
        keys["phase"] = "complete"
    reply = rescan(agent, **keys)
    assert_failed(reply, "invalid-request", "disks/xvda/path", overlay, "choose a path without")
    if held:
        complete(agent)
    assert paths(alice)[0] == active
    assert_still_works(world, agent, alice, alice.writer)


def test_a_base_moved_and_named_anew_is_followed(world, agent, alice):
    """As `mv` and `rebase -u` leave it, with the domain paused by the
    toolstack meanwhile: that pause is not ours to end."""
    active, middle, base = paths(alice)
    moved = f"{world.images}/elsewhere.raw"
    world.xl("pause", "alice")
    os.rename(base, moved)
    copy = f"{middle}.new"
    subprocess.run(["cp", "--sparse=always", middle, copy], check=True)
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", moved, "-F", "raw", copy)
    os.rename(copy, middle)
    reply = rescan(agent)
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvda/changed"] == "1"
    assert paths(alice) == [active, middle, moved]
    assert paused(alice) == 1
    world.xl("unpause", "alice")
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_a_base_replaced_under_the_same_name_is_noticed(world, agent, alice):
    base = paths(alice)[2]
    copy = f"{base}.copy"
    subprocess.run(["cp", "--sparse=always", base, copy], check=True)
    os.rename(copy, base)
    assert [path for path in alice.open_files() if path.endswith("(deleted)")]
    reply = rescan(agent)
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvda/changed"] == "1"
    assert_still_works(world, agent, alice, alice.writer)


def broken(world, alice, how):
    """Breaks what the files say of the chain; gives what is to be named."""
    active, middle, base = paths(alice)
    if how == "missing":
        os.rename(base, f"{base}.away")
        return base, {}
    if how == "loop":
        copy = f"{middle}.new"
        subprocess.run(["cp", middle, copy], check=True)
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", active, "-F", "qcow2", copy)
        os.rename(copy, middle)
        return active, {}
    other = f"{world.images}/other.qcow2"
    if how == "size":
        qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", other, "32M")
    elif how == "format":
        subprocess.run(["truncate", "-s", "64M", other], check=True)
    elif how == "unreadable to QEMU":
        qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", other)
        with open(other, "r+b") as file:  # an L1 table without room
            file.seek(36)
            file.write(bytes(4))
    return other, {"disks/xvda/path": other, "disks/xvda/format": "qcow2"}


@pytest.mark.parametrize("how", ["missing", "loop", "size", "format", "unreadable to QEMU"])
def test_a_wrong_chain_is_told_and_the_domain_goes_on(world, agent, alice, how):
    chain = alice.chain("xvda")
    culprit, keys = broken(world, alice, how)
    world.xen.forget_calls()
    reply = rescan(agent, **keys)
    assert reply["state"] == "failed", reply
    assert reply["error/code"] == "chain-broken"
    assert culprit in reply["error/message"]
    assert not [call for call in world.xen.calls() if "pause" in call]
    assert alice.chain("xvda") == chain
    assert not [node for node in alice.qmp("query-named-block-nodes", flat=True)
                if "look" in node["node-name"]]
    alice.writer.progress()
    alice.writer.check()
    if how not in ("missing", "loop"):
        create(agent, "s3")


def test_a_raw_image_is_not_taken_for_another_format_because_that_was_left_out(
        world, agent, alice):
    other = f"{world.images}/flat.raw"
    qemu_img("create", "-q", "-f", "qcow2", "-b", paths(alice)[0], "-F", "qcow2", other)
    os.truncate(other, SIZE)  # as a guest can make it, in its raw disk
    reply = rescan(agent, **{"disks/xvda/path": other})
    assert reply["error/code"] == "invalid-request", reply
    assert "format" in reply["error/message"]
    alice.writer.check()


def test_two_disks_cannot_get_one_image(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    reply = rescan(agent, **{"disks/xvda/path": domain.disks["xvdb"].path})
    assert reply["error/code"] == "chain-broken", reply
    reply = rescan(agent, **{"disks/xvdc/path": "/x"})
    assert reply["error/code"] == "no-such-disk", reply


# ---- it is about to change ----

@pytest.mark.parametrize("change, kind", [
    (commit_middle, "pv"), (commit_middle, "pvh"), (commit_middle, "hvm"),
    (rebase_active, "pv"), (move_base, "pv"), (convert_base, "pv"), (overlay, "pv"),
    (flatten, "pv"), (flatten, "hvm"), (flatten_to_raw, "pv"), (nothing, "pv")])
def test_what_a_toolstack_does_between_prepare_and_complete(world, agent, change, kind):
    domain = world.add_domain("alice", kind, disks=[("xvda", "raw")])
    writer = Writer(domain)
    writer.progress()
    create(agent, "s1")
    writer.progress()
    create(agent, "s2")
    writer.progress(200)
    keys = {}
    steps = change(world, domain, keys)
    next(steps)
    prepare(agent, hold=30)
    assert paused(domain) == 1
    assert not domain.open_files()
    before = writer.count
    expected = next(steps)
    assert writer.count == before
    reply = complete(agent, **keys)
    assert reply["result/disks/xvda/changed"] == str(int(change is not nothing))
    assert paths(domain)[:len(expected)] == expected
    writer.progress()
    assert_still_works(world, agent, domain, writer)


def test_what_was_converted_is_flushed_while_others_are_served(world, agent_stopped,
                                                               hanging_sync):
    """It may be gigabytes that are not on the disk yet."""
    agent = agent_stopped
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "raw")])
    for name in ("s1", "s2"):
        create(agent, name)
    _, middle, base = paths(domain)
    steps = convert_base(world, domain, {})
    next(steps)
    prepare(agent, hold=30)
    now = next(steps)
    request = agent.submit("rescan", domain="alice", phase="complete")
    world.eventually(hanging_sync.exists, 60, "the flush")
    assert paused(domain) == 0
    assert agent.request("create", domain="nobody")["error/code"] == "no-such-domain"
    assert request.state() == "running"
    # The middle one's header names it now.
    assert hanging_sync.read_text().split() == [middle, now[2]]
    assert published(world, domain, "s1")["disks/xvda/path"] == base
    hanging_sync.unlink()
    assert request.wait()["state"] == "done"
    assert published(world, domain, "s1")["disks/xvda/path"] == now[2]
    # Nothing is left to flush.
    prepare(agent, hold=30)
    complete(agent)
    assert not hanging_sync.exists()


@pytest.mark.parametrize("held", [True, False])
def test_records_follow_where_the_agent_dies_while_it_is_flushed(world, agent_stopped,
                                                                 hanging_sync, held):
    agent = agent_stopped
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "raw")])
    for name in ("s1", "s2"):
        create(agent, name)
    if held:
        steps = convert_base(world, domain, {})
        next(steps)
        prepare(agent, hold=30)
        now = next(steps)
        request = agent.submit("rescan", domain="alice", phase="complete")
    else:
        active, middle, base = paths(domain)
        now = [active, f"{middle}.moved", base]
        os.rename(middle, now[1])
        copy = f"{active}.moved"
        subprocess.run(["cp", "--sparse=always", active, copy], check=True)
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", now[1], "-F", "qcow2", copy)
        os.rename(copy, active)
        request = agent.submit("rescan", domain="alice")
    world.eventually(hanging_sync.exists, 60, "the flush")
    agent.kill()
    del world.variables["PATH"]
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    # Letting the domain go, the next one finds what has become of the chain.
    world.eventually(lambda: [published(world, domain, name)["disks/xvda/path"]
                              for name in ("s2", "s1")] == now[1:], 30, "the records")
    assert paths(domain) == now and paused(domain) == 0
    for name in ("s2", "s1"):
        assert agent.request("delete", domain="alice", name=name)["state"] == "done"


def test_a_raw_disk_without_snapshots_is_converted(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "raw")])
    writer = Writer(domain)
    writer.progress(100)
    raw = domain.disks["xvda"].path
    prepare(agent)
    converted = f"{world.images}/converted.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, converted)
    os.unlink(raw)
    complete(agent, **{"disks/xvda/path": converted, "disks/xvda/format": "qcow2"})
    writer.progress()
    assert_still_works(world, agent, domain, writer)


def test_two_disks_at_once(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "raw")])
    writers = [Writer(domain, "xvda", 1), Writer(domain, "xvdb", 2)]
    for writer in writers:
        writer.progress()
    create(agent, "s1")
    prepare(agent)
    assert not domain.open_files()
    overlays = {}
    for vdev in ("xvda", "xvdb"):
        active = f"{world.images}/alice-{vdev}.s1.qcow2"
        overlays[vdev] = f"{world.images}/new-{vdev}.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", overlays[vdev])
    reply = complete(agent, **{f"disks/{vdev}/path": path for vdev, path in overlays.items()})
    for vdev, path in overlays.items():
        assert paths(domain, vdev)[0] == path
        assert reply[f"result/disks/{vdev}/chain/0/path"] == path
    for writer in writers:
        writer.progress()
    writers[1].check()
    assert_whole(domain, "xvdb")
    domain.unplug("xvdb")
    assert_still_works(world, agent, domain, writers[0])


def test_one_of_two_disks_that_share_a_base_cannot_be_prepared_alone(world, agent):
    base = f"{world.images}/golden.raw"
    subprocess.run(["truncate", "-s", "64M", base], check=True)
    tops = []
    for vdev in ("xvda", "xvdb"):
        tops.append(f"{world.images}/{vdev}.qcow2")
        qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", tops[-1])
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    reply = rescan(agent, **{"disks/xvda/path": tops[0], "disks/xvdb/path": tops[1]})
    assert reply["state"] == "done", reply
    reply = rescan(agent, phase="prepare", disks="xvda")
    assert reply["error/code"] == "busy", reply
    assert base in reply["error/message"]
    assert paused(domain) == 0
    domain.write("xvda", 0, b"a" * PIECE)
    assert paths(domain) == [tops[0], base]
    prepare(agent)
    assert not domain.open_files()
    complete(agent)
    assert domain.read("xvda", 0, PIECE) == b"a" * PIECE


# ---- the rules of a hold ----

def test_abort_lets_go_with_nothing_changed(world, agent, alice):
    chain = alice.chain("xvda")
    prepare(agent)
    reply = rescan(agent, phase="abort")
    assert reply["state"] == "done", reply
    assert alice.chain("xvda") == chain
    assert reply["result/disks/xvda/changed"] == "0"
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_a_hold_is_published_while_it_lasts(world, agent, alice):
    holds = "/tool/xensnapd/holds"
    path = f"{holds}/{alice.uuid}"
    prepare(agent, hold=1)
    assert world.store.tree(path)["disks"] == "xvda"
    world.store.wait_for(holds, lambda: not world.store.ls(holds), timeout=30)
    until = datetime.fromisoformat(
        prepare(agent, hold=600)["result/hold-until"][:-1])

    def assert_published():
        held = world.store.tree(path)
        assert held["disks"] == "xvda"
        seconds = (datetime.fromisoformat(held["until"][:-1]) - until).seconds
        assert min(seconds, 86400 - seconds) < 5
        assert world.store.permissions(f"{path}/until") == ["n0"]

    assert_published()
    # What fails leaves it as it is, and so does the end of the agent, or of
    # xenstored.
    assert rescan(agent, phase="complete", disks="xvdz")["state"] == "failed"
    assert_published()
    agent.kill()
    agent.start()
    assert_published()
    world.restart_xenstored()
    agent.wait_ready()
    assert_published()
    complete(agent)
    assert not world.store.ls(holds)
    alice.writer.progress()
    alice.writer.check()


def test_complete_and_abort_need_a_prepare(world, agent, alice):
    for phase in ("complete", "abort"):
        reply = rescan(agent, phase=phase)
        assert reply["error/code"] == "invalid-request", reply
        assert "prepare" in reply["error/message"]
    alice.writer.check()


def test_while_held_everything_else_is_busy(world, agent, alice):
    prepare(agent)
    for operation, keys in (("create", {"name": "s3"}), ("revert", {"name": "s1"}),
                            ("delete", {"name": "s1"}), ("rescan", {}),
                            ("rescan", {"phase": "prepare"})):
        reply = agent.request(operation, keys, domain="alice")
        assert reply["error/code"] == "busy", reply
        assert "held" in reply["error/message"]
    reply = rescan(agent, phase="complete", disks="xvdz")
    assert reply["error/code"] == "no-such-disk", reply
    complete(agent)
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_a_chain_broken_at_complete_leaves_the_hold_for_another_try(world, agent, alice):
    base = paths(alice)[2]
    prepare(agent)
    os.rename(base, f"{base}.away")
    reply = rescan(agent, phase="complete")
    assert reply["error/code"] == "chain-broken", reply
    assert base in reply["error/message"]
    assert paused(alice) == 1 and not alice.open_files()
    os.rename(f"{base}.away", base)
    complete(agent)
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_a_hold_ends_at_its_deadline_and_completing_it_is_too_late(world, agent, alice):
    chain = alice.chain("xvda")
    begun = time.monotonic()
    prepare(agent, hold=1)
    world.eventually(lambda: paused(alice) == 0, what="letting go")
    assert 0.9 < time.monotonic() - begun < 5
    alice.writer.progress()
    assert alice.chain("xvda") == chain
    reply = rescan(agent, phase="complete")
    assert reply["error/code"] == "timeout", reply
    reply = rescan(agent, phase="complete")
    assert reply["error/code"] == "invalid-request", reply
    prepare(agent)
    complete(agent)
    assert_still_works(world, agent, alice, alice.writer)


def test_completing_is_too_late_also_long_after_the_deadline(world, agent, alice):
    """No try to let go once more makes that forgotten."""
    prepare(agent, hold=1)
    world.eventually(lambda: not paused(alice), 20, "let go")
    alice.writer.progress()
    log = agent.log_text()
    time.sleep(11)
    assert "letting go" not in agent.log_text()[len(log):]
    reply = rescan(agent, phase="complete")
    assert reply["error/code"] == "timeout", reply


def test_at_the_deadline_a_broken_chain_keeps_the_guest_standing_until_it_is_mended(
        world, agent, alice):
    base = paths(alice)[2]
    prepare(agent, hold=1)
    os.rename(base, f"{base}.away")
    agent.wait_log("letting go")
    world.eventually(lambda: re.search(r"req=let-go\.\w+ op=rescan step=read-chains failed",
                                       agent.log_text()), what="the failure")
    assert paused(alice) == 1
    os.rename(f"{base}.away", base)
    complete(agent)
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_a_domain_that_is_destroyed_ends_its_hold(world, agent, alice):
    prepare(agent)
    alice.writer._stop.set()
    world.remove_domain(alice)
    agent.wait_log("its hold with it")
    world.eventually(lambda: not os.listdir(f"{agent.folder}/run/held"), 10, "no note of it")


def test_a_disk_with_requests_under_way_is_waited_for(world, agent, alice):
    """It runs on for a moment."""
    with unheard(alice.writer.front):
        prepare(agent)
    complete(agent)
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_a_domain_that_somebody_unpauses_meanwhile_fails_instead_of_losing_writes(
        world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"a" * PIECE)
    prepare(agent)
    world.xl("unpause", "alice")
    for access in (lambda: domain.read("xvda", 0, PIECE),
                   lambda: domain.write("xvda", 0, b"b" * PIECE)):
        with pytest.raises(OSError):
            access()
    complete(agent)
    assert paused(domain) == 0
    assert domain.read("xvda", 0, PIECE) == b"a" * PIECE


def test_a_hold_outlives_xenstored(world, agent, alice):
    prepare(agent)
    world.restart_xenstored()
    agent.wait_ready()
    reply = agent.request("create", domain="alice", name="s3")
    assert reply["error/code"] == "busy", reply
    reply = rescan(agent, phase="complete")
    assert reply["state"] == "done", reply
    alice.writer.progress()
    alice.writer.check()


# ---- records ----

def published(world, domain, name):
    tree = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    return {key[len(name) + 1:]: value for key, value in tree.items()
            if key.startswith(f"{name}/")}


def test_records_follow_an_image_that_was_moved_or_converted(world, agent, alice):
    active, middle, base = paths(alice)
    for change in (move_base, convert_base):
        steps = change(world, alice, {})
        next(steps)
        prepare(agent)
        now = next(steps)
        complete(agent)
        s1 = published(world, alice, "s1")
        assert s1["disks/xvda/path"] == now[2]
        assert "disks/xvda/missing" not in s1
    assert s1["disks/xvda/format"] == "qcow2"
    assert published(world, alice, "s2")["disks/xvda/path"] == middle
    moved = f"{world.images}/moved-active.qcow2"
    prepare(agent)
    os.rename(active, moved)
    complete(agent, **{"disks/xvda/path": moved})
    s2 = published(world, alice, "s2")
    assert s2["disks/xvda/overlays/0"] == moved
    assert "disks/xvda/active" not in s2
    alice.writer.progress()
    for name in ("s1", "s2"):
        reply = agent.request("delete", domain="alice", name=name)
        assert reply["state"] == "done", reply
    assert len(paths(alice)) == 1
    assert_still_works(world, agent, alice, alice.writer)


def test_records_follow_a_commit_as_far_as_that_can_be_known(world, agent, alice):
    """s2's state lies in the base now; s1's is gone."""
    base = paths(alice)[2]
    steps = commit_middle(world, alice, {})
    next(steps)
    prepare(agent)
    next(steps)
    complete(agent)
    assert published(world, alice, "s1")["deleting"] == "1"
    s2 = published(world, alice, "s2")
    assert s2["disks/xvda/path"] == base
    assert s2["disks/xvda/format"] == "raw"
    assert "deleting" not in s2
    reply = agent.request("revert", {"start": "boot"}, domain="alice", name="s1")
    assert reply["state"] == "failed", reply
    for name in ("s1", "s2"):
        reply = agent.request("delete", domain="alice", name=name)
        assert reply["state"] == "done", reply
    assert paths(alice) == [base]
    assert_still_works(world, agent, alice, alice.writer)


def test_a_snapshot_whose_image_is_gone_is_marked(world, agent, alice):
    steps = rebase_active(world, alice, {})
    next(steps)
    prepare(agent)
    next(steps)
    complete(agent)
    assert published(world, alice, "s2")["disks/xvda/missing"] == "1"
    s1 = published(world, alice, "s1")
    assert "deleting" not in s1 and "disks/xvda/missing" not in s1
    reply = agent.request("revert", {"start": "boot"}, domain="alice", name="s2")
    assert reply["error/code"] == "chain-broken", reply
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_an_overlay_of_the_toolstack_is_known_and_never_removed(world, agent, alice):
    """Deleting what lies under it, while the domain does not run, must not
    tear it off."""
    active = paths(alice)[0]
    lower, upper = f"{world.images}/lower.qcow2", f"{world.images}/upper.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", lower)
    qemu_img("create", "-q", "-f", "qcow2", "-b", lower, "-F", "qcow2", upper)
    reply = rescan(agent, **{"disks/xvda/path": upper})
    assert reply["state"] == "done", reply
    s2 = published(world, alice, "s2")
    assert s2["disks/xvda/active"] == upper
    assert {s2["disks/xvda/foreign/0"], s2["disks/xvda/foreign/1"]} == {lower, upper}
    alice.writer.progress()
    alice.writer.check()
    checksum = alice.writer.checksum()
    world.remove_domain(alice)
    for name in ("s1", "s2"):
        reply = agent.request("delete", domain="alice", name=name)
        assert reply["state"] == "done", reply
    assert os.path.exists(lower) and os.path.exists(upper)
    assert content(upper, "qcow2") == checksum


# ---- crashes ----

def test_an_agent_killed_while_holding_holds_on_until_complete(world, agent, alice):
    prepare(agent, hold=60)
    agent.kill()
    agent.start()
    assert paused(alice) == 1 and not alice.open_files()
    reply = agent.request("create", domain="alice", name="s3")
    assert reply["error/code"] == "busy", reply
    complete(agent)
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_an_agent_killed_while_holding_lets_go_at_the_deadline(world, agent, alice):
    prepare(agent, hold=1)
    agent.kill()
    time.sleep(1.2)
    agent.start()
    world.eventually(lambda: paused(alice) == 0, what="letting go")
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


@pytest.mark.parametrize("phase", ["none", "prepare", "complete"])
@pytest.mark.parametrize("command, kind", [
    ("blockdev-add", "hold-after"), ("blockdev-mirror", "hold-before"),
    ("blockdev-mirror", "hold-after"), ("job-complete", "hold-before"),
    ("job-complete", "hold-after"), ("job-dismiss", "hold-before"),
    ("job-dismiss", "hold-after")])
def test_an_agent_killed_in_the_middle_lets_go_after_its_restart(
        world, agent, alice, command, kind, phase):
    active = paths(alice)[0]
    overlay_path = f"{world.images}/toolstack.qcow2"
    keys = {"disks/xvda/path": overlay_path, "disks/xvda/format": "qcow2"}
    if phase == "complete":
        prepare(agent)
    qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", overlay_path)
    fault = alice.interpose().fault(command, kind)
    request = agent.submit("rescan", {} if phase == "prepare" else keys, domain="alice",
                           **({} if phase == "none" else {"phase": phase}))
    fault.wait_reached()
    agent.kill()
    alice.uninterpose()
    agent.start()
    reply = request.wait()
    # The guest goes on when that is said, and with what is said.
    assert paused(alice) == 0
    assert reply["error/code"] == "interrupted", reply
    if "look at the domain" not in reply["error/message"]:
        assert reply["error/message"].endswith(f"goes on with xvda on {paths(alice)[0]}")
    else:
        assert (command, phase) == ("blockdev-add", "none")
    agent.wait_log("step=end-hold done")
    held = os.listdir(f"{agent.folder}/run/held")
    assert bool(held) == (phase == "complete")  # remembered as expired
    assert paths(alice)[0] in (active, overlay_path)
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


def test_an_agent_killed_before_its_pause_was_noted_lets_go(world, agent, alice):
    """Between the pause and the note of it."""
    front = alice.writer.front
    notify = front._ports.notify
    front._ports.notify = lambda port: None
    time.sleep(0.2)
    agent.submit("rescan", {"phase": "prepare"}, domain="alice")
    world.eventually(lambda: paused(alice) == 1, what="the pause")
    agent.kill()
    front._ports.notify = notify
    notify(front._port)
    agent.start()
    world.eventually(lambda: paused(alice) == 0, what="letting go")
    alice.writer.progress()
    assert_still_works(world, agent, alice, alice.writer)


@pytest.mark.parametrize("at", ["blockdev-add", "blockdev-mirror", "job-complete"])
def test_a_domain_that_is_destroyed_while_it_is_held_ends_its_hold(world, agent, alice, at):
    fault = alice.interpose().fault(at, "hold-after")
    request = agent.submit("rescan", domain="alice", phase="prepare", hold=60)
    fault.wait_reached()
    alice.writer._stop.set()
    agent.freeze()
    world.remove_domain(alice)
    agent.thaw()
    assert_failed(request.wait(), "no-such-domain")
    world.eventually(lambda: not os.listdir(f"{agent.folder}/run/held") and
                     not world.store.tree(f"{ROOT}/holds"), 9, "nothing of it")
