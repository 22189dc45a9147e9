# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU fails, hangs, lies or dies at any command of a snapshot."""

import fcntl
import os
import subprocess
import threading
import time

import pytest

from native.expect import (Picture, assert_disk_is_on, assert_failed,
                           assert_works, checksum, files_below, image_is_sound,
                           named_images)
from native.qmp import Qmp

QUESTIONS = ("qmp_capabilities", "query-block", "query-named-block-nodes",
             "x-debug-query-block-graph", "qom-get")
DISKS = [("xvda", "qcow2"), ("xvdb", "raw")]


def relay_to_a_terse_qemu(domain):
    """Its query-block does not say which images there are, so that all questions
    are asked."""
    def without_images(devices):
        return [{**device, "inserted": {
            key: value for key, value in device["inserted"].items() if key != "image"}}
                for device in devices]

    relay = domain.interpose()
    relay.amend("query-block", without_images)
    return relay


def submit(agent, name="s1", keys=None):
    return agent.submit("create", keys, domain="web", name=name, memory=0)


@pytest.fixture(name="hasty")
def fixture_hasty(agent_stopped):
    """An agent that loses patience soon."""
    agent_stopped.configure("timeouts", qmp_greeting="700ms",
                            qmp_reply="700ms", qmp_transaction="1s",
                            lock="700ms")
    return agent_stopped.start()


# -- before the switch: nothing has happened -------------------------------

@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "error",
                                  "garbage"])
def test_a_question_that_fails_fails_the_request(world, agent, kind):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    relay = relay_to_a_terse_qemu(domain)
    for command in QUESTIONS:
        if (command, kind) == ("qom-get", "error"):
            continue  # a device without that property is no disk of ours
        fault = relay.fault(command, kind,
                                         description="odd \x1b words")
        reply = submit(agent).wait()
        fault.wait_reached()
        assert_failed(reply, "qmp-error")
        assert reply["error/step"] == "inspect-disks"
        assert reply["error/message"].isprintable()
        picture.assert_same()
    assert submit(agent).wait()["state"] == "done"


def test_a_question_that_is_not_answered_fails_in_time(world, hasty):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(hasty, domain)
    relay = relay_to_a_terse_qemu(domain)
    for command in QUESTIONS:
        fault = relay.fault(command, "hold-before")
        begun = time.monotonic()
        reply = submit(hasty).wait()
        assert time.monotonic() - begun < 5
        assert_failed(reply, "qmp-error")
        fault.release()
        picture.assert_same()
    assert submit(hasty).wait()["state"] == "done"


@pytest.mark.parametrize("attribute", ["silent", "no_greeting"])
def test_a_qemu_that_does_not_greet(world, hasty, attribute):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(hasty, domain)
    setattr(domain.interpose(), attribute, True)
    assert_failed(submit(hasty).wait(), "qmp-error", "greet", "700 ms")
    setattr(domain.relay, attribute, False)
    picture.assert_same()
    assert submit(hasty).wait()["state"] == "done"


def test_another_client_on_the_socket(world, hasty):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(hasty, domain)
    client = Qmp(domain.qmp_path)
    assert_failed(submit(hasty).wait(), "qmp-error", "another program")
    waiting = submit(hasty)
    client.close()
    assert waiting.wait()["state"] in ("done", "failed")
    if waiting.state() == "failed":
        picture.assert_same()


def test_another_toolstack_holds_the_lock(world, hasty):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(hasty, domain)
    path = (f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}"
            ".qmp-socket-lock")
    with open(path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_failed(submit(hasty).wait(), "busy")
        picture.assert_same()
        request = submit(hasty)
        request.wait_state("running")
        os.unlink(path)  # as libxl does when it lets go
    assert request.wait()["state"] == "done"
    assert not os.path.exists(path)


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
@pytest.mark.parametrize("command", QUESTIONS)
def test_qemu_dies_while_it_is_asked(world, agent, command, kind):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    relay = relay_to_a_terse_qemu(domain)
    fault = relay.fault(command, kind)
    reply = submit(agent).wait()
    fault.wait_reached()
    assert_failed(reply, "qmp-error")
    picture.assert_same()


def test_a_qemu_that_is_gone(world, agent):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    domain.kill_qemu()
    assert_failed(submit(agent).wait(), "qmp-error")
    picture.assert_same()


def test_events_between_replies_are_passed_over(world, agent):
    domain = world.add_domain("web", disks=DISKS)
    fault = domain.interpose().fault("query-block", "hold-before")
    request = submit(agent)
    fault.wait_reached()
    domain.qmp("stop")
    domain.qmp("cont")
    fault.release()
    assert request.wait()["state"] == "done"


# -- the switch -----------------------------------------------------------

def test_a_refused_switch(world, agent):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    domain.interpose().fault("transaction", "error", description="not today")
    reply = submit(agent).wait()
    assert_failed(reply, "qmp-error", "not today")
    assert reply["error/step"] == "switch-disks"
    picture.assert_same()
    assert submit(agent).wait()["state"] == "done"


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "garbage"])
def test_a_switch_whose_outcome_is_unknown_is_looked_up(world, agent, kind):
    domain = world.add_domain("web", disks=DISKS)
    domain.write("xvda", 0, b"a" * 4096)
    picture = Picture(agent, domain)
    domain.interpose().fault("transaction", kind)
    reply = submit(agent).wait()
    assert_failed(reply, "qmp-error")
    assert reply["error/step"] == "switch-disks"
    picture.assert_same()
    assert domain.read("xvda", 0, 4096) == b"a" * 4096
    assert submit(agent).wait()["state"] == "done"


def test_a_switch_that_answers_too_late(world, hasty):
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(hasty, domain)
    fault = domain.interpose().fault("transaction", "hold-after")
    request = submit(hasty)
    fault.wait_reached()
    threading.Timer(1.2, fault.release).start()
    assert_failed(request.wait(), "qmp-error", "unknown", "1000 ms")
    picture.assert_same()


def test_what_the_guest_wrote_meanwhile_is_kept(world, agent):
    """The reply is lost, the guest writes into the overlay: merged."""
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(agent, domain)
    relay = domain.interpose()
    relay.fault("transaction", "drop-after")
    held = relay.fault("block-commit", "hold-before")
    request = submit(agent)
    held.wait_reached()
    for vdev in domain.disks:
        domain.write(vdev, 8192, vdev.encode() * 128)
    held.release()
    assert_failed(request.wait(), "qmp-error")
    picture.assert_same()
    for vdev, disk in domain.disks.items():
        assert domain.read(vdev, 8192, 512) == vdev.encode() * 128
        if disk.format == "qcow2":
            assert image_is_sound(disk.path)


def test_a_rollback_leaves_earlier_snapshots_alone(world, agent):
    """Merging must stop at the image underneath."""
    domain = world.add_domain("web", disks=DISKS)
    for vdev in domain.disks:
        domain.write(vdev, 0, b"1" * 4096)
    first = submit(agent).wait()
    for vdev, disk in domain.disks.items():
        domain.write(vdev, 0, b"2" * 4096)
        disk.front.flush()
    sums = {vdev: checksum(disk.path) for vdev, disk in domain.disks.items()}
    picture = Picture(agent, domain)
    relay = domain.interpose()
    relay.fault("transaction", "drop-after")
    assert_failed(submit(agent, "s2").wait(), "qmp-error")
    picture.assert_same()
    for vdev, disk in domain.disks.items():
        assert checksum(disk.path) == sums[vdev]
        assert_disk_is_on(domain, vdev, first[f"result/disks/{vdev}/path"])
        assert domain.read(vdev, 0, 4096) == b"2" * 4096


@pytest.mark.parametrize("kind", ["kill-before", "kill-after"])
def test_qemu_dies_at_the_switch(world, agent, kind):
    """The domain has lost its disks either way: what a restart opens must hold all
    that it has written."""
    domain = world.add_domain("web", disks=DISKS)
    for vdev, disk in domain.disks.items():
        domain.write(vdev, 0, vdev.encode() * 128)
        disk.front.flush()
    fault = domain.interpose().fault("transaction", kind)
    reply = submit(agent).wait()
    fault.wait_reached()
    assert_failed(reply, "qmp-error")
    files = {path for path in files_below(world.images) if ".s1." in path}
    named = set()
    for vdev, disk in domain.disks.items():
        name, = named_images(domain, vdev)
        image_format, path = name.split(":")
        named.add(path)
        content = f"{world.folder}/{vdev}.content"
        subprocess.run(["qemu-img", "convert", "-f",
                        image_format.replace("aio", "raw"), "-O", "raw", path,
                        content], check=True)
        with open(content, "rb") as file:
            assert file.read(512) == vdev.encode() * 128
    # Nothing was written to them, and nothing has them open: so they go.
    assert files == set()
    assert named == {disk.path for disk in domain.disks.values()}
    assert not world.store.ls("/tool/xensnapd/snapshots")


def test_qemu_dies_after_the_guest_has_written_to_the_overlays(world, agent):
    domain = world.add_domain("web", disks=DISKS)
    kill = domain.kill_qemu

    def write_and_die():
        for vdev, disk in domain.disks.items():
            domain.write(vdev, 0, vdev.encode() * 128)
            disk.front.flush()
        kill()

    domain.kill_qemu = write_and_die
    domain.interpose().fault("transaction", "kill-after")
    reply = submit(agent).wait()
    assert_failed(reply, "qmp-error", "stays on")
    for vdev in domain.disks:
        path, = named_images(domain, vdev)
        path = path.removeprefix("qcow2:")
        assert ".s1." in path
        content = f"{world.folder}/{vdev}.content"
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, content],
                       check=True)
        with open(content, "rb") as file:
            assert file.read(512) == vdev.encode() * 128


# -- undoing the switch ---------------------------------------------------

@pytest.fixture(name="undoing")
def fixture_undoing(world, hasty):
    """A switch that has to be undone, for the record cannot be written."""
    domain = world.add_domain("web", disks=DISKS)
    picture = Picture(hasty, domain)
    blocker = f"{hasty.settings['store']['folder']}/snapshots/{domain.uuid}"
    with open(blocker, "w", encoding="ascii"):
        pass
    return domain, picture, blocker


def test_a_switch_is_undone(hasty, undoing):
    domain, picture, blocker = undoing
    reply = submit(hasty).wait()
    os.unlink(blocker)
    assert_failed(reply, "store-error")
    assert reply["error/step"] == "write-record"
    picture.assert_same()
    assert not domain.qmp("query-jobs")
    assert submit(hasty).wait()["state"] == "done"


def is_consistent(domain):
    """Every disk works, and what has it open is what all places name."""
    for vdev in domain.disks:
        path, image_format = domain.chain(vdev)[0]
        name = "aio" if image_format == "raw" else image_format
        assert named_images(domain, vdev) == {f"{name}:{path}"}
        assert os.path.exists(path)
        assert_works(domain, vdev)


@pytest.mark.parametrize("command", ["block-commit", "query-jobs",
                                     "job-complete", "job-dismiss"])
@pytest.mark.parametrize("kind", ["error", "drop-before", "drop-after"])
def test_an_undo_that_is_disturbed_still_ends_well(hasty, undoing, command,
                                                   kind):
    """Whatever comes of it, no disk is torn from its data, and the message
    says where each one is."""
    domain, _, blocker = undoing
    domain.interpose().fault(command, kind, description="no undo today")
    reply = submit(hasty).wait(60)
    os.unlink(blocker)
    assert_failed(reply, "store-error")
    is_consistent(domain)
    if any(domain.chain(vdev)[0][0] != disk.path
           for vdev, disk in domain.disks.items()):
        assert "stays on" in reply["error/message"]
    active = {domain.chain(vdev)[0][0] for vdev in domain.disks}
    overlays = {path for path in files_below(hasty.world.images)
                if ".s1." in path}
    assert overlays <= active


def test_two_requests_after_an_undo_that_failed(hasty, undoing):
    domain, _, blocker = undoing
    domain.interpose().fault("block-commit", "error", times=6)
    reply = submit(hasty).wait()
    os.unlink(blocker)
    assert "stays on" in reply["error/message"]
    again = submit(hasty, "s2").wait()
    assert again["state"] == "done", again
    is_consistent(domain)
