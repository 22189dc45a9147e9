# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an agent that died left of a live merge in QEMU, and the next one's delete."""

import os

import pytest

from native.expect import assert_disk_is_on, assert_failed, assert_works, merge_job_id, \
    named_images
from native.merges import chain, delete, kill_at, nodes_of, reboot, three, two, unflushable, write

LARGE = 4 << 20


def leave_job(world, agent):
    """That of the delete of s2, of an agent that died; gives the request."""
    domain, state, _ = two(world, agent)
    assert agent.request("create", domain="alice", name="s2", memory=0)["state"] == "done"
    write(domain, b"2")
    fault = domain.interpose().fault("block-commit", "hold-after")
    request = agent.submit("delete", domain="alice", name="s2")
    fault.wait_reached()
    agent.kill()
    domain.uninterpose()
    job, = domain.qmp("query-jobs")
    assert job["id"] == merge_job_id("xvda", state)
    return domain, request


def cancel_in_plan(agent, domain, request):
    fault = domain.interpose().fault("query-named-block-nodes", "hold-before")
    agent.start()
    fault.wait_reached()
    request.cancel()
    agent.request("explode", domain="alice")  # what was asked before has been read
    fault.release()
    assert_failed(request.wait(), "cancelled")
    domain.uninterpose()


def refuse_graph(agent, domain, request):
    domain.interpose().fault("query-block", "error", description="not this time")
    agent.start()
    assert_failed(request.wait(), "qmp-error", "not this time")
    domain.uninterpose()


@pytest.mark.parametrize("how", [cancel_in_plan, refuse_graph])
def test_a_job_that_was_left_does_not_outlive_a_delete_that_is_given_up(world, agent, how):
    domain, request = leave_job(world, agent)
    images = chain(domain)
    how(agent, domain, request)
    assert domain.qmp("query-jobs") == []
    assert chain(domain) == images
    assert_disk_is_on(domain, "xvda", images[0])
    assert_works(domain, "xvda")
    assert agent.request("create", domain="alice", name="s3", memory=0)["state"] == "done"
    for name in ("s3", "s2", "s1"):
        assert delete(agent, name)["state"] == "done"
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_what_a_switch_that_failed_left_named_is_put_right_by_a_delete_that_is_given_up(
        world, agent):
    """A reboot must find the image in use."""
    domain, over, base = two(world, agent)
    request = kill_at(agent, domain, "job-finalize", "hold-before", guardian=True)
    domain.qmp("job-cancel", id=merge_job_id("xvda", base))
    write(domain, b"2")
    assert named_images(domain, "xvda") == {f"qcow2:{base}"}
    cancel_in_plan(agent, domain, request)
    assert_disk_is_on(domain, "xvda", over)
    domain = reboot(world, domain)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096
    assert delete(agent, "s1")["state"] == "done"
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_a_job_that_waits_for_its_end_does_not_outlive_a_delete_that_is_given_up(world, agent):
    """And if QEMU cannot be asked, that is said."""
    domain, over, _ = two(world, agent)
    request = kill_at(agent, domain, "job-complete", "hold-after", guardian=True)
    world.eventually(lambda: domain.qmp("query-jobs")[0]["status"] == "pending")
    cancel_in_plan(agent, domain, request)
    assert domain.qmp("query-jobs") == []
    assert_disk_is_on(domain, "xvda", over)
    write(domain, b"2")
    domain.interpose().silent = True
    agent.configure("timeouts", qmp_greeting="300ms")
    agent.restart()
    assert_failed(delete(agent, "s1"), "qmp-error", "what an earlier merge left in QEMU")
    domain.uninterpose()
    assert delete(agent, "s1")["state"] == "done"
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_the_merge_of_another_snapshot_is_not_followed(world, agent):
    """One that an agent which died had begun, and whose note is lost."""
    domain, request = leave_job(world, agent)
    images = chain(domain)
    journal = f"{agent.settings['store']['folder']}/journal"
    for note in os.listdir(journal):
        os.unlink(f"{journal}/{note}")
    agent.start()
    assert_failed(request.wait(), "interrupted")
    assert_failed(delete(agent, "s1"), "busy", "an earlier xensnapd began",
                  "delete that one again")
    assert chain(domain) == images
    assert_disk_is_on(domain, "xvda", images[0])
    for name in ("s2", "s1"):
        assert delete(agent, name)["state"] == "done"
    assert_disk_is_on(domain, "xvda", images[-1])
    assert domain.read("xvda", 0, 4096) == b"2" * 4096
    assert domain.read("xvda", 65536, 4096) == b"1" * 4096


# -- another way than is planned now -----------------------------------------

def begin_job(domain, command, place):
    """As an earlier agent did: of the image at that place in the chain and the one
    under it.  Slowly, so that it does not change what is planned."""
    images = chain(domain)
    nodes = nodes_of(domain.qmp)
    over, state, below = (nodes[path] for path in images[place:place + 3])
    job = {"job_id": merge_job_id("xvda", images[place + 1]), "auto_finalize": False, "speed": 1}
    if command == "block-stream":
        domain.qmp(command, device=over, base_node=below, backing_file=images[place + 2], **job)
    else:
        domain.qmp(command, device=nodes[images[0]], top_node=over, base_node=state,
                   auto_dismiss=False, **job)


def delete_behind_plan(agent, domain, name):
    """The job gets its speed back once it is planned what to do."""
    relay = domain.interpose()
    fault = relay.fault("query-jobs", "hold-before")
    request = agent.submit("delete", domain="alice", name=name)
    fault.wait_reached()
    job, = domain.qmp("query-jobs")
    domain.qmp("block-job-set-speed", device=job["id"], speed=0)
    fault.release()
    reply = request.wait()
    assert not [sent for sent in relay.commands if sent["execute"].startswith("block-")]
    domain.uninterpose()
    return reply


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("large, name, command, place, flushed", [
    ("s2", "s3", "block-stream", 0, 0),  # planned: commits of the active image ...
    ("s1", "s2", "block-stream", 1, 1),  # ... and of a lower one
    ("s2", "s2", "block-commit", 1, 2),  # a stream
])
def test_a_job_of_the_other_way_is_flushed_as_what_it_is(world, agent, large, name, command,
                                                        place, flushed, fails):
    """Before a header stops naming the image that was copied from."""
    domain = three(world, agent, large, LARGE)
    images = chain(domain)
    begin_job(domain, command, place)
    with unflushable(images[flushed] if fails else "/nothing"):
        reply = delete_behind_plan(agent, domain, name)
    assert domain.qmp("query-jobs") == []
    if fails:
        assert_failed(reply, "qmp-error", "Input/output error")
        assert chain(domain) == images
        assert_disk_is_on(domain, "xvda", images[0])
        return
    assert reply["state"] == "done", reply
    gone = place + 1 if command == "block-stream" else place
    assert chain(domain) == [path for path in images if path != images[gone]]
    assert not os.path.exists(images[gone])
    assert_disk_is_on(domain, "xvda", chain(domain)[0])
    for other in {"s1", "s2", "s3"} - {name}:
        assert delete(agent, other)["state"] == "done"
    for n in range(4):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096
    assert domain.read("xvda", 8 << 20, 4096) == b"x" * 4096


def test_a_commit_of_the_active_image_is_followed_where_a_stream_is_planned(world, agent):
    domain = three(world, agent, "s3", LARGE)
    images = chain(domain)
    begin_job(domain, "block-commit", 0)
    assert delete_behind_plan(agent, domain, "s3")["state"] == "done"
    assert chain(domain) == images[1:]
    assert not os.path.exists(images[0])
    assert_disk_is_on(domain, "xvda", images[1])
    assert domain.read("xvda", 3 * 65536, 4096) == b"3" * 4096
    assert_works(domain, "xvda")
