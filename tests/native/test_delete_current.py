# SPDX-License-Identifier: LGPL-2.1-or-later
"""A snapshot whose state is what the guest itself went on with, since a toolstack merged the
image over it and told so: whatever a delete does, that image stays, with all that the guest
wrote to it."""

import os
import subprocess

import pytest

from native.expect import assert_failed
from native.rescans import qemu_img
from test_delete import chain, create, delete, three
from test_driver_merge import fixture_alice, paths  # pylint: disable=unused-import

PLACE = 8 << 20
LAST = b"N" * 65536


def rescan(agent, **keys):
    reply = agent.request("rescan", keys.pop("keys", {}), domain="alice", **keys)
    assert reply["state"] == "done", reply


def go_on_with(agent, domain, active, state, merged=True):
    """As the documentation has it; the guest writes on."""
    rescan(agent, phase="prepare", disks="xvda")
    if merged:
        qemu_img("commit", "-q", "-d", "-f", "qcow2", active)
        os.unlink(active)
    rescan(agent, phase="complete",
           keys={"disks/xvda/path": state, "disks/xvda/format": "qcow2"})
    domain.write("xvda", PLACE, LAST)
    domain.disks["xvda"].front.flush()


def assert_written_last(path):
    answer = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-r", "-U", "-c", f"read -P {LAST[0]} {PLACE} {len(LAST)}",
         path], check=True, capture_output=True, text=True)
    assert "failed" not in answer.stdout + answer.stderr


def test_it_stays_when_the_domain_is_off(world, agent):
    domain, _ = three(world, agent, "raw")
    active, state, under, base = chain(domain)
    go_on_with(agent, domain, active, state)
    world.remove_domain(domain)
    assert delete(agent, "s3")["state"] == "done"
    assert_written_last(state)
    # Others still know it, and what lies under it is merged as ever.
    for name in "s2", "s1":
        assert delete(agent, name)["state"] == "done"
    assert [entry for entry in (active, state, under, base) if os.path.exists(entry)] == [base]
    with open(base, "rb") as file:
        file.seek(PLACE)
        assert file.read(len(LAST)) == LAST


def test_it_stays_when_its_snapshot_expires(world, agent):
    domain, _ = three(world, agent, "raw")
    create(agent, "s4", expires=5)
    active, state = chain(domain)[:2]
    go_on_with(agent, domain, active, state)
    world.remove_domain(domain)
    folder = f"/tool/xensnapd/snapshots/{domain.uuid}"
    world.eventually(lambda: "s4/name" not in world.store.tree(folder), 30, "it is gone")
    assert_written_last(state)


def test_it_stays_when_the_disk_is_unplugged(world, agent):
    """The domain's QEMU runs, and knows nothing of it."""
    domain, _ = three(world, agent, "raw")
    active, state = chain(domain)[:2]
    go_on_with(agent, domain, active, state)
    domain.unplug("xvda")
    assert delete(agent, "s3")["state"] == "done"
    assert_written_last(state)


@pytest.mark.parametrize("unplugged", [True, False], ids=["unplugged", "plugged"])
def test_another_image_stays_while_somebody_has_it_open(world, agent, unplugged):
    domain, _ = three(world, agent, "raw")
    active, state, under = chain(domain)[:3]
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", under, "-F", "qcow2", side)
    rescan(agent, disks="xvda", keys={"disks/xvda/path": side, "disks/xvda/format": "qcow2"})
    os.unlink(active)
    if unplugged:
        domain.unplug("xvda")
    with open(state, "rb"):
        assert_failed(delete(agent, "s3"), "busy", state)
        assert os.path.exists(state)
    assert delete(agent, "s3")["state"] == "done"
    assert not os.path.exists(state)
    assert os.path.exists(side)


def test_nothing_is_merged_into_it(world, agent):
    """The image over it is aside, and holds what the guest went back from."""
    domain, _ = three(world, agent, "raw")
    active, state = chain(domain)[:2]
    go_on_with(agent, domain, active, state, merged=False)
    world.remove_domain(domain)
    assert_failed(delete(agent, "s3"), "snapshot-in-use", "xvda", state, active)
    assert_written_last(state)
    os.unlink(active)
    assert delete(agent, "s3")["state"] == "done"
    assert_written_last(state)


@pytest.mark.parametrize("off", [True, False], ids=["off", "running"])
def test_it_stays_in_a_driver_domain(world, agent, alice, off):
    active, state = paths(alice)[:2]
    alice.writer.stop()
    go_on_with(agent, alice, active, state)
    if off:
        world.remove_domain(alice)
    assert delete(agent, "s2")["state"] == "done"
    assert_written_last(state)


# -- merged by hand while the domain is off, and nobody was told --------------------------


def merge_by_hand(active):
    qemu_img("commit", "-q", "-d", "-f", "qcow2", active)
    os.unlink(active)


def test_a_state_stays_whose_overlay_is_gone(world, agent):
    domain, _ = three(world, agent, "raw")
    domain.write("xvda", PLACE, LAST)
    domain.disks["xvda"].front.flush()
    active, state, under, base = chain(domain)
    world.remove_domain(domain)
    merge_by_hand(active)
    assert delete(agent, "s3")["state"] == "done"
    assert_written_last(state)
    for name in "s2", "s1":
        assert delete(agent, name)["state"] == "done"
    assert [entry for entry in (state, under, base) if os.path.exists(entry)] == [base]


def test_a_state_stays_in_a_driver_domain_whose_overlay_is_gone(world, agent, alice):
    active, state = paths(alice)[:2]
    alice.writer.stop()
    alice.write("xvda", PLACE, LAST)
    alice.disks["xvda"].front.flush()
    world.remove_domain(alice)
    merge_by_hand(active)
    assert delete(agent, "s2")["state"] == "done"
    assert_written_last(state)


def test_one_that_somebody_started_the_domain_on_is_known_after_a_rescan(world, agent):
    """QEMU had it open before: that nothing has changed there says nothing of the records."""
    domain, _ = three(world, agent, "raw")
    active, state, *_ = chain(domain)
    uuid = domain.uuid
    world.remove_domain(domain)
    domain = world.add_domain("alice", uuid=uuid,
                              disks=[{"vdev": "xvda", "format": "qcow2", "path": state}])
    rescan(agent, disks="xvda")
    domain.write("xvda", PLACE, LAST)
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    assert_failed(delete(agent, "s3"), "snapshot-in-use", active)
    assert os.path.exists(active)
    assert_written_last(state)
