# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting snapshots whose images a driver domain has, and where others lie over them:
merged by the QEMU and the agent there, which are the real ones, while the guest writes."""

import itertools
import os
import threading
import time

import pytest

from native.agent import FINAL, ROOT
from native.backend import freeze_at
from native.domain import Disk
from native.expect import assert_disk_is_on, assert_failed, done, image_info
from native.merges import commit_slowly, delete
from native.relay import Relay
from native.rescans import Writer, paths, paused, qemu_img
from native.xenstore import Store


def create(agent, name):
    return done(agent.request("create", domain="alice", name=name, memory=0, disks="xvda"))


@pytest.fixture(name="alice")
def fixture_alice(world, agent, backend, driver):
    """xvda is the driver domain's, and has a chain of three: s1's state, s2's, and what
    the guest writes to."""
    del backend
    domain = world.add_domain("alice", disks=[
        Disk("xvda", "raw", driver=driver, devd=True), ("xvdb", "qcow2")])
    domain.writer = Writer(domain)
    domain.writer.progress()
    for name in "s1", "s2":
        create(agent, name)
        domain.writer.progress()
    return domain


def jobs_of(world, driver):
    return [key for key in world.store.tree(f"{ROOT}/backends/{driver.domid}") if "/" in key]


def assert_whole(world, agent, domain, driver, length):
    """The guest goes on, with all it wrote, in a chain that long."""
    domain.writer.progress()
    domain.writer.check()
    assert paused(domain) == 0
    active, form = domain.chain("xvda")[0]
    assert len(domain.chain("xvda")) == length
    assert_disk_is_on(domain, "xvda", active, form)
    for path, form in domain.chain("xvda"):
        if form == "qcow2":
            qemu_img("check", "-U", "-q", path)
    assert not jobs_of(world, driver)
    qmp = domain.served[driver.domid].qmp
    assert not qmp("query-jobs")
    nodes = qmp("query-named-block-nodes", flat=True)
    assert not [node for node in nodes
                if node["node-name"].endswith(("-held", "-look"))], nodes
    create(agent, "after")


def snapshots(world, domain):
    return {key.split("/")[0] for key in
            world.store.tree(f"{ROOT}/snapshots/{domain.uuid}")} - {"current"}


def test_the_middle_is_merged_into_the_base(world, agent, alice, driver):
    active, middle, base = paths(alice)
    done(delete(agent, "s1"))
    assert paths(alice) == [active, base]
    assert not os.path.exists(middle)
    published = world.store.tree(f"{ROOT}/snapshots/{alice.uuid}")
    # What s2 held lies in the base now.
    assert published["s2/disks/xvda/path"] == base
    assert published["s2/disks/xvda/format"] == "raw"
    assert_whole(world, agent, alice, driver, 2)


def test_the_active_image_is_merged_into_the_one_under_it(world, agent, alice, driver):
    active, middle, base = paths(alice)
    done(delete(agent, "s2"))
    assert paths(alice) == [middle, base]
    assert not os.path.exists(active)
    assert snapshots(world, alice) == {"s1"}
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/current") == "s1"
    assert_whole(world, agent, alice, driver, 2)


@pytest.mark.parametrize("order", [("s1", "s2"), ("s2", "s1")])
def test_all_of_them(world, agent, alice, driver, order):
    base = paths(alice)[2]
    for name in order:
        done(delete(agent, name))
    assert paths(alice) == [base]
    assert not snapshots(world, alice)
    assert not [name for name in os.listdir(world.images) if ".s" in name]
    assert_whole(world, agent, alice, driver, 1)


def test_what_a_node_of_the_running_domain_names_is_not_in_use(world, agent, alice, driver):
    """As where the driver domain's could not be written: QEMU has opened it long since."""
    active, middle, base = paths(alice)
    world.store.write(f"{alice.backend_path('xvda')}/params", f"qcow2:{middle}")
    done(delete(agent, "s1"))
    assert paths(alice) == [active, base]
    assert not os.path.exists(middle)
    world.store.write(f"{alice.backend_path('xvda')}/params", f"qcow2:{active}")
    assert_whole(world, agent, alice, driver, 2)


def test_a_checkpoint_of_both_domains(world, agent, alice, driver):
    before = {vdev: paths(alice, vdev) for vdev in alice.disks}
    reply = agent.request("create", domain="alice", name="s3", memory=0, disks="xvda")
    done(reply)
    done(delete(agent, "s3"))
    assert {vdev: paths(alice, vdev) for vdev in alice.disks} == before
    assert not jobs_of(world, driver)


def test_branches_are_refused(world, agent, alice):
    before = paths(alice)
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", before[1], "-F", "qcow2", side)
    done(agent.request("rescan", {"disks/xvda/path": side, "disks/xvda/format": "qcow2"},
                       domain="alice", disks="xvda"))
    assert paths(alice) == [side, *before[1:]]
    # On the branch that was left there is no snapshot which could be deleted instead.
    assert_failed(delete(agent, "s2"), "snapshot-in-use", "xvda", side, before[0],
                  f"no snapshot needs {os.path.basename(before[0])}: remove that")
    os.unlink(before[0])
    done(delete(agent, "s2"))
    assert paths(alice) == [before[1], before[2]]


def test_branches_with_snapshots_are_refused(world, agent, alice):
    active, state, _ = paths(alice)
    create(agent, "s3")
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", state, "-F", "qcow2", side)
    done(agent.request("rescan", {"disks/xvda/path": side, "disks/xvda/format": "qcow2"},
                       domain="alice", disks="xvda"))
    assert_failed(delete(agent, "s2"), "snapshot-in-use", "xvda", side, active,
                  "delete one of the branches first")


def test_a_branch_by_another_path_is_seen(world, agent, alice):
    """Over an image that the toolstack's header names through a link."""
    aside, middle, _ = paths(alice)
    link, own = f"{world.folder}/link.qcow2", f"{world.images}/own.qcow2"
    os.symlink(middle, link)
    alice.writer.stop()
    qemu_img("create", "-q", "-f", "qcow2", "-b", link, "-F", "qcow2", own)
    done(agent.request("rescan", {"disks/xvda/path": own, "disks/xvda/format": "qcow2"},
                       domain="alice", disks="xvda"))
    create(agent, "s3")
    reply = delete(agent, "s2")
    assert_failed(reply, "snapshot-in-use", aside, own)
    assert "needs own.qcow2" not in reply["error/message"]


def test_without_its_agent_it_is_refused(agent, alice, backend):
    backend.stop()
    before = paths(alice)
    assert_failed(delete(agent, "s1"), "unsupported-disk", "storage", "role: backend")
    assert paths(alice) == before


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_that_a_hold_has_expired_is_remembered(world, agent, alice, name):
    """Also where the delete has to make the guest stand still itself."""
    done(agent.request("rescan", domain="alice", disks="xvda", phase="prepare", hold=1))
    agent.wait_log("step=end-hold done")
    assert paused(alice) == 0
    done(delete(agent, name))
    agent.kill()
    agent.start()
    reply = agent.request("rescan", domain="alice", phase="complete")
    assert_failed(reply, "timeout", "the hold's time was over")
    assert not world.store.tree(f"{ROOT}/holds/{alice.uuid}")


def test_that_a_hold_has_expired_is_remembered_where_the_driver_domain_does_not_answer(
        world, agent, alice, driver, backend):
    """The hold of the delete's own was not filled in yet."""
    done(agent.request("rescan", domain="alice", disks="xvda", phase="prepare", hold=1))
    agent.wait_log("step=end-hold done")
    relay, store = Relay(alice.served[driver.domid].socket), Store()
    folder = f"{ROOT}/backends/{driver.domid}"
    frozen = threading.Event()

    def freeze_at_inspect(graph):
        if "inspect" in store.tree(folder).values():
            backend.freeze()
            frozen.set()
        return graph
    relay.amend("query-block", freeze_at_inspect)
    request = agent.submit("delete", domain="alice", name="s2")
    assert frozen.wait(30)
    request.cancel()
    agent.request("explode", domain="alice")  # what was asked before has been read
    backend.thaw()
    assert_failed(request.wait(), "cancelled")
    relay.close()
    store.close()
    agent.kill()
    agent.start()
    assert_failed(agent.request("rescan", domain="alice", phase="complete"), "timeout",
                  "the hold's time was over")
    done(delete(agent, "s2"))
    assert_whole(world, agent, alice, driver, 2)


# -- somebody dies ------------------------------------------------------------------------

ACTS = ["look", "merge", "close", "open", "end"]


@pytest.mark.parametrize("name", ["s1", "s2"])
@pytest.mark.parametrize("act", ACTS)
def test_its_agent_is_killed(world, agent, alice, driver, backend, name, act):
    if name == "s1" and act in ("close", "open"):
        pytest.skip("nothing is closed")
    request = agent.submit("delete", domain="alice", name=name)
    freeze_at(world, driver, backend, act, request)
    backend.kill()
    backend.start()
    reply = request.wait()
    if reply["state"] != "done":
        done(delete(agent, name))
    assert_whole(world, agent, alice, driver, 2)
    assert name not in snapshots(world, alice)


@pytest.mark.parametrize("name", ["s1", "s2"])
@pytest.mark.parametrize("act", ACTS)
def test_our_agent_is_killed(world, agent, alice, driver, backend, name, act):
    if name == "s1" and act in ("close", "open"):
        pytest.skip("nothing is closed")
    request = agent.submit("delete", domain="alice", name=name)
    freeze_at(world, driver, backend, act, request)
    agent.kill()
    backend.thaw()
    agent.start()
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    reply = request.wait()
    if reply["state"] != "done":
        done(delete(agent, name))
    assert_whole(world, agent, alice, driver, 2)
    assert name not in snapshots(world, alice)


@pytest.mark.parametrize("act", ACTS)
def test_both_agents_are_killed(world, agent, alice, driver, backend, act):
    request = agent.submit("delete", domain="alice", name="s2")
    freeze_at(world, driver, backend, act, request)
    agent.kill()
    backend.kill()
    backend.start()
    agent.start()
    world.eventually(lambda: request.state() in FINAL, 60, "the end")
    if request.wait()["state"] != "done":
        done(delete(agent, "s2"))
    assert_whole(world, agent, alice, driver, 2)


def is_removal(jobs):
    return any(key.endswith("/remove") for key in jobs)


def is_opening(jobs):
    return "open" in jobs.values()


def freeze_before(world, agent, driver, backend, comes):
    """Lets it, frozen, do one job after the other until that one is told, while our
    agent cannot ask for the next."""
    folder = f"{ROOT}/backends/{driver.domid}"
    seen = set()

    def told():
        return {key.split("/")[0] for key in world.store.tree(folder) if key.endswith("/path")}

    def answers():
        return backend.log_text().count("prepared\n")

    while True:
        world.eventually(lambda: told() - seen, 30, "the next job")
        if comes(world.store.tree(folder)):
            return
        seen |= told()
        before = answers()
        agent.freeze()
        backend.thaw()
        world.eventually(lambda: answers() > before, 30, "its answer")
        backend.freeze()
        agent.thaw()


def test_a_merge_that_lacks_only_its_end_is_ended_by_the_next(world, agent, alice, driver,
                                                              backend):
    """By then s2 has the state that s1 has, and only s1 says that the image is to go."""
    active, middle, base = paths(alice)
    backend.freeze()
    request = agent.submit("delete", domain="alice", name="s1")
    freeze_before(world, agent, driver, backend, is_removal)
    with open(middle, "rb"):
        backend.thaw()
        assert_failed(request.wait(), "snapshot-in-use", middle)
    published = world.store.tree(f"{ROOT}/snapshots/{alice.uuid}")
    assert published["s1/disks/xvda/path"] == published["s2/disks/xvda/path"] == base
    assert os.path.exists(middle)
    done(delete(agent, "s1"))
    assert not os.path.exists(middle)
    assert paths(alice) == [active, base]
    assert snapshots(world, alice) == {"s2"}


# -- a copy that takes long ------------------------------------------------------------------


def begin_slowly(world, agent, domain, driver):
    """Deletes s2, of whose data QEMU copies next to nothing until it is told to hurry."""
    active, middle, _ = paths(domain)
    commit_slowly(domain.served[driver.domid].qmp, active, active, middle)
    request = agent.submit("delete", domain="alice", name="s2")
    wait_copying(world, driver, set())
    return request


def hurry(domain, driver):
    qmp = domain.served[driver.domid].qmp
    for job in qmp("query-block-jobs"):
        qmp("block-job-set-speed", device=job["device"], speed=0)


def copying(world, driver):
    return {key for key in world.store.tree(f"{driver.path}/data/xensnapd/jobs")
            if key.endswith("/progress")}


def wait_copying(world, driver, before):
    world.eventually(lambda: copying(world, driver) - before, 20, "it copies")


def test_it_is_followed_when_our_agent_is_restarted(world, agent, alice, driver):
    request = begin_slowly(world, agent, alice, driver)
    agent.kill()
    before = copying(world, driver)
    agent.start()
    wait_copying(world, driver, before)
    hurry(alice, driver)
    done(request.wait())
    assert_whole(world, agent, alice, driver, 2)


def test_it_is_followed_when_its_agent_is_restarted(world, agent, alice, driver, backend):
    request = begin_slowly(world, agent, alice, driver)
    backend.stop()
    backend.start()
    wait_copying(world, driver, set())
    hurry(alice, driver)
    done(request.wait())
    assert_whole(world, agent, alice, driver, 2)


@pytest.fixture(name="impatient")
def fixture_impatient(agent_stopped):
    """Before `alice`."""
    agent_stopped.configure("timeouts", backend="1s")


def test_a_copy_that_does_not_get_on_is_not_waited_for_for_ever(world, impatient, agent, alice,
                                                                 driver):
    """That its agent looks at it all the time is no progress."""
    del impatient
    assert_failed(begin_slowly(world, agent, alice, driver).wait(60), "timeout", "storage")
    assert len(paths(alice)) == 3
    done(delete(agent, "s2"))
    assert_whole(world, agent, alice, driver, 2)


def test_one_that_adds_a_byte_at_a_time_is_not_waited_for_for_ever(world, impatient, agent,
                                                                   alice, driver, backend):
    del impatient
    request = begin_slowly(world, agent, alice, driver)
    told, = copying(world, driver)
    backend.freeze()
    for count in itertools.count(1):
        if request.state() in FINAL:
            break
        world.store.write(f"{driver.path}/data/xensnapd/jobs/{told}",
                          f"{1000 + count} {count} {1 << 30}")
        # Slower than it is looked at.
        assert count < 300, "it waits still"
        time.sleep(0.2)
    assert_failed(request.wait(), "timeout", "storage")
    backend.thaw()
    world.eventually(lambda: delete(agent, "s2")["state"] == "done", 60, "deleted")
    assert_whole(world, agent, alice, driver, 2)


def test_a_cancel_is_heard_while_it_copies(world, agent, alice, driver):
    request = begin_slowly(world, agent, alice, driver)
    request.cancel()
    assert request.wait(20)["state"] == "cancelled"
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/deleting") == "1"
    assert len(paths(alice)) == 3
    assert not alice.served[driver.domid].qmp("query-jobs")
    done(delete(agent, "s2"))
    assert_whole(world, agent, alice, driver, 2)


# -- the driver domain fails ----------------------------------------------------------------


@pytest.fixture(name="bounded")
def fixture_bounded(agent_stopped):
    """Before `alice`: no guest waits for longer."""
    agent_stopped.configure("timeouts", backend="6s", max_pause="4s")


@pytest.mark.parametrize("act", ["merge", "close", "open"])
def test_one_that_hangs_does_not_hold_the_guest(world, bounded, agent, alice, driver, backend,
                                                act):
    del bounded
    request = agent.submit("delete", domain="alice", name="s2")
    freeze_at(world, driver, backend, act, request)
    reply = request.wait()
    if reply["state"] != "done":
        assert_failed(reply, "timeout", "storage")
        assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/deleting") == "1"
    world.eventually(lambda: not paused(alice), 30, "the guest goes on")
    backend.thaw()
    if reply["state"] != "done":
        world.eventually(lambda: delete(agent, "s2")["state"] == "done", 60, "deleted")
    assert len(paths(alice)) == 2
    assert_disk_is_on(alice, "xvda", paths(alice)[0])


@pytest.fixture(name="hasty")
def fixture_hasty(agent_stopped):
    """Before `alice`: the answer comes while the guest may still wait."""
    agent_stopped.configure("timeouts", backend="2s", max_pause="60s")


def test_the_answer_tells_that_the_guest_waits_still(world, hasty, agent, alice, driver, backend):
    del hasty
    request = agent.submit("delete", domain="alice", name="s2")
    freeze_at(world, driver, backend, "close", request)
    reply = request.wait()
    assert paused(alice)
    assert_failed(reply, "timeout", "storage",
                  "domain \"alice\" stands still until that works, for ")
    backend.thaw()
    world.eventually(lambda: not paused(alice), 30, "the guest goes on")
    alice.writer.progress()
    world.eventually(lambda: delete(agent, "s2")["state"] == "done", 60, "deleted")


def test_one_that_dies_leaves_a_snapshot_that_can_be_deleted(world, agent, alice, driver,
                                                             backend):
    before = paths(alice)
    request = agent.submit("delete", domain="alice", name="s2")
    freeze_at(world, driver, backend, "merge", request)
    backend.kill()
    alice.served[driver.domid].kill()
    world.remove_domain(driver)
    assert_failed(request.wait(), "domain-inactive", "storage")
    assert paused(alice) == 0
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/deleting") == "1"
    # What the guest is on names what it named, and holds all that it wrote.
    named, = {disk["pdev_path"] for disk in alice.stored_config()["disks"]
              if disk["vdev"] == "xvda"}
    assert named == before[0] and os.path.exists(before[1])
    qemu_img("check", "-q", before[0])


def stop_copying(world, agent, alice, driver, backend, name):
    """The delete comes to nothing, and so does its job."""
    alice.writer.stop()
    request = agent.submit("delete", domain="alice", name=name)
    freeze_at(world, driver, backend, "merge", request)
    assert_failed(request.wait(60), "timeout", "storage")
    backend.kill()
    qmp = alice.served[driver.domid].qmp

    def gone():
        for job in qmp("query-jobs"):
            act = "job-dismiss" if job["status"] == "concluded" else "job-cancel"
            qmp(act, id=job["id"])
        return not qmp("query-jobs")
    world.eventually(gone, 20, "the job is gone")
    backend.start()


def rescan(agent, path):
    done(agent.request("rescan", {"disks/xvda/path": path, "disks/xvda/format": "qcow2"},
                       domain="alice", disks="xvda"))


def test_what_was_not_merged_stays_when_a_side_branch_is_made(world, bounded, agent, alice,
                                                              driver, backend):
    del bounded
    _, middle, base = paths(alice)
    stop_copying(world, agent, alice, driver, backend, "s1")
    side = f"{world.images}/side.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", side)
    rescan(agent, side)
    assert_failed(delete(agent, "s1"), "snapshot-in-use", side, middle)
    # It is s2's state.
    assert os.path.exists(middle)
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/disks/xvda/path") == middle


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after a snapshot"])
def test_what_was_not_merged_stays_when_the_domain_is_put_on_the_state(
        world, bounded, agent, alice, driver, backend, again):
    del bounded
    active, middle, _ = paths(alice)
    stop_copying(world, agent, alice, driver, backend, "s2")
    rescan(agent, middle)
    if again:
        create(agent, "s3")
        done(delete(agent, "s3"))
    assert_failed(delete(agent, "s2"), "snapshot-in-use", active)
    assert os.path.exists(active)


def start_on(world, driver, alice, path):
    """Anew, from a file of the toolstack's."""
    alice.writer.stop()
    world.remove_domain(alice)
    return world.add_domain("alice", uuid=alice.uuid, disks=[
        Disk("xvda", "qcow2", path=path, driver=driver, devd=True), ("xvdb", "qcow2")])


def test_no_image_is_made_over_the_state_that_a_delete_was_merging_into(
        world, bounded, agent, alice, driver, backend):
    del bounded
    active, middle, _ = paths(alice)
    stop_copying(world, agent, alice, driver, backend, "s2")
    start_on(world, driver, alice, middle)
    reply = agent.request("create", domain="alice", name="s3", memory=0, disks="xvda")
    assert_failed(reply, "snapshot-in-use", f"{active} lies aside over {middle}")
    assert os.path.exists(active)


def end_as_merged(world, agent, alice, driver):
    """QEMU there ends when the header over what is merged names the state already."""
    active, middle, base = paths(alice)
    alice.writer.stop()
    qemu = alice.served[driver.domid]
    relay = Relay(qemu.socket, kill=qemu.kill)
    relay.fault("job-dismiss", "kill-before")
    assert delete(agent, "s1")["state"] == "failed"
    relay.close()
    assert image_info(active)["backing-filename"] == base
    assert os.path.exists(middle)
    return start_on(world, driver, alice, active)


def test_where_qemu_ends_as_it_has_merged_the_delete_does_the_rest(world, agent, alice, driver):
    active, middle, base = paths(alice)
    alice = end_as_merged(world, agent, alice, driver)
    done(delete(agent, "s1"))
    assert paths(alice) == [active, base]
    assert not os.path.exists(middle)
    assert world.store.read(f"{ROOT}/snapshots/{alice.uuid}/s2/disks/xvda/path") == base
    done(delete(agent, "s2"))
    assert paths(alice) == [base]
    assert not os.path.exists(active)


def test_and_leaves_nothing_where_the_other_snapshot_goes_first(world, agent, alice, driver):
    active, middle, base = paths(alice)
    alice = end_as_merged(world, agent, alice, driver)
    for name in "s2", "s1":
        done(delete(agent, name))
    assert paths(alice) == [base]
    assert not os.path.exists(middle) and not os.path.exists(active)


@pytest.mark.parametrize("runs", [True, False], ids=["runs", "off"])
def test_what_may_be_all_that_shows_it_does_not_go_with_its_snapshot(world, agent, alice, driver,
                                                                     runs):
    """What it was merged into is written to since, and no longer what it was."""
    _, middle, base = paths(alice)
    alice = end_as_merged(world, agent, alice, driver)
    world.remove_domain(alice)
    alice = world.add_domain("alice", uuid=alice.uuid, disks=[
        Disk("xvda", "raw", path=base, driver=driver, devd=True), ("xvdb", "qcow2")])
    alice.write("xvda", 0, b"9" * 4096)
    alice.disks["xvda"].front.flush()
    assert_failed(delete(agent, "s1"), "snapshot-in-use", "the domain uses", base)
    if not runs:
        world.remove_domain(alice)
    reply = agent.request("delete", domain=alice.uuid, name="s2")
    assert_failed(reply, "snapshot-in-use", middle, base, "\"s1\"")
    assert os.path.exists(middle)


def test_an_image_that_somebody_has_put_over_the_state_is_no_sign_that_it_has(
        world, bounded, agent, alice, driver, backend):
    """Not even once that is known to be there."""
    del bounded
    active, middle, base = paths(alice)
    stop_copying(world, agent, alice, driver, backend, "s1")
    own = f"{world.images}/own.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", own)
    alice = start_on(world, driver, alice, own)
    done(agent.request("rescan", domain="alice", disks="xvda"))
    assert_failed(delete(agent, "s1"), "snapshot-in-use", own, middle)
    world.remove_domain(alice)
    reply = agent.request("delete", domain=alice.uuid, name="s1")
    assert_failed(reply, "snapshot-in-use", own, middle)
    assert os.path.exists(middle) and image_info(active)["backing-filename"] == middle


def test_a_disk_that_was_plugged_in_again_on_another_image_tells_nothing(
        world, bounded, agent, alice, driver, backend):
    """It has the state under it, in the domain in which the merge began."""
    del bounded
    active, middle, base = paths(alice)
    stop_copying(world, agent, alice, driver, backend, "s1")
    own = f"{world.images}/own.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", own)
    disk = alice.disks["xvda"]
    alice.unplug("xvda")
    disk.path, disk.format = own, "qcow2"
    alice.disks["xvda"] = disk
    alice._plug("xvda")  # pylint: disable=protected-access
    assert paths(alice) == [own, base]
    assert_failed(delete(agent, "s1"), "snapshot-in-use", own, middle)
    assert os.path.exists(middle) and image_info(active)["backing-filename"] == middle


def test_what_was_copied_is_not_removed_unasked_under_another_domain(
        world, agent, alice, driver, backend):
    """It may have gone on with either."""
    active, middle, _ = paths(alice)
    alice.writer.stop()
    backend.freeze()
    request = agent.submit("delete", domain="alice", name="s2")
    freeze_before(world, agent, driver, backend, is_opening)
    agent.kill()
    backend.thaw()
    start_on(world, driver, alice, middle)
    agent.start()
    assert_failed(request.wait(60), "snapshot-in-use", active, middle)
    assert os.path.exists(active)
    # Who asks has put it where it is.
    done(delete(agent, "s2"))
    assert not os.path.exists(active)


def test_an_expired_snapshot_is_merged_unasked(world, agent, alice, driver):
    reply = agent.request("create", domain="alice", name="s3", memory=0, disks="xvda",
                          expires=1)
    done(reply)
    world.eventually(lambda: "s3" not in snapshots(world, alice), 30, "it is gone")
    assert len(paths(alice)) == 3
    assert_whole(world, agent, alice, driver, 3)
