# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another toolstack saves or migrates the domain: the configuration that names its
images has gone out already, so they are not changed meanwhile."""

import os

import pytest

from native.agent import ROOT
from native.clock import HOUR
from native.expect import assert_disk_is_on, assert_failed, done, image_info, named_images
from native.faults import STOP_BEFORE, Faults
from native.hypervisor import SUSPEND
from native.saves import saved_by_another

REQUESTS = {
    "create": {"operation": "create", "name": "s2", "memory": 0},
    "checkpoint": {"operation": "create", "name": "s2"},
    "delete": {"operation": "delete", "name": "s1"},
    "revert": {"operation": "revert", "name": "s1", "start": "boot"},
    "rescan": {"operation": "rescan"},
    "prepare": {"operation": "rescan", "phase": "prepare", "hold": 60},
}


@pytest.fixture(name="domain")
def fixture_domain(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    done(agent.request("create", domain="alice", name="s1", memory=0))
    # A note goes only when its request's result is there to be read.
    world.eventually(lambda: not [name for name in agent.records()
                                  if name.startswith("journal/")], what="no note")
    return domain


@pytest.mark.parametrize("which", REQUESTS)
def test_what_is_asked_meanwhile_is_refused(world, agent, domain, which):
    chain, records = domain.chain("xvda"), agent.records()
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}")
    keys = dict(REQUESTS[which])
    with saved_by_another(domain) as helper:
        reply = agent.request(keys.pop("operation"), keys, domain="alice")
        assert_failed(reply, "busy", f"process {helper} (libxl-save-helper)", "ask again")
    assert domain.chain("xvda") == chain
    assert agent.records() == records
    assert world.store.tree(f"{ROOT}/snapshots/{domain.uuid}") == published
    assert world.xen.get(domain.domid)["paused"] == "0"


def test_it_is_looked_for_when_the_request_has_its_turn(agent, domain):
    fault = domain.interpose().fault("transaction", "hold-before")
    first = agent.submit("create", domain="alice", name="s2", memory=0)
    fault.wait_reached()
    second = agent.submit("create", domain="alice", name="s3", memory=0)
    second.wait_state("queued")
    with saved_by_another(domain):
        fault.release()
        done(first.wait())
        assert_failed(second.wait(), "busy", "saving or migrating")


@pytest.mark.parametrize("which", REQUESTS)
def test_and_while_the_guest_stands_still_for_it(world, agent, domain, which):
    """As it does from the beginning of an `xl save`."""
    keys = dict(REQUESTS[which])
    operation = keys.pop("operation")
    with saved_by_another(domain):
        world.xen.shut_down(domain.domid, SUSPEND)
        reply = agent.request(operation, keys, domain="alice")
        assert_failed(reply, "busy", "saving or migrating")
    if operation == "create":
        reply = agent.request(operation, keys, domain="alice")
        assert_failed(reply, "domain-inactive", "has shut down (suspend)")


def test_one_that_began_before_the_agent_is_seen(agent, domain):
    agent.stop()
    with saved_by_another(domain):
        agent.start()
        assert_failed(agent.request("create", domain="alice", name="s2", memory=0),
                      "busy", "saving or migrating")
    done(agent.request("create", domain="alice", name="s2", memory=0))


def test_another_domain_is_not_concerned(world, agent, domain):
    world.add_domain("bob")
    with saved_by_another(domain):
        done(agent.request("create", domain="bob", name="b1", memory=0))


@pytest.mark.parametrize("phase", ["complete", "abort"])
def test_a_hold_is_ended_all_the_same(world, agent, domain, phase):
    done(agent.request("rescan", {"phase": "prepare", "hold": 60}, domain="alice"))
    with saved_by_another(domain):
        done(agent.request("rescan", {"phase": phase}, domain="alice"))
        assert world.xen.get(domain.domid)["paused"] == "0"


def test_a_snapshot_that_expires_stays_for_the_time(world, clock, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    done(agent.request("create", domain="alice", name="s1", memory=0, expires=3600))
    chain = domain.chain("xvda")
    agent.stop()
    clock.jump(2 * HOUR)
    with saved_by_another(domain):
        agent.start()
        agent.wait_log("has expired and cannot be deleted yet: another program", timeout=20)
        assert domain.chain("xvda") == chain
    done(agent.request("create", domain="alice", name="s2", memory=0))
    world.store.wait_gone(f"{ROOT}/snapshots/{domain.uuid}/s1/name", timeout=20)


def test_one_that_begins_before_the_disk_is_switched_keeps_its_image(agent, domain):
    """What a delete merges the guest goes on without, and what is saved names it."""
    domain.write("xvda", 0, b"1" * 4096)
    chain = domain.chain("xvda")
    fault = domain.interpose().fault("block-commit", "hold-before")
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    with saved_by_another(domain):
        fault.release()
        assert_failed(request.wait(), "busy", "saving or migrating", "ask again")
        assert domain.chain("xvda") == chain
        assert_failed(agent.request("delete", domain="alice", name="s1"), "busy")
    assert domain.read("xvda", 0, 4096) == b"1" * 4096
    done(agent.request("delete", domain="alice", name="s1"))
    assert domain.chain("xvda") == chain[1:]
    assert not os.path.exists(chain[0][0])
    assert domain.read("xvda", 0, 4096) == b"1" * 4096


def test_also_where_a_crash_cut_the_delete_short(agent, domain):
    domain.write("xvda", 0, b"1" * 4096)
    chain = domain.chain("xvda")
    fault = domain.interpose().fault("block-commit", "hold-before")
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    agent.kill()
    domain.uninterpose()
    with saved_by_another(domain):
        agent.start()
        assert_failed(request.wait(), "busy", "saving or migrating")
        assert domain.chain("xvda") == chain
    done(agent.request("delete", domain="alice", name="s1"))
    assert domain.read("xvda", 0, 4096) == b"1" * 4096


def test_one_that_begins_before_the_overlays_are_named_leaves_none(agent, domain):
    chain = domain.chain("xvda")
    files = os.listdir(domain.world.images)
    fault = domain.interpose().fault("query-block", "hold-before")
    request = agent.submit("create", domain="alice", name="s2", memory=0)
    fault.wait_reached()
    with saved_by_another(domain):
        fault.release()
        reply = request.wait()
        assert_failed(reply, "busy", "saving or migrating")
        assert "stay" not in reply["error/message"]
    assert domain.chain("xvda") == chain
    assert os.listdir(domain.world.images) == files
    done(agent.request("create", domain="alice", name="s2", memory=0))


def test_what_one_that_begins_then_has_saved_finds_its_image(world, agent, domain):
    """Once the configuration names the overlay, what is saved may."""
    chain = domain.chain("xvda")
    agent.stop()
    agent.faults = Faults(world.folder)
    agent.start()
    agent.faults.arm(STOP_BEFORE, 1, "rename userdata-d")
    request = agent.submit("create", domain="alice", name="s2", memory=0)
    world.eventually(agent.faults.reached, what="the configuration's change")
    with saved_by_another(domain):
        agent.thaw()
        reply = request.wait()
        assert_failed(reply, "busy", "saving or migrating", "these stay")
    assert domain.chain("xvda") == chain
    assert_disk_is_on(domain, "xvda", chain[0][0])
    left = reply["error/message"].rpartition(": ")[2]
    assert image_info(left)["backing-filename"] == chain[0][0]
    os.unlink(left)
    done(agent.request("create", domain="alice", name="s2", memory=0))


def test_also_where_it_has_ended_the_domain_by_then(world, agent, domain):
    """The guest stood still for it, so that the agent had a look."""
    chain = domain.chain("xvda")
    fault = domain.interpose().fault("transaction", "hold-before")
    request = agent.submit("create", domain="alice", name="s2", memory=0)
    fault.wait_reached()
    overlay, = {name.partition(":")[2] for name in named_images(domain, "xvda")}
    with saved_by_another(domain):
        world.xen.shut_down(domain.domid, SUSPEND)
        assert_failed(agent.request("delete", domain="bob", name="s1"), "no-such-domain")
    world.remove_domain(domain)
    assert_failed(request.wait(40), "no-such-domain", "these stay", overlay)
    assert image_info(overlay)["backing-filename"] == chain[0][0]


def save_in_delete(world, agent, domain):
    """The image of an overlay that was merged just as the domain was saved, which may be
    from before that."""
    domain.write("xvda", 0, b"1" * 4096)
    over, base = (path for path, _ in domain.chain("xvda"))
    fault = domain.interpose().fault("job-finalize", "hold-before")
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    with saved_by_another(domain):
        fault.release()
        assert_failed(request.wait(), "busy", f"{over} stays")
    domain.uninterpose()
    world.remove_domain(domain)
    return over, base


def restore(world, uuid, path):
    return world.add_domain("alice", uuid=uuid, disks=[
        {"vdev": "xvda", "path": path, "format": "qcow2"}])


@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_what_is_saved_stays_whoever_asks_while_it_is_away(world, agent, domain, restarted):
    over, base = save_in_delete(world, agent, domain)
    if restarted:
        agent.restart()
    for _ in range(2):
        reply = agent.request("delete", domain=domain.uuid, name="s1")
        assert_failed(reply, "snapshot-in-use", over, base, "restore it")
    assert image_info(over)["backing-filename"] == base
    domain = restore(world, domain.uuid, over)
    done(agent.request("delete", domain="alice", name="s1"))
    assert [path for path, _ in domain.chain("xvda")] == [base]
    assert not os.path.exists(over)
    assert domain.read("xvda", 0, 4096) == b"1" * 4096


def test_or_goes_where_the_domain_is_started_on_the_other(world, agent, domain):
    over, base = save_in_delete(world, agent, domain)
    domain = restore(world, domain.uuid, base)
    done(agent.request("delete", domain="alice", name="s1"))
    assert not os.path.exists(over)
    assert domain.read("xvda", 0, 4096) == b"1" * 4096


@pytest.fixture(name="kept")
def fixture_kept(world, agent, domain):
    """The domain has been restored on it, and has written there."""
    over, base = save_in_delete(world, agent, domain)
    domain = restore(world, domain.uuid, over)
    domain.write("xvda", 65536, b"2" * 4096)
    return domain, over, base


def test_a_domain_that_is_restored_on_what_was_merged_goes_on_without_it(agent, kept):
    domain, over, base = kept
    done(agent.request("delete", domain="alice", name="s1"))
    assert [path for path, _ in domain.chain("xvda")] == [base]
    assert_disk_is_on(domain, "xvda", base)
    assert not os.path.exists(over)
    assert domain.read("xvda", 0, 4096) == b"1" * 4096
    assert domain.read("xvda", 65536, 4096) == b"2" * 4096


def test_nor_is_that_forgotten_while_it_is_off(world, agent, kept):
    domain, over, base = kept
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    assert_failed(agent.request("delete", domain=domain.uuid, name="s1"), "snapshot-in-use",
                  over, base, "start it on that")
    domain = restore(world, domain.uuid, over)
    done(agent.request("delete", domain="alice", name="s1"))
    assert [path for path, _ in domain.chain("xvda")] == [base]
    assert domain.read("xvda", 65536, 4096) == b"2" * 4096
