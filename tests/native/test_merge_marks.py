# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain that ended in the middle of a live merge: to which of both images it wrote
last is not told by clocks, which jump, or are too coarse."""

import os

import pytest

from native.expect import assert_disk_is_on, assert_failed
from native.merges import (chain, content, forget_merged, kill_at, reboot, two, unflushable,
                           write)


def begin(world, agent, noted="merged"):
    """The agent dies when the guest is about to go on with the other image."""
    domain, over, base = two(world, agent)
    request = kill_at(agent, domain, "job-finalize", "hold-before", guardian=True)
    if noted == "copied":
        forget_merged(agent, domain)
    return domain, over, base, request


def run_on(world, domain, path, byte):
    """It is made anew on that image, writes, and ends."""
    domain = reboot(world, domain, path)
    write(domain, byte)
    world.remove_domain(domain)
    return domain


@pytest.mark.parametrize("noted", ["copied", "merged"])
@pytest.mark.parametrize("goes_on_with_base", [True, False])
def test_a_clock_that_was_set_back_does_not_lose_what_was_written_last(world, agent, noted,
                                                                      goes_on_with_base):
    domain, over, base, request = begin(world, agent, noted)
    long_ago = os.stat(base).st_ctime - 3600
    used = base if goes_on_with_base else over
    run_on(world, domain, used, b"3")
    os.utime(used, (long_ago, long_ago))
    agent.start()
    assert request.wait()["state"] == "done"
    assert not os.path.exists(over)
    assert content(base, 0) == b"3" * 4096
    assert content(base, 65536) == b"1" * 4096


@pytest.mark.parametrize("noted", ["copied", "merged"])
def test_where_both_images_were_written_to_nothing_is_merged(world, agent, noted):
    domain, over, base, request = begin(world, agent, noted)
    run_on(world, domain, over, b"2")
    domain = run_on(world, domain, base, b"3")
    agent.start()
    assert_failed(request.wait(), "snapshot-in-use", over, base, "nobody but you can tell")
    assert content(over, 0) == b"2" * 4096
    assert content(base, 0) == b"3" * 4096
    # As the message says.
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "format": "qcow2", "path": base}])
    reply = agent.request("delete", domain="alice", name="s1")
    assert reply["state"] == "done", reply
    assert not os.path.exists(over)
    assert_disk_is_on(domain, "xvda", base)
    assert domain.read("xvda", 0, 4096) == b"3" * 4096


def test_what_qemu_still_has_to_write_is_written_before_the_switch(world, agent):
    """Or it would be on closing the image that is left, as if a guest had written."""
    domain, over, base = two(world, agent)
    for place in range(1, 33):
        domain.write("xvda", place << 20, b"1" * 4096)
    request = kill_at(agent, domain, "job-finalize", "hold-after", guardian=True)
    world.eventually(lambda: chain(domain) == [base])
    write(domain, b"2")
    assert over not in domain.open_files()
    world.remove_domain(domain)
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert not os.path.exists(over)
    assert content(base, 0) == b"2" * 4096
    assert content(base, 32 << 20) == b"1" * 4096


def test_the_image_that_goes_need_not_be_sound(world, agent):
    domain, over, base = two(world, agent)
    with unflushable(over):
        assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert chain(domain) == [base]
    assert domain.read("xvda", 65536, 4096) == b"1" * 4096


def test_no_image_keeps_its_mark(world, agent):
    domain, _, base = two(world, agent)
    before = os.stat(base).st_mtime
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert os.stat(base).st_mtime >= before
    assert chain(domain) == [base]
