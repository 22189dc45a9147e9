# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain that somebody ran on a snapshot's state, by a file that still names that, and
of which nobody told: nothing is merged over what it wrote there. What we or a toolstack
that tells do to such images is no stray write."""

import itertools
import os
import subprocess

import pytest

from native.domain import Disk
from native.expect import assert_failed, merge_job_id
from native.faults import KILL_BEFORE, Faults
from native.guardians import kill_with_guardian
from native.held import Held
from native.merges import chain, commit_slowly, content, delete, nodes_of, reboot, \
    record_path, two, write


@pytest.fixture(name="held")
def fixture_held(request, world, tmp_path):
    """The first qemu-img of that command; before the agent, which is to find it."""
    return Held(world, tmp_path, *request.param)


def hold(command, when):
    return pytest.mark.parametrize("held", [(command, when)], indirect=True, ids=[command])


def run_on(world, domain, path, byte):
    """As `xl create` does with a file of before the snapshot; and off again."""
    domain = reboot(world, domain, path)
    write(domain, byte)
    world.remove_domain(domain)
    return domain


def ask_offline(agent, domain, name="s1"):
    return agent.request("delete", domain=domain.uuid, name=name)


@pytest.mark.parametrize("agent_runs", [True, False])
def test_what_was_written_on_the_state_is_not_merged_over(world, agent, agent_runs):
    domain, over, base = two(world, agent)
    if not agent_runs:
        agent.stop()
    domain = run_on(world, domain, base, b"2")
    if not agent_runs:
        agent.start()
    assert_failed(ask_offline(agent, domain), "snapshot-in-use", base, over, "was written to")
    assert content(base, 0) == b"2" * 4096
    assert content(over, 0) == b"1" * 4096
    # Started on what it was on, that is what counts.
    domain = reboot(world, domain, over)
    assert delete(agent, "s1")["state"] == "done"
    assert domain.read("xvda", 0, 4096) == b"1" * 4096


def test_what_was_written_on_the_state_is_not_copied_over_it(world, agent):
    """The state holds less than the image over it, so it would go."""
    domain, _, _ = two(world, agent)
    reply = agent.request("create", domain="alice", name="s2", memory=0)
    assert reply["state"] == "done", reply
    write(domain, b"3" * 256)
    over, state, _ = chain(domain)
    domain = run_on(world, domain, state, b"2")
    assert_failed(ask_offline(agent, domain, "s2"), "snapshot-in-use", state, over)
    assert content(state, 0) == b"2" * 4096


def test_a_state_that_was_written_to_is_not_removed(world, agent):
    """Though nothing lies over it any more."""
    domain, over, base = two(world, agent)
    reply = agent.request("create", domain="alice", name="s2", memory=0)
    assert reply["state"] == "done", reply
    domain = run_on(world, domain, over, b"2")
    os.unlink(reply["result/disks/xvda/path"])
    reply = ask_offline(agent, domain, "s2")
    assert os.path.exists(over) and content(over, 0) == b"2" * 4096, reply
    assert os.path.exists(base)


def several(world, agent, large=None):
    """Snapshots s1, s2 and s3; content 0 to 3 at 64 KiB each; much more in one image."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    for n in range(4):
        domain.write("xvda", n * 65536, b"%d" % n * 4096)
        if n == large:
            domain.write("xvda", 8 << 20, b"x" * (4 << 20))
        domain.disks["xvda"].front.flush()
        if n < 3:
            reply = agent.request("create", domain="alice", name=f"s{n + 1}", memory=0)
            assert reply["state"] == "done", reply
    return domain


def assert_all(path):
    for n in range(4):
        assert content(path, n * 65536) == b"%d" % n * 4096


@pytest.mark.parametrize("order", itertools.permutations(("s1", "s2", "s3")), ids="-".join)
@pytest.mark.parametrize("live", [1, 2])
def test_what_earlier_deletes_changed_hinders_none(world, agent, order, live):
    """Whichever way they went: live, and then with the domain off."""
    domain = several(world, agent)
    for name in order[:live]:
        assert delete(agent, name)["state"] == "done"
    top = chain(domain)[0]
    world.remove_domain(domain)
    for name in order[live:]:
        reply = ask_offline(agent, domain, name)
        assert reply["state"] == "done", reply
    left, = [f"{world.images}/{name}" for name in os.listdir(world.images)]
    assert left == top or not os.path.exists(top)
    assert_all(left)


def larger_over(world, agent):
    """Snapshots s1 to s3, the image over s2's state holding much more than that."""
    domain = several(world, agent)
    top, third, second, _ = chain(domain)
    assert delete(agent, "s3")["state"] == "done"
    left = chain(domain)[0]
    assert left in (top, third)
    domain.write("xvda", 8 << 20, b"x" * (4 << 20))
    domain.disks["xvda"].front.flush()
    reply = agent.request("create", domain="alice", name="s3", memory=0)
    assert reply["state"] == "done", reply
    return domain, left, second


def test_what_a_copy_changed_that_the_agents_end_cut_short_hinders_none(world, agent_stopped):
    """The image over the state is copied into, and holds the next one."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain, over, state = larger_over(world, agent)
    agent.faults.arm(KILL_BEFORE, 1, "make .tmp-s3")
    request = agent.submit("delete", domain="alice", name="s2")
    agent.process.wait(20)
    agent.faults.disarm()
    agent.start()
    assert request.wait()["state"] == "done"
    assert over in chain(domain) and not os.path.exists(state)
    world.remove_domain(domain)
    reply = ask_offline(agent, domain, "s3")
    assert reply["state"] == "done", reply


@pytest.mark.parametrize("point", [1, 2])
def test_a_header_that_was_changed_as_the_agent_died_hinders_none(world, agent_stopped, point):
    """It died before each change of the record of the one whose state that image holds."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = several(world, agent, large=0)
    world.remove_domain(domain)
    agent.faults.arm(KILL_BEFORE, point, "make .tmp-s3")
    request = agent.submit("delete", domain=domain.uuid, name="s1")
    agent.process.wait(20)
    agent.faults.disarm()
    agent.start()
    assert request.wait()["state"] == "done"
    reply = ask_offline(agent, domain, "s3")
    assert reply["state"] == "done", reply


def test_a_copy_that_was_called_off_hinders_none(world, agent):
    domain, over, state = larger_over(world, agent)
    nodes = nodes_of(domain.qmp)
    # Found and taken up as the delete's own, it does not come to its end.
    domain.qmp("block-stream", job_id=merge_job_id("xvda", state), device=nodes[over],
               base_node=nodes[chain(domain)[-1]], auto_finalize=False, auto_dismiss=True,
               speed=65536)
    request = agent.submit("delete", domain="alice", name="s2")
    world.eventually(lambda: "bytes-done" in request.output(), 10, "it is copied")
    world.eventually(lambda: domain.qmp("query-block-jobs")[0]["offset"] > 0, 10)
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    world.remove_domain(domain)
    for name in ("s3", "s2"):
        reply = ask_offline(agent, domain, name)
        assert reply["state"] == "done", reply


def test_what_a_toolstack_tells_of_hinders_none(world, agent):
    """It commits one image, and moves another."""
    domain = several(world, agent)
    top, third, second, base = chain(domain)
    reply = agent.request("rescan", {"phase": "prepare"}, domain="alice")
    assert reply["state"] == "done", reply
    subprocess.run(["qemu-img", "commit", "-q", "-f", "qcow2", second], check=True)
    subprocess.run(["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2",
                    third], check=True)
    os.unlink(second)
    reply = agent.request("rescan", {"phase": "complete"}, domain="alice")
    assert reply["state"] == "done", reply
    assert chain(domain) == [top, third, base]
    world.remove_domain(domain)
    for name in ("s3", "s2", "s1"):
        reply = ask_offline(agent, domain, name)
        assert reply["state"] == "done", reply
    assert not os.path.exists(top) and not os.path.exists(third)
    assert_all(base)


def move_under_a_branch(world, agent, domain):
    """A toolstack moves the base while the domain runs beside its snapshots, and tells.
    The image over the moved one that is not in the domain's chain."""
    _, _, second, base = chain(domain)
    aside, moved = f"{world.images}/aside.qcow2", f"{world.images}/moved.qcow2"
    over = ["-b", base, "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, aside], check=True)
    domain = reboot(world, domain, aside)
    for phase in ("prepare", "complete"):
        reply = agent.request("rescan", {"phase": phase}, domain="alice")
        assert reply["state"] == "done", reply
    reply = agent.request("rescan", {"phase": "prepare"}, domain="alice")
    assert reply["state"] == "done", reply
    os.rename(base, moved)
    for image in (aside, second):
        subprocess.run(["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", moved, "-F",
                        "qcow2", image], check=True)
    reply = agent.request("rescan", {"phase": "complete"}, domain="alice")
    assert reply["state"] == "done", reply
    assert chain(domain) == [aside, moved]
    world.remove_domain(domain)
    return second


def test_a_branch_that_a_toolstack_moves_hinders_none(world, agent):
    domain = several(world, agent)
    move_under_a_branch(world, agent, domain)
    reply = ask_offline(agent, domain, "s2")
    assert reply["state"] == "done", reply


def test_a_stray_write_is_still_one_where_a_toolstack_moves_its_branch(world, agent):
    domain = several(world, agent)
    top, _, second, _ = chain(domain)
    run_on(world, domain, second, b"n")
    domain = reboot(world, domain, top)
    move_under_a_branch(world, agent, domain)
    assert_refused(agent, domain, "s2", second, b"n")


def test_a_time_of_full_seconds_is_as_good(world, agent):
    """Of files that were moved by a program that keeps no more of it."""
    domain, over, base = two(world, agent)
    world.remove_domain(domain)
    seconds = os.stat(base).st_mtime_ns // 10 ** 9
    os.utime(base, ns=(seconds * 10 ** 9, seconds * 10 ** 9))
    assert ask_offline(agent, domain)["state"] == "done"
    assert not os.path.exists(over)
    assert content(base, 0) == b"1" * 4096


def test_an_internal_snapshot_that_was_removed_from_the_state_hinders_none(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    write(domain, b"0")
    for name, keys in (("inner", {"disks/xvda/external": 0}), ("outer", {})):
        reply = agent.request("create", keys, domain="alice", name=name, memory=0)
        assert reply["state"] == "done", reply
    base = chain(domain)[-1]
    write(domain, b"1")
    world.remove_domain(domain)
    for name in ("inner", "outer"):
        assert ask_offline(agent, domain, name)["state"] == "done"
    assert content(base, 0) == b"1" * 4096


def test_a_stray_write_is_still_one_when_an_internal_snapshot_goes(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    write(domain, b"0")
    for name, keys in (("inner", {"disks/xvda/external": 0}), ("outer", {})):
        reply = agent.request("create", keys, domain="alice", name=name, memory=0)
        assert reply["state"] == "done", reply
    over, base = chain(domain)
    write(domain, b"1")
    domain = run_on(world, domain, base, b"2")
    assert ask_offline(agent, domain, "inner")["state"] == "done"
    assert_failed(ask_offline(agent, domain, "outer"), "snapshot-in-use", base, over)
    assert content(base, 0) == b"2" * 4096


def assert_refused(agent, domain, name, path, byte):
    """For somebody wrote to the snapshot's state, and that is still there."""
    for _ in range(2):
        assert_failed(ask_offline(agent, domain, name), "snapshot-in-use", path)
        assert content(path, 0) == byte * 4096


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
@hold("commit", "before")
def test_what_is_written_behind_a_merge_that_came_to_nothing_is_seen(world, held, agent, ends):
    """It was called off, or the domain was started while it worked."""
    domain, over, base = two(world, agent)
    world.remove_domain(domain)
    request = agent.submit("delete", domain=domain.uuid, name="s1")
    held.wait()
    if ends == "cancelled":
        request.cancel()
    else:
        domain = reboot(world, domain, base)
    assert request.wait()["state"] == ends
    held.release()
    if ends == "cancelled":
        domain = reboot(world, domain, base)
    write(domain, b"2")
    world.remove_domain(domain)
    assert_refused(agent, domain, "s1", base, b"2")
    assert content(over, 0) == b"1" * 4096


@hold("commit", "after")
def test_a_merge_that_was_called_off_goes_on(world, held, agent):
    """What it had written itself is no stray write."""
    domain, over, base = two(world, agent)
    world.remove_domain(domain)
    request = agent.submit("delete", domain=domain.uuid, name="s1")
    held.wait()
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    held.release()
    assert content(base, 0) == b"1" * 4096
    assert ask_offline(agent, domain)["state"] == "done"
    assert not os.path.exists(over)
    assert content(base, 0) == b"1" * 4096


@hold("rebase", "before")
def test_what_is_written_behind_a_copy_that_came_to_nothing_is_seen(world, held, agent):
    domain, over, state = larger_over(world, agent)
    world.remove_domain(domain)
    request = agent.submit("delete", domain=domain.uuid, name="s2")
    held.wait()
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    held.release()
    domain = run_on(world, domain, state, b"n")
    assert_refused(agent, domain, "s2", state, b"n")
    assert os.path.exists(over)


@hold("commit", "before")
def test_what_a_guest_writes_on_a_state_half_merged_is_seen(world, held, agent_stopped):
    """The agent died in the merge, and the domain runs on the state when it is back."""
    agent = agent_stopped.start()
    domain, over, base = two(world, agent)
    world.remove_domain(domain)
    request = agent.submit("delete", domain=domain.uuid, name="s1")
    held.wait()
    agent.kill()
    held.release()
    domain = reboot(world, domain, base)
    write(domain, b"2")
    agent.start()
    assert_failed(request.wait(), "snapshot-in-use", base, over)
    world.remove_domain(domain)
    assert_refused(agent, domain, "s1", base, b"2")
    assert content(over, 0) == b"1" * 4096


@hold("rebase", "after")
def test_nobody_is_sent_to_an_image_that_lacks_some_of_its_state(world, held, agent_stopped):
    """The agent died in the copy, and the domain was started on the state."""
    agent = agent_stopped.start()
    domain, over, state = larger_over(world, agent)
    world.remove_domain(domain)
    request = agent.submit("delete", domain=domain.uuid, name="s2")
    held.wait()
    agent.kill()
    held.release()
    domain = run_on(world, domain, state, b"n")
    agent.start()
    assert_failed(request.wait(), "snapshot-in-use", state, f"do not start the domain on {over}")
    assert_refused(agent, domain, "s2", state, b"n")
    assert os.path.exists(over)


def test_a_stray_write_is_still_one_where_it_is_merged_into_another_image(world, agent):
    domain = several(world, agent, large=1)
    _, third, second, _ = chain(domain)
    domain = run_on(world, domain, third, b"n")
    assert ask_offline(agent, domain, "s2")["state"] == "done"
    assert not os.path.exists(third)
    assert_refused(agent, domain, "s3", second, b"n")


def test_a_stray_write_is_still_one_where_the_image_under_it_is_merged(world, agent):
    """Its header is changed by us."""
    domain = several(world, agent, large=0)
    _, third, second, _ = chain(domain)
    domain = run_on(world, domain, third, b"n")
    assert ask_offline(agent, domain, "s1")["state"] == "done"
    assert not os.path.exists(second)
    assert_refused(agent, domain, "s3", third, b"n")


def test_a_stray_write_is_still_one_where_another_state_is_copied_beside_it(world, agent):
    domain, over, state = larger_over(world, agent)
    domain = run_on(world, domain, over, b"n")
    assert ask_offline(agent, domain, "s2")["state"] == "done"
    assert not os.path.exists(state)
    assert_refused(agent, domain, "s3", over, b"n")


def test_what_is_written_on_an_image_that_is_merged_already_is_not_removed(world, agent_stopped):
    """The agent died before it went, and the domain was started on that."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain, over, base = two(world, agent)
    world.remove_domain(domain)
    agent.faults.arm(KILL_BEFORE, 1, f"unlink {os.path.basename(over)}")
    request = agent.submit("delete", domain=domain.uuid, name="s1")
    agent.process.wait(20)
    agent.faults.disarm()
    assert os.path.exists(over)
    run_on(world, domain, over, b"2")
    agent.start()
    assert_failed(request.wait(), "snapshot-in-use", over, base, "was written to since")
    assert content(over, 0) == b"2" * 4096
    assert content(base, 0) == b"1" * 4096
    domain = world.add_domain("alice", uuid=domain.uuid, disks=[
        {"vdev": "xvda", "path": over, "format": "qcow2"}])
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert not os.path.exists(over)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_the_time_that_is_noted_is_on_disk(world, agent_stopped):
    """A power cut does not take it back, which would look as if somebody had written."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    base, = chain(domain)
    agent.faults.arm()
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    names = agent.faults.names()
    assert names.index(f"fsync {base}") < names.index("make .tmp-s1.yaml"), names


def wait_begun(world, agent, domain):
    """Nobody else's writes are seen from here on."""
    def begun():
        with open(record_path(agent, domain), encoding="utf-8") as file:
            return "written: " not in file.read()
    world.eventually(begun, 20, "it is to be written to")


def test_what_qemu_writes_when_we_have_lost_sight_of_its_job_is_no_stray_write(world, agent):
    """Nothing is noted of an image that is written to still."""
    domain, over, base = two(world, agent)
    job = commit_slowly(domain.qmp, over, over, base)
    domain.interpose().amend("query-jobs", lambda jobs: "nonsense")
    assert_failed(delete(agent, "s1"), "qmp-error", "query-jobs")
    domain.uninterpose()
    domain.qmp("block-job-set-speed", device=job, speed=0)
    world.eventually(lambda: domain.qmp("query-jobs")[0]["status"] == "ready", 30, "all is copied")
    world.remove_domain(domain)
    assert ask_offline(agent, domain)["state"] == "done"
    assert not os.path.exists(over)
    assert content(base, 0) == content(base, 65536) == b"1" * 4096


def test_what_is_written_behind_such_a_job_that_is_given_up_then_is_seen(world, agent):
    domain, over, base = two(world, agent)
    commit_slowly(domain.qmp, over, over, base)
    request = agent.submit("delete", domain="alice", name="s1")
    wait_begun(world, agent, domain)
    kill_with_guardian(world, domain, agent)
    answers = iter(["nonsense"])
    domain.interpose().amend("query-jobs", lambda jobs: next(answers, jobs))
    agent.start()
    assert_failed(request.wait(), "qmp-error", "query-jobs")
    domain.uninterpose()
    assert domain.qmp("query-jobs") == []
    domain = run_on(world, domain, base, b"2")
    assert_refused(agent, domain, "s1", base, b"2")
    assert content(over, 0) == b"1" * 4096


def test_the_time_that_a_driver_domain_tells_is_on_disk_before_the_end(world, agent, driver, backend_stopped):
    backend = backend_stopped
    backend.faults = Faults(world.folder)
    backend.start()
    domain = world.add_domain("alice", disks=[Disk("xvda", "raw", driver=driver, devd=True)])
    (base, _), = domain.chain("xvda")
    backend.faults.arm()
    reply = agent.request("create", domain="alice", name="s1", memory=0, disks="xvda")
    assert reply["state"] == "done", reply
    names = backend.faults.names()
    # Its answers: prepared, switched, after which the guest does not wait, committed.
    answers = [number for number, name in enumerate(names) if name.startswith("xs-commit")]
    assert len(answers) == 3, names
    assert answers[1] < names.index(f"fsync {base}") < answers[2], names
