# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest stands still for `max-pause` at most, whatever hangs (I1, I2, I5). The
save helper is played, all else of a checkpoint is real."""

import glob
import os
import signal

import pytest

from native.expect import Picture, assert_failed, files_below
from native.faults import FAIL, FAIL_ON, KILL_AFTER, KILL_BEFORE, STOP_BEFORE, Faults
from native.guardians import guardians, kill_guardian, kill_with_guardian, wait_no_guardian

DISKS = [("xvda", "qcow2"), ("xvdb", "raw")]


def running(world, domain):
    return world.xen.is_running(domain.domid)


def wait_running(world, domain):
    world.eventually(lambda: running(world, domain), 20, "the guest goes on")


def wait_suspended(world, domain):
    world.eventually(lambda: not running(world, domain), 20, "the guest is suspended")


def create(agent, domain="web", **keys):
    return agent.submit("create", domain=domain, name="s1", live=0, **keys)


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_a_checkpoint(world, save, agent, kind):
    del save
    domain = world.add_domain("web", kind, disks=DISKS)
    reply = create(agent).wait()
    assert reply["state"] == "done", reply
    assert running(world, domain)
    wait_no_guardian(world, domain)


def test_bytes_are_told_while_the_percentage_stays(world, save, agent):
    """One of a hundred parts of a large guest's memory takes long."""
    domain = world.add_domain("web", memory_kb=1 << 20)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    told = world.store.wait_for(request.path, lambda: request.output().get("bytes-done"), 20)
    progress = request.output()["progress"]
    path, = glob.glob(f"{agent.settings['store']['memory-folder']}/**/*s1*", recursive=True)
    with open(path, "ab") as file:
        file.write(b"x" * 4096)
    world.store.wait_for(request.path, lambda: (
        int(request.output()["bytes-done"]) >= int(told) + 4096), 20)
    assert request.output()["progress"] == progress
    save.release()
    assert request.wait()["state"] == "done"


@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_a_suspended_guest_waits_for_the_end_of_one_line_to_qemu(world, save, agent, kind):
    """QEMU reads a command byte by byte, and greets slowly."""
    domain = world.add_domain("web", kind, disks=DISKS)
    relay = domain.interpose()
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    commands, received = len(relay.commands), relay.received
    save.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert [command["execute"] for command in relay.commands[commands:]] == ["transaction"]
    assert relay.received - received == len("}\n")


@pytest.mark.parametrize("kind, held", [("pv", True), ("pvh", True), ("hvm", False)])
def test_a_guest_goes_on_before_qemu_sees_the_end_of_the_session(
        world, save, agent_stopped, kind, held):
    """But for one that libxl resumes by QEMU."""
    del save
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("web", kind, disks=DISKS)
    lock = f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}.qmp-socket-lock"
    agent.faults.arm(STOP_BEFORE, 1, "libxl libxl_domain_resume")
    request = create(agent)
    world.eventually(agent.faults.reached, 20, "the resume")
    agent.faults.disarm()
    assert os.path.exists(lock) == held
    agent.thaw()
    assert request.wait()["state"] == "done"
    assert not os.path.exists(lock)


def test_qemu_forgets_a_switch_that_was_prepared_and_given_up(world, save, agent):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    request.cancel()
    save.release()
    assert request.wait()["state"] == "cancelled"
    picture.assert_same()
    assert create(agent).wait()["state"] == "done"


def test_the_guardian_of_an_earlier_agent_leaves_the_next_save_alone(world, save, agent):
    """It waits for a guest that may still follow its own agent's request, and could not
    tell this one's suspend from that."""
    domain = world.add_domain("web", disks=DISKS, responsive=False)
    control = f"{domain.path}/control/shutdown"
    create(agent)
    world.store.wait(control, "suspend")
    agent.kill()
    world.store.wait(control, "")
    assert guardians(domain)
    domain.responsive = True
    save.hold()
    agent.start()
    request = create(agent, id="again")
    wait_suspended(world, domain)
    world.eventually(lambda: len(guardians(domain)) == 1, 20, "one guardian")
    save.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert "was left suspended" not in agent.log_text()
    wait_no_guardian(world, domain)


def test_nothing_is_told_between_the_save_and_the_resume(world, save, agent):
    domain = world.add_domain("web", disks=DISKS)
    switch = domain.interpose().fault("transaction", "hold-before")
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    save.release()
    switch.wait_reached()
    before = request.output()
    # Whoever answers this has had time to tell of the other.
    assert agent.request("create", domain="nobody")["state"] == "failed"
    assert request.output() == before
    switch.release()
    reply = request.wait()
    assert reply["state"] == "done", reply


def test_a_session_with_qemu_that_is_lost_while_memory_is_saved(world, save, agent):
    domain = world.add_domain("web", disks=DISKS)
    domain.interpose()
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    domain.uninterpose()
    save.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert running(world, domain)


def test_a_save_that_takes_longer_than_max_pause_is_given_up(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="300ms")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold()
    reply = create(agent).wait()
    assert reply["error/code"] == "timeout", reply
    assert "timeouts.max-pause (0.3 s)" in reply["error/message"]
    assert reply["error/step"] == "save-memory"
    assert running(world, domain)
    picture.assert_same()
    wait_no_guardian(world, domain)


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
def test_a_memory_file_that_cannot_be_flushed_is_given_up(world, save, agent_stopped, tmp_path,
                                                          how):
    sync = tmp_path / "sync"
    sync.write_text("#!/bin/sh\ntrap '' TERM\necho >%s/begun\nwhile :; do sleep 1; done\n"
                    % tmp_path)
    sync.chmod(0o755)
    world.variables["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    request = create(agent, timeout="3" if how == "timeout" else "600")
    world.eventually((tmp_path / "begun").exists, what="the flush")
    assert running(world, domain)
    if how == "cancelled":
        request.cancel()
    reply = request.wait(20)
    assert reply["error/code"] == how, reply
    assert reply["error/step"] == "keep-memory"
    assert running(world, domain)
    picture.assert_same()


def test_the_guest_goes_on_though_the_disk_hangs(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="300ms")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold(deaf=True)
    request = create(agent)
    wait_suspended(world, domain)
    wait_running(world, domain)
    assert request.state() == "running"
    save.release()
    assert request.wait()["error/code"] == "timeout"
    picture.assert_same()
    assert agent.process.poll() is None


def test_the_guest_goes_on_though_qemu_hangs_at_the_switch(world, save, agent_stopped):
    del save
    agent_stopped.configure("timeouts", max_pause="500ms")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    fault = domain.interpose().fault("transaction", "hold-before")
    request = create(agent)
    fault.wait_reached()
    wait_running(world, domain)
    assert request.state() == "running"
    fault.release()
    assert request.wait()["error/code"] == "timeout"
    picture.assert_same()


def test_a_switch_that_fails_lets_the_guest_go_before_anything_else(world, save, agent):
    del save
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    relay = domain.interpose()
    relay.fault("transaction", "drop-after")
    undo = relay.fault("block-commit", "hold-before")
    request = create(agent)
    undo.wait_reached()
    assert running(world, domain)
    undo.release()
    assert request.wait()["error/code"] == "qmp-error"
    picture.assert_same()


def test_no_bound_lets_a_save_take_its_time(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="0")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    save.release()
    assert request.wait()["state"] == "done"


def test_a_stopped_agent_does_not_hold_the_guest(world, save, agent_stopped):
    agent_stopped.configure("timeouts", max_pause="1s")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    agent.freeze()
    wait_running(world, domain)
    assert agent.process.wait(20) == -signal.SIGKILL
    wait_no_guardian(world, domain)
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    assert running(world, domain)
    picture.assert_same()


@pytest.mark.parametrize("held", ["save", "switch"])
def test_a_killed_agent_leaves_no_guest_suspended(world, save, agent, held):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    if held == "save":
        save.hold()
        request = create(agent)
        wait_suspended(world, domain)
    else:
        fault = domain.interpose().fault("transaction", "hold-after")
        request = create(agent)
        fault.wait_reached()
    agent.kill()
    wait_running(world, domain)
    wait_no_guardian(world, domain)
    if held == "switch":
        domain.uninterpose()
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    picture.assert_same()
    save.release()
    assert create(agent, id="again").wait()["state"] == "done"


# -- a guardian that dies -----------------------------------------------------


@pytest.mark.parametrize("agent_dies", [False, True])
def test_a_guardian_that_dies_is_replaced(world, save, agent, agent_dies):
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    kill_guardian(world, domain, agent, 1)
    assert not running(world, domain)
    if agent_dies:
        agent.kill()
        wait_running(world, domain)
    save.release()
    if agent_dies:
        agent.start()
        assert request.wait()["error/code"] == "interrupted"
    else:
        assert request.wait()["state"] == "done"
    wait_no_guardian(world, domain)


def test_a_new_guardian_keeps_to_the_bound(world, save, agent_stopped):
    """It has what is left of it, so that another death changes nothing."""
    agent_stopped.configure("timeouts", max_pause="1h")
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    # The second one cannot come within the millisecond.
    for count in (1, 2):
        kill_guardian(world, domain, agent, count)
    pid, = guardians(domain)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        bound_ms = int(file.read().split(b"\0")[3])
    assert 0 < bound_ms < 3600000
    save.release()
    assert request.wait()["state"] == "done"


def test_where_guardians_keep_dying_the_guest_goes_on(world, save, agent):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    save.hold(deaf=True)
    request = create(agent)
    wait_suspended(world, domain)
    for count in (1, 2, 3):
        kill_guardian(world, domain, agent, count)
    os.kill(*guardians(domain), signal.SIGKILL)
    wait_running(world, domain)
    assert request.state() == "running"
    save.release()
    reply = request.wait()
    assert reply["error/code"] == "internal-error", reply
    assert "guardian" in reply["error/message"]
    picture.assert_same()


# -- a revert -----------------------------------------------------------------


@pytest.mark.parametrize("cause", ["time", "guardian"])
def test_a_revert_goes_on_without_the_running_state(world, save, agent_stopped, cause):
    """It ends the domain in the end; only a hypervisor can make the new one."""
    agent = agent_stopped
    if cause == "time":
        agent.configure("timeouts", max_pause="300ms")
    agent.start()
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    save.hold(deaf=True)
    request = agent.submit("revert", domain="web", name="s1", start="boot")
    wait_suspended(world, domain)
    if cause == "guardian":
        for count in (1, 2, 3):
            kill_guardian(world, domain, agent, count)
        os.kill(*guardians(domain), signal.SIGKILL)
    wait_running(world, domain)
    assert request.state() == "running"
    save.release()
    reply = request.wait()
    assert reply["error/step"] == "restore", reply
    words = "timeouts.max-pause" if cause == "time" else "guardian"
    assert words in reply["result/running-state-not-kept"]
    # Nobody is sent to a memory file that is of before.
    assert "its memory is in" not in reply["error/message"]
    assert world.xen.get(domain.domid) is None
    wait_no_guardian(world, domain)


def test_a_revert_keeps_the_running_state_in_time(world, save, agent):
    del save
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    reply = agent.request("revert", domain="web", name="s1", start="boot")
    assert "its memory is in" in reply["error/message"]
    assert "result/running-state-not-kept" not in reply
    wait_no_guardian(world, domain)


def test_a_domain_that_libxl_fails_to_end_is_ended_again(world, save, agent_stopped):
    """It may be without its QEMU by then, so that there is no way back."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.start().request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    agent.faults.arm(FAIL, 4, "make /var/lib/xen/userdata-l")  # in the destroy
    reply = agent.request("revert", domain="web", name="s1", start="boot")
    assert agent.faults.reached()
    agent.faults.disarm()
    assert reply["error/step"] == "restore", reply
    assert world.xen.get(domain.domid) is None


@pytest.mark.parametrize("kind", [KILL_BEFORE, KILL_AFTER])
def test_an_agent_that_dies_as_it_ends_the_domain(world, save, agent_stopped, kind):
    """Until libxl has begun to end it, the guest goes on; from then on it must not."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    domain = world.add_domain("web", disks=DISKS)
    reply = agent.start().request("create", domain="web", name="s1", memory=0)
    assert reply["state"] == "done", reply
    agent.faults.arm(kind, 1, "libxl libxl_domain_destroy")
    agent.submit("revert", domain="web", name="s1", start="boot")
    agent.process.wait(20)
    wait_no_guardian(world, domain)
    assert running(world, domain) == (kind == KILL_BEFORE)
    agent.faults.disarm()


@pytest.mark.parametrize("kind", ["pv", "pvh"])
@pytest.mark.parametrize("agent_dies", [False, True])
def test_a_guest_goes_on_without_xenstored(world, save, agent, kind, agent_dies):
    """Once xenstored has died, libxl cannot tell which type a guest is of, nor watch
    for its end, which is not tried for ever."""
    domain = world.add_domain("web", kind, disks=DISKS)
    save.hold()
    create(agent)
    wait_suspended(world, domain)
    # That the guest is suspended libxl learns from xenstored; without, it waits a minute.
    memory = agent.settings["store"]["memory-folder"]
    world.eventually(lambda: any(os.path.isfile(path) and os.path.getsize(path) > 0
                                 for path in files_below(memory)), 20, "it is saved")
    world.kill_xenstored()
    if agent_dies:
        agent.kill()
    else:
        save.release()
    wait_running(world, domain)
    wait_no_guardian(world, domain)
    save.release()
    world.start_xenstored()
    if agent_dies:
        agent.start()
    else:
        agent.wait_ready()
    world.eventually(lambda: not [name for name in agent.records()
                                  if name.startswith("journal/")], 20, "no note is left")
    assert running(world, domain)
    assert agent.log_text().count("libxl cannot watch domain") < 5


def test_a_note_of_no_use_leaves_no_guest_suspended(world, save, agent):
    """Agent and guardian were killed together, and the note was cut short."""
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    kill_with_guardian(world, domain, agent)
    name, = (name for name in os.listdir(f"{agent.settings['store']['folder']}/journal"))
    os.truncate(f"{agent.settings['store']['folder']}/journal/{name}", 100)
    agent.start()
    save.release()
    assert request.wait()["error/code"] == "interrupted"
    wait_running(world, domain)
    agent.wait_log("was left suspended; it goes on")


@pytest.mark.parametrize("agent_dies", [False, True])
def test_a_guest_that_cannot_be_resumed_at_first_goes_on_later(world, save, agent_stopped,
                                                               agent_dies):
    """Nor can it while the next agent puts things back; nor before that one has died."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    kill_with_guardian(world, domain, agent)
    save.release()
    agent.faults.arm(FAIL_ON, 1, "libxl libxl_domain_resume")
    agent.start()
    reply = request.wait()
    assert_failed(reply, "interrupted", "could not be resumed")
    agent.wait_log("cannot be resumed")
    assert not running(world, domain)
    if agent_dies:
        agent.kill()
    agent.faults.disarm()
    if agent_dies:
        assert not running(world, domain)
        agent.start()
    wait_running(world, domain)
    agent.wait_log("was left suspended; it goes on")
    assert agent.log_text().count("was left suspended and cannot be resumed") == 1
    suspended = os.path.join(agent.settings["store"]["run-folder"], "suspended")
    assert not os.listdir(suspended)


def test_a_suspended_guest_that_somebody_moves_away_is_not_resumed(world, save, agent):
    """It is suspended still when nothing saves it any more: the other side begins."""
    left, moved = (world.add_domain(name, disks=DISKS) for name in ("left", "moved"))
    save.hold()
    requests = []
    for domain in (left, moved):
        requests.append(create(agent, domain=domain.name))
        wait_suspended(world, domain)
    kill_with_guardian(world, left, agent, moved)
    folder = f"{agent.settings['store']['folder']}/journal"
    for name in os.listdir(folder):
        os.truncate(f"{folder}/{name}", 100)
    agent.start()
    save.release()
    for request in requests:
        assert request.wait()["error/code"] == "interrupted"
    assert not running(world, moved)
    world.remove_domain(moved)
    agent.wait_log('domain "left" was left suspended; it goes on')
    assert agent.log_text().count("left suspended") == 1


@pytest.mark.parametrize("keys", [{"operation": "create", "name": "s2", "memory": 0},
                                  {"operation": "rescan"}])
def test_what_is_asked_while_the_guest_is_suspended_waits(world, save, agent, keys):
    domain = world.add_domain("web", disks=DISKS)
    save.hold()
    first = create(agent)
    wait_suspended(world, domain)
    second = agent.submit(keys.pop("operation"), domain="web", **keys)
    second.wait_state("queued")
    save.release()
    assert first.wait()["state"] == "done"
    reply = second.wait()
    assert reply["state"] == "done", reply
