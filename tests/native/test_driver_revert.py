# SPDX-License-Identifier: LGPL-2.1-or-later
"""Going back to a snapshot that has disks of domain 0 and of a driver domain, whose
QEMU and agent are the real ones: all of them, or nothing before the domain is ended;
and deleting one that was left so (I1, I2, I4, I6)."""

import os
import subprocess

import pytest

from native.agent import FINAL, ROOT
from native.backend import wait_suspended
from native.domain import Disk
from native.faults import KILL_BEFORE, Faults
from native.expect import Picture, assert_failed, image_info, image_is_sound
from native.toolstack import Toolstack

BEFORE, AFTER = b"before!!" * 64, b"after!!!" * 64

# Keeping the running state is a save as well.
pytestmark = pytest.mark.usefixtures("save")


@pytest.fixture(name="toolstack")
def fixture_toolstack(world):
    return Toolstack(world)


@pytest.fixture(name="domain")
def fixture_domain(world, driver):
    """A disk from each."""
    domain = world.add_domain("web", disks=[
        ("xvda", "qcow2"), Disk("xvdb", "raw", driver=driver, devd=True)])
    write(domain, BEFORE)
    return domain


@pytest.fixture(name="impatient")
def fixture_impatient(agent_stopped):
    """An agent that does not wait long for a driver domain."""
    agent_stopped.configure("timeouts", backend="5s")
    return agent_stopped.start()


def write(domain, data):
    for vdev in domain.disks:
        domain.write(vdev, 0, data)
        domain.disks[vdev].front.flush()


def create(agent, domain, name="s1"):
    """A checkpoint, and then the guest goes on; the overlays that it is on."""
    reply = agent.request("create", domain="web", name=name, live=0, disks="xvda xvdb")
    assert reply["state"] == "done", reply
    write(domain, AFTER)
    return {vdev: reply[f"result/disks/{vdev}/path"] for vdev in domain.disks}


def submit(agent, **keys):
    return agent.submit("revert", domain="web", **{"name": "s1", **keys})


def end(world, request):
    """Domains are made meanwhile."""
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    return request.wait()


def revert(agent, **keys):
    return end(agent.world, submit(agent, **keys))


def assert_is_back(domain, reply):
    """On fresh overlays over what it was on when the snapshot was taken."""
    assert reply["result/disks/xvdb/driver-domain"] == "storage"
    for vdev in domain.disks:
        overlay, base = (reply[f"result/disks/{vdev}/{key}"] for key in ("path", "base"))
        assert [path for path, _ in domain.chain(vdev)][:2] == [overlay, base]
        assert image_info(overlay)["full-backing-filename"] == base
        assert domain.read(vdev, 0, len(BEFORE)) == BEFORE
        domain.write(vdev, 4096, b"new!" * 256)


def held_in_the_suspend(world, agent, domain, save):
    """A revert that keeps the running state, until `save` is released."""
    save.hold()
    request = submit(agent)
    wait_suspended(world, domain)
    return request


def images(world):
    return {f"{world.images}/{name}" for name in os.listdir(world.images)}


def answers(world, driver):
    return world.store.tree(f"{driver.path}/data/xensnapd")


def wait_told(world, driver, phase):
    """Domains are made meanwhile."""
    folder = f"{ROOT}/backends/{driver.domid}"
    world.eventually(lambda: phase in world.store.tree(folder).values(), 30, phase)


def assert_nothing_is_left(world, driver, backend):
    jobs = f"{ROOT}/backends/{driver.domid}"
    assert not [key for key in world.store.tree(jobs) if "/" in key]
    world.eventually(lambda: not [name for name in backend.records() if "op-" in name],
                     10, "no note of its part")
    world.eventually(lambda: not [key for key in answers(world, driver)
                                  if key.startswith("jobs/")], 10, "no answer")


# -- as it should be --------------------------------------------------------------


@pytest.mark.parametrize("start", ["running", "boot"])
def test_both_disks_go_back(world, agent, backend, domain, driver, toolstack, start):
    left = create(agent, domain)
    reply = revert(agent, start=start)
    assert reply["state"] == "done", reply
    assert "result/warning" not in reply
    web = toolstack.made[-1]
    assert_is_back(web, reply)
    # What the domain was on is gone in both; nothing else is.
    for vdev in web.disks:
        assert not os.path.exists(left[vdev])
        assert f"result/disks/{vdev}/abandoned" not in reply
        assert image_is_sound(reply[f"result/disks/{vdev}/path"])
    assert_nothing_is_left(world, driver, backend)


def test_again_and_from_a_later_one_and_with_keep_current(world, agent, backend, domain,
                                                          toolstack):
    del backend
    create(agent, domain)
    later = create(agent, domain, "s2")
    reply = revert(agent)
    assert reply["state"] == "done", reply
    assert_is_back(toolstack.made[-1], reply)
    # What s2 holds stays, and what lay over it goes.
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")
    assert os.path.exists(published["xvdb/path"])
    assert not os.path.exists(later["xvdb"])
    left = reply["result/disks/xvdb/path"]
    reply = revert(agent, name="s2", keep_current=1)
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvdb/abandoned"] == left
    assert toolstack.made[-1].read("xvdb", 0, len(AFTER)) == AFTER
    reply = revert(agent)
    assert reply["state"] == "done", reply
    assert_is_back(toolstack.made[-1], reply)
    # Another snapshot goes on with what names were used before.
    assert create(agent, toolstack.made[-1], "s3")


def test_a_domain_that_does_not_run_is_started(world, agent, backend, domain, driver,
                                               toolstack):
    left = create(agent, domain)
    world.remove_domain(domain)
    reply = revert(agent, start="boot")
    assert reply["state"] == "done", reply
    assert_is_back(toolstack.made[-1], reply)
    assert not os.path.exists(left["xvdb"])
    assert_nothing_is_left(world, driver, backend)


# -- before the domain is ended: nothing has changed ---------------------------------


def test_without_its_agent_it_is_refused(agent, backend, domain):
    create(agent, domain)
    backend.stop()
    picture = Picture(agent, domain)
    assert_failed(revert(agent), "unsupported-disk", "xvdb", "storage", "role: backend")
    picture.assert_same()


def test_without_the_driver_domain_it_is_refused(world, agent, backend, domain, driver):
    create(agent, domain)
    world.remove_domain(domain)
    backend.stop()
    world.remove_domain(driver)
    assert_failed(revert(agent, start="boot"), "domain-inactive", "xvdb", "storage")


def test_what_is_not_sound_there_is_refused(world, agent, backend, domain, driver):
    create(agent, domain)
    create(agent, domain, "s2")
    state = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")["xvdb/path"]
    os.rename(state, f"{state}.aside")
    files = images(world)
    chain = domain.chain("xvda")
    reply = revert(agent, name="s2")
    assert_failed(reply, "chain-broken", "storage", state)
    assert reply["error/step"] == "prepare-backends"
    assert world.xen.is_running(domain.domid)
    assert domain.chain("xvda") == chain
    assert images(world) == files
    assert_nothing_is_left(world, driver, backend)


def test_one_that_hangs_before_it_is_prepared(world, impatient, backend, domain, driver):
    create(impatient, domain)
    picture = Picture(impatient, domain)
    backend.freeze()
    assert_failed(revert(impatient), "timeout", "storage", "prepare", "timeouts.backend")
    backend.thaw()
    world.eventually(lambda: "undone" in answers(world, driver).values() or not [
        key for key in answers(world, driver) if key.startswith("jobs/")], 20, "undone")
    picture.assert_same()


def test_its_agent_is_killed_before_the_domain_is_ended(world, agent, backend, domain, driver,
                                                        save):
    create(agent, domain)
    picture = Picture(agent, domain)
    request = held_in_the_suspend(world, agent, domain, save)
    backend.kill()
    backend.start()
    world.store.wait_for(f"{driver.path}/data/xensnapd",
                         lambda: "failed" in answers(world, driver).values(), 20)
    save.release()
    reply = end(world, request)
    assert_failed(reply, "interrupted", "storage")
    assert reply["error/step"] == "check-backends"
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_the_driver_domain_dies_before_the_domain_is_ended(world, agent, backend, domain,
                                                           driver, save):
    create(agent, domain)
    chain = domain.chain("xvda")
    request = held_in_the_suspend(world, agent, domain, save)
    backend.kill()
    domain.served[driver.domid].kill()
    world.remove_domain(driver)
    save.release()
    assert_failed(end(world, request), "domain-inactive", "storage")
    assert world.xen.is_running(domain.domid)
    assert domain.chain("xvda") == chain


def test_our_agent_is_killed_before_the_domain_is_ended(world, agent, backend, domain, driver,
                                                        save):
    create(agent, domain)
    picture = Picture(agent, domain)
    request = held_in_the_suspend(world, agent, domain, save)
    agent.kill()
    save.release()
    agent.start()
    assert_failed(end(world, request), "interrupted")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


# -- behind that: forward ----------------------------------------------------------------


def test_its_agent_dies_when_the_domain_is_ended(world, impatient, backend, domain, driver,
                                                 save, toolstack):
    left = create(impatient, domain)
    save.hold()
    request = submit(impatient)
    wait_suspended(world, domain)
    backend.kill()
    save.release()
    reply = end(world, request)
    # The domain is back; what was left there has nobody who would remove it.
    assert reply["state"] == "done", reply
    assert "storage" in reply["result/warning"]
    assert_is_back(toolstack.made[-1], reply)
    assert reply["result/disks/xvdb/abandoned"] == left["xvdb"]
    backend.start()
    backend.wait_log("left as it is")
    assert os.path.exists(left["xvdb"])
    assert_is_back(toolstack.made[-1], reply)
    assert_nothing_is_left(world, driver, backend)


def test_its_agent_comes_back_behind_that(world, agent, backend, domain, driver, save,
                                          toolstack):
    left = create(agent, domain)
    request = held_in_the_suspend(world, agent, domain, save)
    backend.kill()
    save.release()
    wait_told(world, driver, "commit")
    backend.start()
    reply = end(world, request)
    assert reply["state"] == "done", reply
    assert "result/warning" not in reply
    assert_is_back(toolstack.made[-1], reply)
    assert not os.path.exists(left["xvdb"])
    assert_nothing_is_left(world, driver, backend)


def test_our_agent_is_killed_while_the_domain_is_made(world, agent, backend, domain, driver,
                                                      toolstack):
    left = create(agent, domain)
    make, world.attend = world.attend, None
    request = submit(agent)
    world.eventually(lambda: os.listdir(f"{world.xen.folder}/creations"), 30, "to be made")
    agent.kill()
    for name in os.listdir(f"{world.xen.folder}/creations"):
        os.unlink(f"{world.xen.folder}/creations/{name}")
    world.attend = make
    agent.start()
    reply = end(world, request)
    assert reply["state"] == "done", reply
    assert_is_back(toolstack.made[-1], reply)
    assert not os.path.exists(left["xvdb"])
    assert_nothing_is_left(world, driver, backend)


def test_our_agent_is_killed_when_the_domain_runs(world, agent, backend, domain, driver,
                                                  toolstack):
    left = create(agent, domain)
    request = submit(agent)
    world.eventually(lambda: "prepared" in answers(world, driver).values(), 20, "prepared")
    backend.freeze()
    wait_told(world, driver, "commit")
    agent.kill()
    backend.thaw()
    agent.start()
    reply = end(world, request)
    assert reply["state"] == "done", reply
    assert_is_back(toolstack.made[-1], reply)
    assert not os.path.exists(left["xvdb"])
    assert_nothing_is_left(world, driver, backend)


@pytest.mark.parametrize("failing, back", [(1, "running-state"), (3, "boot")])
def test_what_cannot_be_restored_goes_on_as_it_was(world, agent, backend, domain, driver,
                                                   toolstack, failing, back):
    left = create(agent, domain)
    files = images(world)
    toolstack.refuse = failing
    reply = revert(agent)
    assert reply["state"] == "failed", reply
    assert reply["result/brought-back"] == back, reply
    web = toolstack.made[-1]
    for vdev in web.disks:
        assert web.chain(vdev)[0][0] == left[vdev]
        assert web.read(vdev, 0, len(AFTER)) == AFTER
    assert images(world) == files
    assert_nothing_is_left(world, driver, backend)


def test_where_no_domain_can_be_made_its_disks_are_as_they_were(world, agent, backend, domain,
                                                                driver, toolstack):
    create(agent, domain)
    files = images(world)
    toolstack.refuse = 4
    reply = revert(agent)
    assert reply["state"] == "failed", reply
    assert "its memory is in" in reply["error/message"]
    assert images(world) == files
    assert_nothing_is_left(world, driver, backend)


# -- deleting a snapshot of a branch that was left -------------------------------------------


@pytest.fixture(name="branch")
def fixture_branch(world, agent, backend, domain, toolstack):
    """s1, and over it s2, which nothing lies over since the domain is on s1 again:
    what s2 has of each disk in the driver domain, and the domain."""
    del backend
    create(agent, domain)
    create(agent, domain, "s2")
    reply = revert(agent)
    assert reply["state"] == "done", reply
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")
    return ({key: published[f"xvdb/{key}"] for key in ("path", "restore-overlay")},
            toolstack.made[-1])


def delete(agent, name="s2"):
    return agent.request("delete", domain="web", name=name)


def test_its_files_are_removed_in_both(world, agent, backend, domain, driver, branch):
    files, web = branch
    chains = {vdev: web.chain(vdev) for vdev in web.disks}
    reply = delete(agent)
    assert reply["state"] == "done", reply
    assert "result/warning" not in reply
    assert not any(map(os.path.exists, files.values()))
    assert not [path for path in images(world) if ".s2" in path]
    assert {vdev: web.chain(vdev) for vdev in web.disks} == chains
    assert not world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2")
    assert_nothing_is_left(world, driver, backend)
    # The domain lies over s1: that is merged.
    reply = delete(agent, "s1")
    assert reply["state"] == "done", reply
    assert {vdev: len(web.chain(vdev)) for vdev in web.disks} == {"xvda": 1, "xvdb": 1}
    # What used those names before is not in the way of another.
    assert create(agent, web, "s2")


def test_two_that_are_gone_for_good_do_not_wait_for_each_other(world, agent, backend, domain,
                                                               driver, toolstack):
    """Nor did anything else of these branches stay."""
    create(agent, domain)
    create(agent, domain, "s2")
    assert revert(agent, keep_current=1)["state"] == "done"
    create(agent, toolstack.made[-1], "s3")
    assert revert(agent, keep_current=1)["state"] == "done"
    web = toolstack.made[-1]
    used = {path for vdev in web.disks for path, _ in web.chain(vdev)}
    for path in images(world) - used:
        os.unlink(path)
    for name in "s2", "s3", "s1":
        reply = delete(agent, name)
        assert reply["state"] == "done", reply
    assert_nothing_is_left(world, driver, backend)


def test_a_file_that_a_domain_may_need_keeps_it(world, agent, branch, driver, backend):
    files, web = branch
    picture = Picture(agent, web)
    with open(files["path"], "rb"):
        assert_failed(delete(agent), "snapshot-in-use", "storage", files["path"])
    picture.assert_same()
    with open(files["restore-overlay"], "rb"):
        assert_failed(delete(agent), "snapshot-in-use", "storage", files["restore-overlay"])
    picture.assert_same()
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 64k", files["restore-overlay"]],
                   check=True)
    assert_failed(delete(agent), "snapshot-in-use", "storage", "memory file")
    picture.assert_same()
    assert_nothing_is_left(world, driver, backend)


def test_a_state_that_was_written_to_without_a_word_stays(agent, branch):
    """As by the domain, started by a file that still names it."""
    files, _ = branch
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 64k", files["path"]], check=True)
    assert_failed(delete(agent), "snapshot-in-use", "storage", "written to")
    assert os.path.exists(files["path"])


def test_without_an_agent_there_nothing_is_deleted(agent, branch, backend):
    backend.stop()
    picture = Picture(agent, branch[1])
    assert_failed(delete(agent), "unsupported-disk", "storage", "role: backend")
    picture.assert_same()


def test_its_agent_is_killed_and_the_delete_is_asked_for_again(world, agent_stopped, driver,
                                                               backend, domain, toolstack):
    agent_stopped.configure("timeouts", backend="5s")
    agent = agent_stopped.start()
    create(agent, domain)
    create(agent, domain, "s2")
    assert revert(agent)["state"] == "done"
    state = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")["xvdb/path"]
    backend.freeze()
    request = agent.submit("delete", domain="web", name="s2")
    wait_told(world, driver, "prepare")
    backend.kill()
    assert_failed(request.wait(), "timeout", "storage")
    assert os.path.exists(state)
    backend.start()
    reply = delete(agent)
    assert reply["state"] == "done", reply
    assert not os.path.exists(state)
    assert_nothing_is_left(world, driver, backend)


def test_what_is_kept_for_xl_restore_follows_a_merge(world, agent, backend, domain, driver):
    """It lies over the image that goes."""
    bases = {vdev: disk.path for vdev, disk in domain.disks.items()}
    create(agent, domain)
    create(agent, domain, "s2")
    reply = delete(agent, "s1")
    assert reply["state"] == "done", reply
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")
    for vdev, base in bases.items():
        assert published[f"{vdev}/path"] == base
        assert image_info(published[f"{vdev}/restore-overlay"])[
            "full-backing-filename"] == base
        assert domain.read(vdev, 0, len(AFTER)) == AFTER
    assert_nothing_is_left(world, driver, backend)


def restore_overlays(world, domain):
    published = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")
    return {vdev: published[f"{vdev}/restore-overlay"] for vdev in ("xvdb", "xvdc")}


def test_one_of_two_disks_whose_file_stays(world, agent, backend, driver, toolstack):
    """The other's are gone by then: the delete can be finished all the same."""
    domain = world.add_domain("web", disks=[
        Disk("xvdb", "raw", driver=driver, devd=True),
        Disk("xvdc", "raw", driver=driver, devd=True)])
    for name in ("s1", "s2"):
        reply = agent.request("create", domain="web", name=name, live=0, disks="xvdb xvdc")
        assert reply["state"] == "done", reply
    assert revert(agent)["state"] == "done"
    assert toolstack.made
    files = restore_overlays(world, domain)
    backend.freeze()
    request = agent.submit("delete", domain="web", name="s2")
    wait_told(world, driver, "prepare")
    agent.freeze()
    backend.thaw()
    world.eventually(lambda: "prepared" in answers(world, driver).values(), 20, "prepared")
    with open(files["xvdc"], "rb"):
        agent.thaw()
        reply = request.wait()
    assert_failed(reply, "snapshot-in-use", "xvdc", "delete the snapshot again")
    assert not os.path.exists(files["xvdb"]) and os.path.exists(files["xvdc"])
    reply = delete(agent)
    assert reply["state"] == "done", reply
    assert not [path for path in images(world) if ".s2" in path]
    assert_nothing_is_left(world, driver, backend)


def test_our_agent_is_killed_before_it_removes_the_record(world, agent_stopped, backend, domain,
                                                          driver, toolstack):
    """What it had of the driver domain is forgotten by then."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    create(agent, domain)
    create(agent, domain, "s2")
    assert revert(agent)["state"] == "done"
    assert toolstack.made
    agent.faults.arm(KILL_BEFORE, 1, "unlink s2.yaml")
    request = agent.submit("delete", domain="web", name="s2")
    agent.process.wait(30)
    agent.faults.disarm()
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert not [path for path in images(world) if ".s2" in path]
    assert_nothing_is_left(world, driver, backend)


def test_our_agent_is_killed_while_it_deletes(world, agent, branch, driver, backend):
    files, _ = branch
    backend.freeze()
    request = agent.submit("delete", domain="web", name="s2")
    wait_told(world, driver, "prepare")
    agent.kill()
    backend.thaw()
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert not any(map(os.path.exists, files.values()))
    assert_nothing_is_left(world, driver, backend)


def test_what_kept_images_lie_over_stays(world, agent, backend, domain, driver, toolstack):
    """A record was deleted with keep-files: nobody but the others' tell of what it had."""
    under = create(agent, domain)
    last = create(agent, domain, "s2")
    kept = world.store.tree(f"{ROOT}/snapshots/{domain.uuid}/s2/disks")
    reply = agent.request("delete", domain="web", name="s2", keep_files=1)
    assert reply["state"] == "done", reply
    world.remove_domain(domain)
    reply = revert(agent, start="boot")
    assert reply["state"] == "done", reply
    assert_is_back(toolstack.made[-1], reply)
    for vdev in domain.disks:
        assert kept[f"{vdev}/path"] == under[vdev]
        assert image_info(last[vdev])["full-backing-filename"] == under[vdev]
        assert image_is_sound(under[vdev]) and image_is_sound(kept[f"{vdev}/restore-overlay"])
        # It is told where the domain was, for whoever goes back there.
        assert reply[f"result/disks/{vdev}/abandoned"] == last[vdev]
    assert_nothing_is_left(world, driver, backend)
