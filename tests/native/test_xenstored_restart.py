# SPDX-License-Identifier: LGPL-2.1-or-later
"""xenstored crashes and comes back without what it held."""

import os

import pytest

from native.agent import FINAL, ROOT
from native.expect import Picture, assert_disk_is_on, files_below


def submit(agent, name="s1", **more):
    return agent.submit("create", domain="web", name=name, memory=0, **more)


def wait_served(agent):
    """The agent has found the new xenstored."""
    agent.wait_ready()


def test_an_idle_agent_serves_on(world, agent):
    domain = world.add_domain("web")
    assert submit(agent).wait()["state"] == "done"
    before = world.store.tree(f"{ROOT}/snapshots")
    pid = agent.process.pid
    world.restart_xenstored()
    wait_served(agent)
    assert agent.process.pid == pid
    assert world.store.tree(f"{ROOT}/snapshots") == before
    assert world.store.read(f"{ROOT}/status/protocol") == "1"
    domain.disks["xvda"].path = domain.chain("xvda")[0][0]
    domain.reintroduce()
    reply = submit(agent, "s2").wait()
    assert reply["state"] == "done", reply
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])


def test_it_is_found_again_each_time(world, agent):
    world.add_domain("web", disks=[])
    counts = []
    for index in range(4):
        world.restart_xenstored()
        wait_served(agent)
        # An id from before is free again: nothing is known of it.
        reply = submit(agent, f"s{index}", id="same").wait()
        assert reply["error/code"] == "no-such-disk", reply
        counts.append(agent.descriptor_count())
    # The first round opens what is only opened when it is needed.
    assert len(set(counts[1:])) == 1


def test_an_agent_does_not_start_without_xenstored(world, agent_stopped):
    """It says why, and leaves it to the service manager to try again."""
    agent = agent_stopped
    world.kill_xenstored()
    agent.start(ready=False)
    assert agent.wait_exit() == 1
    assert "cannot connect to xenstore" in agent.log_text()
    world.start_xenstored()
    agent.start()


def test_it_can_be_told_to_end_without_xenstored(world, agent):
    world.kill_xenstored()
    agent.wait_log("xenstored has gone")
    assert agent.stop() == 0
    world.start_xenstored()


@pytest.mark.parametrize("command", ["query-block", "transaction"])
def test_what_runs_ends_one_way_or_the_other(world, agent, command):
    """The request is gone with the store; the snapshot is there whole, or
    not at all."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    fault = domain.interpose().fault(command, "hold-before")
    submit(agent)
    fault.wait_reached()
    world.restart_xenstored()
    wait_served(agent)
    fault.release()
    # The next one of the domain waits for its end.
    reply = submit(agent, "s2", id="next").wait()
    records = os.listdir(f"{agent.settings['store']['folder']}/snapshots")
    assert world.store.ls(f"{ROOT}/requests") == ["next"]
    published = world.store.ls(f"{ROOT}/snapshots/{domain.uuid}")
    if "s1" in published:
        assert records == [domain.uuid]
        for vdev in domain.disks:
            assert f"{vdev}.s1." in str(domain.chain(vdev))
    else:
        for vdev in domain.disks:
            assert f"{vdev}.s1." not in str(domain.chain(vdev))
        if reply["state"] == "failed":
            picture.assert_same()
    for vdev in domain.disks:
        stored, = [disk["pdev_path"]
                   for disk in domain.stored_config()["disks"]
                   if disk["vdev"] == vdev]
        assert stored == domain.chain(vdev)[0][0]


def test_a_request_right_after_the_restart_is_served(world, agent):
    """Also while an operation from before is still at work."""
    slow = world.add_domain("slow")
    world.add_domain("web")
    fault = slow.interpose().fault("transaction", "hold-before")
    agent.submit("create", domain="slow", name="s1", memory=0)
    fault.wait_reached()
    world.restart_xenstored()
    wait_served(agent)
    request = submit(agent, id="early")
    world.eventually(lambda: request.state() is not None, 10, "an answer")
    fault.release()
    reply = request.wait()
    assert reply["state"] == "done", reply


def test_what_waited_is_forgotten(world, agent):
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    submit(agent)
    fault.wait_reached()
    submit(agent, "s2").wait_state("queued")
    world.restart_xenstored()
    wait_served(agent)
    fault.release()
    reply = submit(agent, "s3", id="third").wait()
    assert reply["state"] in FINAL
    assert "s2" not in str(domain.chain("xvda"))


@pytest.mark.parametrize("kind", ["hold-before", "hold-after"])
def test_the_agent_and_xenstored_die_in_a_create(world, agent, kind):
    """The domain runs on, unknown to the new xenstored, and all is put right in the
    stored configuration, which is a file."""
    domain = world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "raw")])
    files, config = files_below(world.images), domain.stored_config()
    before = {vdev: domain.chain(vdev) for vdev in domain.disks}
    fault = domain.interpose().fault("transaction", kind)
    submit(agent)
    fault.wait_reached()
    for vdev, disk in domain.disks.items():
        domain.write(vdev, 0, b"n" * 4096)
        disk.front.flush()
    agent.kill()
    world.kill_xenstored()
    domain.uninterpose()
    world.start_xenstored()
    agent.start()
    journal = f"{agent.settings['store']['folder']}/journal"
    world.eventually(lambda: os.listdir(journal) == [], 30, "no note is left")
    assert {vdev: domain.chain(vdev) for vdev in domain.disks} == before
    assert domain.stored_config() == config
    assert files_below(world.images) == files
    domain.reintroduce()
    reply = submit(agent, "s2").wait()
    assert reply["state"] == "done", reply
    for vdev in domain.disks:
        assert_disk_is_on(domain, vdev, reply[f"result/disks/{vdev}/path"])
        assert domain.read(vdev, 0, 4096) == b"n" * 4096
