# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose image is merged waits for its disk for a moment at most, whatever
becomes of the agent (I1, I2, I3)."""

import contextlib
import fcntl
import os
import signal
import subprocess

import pytest

from native.expect import assert_disk_is_on, assert_failed
from native.guardians import guardians, kill_guardian, stopped, wait_no_guardian
from native.merges import chain, two

LIMIT = 20


def write(domain, byte):
    """Fails if that takes ten seconds."""
    domain.write("xvda", 0, byte * 4096)
    domain.disks["xvda"].front.flush()


def delete(agent):
    return agent.submit("delete", domain="alice", name="s1")


def statuses(domain):
    return [job["status"] for job in domain.qmp("query-jobs")]


def lock_file(domain, name):
    return f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}.{name}"


@contextlib.contextmanager
def locked(path):
    """As libxl does."""
    with open(path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def is_copied(agent, domain):
    folder = agent.settings["store"]["folder"]
    with open(f"{folder}/snapshots/{domain.uuid}/s1.yaml", "rb") as file:
        return b"copied: " in file.read()


def wait_copied(world, agent, domain):
    """All is copied, the guest waits, and the configuration does not change while
    somebody holds libxl's lock."""
    world.eventually(lambda: is_copied(agent, domain), LIMIT, "all is copied")
    assert statuses(domain) == ["pending"]


def assert_goes_on(world, domain, image):
    """Without an agent, with the image that a reboot would open."""
    wait_no_guardian(world, domain)
    write(domain, b"2")
    assert domain.chain("xvda")[0][0] == image
    assert domain.stored_config()["disks"][0]["pdev_path"] == image


def assert_carried_out(agent, request, domain, base):
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert_disk_is_on(domain, "xvda", base)
    assert domain.qmp("query-jobs") == []
    assert os.listdir(agent.world.images) == [os.path.basename(base)]
    assert domain.read("xvda", 0, 4096) == b"2" * 4096
    assert domain.read("xvda", 65536, 4096) == b"1" * 4096
    wait_no_guardian(agent.world, domain)


# -- the agent dies -----------------------------------------------------------


@pytest.mark.parametrize("command, kind, stays", [
    ("job-complete", "hold-before", False),
    ("job-complete", "hold-after", False),
    ("job-finalize", "hold-before", True),
    ("job-finalize", "hold-after", True)])
def test_the_guest_goes_on_though_the_agent_is_killed(world, agent, command, kind, stays):
    domain, over, base = two(world, agent)
    fault = domain.interpose().fault(command, kind)
    request = delete(agent)
    fault.wait_reached()
    agent.kill()
    domain.uninterpose()
    assert_goes_on(world, domain, base if stays else over)
    assert_carried_out(agent, request, domain, base)


def test_the_guest_goes_on_though_the_agent_is_killed_behind_its_note(world, agent):
    domain, over, base = two(world, agent)
    with locked(lock_file(domain, "domain-userdata-lock")):
        request = delete(agent)
        wait_copied(world, agent, domain)
        agent.kill()
        assert_goes_on(world, domain, over)
    assert_carried_out(agent, request, domain, base)


def test_a_merge_whose_end_nobody_asked_for_is_left_at_work(world, agent):
    domain, _, base = two(world, agent)
    fault = domain.interpose().fault("block-commit", "hold-after")
    request = delete(agent)
    fault.wait_reached()
    agent.kill()
    domain.uninterpose()
    wait_no_guardian(world, domain)
    world.eventually(lambda: statuses(domain) == ["ready"], LIMIT, "it is at work")
    write(domain, b"2")
    assert_carried_out(agent, request, domain, base)


def test_a_monitor_that_is_in_use_is_waited_for(world, agent):
    """By the guardian, and for that one by the next agent."""
    domain, over, base = two(world, agent)
    with locked(lock_file(domain, "domain-userdata-lock")):
        request = delete(agent)
        wait_copied(world, agent, domain)
        with contextlib.ExitStack() as stack:
            with stopped(domain) as pid:
                agent.kill()
                stack.enter_context(locked(lock_file(domain, "qmp-socket-lock")))
            agent.start()
            assert statuses(domain) == ["pending"]
            assert guardians(domain) == {pid}
        write(domain, b"2")
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert_disk_is_on(domain, "xvda", base)
    assert not os.path.exists(over)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


@pytest.mark.parametrize("stays", [False, True])
def test_a_guardian_that_acts_late_and_the_next_agent_agree(world, agent, stays):
    """It lets QEMU go on when the next agent has already looked."""
    domain, over, base = two(world, agent)
    command, kind = ("job-finalize", "hold-before") if stays else ("job-complete", "hold-after")
    fault = domain.interpose().fault(command, kind)
    request = delete(agent)
    fault.wait_reached()
    with stopped(domain) as pid:
        agent.kill()
        domain.uninterpose()
        agent.start()
        world.eventually(lambda: guardians(domain) - {pid}, LIMIT, "the next guardian")
        world.eventually(lambda: statuses(domain) == ["pending"], LIMIT, "the guest waits")
    write(domain, b"2")
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert_disk_is_on(domain, "xvda", base)
    assert not os.path.exists(over)
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_a_domain_that_ends_meanwhile_needs_no_guardian(world, agent):
    domain, _, base = two(world, agent)
    with locked(lock_file(domain, "domain-userdata-lock")):
        request = delete(agent)
        wait_copied(world, agent, domain)
        with stopped(domain):
            agent.kill()
            domain.kill_qemu()
        wait_no_guardian(world, domain)
    world.remove_domain(domain)
    agent.start()
    assert request.wait()["state"] == "done"
    assert os.listdir(world.images) == [os.path.basename(base)]


# -- the agent hangs ----------------------------------------------------------


def test_a_stopped_agent_is_killed_and_the_guest_goes_on(world, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="500ms")
    agent = agent_stopped.start()
    domain, over, base = two(world, agent)
    with locked(lock_file(domain, "domain-userdata-lock")):
        request = delete(agent)
        wait_copied(world, agent, domain)
        agent.freeze()
        assert agent.process.wait(LIMIT) == -signal.SIGKILL
        assert_goes_on(world, domain, over)
    assert_carried_out(agent, request, domain, base)


def test_an_agent_that_waits_for_qemu_is_not_killed(world, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="1ms")
    agent = agent_stopped.start()
    domain, over, base = two(world, agent)
    fault = domain.interpose().fault("job-finalize", "hold-before")
    request = delete(agent)
    fault.wait_reached()
    # The bound passes, and the margin.
    with pytest.raises(subprocess.TimeoutExpired):
        agent.process.wait(3)
    fault.release()
    assert request.wait()["state"] == "done"
    assert_disk_is_on(domain, "xvda", base)
    assert not os.path.exists(over)


# -- the guardian dies --------------------------------------------------------


def test_a_guardian_that_dies_is_replaced(world, agent):
    domain, over, base = two(world, agent)
    fault = domain.interpose().fault("job-finalize", "hold-before")
    request = delete(agent)
    fault.wait_reached()
    kill_guardian(world, domain, agent, 1)
    agent.kill()
    domain.uninterpose()
    assert_goes_on(world, domain, base)
    assert not request.state() == "done" and os.path.exists(over)
    assert_carried_out(agent, request, domain, base)


def test_a_merge_that_cannot_be_guarded_is_given_up(world, agent):
    domain, over, base = two(world, agent)
    fault = domain.interpose().fault("block-commit", "hold-before")
    request = delete(agent)
    fault.wait_reached()
    for count in (1, 2, 3):
        kill_guardian(world, domain, agent, count)
    pid, = guardians(domain)
    os.kill(pid, signal.SIGKILL)
    agent.wait_log("was ended by signal 9")
    wait_no_guardian(world, domain)
    fault.release()
    assert_failed(request.wait(), "internal-error", "guardian")
    assert_disk_is_on(domain, "xvda", over)
    assert domain.qmp("query-jobs") == []
    write(domain, b"2")
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert chain(domain) == [base]
    assert domain.read("xvda", 0, 4096) == b"2" * 4096


def test_that_qemu_goes_as_the_merge_begins_is_told(world, agent):
    """While the guardian starts, mostly; later it is the merge that tells."""
    domain, _, _ = two(world, agent)
    request = delete(agent)
    agent.wait_log("op=delete step=plan done")
    domain.kill_qemu()
    assert_failed(request.wait(LIMIT), "qmp-error")
