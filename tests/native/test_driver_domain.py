# SPDX-License-Identifier: LGPL-2.1-or-later
"""A snapshot that spans disks of domain 0 and of a driver domain: one instant, or
nothing (I1, I2, I3, I5), whatever the driver domain does. The save helper is played,
and so is the driver domain as a domain; its QEMU and its agent are the real ones."""

import contextlib
import fcntl
import os
import threading

import pytest

from native.agent import ROOT
from native.backend import Liar, wait_suspended
from native.domain import Disk
from native.expect import (Picture, assert_disk_is_on, assert_failed, image_info,
                           named_images)
from native.xenstore import Store

DISKS = "xvda xvdb"

pytestmark = pytest.mark.usefixtures("save")


@pytest.fixture(name="domain")
def fixture_domain(world, driver):
    """A disk from each."""
    return world.add_domain("web", disks=[
        ("xvda", "qcow2"), Disk("xvdb", "raw", driver=driver, devd=True)])


@pytest.fixture(name="impatient")
def fixture_impatient(agent_stopped):
    """An agent that waits for a driver domain not for long, but for one on a busy
    machine."""
    agent_stopped.configure("timeouts", backend="5s")
    return agent_stopped.start()


def submit(agent, **keys):
    return agent.submit("create", domain="web",
                        **{"name": "s1", "live": 0, "disks": DISKS, **keys})


def create(agent, **keys):
    return submit(agent, **keys).wait()


def jobs(world, driver):
    return [path for path in world.store.tree(f"{ROOT}/backends/{driver.domid}")
            if path.endswith("/guest") or path.endswith("/phase")]


def wait_told(world, driver, phase):
    folder = f"{ROOT}/backends/{driver.domid}"
    world.store.wait_for(folder, lambda: phase in world.store.tree(folder).values(), 20)


def assert_nothing_is_left(world, driver, backend):
    assert not jobs(world, driver)
    world.eventually(lambda: not [name for name in backend.records() if "op-" in name],
                     10, "no note of its part")
    world.eventually(
        lambda: not [key for key in world.store.tree(f"{driver.path}/data/xensnapd")
                     if key.startswith("jobs/")], 10, "no answer")


# -- as it should be --------------------------------------------------------------


def test_a_checkpoint_of_both(world, agent, backend, domain, driver, save):
    for vdev in domain.disks:
        domain.write(vdev, 0, b"before!!" * 64)
    bases = {vdev: disk.path for vdev, disk in domain.disks.items()}
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    # The guest stands still, and neither has been switched yet.
    assert {vdev: domain.chain(vdev)[0][0] for vdev in bases} == bases
    save.release()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "full"
    assert reply["result/disks/xvdb/driver-domain"] == "storage"
    assert "result/disks/xvda/driver-domain" not in reply
    for vdev, base in bases.items():
        overlay = reply[f"result/disks/{vdev}/path"]
        assert reply[f"result/disks/{vdev}/base"] == base
        assert reply[f"result/disks/{vdev}/depth"] == "2"
        # Stored configuration, xenstore and QEMU.
        assert_disk_is_on(domain, vdev, overlay)
        assert image_info(overlay)["full-backing-filename"] == base
        domain.write(vdev, 0, b"after!!!" * 64)
        with open(base, "rb") as file:
            assert b"after!!!" not in file.read()
    disk, = [one for one in domain.stored_config()["disks"] if one["vdev"] == "xvdb"]
    assert disk["backend_domname"] == "storage"
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s1/disks")
    assert published["xvdb/driver-domain"] == "storage"
    assert published["xvdb/path"] == bases["xvdb"]
    assert "xvdb/missing" not in published
    # The memory file names images of both that nothing else uses.
    with open(reply["result/memory-path"], "rb") as file:
        head = file.read(16384).decode(errors="replace")
    assert published["xvdb/restore-overlay"] in head
    assert image_info(published["xvdb/restore-overlay"])[
        "full-backing-filename"] == bases["xvdb"]
    assert_nothing_is_left(world, driver, backend)


def test_the_second_is_over_the_first(world, agent, backend, domain):
    del backend
    path = f"{world.images}/mine.qcow2"
    first = create(agent, keys={"disks/xvdb/path": path})
    assert first["state"] == "done", first
    assert first["result/disks/xvdb/path"] == path
    second = create(agent, name="s2")
    assert second["state"] == "done", second
    for vdev in domain.disks:
        assert second[f"result/disks/{vdev}/base"] == first[f"result/disks/{vdev}/path"]
        assert [path for path, _ in domain.chain(vdev)] == [
            second[f"result/disks/{vdev}/path"], first[f"result/disks/{vdev}/path"],
            domain.disks[vdev].path]


def test_without_memory_those_of_one_domain_only(agent, backend, domain):
    del backend
    picture = Picture(agent, domain)
    assert_failed(create(agent, memory=0), "unsupported-disk", "xvda", "xvdb", "memory=1")
    picture.assert_same()
    reply = create(agent, memory=0, disks="xvdb")
    assert reply["state"] == "done", reply
    assert_disk_is_on(domain, "xvdb", reply["result/disks/xvdb/path"])
    assert domain.chain("xvda") == [(domain.disks["xvda"].path, "qcow2")]
    # One that nobody names is left out.
    reply = agent.request("create", domain="web", name="s2", memory=0)
    assert "storage" in reply["result/disks/xvdb/skipped"]
    assert len(domain.chain("xvdb")) == 2


# -- what is refused, with nothing changed ------------------------------------------


def test_without_an_agent_there_it_is_refused(agent, domain):
    picture = Picture(agent, domain)
    assert_failed(create(agent), "unsupported-disk", "xvdb", "storage", "role: backend")
    picture.assert_same()


def test_what_cannot_be_taken_is_refused(world, agent, backend, domain, driver):
    picture = Picture(agent, domain)
    for keys, word in (({"disks/xvdb/external": 0}, "external"),
                       ({"disks/xvdb/path": "/nowhere/x.qcow2"}, "/nowhere")):
        reply = create(agent, keys=keys)
        assert reply["state"] == "failed" and word in reply["error/message"], reply
        picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_a_snapshot_is_forgotten_and_its_images_stay(world, agent, backend, domain):
    del backend
    reply = create(agent)
    gone = agent.request("delete", domain="web", name="s1", keep_files=1)
    assert gone["state"] == "done", gone
    for vdev in domain.disks:
        assert_disk_is_on(domain, vdev, reply[f"result/disks/{vdev}/path"])
    assert not world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s1")


# -- a driver domain that fails -----------------------------------------------------


def test_one_that_hangs_before_it_is_prepared(world, impatient, backend, domain, driver):
    picture = Picture(impatient, domain)
    backend.freeze()
    assert_failed(create(impatient), "timeout", "storage", "prepare", "timeouts.backend")
    backend.thaw()
    # It does nothing of what it was told too late.
    world.eventually(lambda: jobs(world, driver) == [] or "undone" in
                     world.store.tree(f"{driver.path}/data/xensnapd").values(), 20, "undone")
    picture.assert_same()


def test_one_that_hangs_in_the_pause(world, agent_stopped, backend, domain, save):
    agent_stopped.configure("timeouts", max_pause="2s", backend="3s")
    agent = agent_stopped.start()
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    backend.freeze()
    save.release()
    # The guest goes on, though nobody knows yet what became of its disk.
    world.eventually(lambda: world.xen.is_running(domain.domid), 20, "the guest goes on")
    assert request.state() == "running"
    reply = request.wait()
    assert_failed(reply, "timeout", "max-pause", "storage")
    # Nothing was switched here; there, an empty overlay stays and is named, which is
    # right whether it was.
    assert reply["error/step"] == "switch-backends"
    assert domain.chain("xvda") == [(domain.disks["xvda"].path, "qcow2")]
    backend.thaw()
    backend.wait_log("left as it is")
    domain.write("xvdb", 0, b"x" * 512)
    named, = named_images(domain, "xvdb")
    overlay = named.split(":", 1)[1]
    assert image_info(overlay)["full-backing-filename"] == domain.disks["xvdb"].path


def test_one_whose_qemu_refuses_to_switch(world, agent, backend, domain, driver, save):
    picture = Picture(agent, domain)
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    answers = world.store.tree(f"{driver.path}/data/xensnapd/jobs")
    overlay, = [value for key, value in answers.items()
                if key.endswith("/xvdb/overlay")]
    with open(overlay, "r+b") as file:
        file.write(b"no image")
    save.release()
    reply = request.wait()
    assert reply["state"] == "failed", reply
    assert "storage" in reply["error/message"]
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_one_that_dies(world, agent, backend, domain, driver, save):
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    backend.kill()
    domain.served[driver.domid].kill()
    world.remove_domain(driver)
    save.release()
    assert_failed(request.wait(), "domain-inactive", "storage")
    assert world.xen.is_running(domain.domid)
    # All of ours is as before; the overlays there are with what died.
    assert domain.chain("xvda") == [(domain.disks["xvda"].path, "qcow2")]
    assert {disk["vdev"]: disk["pdev_path"] for disk in domain.stored_config()["disks"]} == \
        {vdev: disk.path for vdev, disk in domain.disks.items()}
    assert world.store.read(f"{domain.libxl_path('xvdb')}/params") == \
        domain.disks["xvdb"].params()
    assert not [name for name in os.listdir(world.images) if "xvda.s1" in name]
    assert not world.store.tree(f"{ROOT}/snapshots")


def test_one_that_is_dying_when_the_time_is_over(world, agent_stopped, backend, domain,
                                                 driver, save):
    """No event tells of that: the end of the time finds it so."""
    agent_stopped.configure("timeouts", backend="5s")
    agent = agent_stopped.start()
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    backend.freeze()
    save.release()
    wait_told(world, driver, "switch")
    world.xen.set(driver.domid, dying=1)
    reply = request.wait()
    assert reply["state"] == "failed" and "storage" in reply["error/message"], reply
    assert reply["error/step"] == "switch-backends"
    assert domain.chain("xvda") == [(domain.disks["xvda"].path, "qcow2")]
    assert not world.store.tree(f"{ROOT}/snapshots")


def test_its_agent_is_killed_in_the_pause_and_comes_back(world, agent, backend, domain,
                                                         driver, save):
    picture = Picture(agent, domain)
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    backend.kill()
    backend.start()
    save.release()
    assert_failed(request.wait(), "interrupted", "storage")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_ours_fails_after_it_has_switched(world, agent, backend, domain, driver):
    picture = Picture(agent, domain)
    domain.interpose().fault("transaction", "error")
    reply = create(agent)
    assert reply["state"] == "failed" and reply["error/step"] == "switch-disks", reply
    assert "putting things back" not in reply["error/message"]
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_one_that_hangs_when_all_is_done(world, impatient, backend, domain, driver):
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(impatient)
    fault.wait_reached()
    backend.freeze()
    fault.release()
    reply = request.wait()
    # It is a snapshot: both were switched, and the record is written.
    assert reply["state"] == "done", reply
    assert "storage" in reply["result/warning"]
    backend.thaw()
    for vdev in domain.disks:
        assert_disk_is_on(domain, vdev, reply[f"result/disks/{vdev}/path"])
    assert_nothing_is_left(world, driver, backend)


# -- a driver domain that lies --------------------------------------------------------


FILES = {"overlay": "/images/new.qcow2", "restore_overlay": "/images/restore.qcow2",
         "virtual_bytes": 1 << 26, "depth": 1}


def refused(agent, liar, state, files, **keys):
    """The message, after it has answered with that to `prepare`."""
    request = submit(agent, **keys)
    liar.wait_told("prepare")
    liar.answer(state, **files)
    liar.wait_told("undo")
    liar.answer("undone")
    reply = request.wait()
    assert_failed(reply, "internal-error", "storage")
    return reply["error/message"]


def test_answers_that_cannot_be(world, agent, domain, driver):
    picture = Picture(agent, domain)
    liar = Liar(world, driver)
    for key, value in (("overlay", "relative"), ("overlay", "/a/../b"),
                       ("overlay", domain.disks["xvdb"].path),
                       ("restore_overlay", FILES["overlay"]),
                       ("virtual_bytes", 0), ("depth", -1)):
        message = refused(agent, liar, "prepared", {**FILES, key: value})
        assert "xvdb" in message and key.replace("_", "-") in message
    # Not the one that was asked for.
    assert "overlay" in refused(agent, liar, "prepared", FILES,
                                keys={"disks/xvdb/path": "/images/asked.qcow2"})
    for state in "committed", "switched", "nonsense":
        assert '"prepare"' in refused(agent, liar, state, FILES)
    picture.assert_same()


@contextlib.contextmanager
def touching(path):
    """Somebody writes the node again and again: a transaction that has it fails."""
    over = threading.Event()

    def touch():
        store = Store()
        value = store.read(path)
        while not over.is_set():
            store.write(path, value)
        store.close()
    threads = [threading.Thread(target=touch) for _ in range(3)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()


def test_its_node_does_not_keep_ours_from_being_put_back(world, agent, domain, driver):
    liar = Liar(world, driver)
    request = submit(agent)
    liar.wait_told("prepare")
    liar.answer("prepared", **FILES)
    liar.wait_told("switch")
    with touching(f"{domain.backend_path('xvdb')}/params"):
        liar.answer("failed")
        liar.wait_told("put-back")
        liar.answer("put-back")
        liar.wait_told("undo")
        liar.answer("undone")
        reply = request.wait()
    assert_failed(reply, "internal-error", "storage")
    assert "putting things back" not in reply["error/message"]
    assert_disk_is_on(domain, "xvda", domain.disks["xvda"].path)
    assert world.store.read(f"{domain.libxl_path('xvdb')}/params") == \
        domain.disks["xvdb"].params()
    assert not [name for name in os.listdir(world.images) if "xvda.s1" in name]


# -- domain 0's agent is killed ---------------------------------------------------------


def kill(agent, request):
    """It ends, and the next one takes it up."""
    agent.kill()
    agent.start()
    return request.wait()


def test_killed_while_it_is_prepared(world, agent, backend, domain, driver):
    picture = Picture(agent, domain)
    backend.freeze()
    request = submit(agent)
    world.eventually(lambda: jobs(world, driver), 20, "a job")
    agent.kill()
    backend.thaw()
    agent.start()
    assert_failed(request.wait(), "interrupted")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def reboot(world, domain):
    """As xl does: anew, on what the configuration names."""
    disks = []
    for vdev, disk in domain.disks.items():
        named, = named_images(domain, vdev)
        form, path = named.split(":", 1)
        disks.append(Disk(vdev, {"aio": "raw"}.get(form, form), path=path,
                          driver=disk.driver, devd=disk.devd))
    world.remove_domain(domain)
    return world.add_domain(domain.name, domain.kind, disks, uuid=domain.uuid)


def test_the_guest_reboots_while_no_agent_runs(world, agent, backend, domain, save):
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    agent.kill()
    world.eventually(lambda: world.xen.is_running(domain.domid), 30, "goes on")
    save.release()
    domain = reboot(world, domain)
    for vdev in domain.disks:
        domain.write(vdev, 0, b"rebooted" * 64)
    agent.start()
    assert_failed(request.wait(), "interrupted", "storage", "stay")
    backend.wait_log("left as it is")
    # What the next reboot finds.
    for vdev in domain.disks:
        path, form = domain.chain(vdev)[0]
        assert_disk_is_on(domain, vdev, path, form)
        assert os.path.exists(path)
        assert domain.read(vdev, 0, 512) == b"rebooted" * 64
    assert len(domain.chain("xvda")) == 1


def test_killed_before_the_switch(world, agent, backend, domain, driver, save):
    picture = Picture(agent, domain)
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    assert_failed(kill(agent, request), "interrupted")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_killed_between_both_switches(world, agent, backend, domain, driver):
    picture = Picture(agent, domain)
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent)
    fault.wait_reached()
    assert domain.chain("xvdb")[0][1] == "qcow2"
    agent.kill()
    domain.uninterpose()
    agent.start()
    assert_failed(request.wait(), "interrupted")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_killed_after_the_record(world, agent, backend, domain, driver):
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent)
    fault.wait_reached()
    backend.freeze()
    fault.release()
    wait_told(world, driver, "commit")
    agent.kill()
    domain.uninterpose()
    backend.thaw()
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    for vdev in domain.disks:
        assert_disk_is_on(domain, vdev, reply[f"result/disks/{vdev}/path"])
    assert_nothing_is_left(world, driver, backend)


def test_killed_after_a_part_was_given_up(world, impatient, backend, domain, driver):
    """It does not answer to `put-back`; then libxl's lock is waited for."""
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(impatient)
    fault.wait_reached()
    overlay = domain.chain("xvdb")[0][0]
    backend.freeze()
    world.store.write(f"{request.path}/cancel", "1")
    fault.release()
    wait_told(world, driver, "put-back")
    # The other disk is back, which takes the lock as well.
    lock = f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}.domain-userdata-lock"
    with open(lock, "a", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        folder = f"{ROOT}/backends/{driver.domid}"
        world.store.wait_for(folder, lambda: not jobs(world, driver), 30)
        impatient.kill()
    domain.uninterpose()
    backend.thaw()
    backend.wait_log("left as it is")
    domain.write("xvdb", 0, b"written!" * 64)
    impatient.start()
    assert_failed(request.wait(), "cancelled")
    assert_disk_is_on(domain, "xvdb", overlay)
    assert_disk_is_on(domain, "xvda", domain.disks["xvda"].path)


def test_both_agents_are_killed_after_the_switch(world, agent, backend, domain, driver):
    picture = Picture(agent, domain)
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent)
    fault.wait_reached()
    agent.kill()
    backend.kill()
    domain.uninterpose()
    backend.start()
    agent.start()
    assert_failed(request.wait(), "interrupted")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_its_domid_is_told_late(world, driver, backend_stopped):
    """As when xenstored was started anew, and the agent is back before the toolstack."""
    domid = world.store.read(f"{driver.path}/domid")
    world.store.rm(f"{driver.path}/domid")
    backend_stopped.start(ready=False)
    backend_stopped.wait_log("does not name this domain's domid yet")
    world.store.write(f"{driver.path}/domid", domid)
    backend_stopped.wait_ready()
