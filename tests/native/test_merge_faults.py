# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults at the end of a live merge, when all is copied and the image that it was
copied from is about to be let go."""

import fcntl
import os

import pytest

from native.expect import assert_disk_is_on, assert_failed, assert_works, merge_job_id, \
    named_images
from native.merges import chain, content, delete, forget_merged, kill_at, reboot, record_path, \
    three, two, unflushable, write
from native.rescans import qemu_img


def assert_as_before(domain, images):
    assert domain.qmp("query-jobs") == []
    assert chain(domain) == images
    assert all(os.path.exists(path) for path in images)
    assert_disk_is_on(domain, "xvda", images[0])
    for n in range(4):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096
    assert_works(domain, "xvda")


# -- the flush --------------------------------------------------------------

@pytest.mark.parametrize("name, command", [("s2", "block-commit"), ("s3", "block-stream")])
def test_a_refused_flush_gives_the_merge_up(world, agent, name, command):
    domain = three(world, agent)
    images = chain(domain)
    relay = domain.interpose()
    relay.fault("human-monitor-command", "error", description="not this time")
    assert_failed(delete(agent, name), "qmp-error", "not this time", "delete the snapshot again")
    assert command in [sent["execute"] for sent in relay.commands]
    assert_as_before(domain, images)
    assert delete(agent, name)["state"] == "done"
    assert len(chain(domain)) == 3


@pytest.mark.parametrize("name, written", [("s2", 2), ("s3", 0)])
def test_a_flush_that_fails_is_noticed(world, agent, name, written):
    """QEMU itself says nothing about it to whoever asks it to flush."""
    domain = three(world, agent)
    images = chain(domain)
    with unflushable(images[written]):
        assert_failed(delete(agent, name), "qmp-error", "Input/output error")
    assert_as_before(domain, images)


# -- the switch -------------------------------------------------------------

def assert_next_agent_keeps_what_it_writes(world, agent, request, domain, base, stays):
    """`stays`: the domain, until that agent has ended the delete."""
    write(domain, b"3")
    if not stays:
        world.remove_domain(domain)
    agent.start()
    assert request.wait()["state"] == "done"
    if stays:
        assert_disk_is_on(domain, "xvda", base)
        world.remove_domain(domain)
    assert content(base, 0) == b"3" * 4096
    assert content(base, 65536) == b"1" * 4096


@pytest.mark.parametrize("kind, guardian", [("hold-before", False), ("hold-before", True),
                                            ("hold-after", True)])
@pytest.mark.parametrize("stays", [True, False])
def test_a_domain_that_reboots_without_an_agent_finds_what_it_wrote(world, agent, kind, guardian,
                                                                   stays):
    domain, over, base = two(world, agent)
    request = kill_at(agent, domain, "job-finalize", kind, guardian)
    newest = b"1"
    if kind == "hold-after" or not guardian:
        world.eventually(lambda: chain(domain) == [base])
        write(domain, newest := b"2")
    domain = reboot(world, domain)
    assert domain.read("xvda", 0, 4096) == newest * 4096
    assert_next_agent_keeps_what_it_writes(world, agent, request, domain, base, stays)
    assert not os.path.exists(over)


@pytest.mark.parametrize("goes_on_with_base", [True, False])
@pytest.mark.parametrize("stays", [True, False])
def test_of_two_images_the_one_that_was_used_since_is_the_newer(world, agent, goes_on_with_base,
                                                               stays):
    """The agent dies just before or just after it changes the configuration."""
    domain, over, base = two(world, agent)
    request = kill_at(agent, domain, "job-finalize", "hold-before", guardian=True)
    forget_merged(agent, domain)
    domain = reboot(world, domain, base if goes_on_with_base else over)
    assert_next_agent_keeps_what_it_writes(world, agent, request, domain, base, stays)
    assert not os.path.exists(over)


@pytest.mark.parametrize("dies", [True, False])
def test_a_reboot_that_read_the_configuration_before_the_switch_keeps_its_writes(world, agent,
                                                                                dies):
    """The domain is made anew on the image that the record says is merged, writes, and
    ends: the next delete must not take the record's word for it."""
    domain, over, base = two(world, agent)
    assert named_images(domain, "xvda") == {f"qcow2:{over}"}
    if dies:
        request = kill_at(agent, domain, "job-finalize", "hold-before", guardian=True)
    else:
        fault = domain.interpose().fault("job-finalize", "hold-before")
        request = agent.submit("delete", domain="alice", name="s1")
        fault.wait_reached()
        domain.kill_qemu()
    with open(record_path(agent, domain), "rb") as file:
        assert b"merged: " in file.read()
    domain = reboot(world, domain, over)
    write(domain, b"2")
    if not dies:
        assert request.wait()["state"] == "failed"
    world.remove_domain(domain)
    if dies:
        agent.start()
        assert request.wait()["state"] == "done"
    else:
        reply = agent.request("delete", domain=domain.uuid, name="s1")
        assert reply["state"] == "done", reply
    assert not os.path.exists(over)
    assert content(base, 0) == b"2" * 4096
    assert content(base, 65536) == b"1" * 4096


def test_a_switch_that_fails_leaves_everything_on_the_old_image(world, agent):
    domain, over, base = two(world, agent)
    fault = domain.interpose().fault("job-finalize", "hold-before")
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    assert named_images(domain, "xvda") == {f"qcow2:{base}"}
    domain.qmp("job-cancel", id=merge_job_id("xvda", base))
    fault.release()
    assert_failed(request.wait(), "qmp-error", over)
    assert_disk_is_on(domain, "xvda", over)
    assert domain.qmp("query-jobs") == []
    with open(record_path(agent, domain), "rb") as file:
        assert b"copied: " not in file.read()
    write(domain, b"2")
    assert delete(agent, "s1")["state"] == "done"
    assert_disk_is_on(domain, "xvda", base)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_a_switch_that_failed_while_no_agent_looked_is_put_right_first(world, agent):
    """Until the next merge is through, a reboot must find the image in use."""
    domain, over, base = two(world, agent)
    request = kill_at(agent, domain, "job-finalize", "hold-before", guardian=True)
    domain.qmp("job-cancel", id=merge_job_id("xvda", base))
    write(domain, b"2")
    fault = domain.interpose().fault("block-commit", "hold-before")
    agent.start()
    fault.wait_reached()
    assert_disk_is_on(domain, "xvda", over)
    fault.release()
    assert request.wait()["state"] == "done"
    assert_disk_is_on(domain, "xvda", base)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_libxls_lock_is_not_waited_for_long_while_the_guest_waits(world, agent):
    domain, over, base = two(world, agent)
    lock_path = f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}.domain-userdata-lock"
    with open(lock_path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_failed(delete(agent, "s1"), "busy", "libxl's lock")
    assert_disk_is_on(domain, "xvda", over)
    assert domain.qmp("query-jobs") == []
    write(domain, b"2")
    assert delete(agent, "s1")["state"] == "done"
    assert_disk_is_on(domain, "xvda", base)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


# -- without QEMU -----------------------------------------------------------

@pytest.fixture(name="deadly")
def fixture_deadly(world, agent_stopped, monkeypatch):
    """Makes the next `qemu-img rebase` die when it has changed the header, and not
    yet written where the copied data are."""
    folder, flag = f"{world.folder}/bin", f"{world.folder}/deadly"
    os.makedirs(folder)
    with open(f"{folder}/qemu-img", "w", encoding="ascii") as file:
        file.write(f"""#!/bin/sh
if [ "$1" = rebase ] && rm "{flag}" 2>/dev/null; then
    export LD_PRELOAD={world.shims}/header_shim.so
fi
PATH=${{PATH#*:}} exec qemu-img "$@"
""")
    os.chmod(f"{folder}/qemu-img", 0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    agent_stopped.start()
    return flag


@pytest.mark.parametrize("killed", [True, False])
def test_a_qemu_img_that_is_killed_behind_the_header_loses_nothing(world, deadly, agent_stopped,
                                                                  killed):
    agent = agent_stopped
    domain = three(world, agent)
    active, small = chain(domain)[:2]
    world.remove_domain(domain)
    if killed:
        with open(deadly, "w", encoding="ascii"):
            pass
        assert_failed(delete(agent, "s3"), "store-error", "qemu-img")
        assert not os.path.exists(deadly) and os.path.exists(small)
    assert delete(agent, "s3")["state"] == "done"
    assert not os.path.exists(small)
    for n in range(4):
        assert content(active, n * 65536) == str(n).encode() * 4096
    assert content(active, 8 << 20) == b"x" * 4096


def test_a_rescan_after_that_loses_nothing_either(world, deadly, agent_stopped):
    """The header of the image that was copied into no longer tells what that lacks."""
    agent = agent_stopped
    domain = three(world, agent)
    active, small, under = chain(domain)[:3]
    world.remove_domain(domain)
    with open(deadly, "w", encoding="ascii"):
        pass
    assert_failed(delete(agent, "s3"), "store-error", "qemu-img")
    # As an agent leaves it that is killed as well.
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", under, "-F", "qcow2", active)
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "format": "qcow2", "path": active}])
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", active, "-F", "qcow2", side)
    reply = agent.request("rescan", {"disks/xvda/path": side, "disks/xvda/format": "qcow2"},
                          domain="alice", disks="xvda")
    assert reply["state"] == "done", reply
    assert_failed(delete(agent, "s3"), "snapshot-in-use", active, "shut the domain down")
    assert os.path.exists(small)
    world.remove_domain(domain)
    assert delete(agent, "s3")["state"] == "done"
    assert not os.path.exists(small)
    for n in range(4):
        assert content(active, n * 65536) == str(n).encode() * 4096
