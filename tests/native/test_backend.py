# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent of a driver domain: its part of a snapshot, with the real QEMU, and a
test that plays whoever takes the snapshot in domain 0."""

import os
import signal
import subprocess

import pytest

from native.backend import ANSWERS, Backend
from native.expect import image_info, image_is_sound

BLOCK = b"x" * 512


@pytest.fixture(name="backend_stopped")
def fixture_backend_stopped(world):
    program = os.path.join(os.environ["NATIVE_BUILD"], "xensnapd")
    instance = Backend(world, program)
    yield instance
    instance.check_end()


@pytest.fixture(name="domain")
def fixture_domain(world):
    one = world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "raw")],
                           devd=True)
    world.store.write(f"/local/domain/0/libxl/{one.domid}/qdisk-backend-pid",
                      str(one.qemu.pid))
    for vdev in one.disks:
        one.write(vdev, 0, BLOCK)
    return one


def chains(domain):
    return {vdev: domain.chain(vdev) for vdev in domain.disks}


def read_image(path, length):
    """What whoever opens it reads at its beginning."""
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path,
                    f"{path}.read"], check=True)
    with open(f"{path}.read", "rb") as file:
        content = file.read(length)
    os.unlink(f"{path}.read")
    return content


def qemu_io(path, command):
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, path], check=True)


def images(world):
    return sorted(os.listdir(world.images))


def overlays(answer, vdevs=("xvda", "xvdb")):
    return {vdev: answer[f"disks/{vdev}/overlay"] for vdev in vdevs}


def assert_no_note(backend):
    assert not [name for name in backend.records() if "op-" in name]


def test_it_tells_that_it_is_there_until_it_ends(world, backend):
    assert world.store.read(f"{ANSWERS}/protocol") == "1"
    backend.stop()
    assert world.store.read(f"{ANSWERS}/state") is None


def test_a_part_that_is_committed(world, backend, domain):
    before = chains(domain)
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    for vdev, overlay in made.items():
        info = image_info(overlay)
        assert info["full-backing-filename"] == domain.disks[vdev].path
        assert info["backing-filename-format"] == domain.disks[vdev].format
    # Prepared is not switched: the guest still writes where it did.
    assert chains(domain) == before
    job.say("switch")
    job.wait("switched")
    assert chains(domain) == {
        vdev: [(made[vdev], "qcow2"), *before[vdev]] for vdev in made}
    job.say("commit")
    job.wait("committed")
    domain.write("xvda", 0, b"y" * 512)
    assert domain.read("xvdb", 0, 512) == BLOCK
    job.remove()
    assert_no_note(backend)
    assert all(image_is_sound(overlay) for overlay in made.values())


def test_a_second_overlay_where_the_memory_file_needs_one(world, backend,
                                                          domain):
    job = backend.job(domain, ["xvdb"], restore=1)
    answer = job.wait("prepared")
    second = answer["disks/xvdb/restore-overlay"]
    assert second not in overlays(answer, ["xvdb"]).values()
    assert image_info(second)["full-backing-filename"] == \
        domain.disks["xvdb"].path
    job.say("undo")
    job.wait("undone")
    assert not os.path.exists(second)


@pytest.mark.parametrize("switched", [False, True])
def test_a_part_that_is_undone(world, backend, domain, switched):
    before, files = chains(domain), images(world)
    job = backend.job(domain, restore=1)
    job.wait("prepared")
    if switched:
        job.say("switch")
        job.wait("switched")
    domain.write("xvda", 512, b"y" * 512)
    job.say("undo")
    answer = job.wait("undone")
    assert "error/code" not in answer
    assert chains(domain) == before
    assert images(world) == files
    assert domain.read("xvda", 0, 1024) == BLOCK + b"y" * 512
    assert_no_note(backend)


def test_without_a_socket_it_says_what_to_do(world, backend):
    domain = world.add_domain("web", devd=False)
    answer = backend.job(domain).wait("undone")
    assert answer["error/code"] == "unsupported-disk"
    assert "qemu-devd" in answer["error/message"]


@pytest.mark.parametrize("keys, culprit", [
    ({"guest": "web"}, "guest"),
    ({"uuid": "x"}, "uuid"),
    ({"name": "../s1"}, "name"),
    ({"disks/xvda/path": "/a/../b"}, "xvda"),
    ({"disks/xvda/overlay": "relative"}, "xvda"),
    ({"disks/nothing/path": "/x"}, "nothing"),
])
def test_a_job_that_makes_no_sense_is_refused(world, backend, domain, keys,
                                              culprit):
    files = images(world)
    answer = backend.job(domain, **keys).wait("undone")
    assert answer["error/code"] == "invalid-request"
    assert culprit in answer["error/message"]
    assert images(world) == files


def test_another_image_than_the_one_in_use_is_refused(world, backend, domain):
    answer = backend.job(domain).wait("prepared")
    other = overlays(answer)["xvda"]
    job = backend.job(domain, ["xvda"])
    job.wait("prepared")
    job.say("undo")
    job.wait("undone")
    assert os.path.exists(other)
    domain.disks["xvda"].path = other
    answer = backend.job(domain, ["xvda"]).wait("undone")
    assert answer["error/code"] == "chain-broken"


def test_a_qemu_that_hangs_is_given_up(world, backend_stopped, domain):
    backend_stopped.configure("timeouts", qmp_greeting="300ms",
                              qmp_reply="300ms")
    backend = backend_stopped.start()
    files = images(world)
    domain.qemu.send_signal(signal.SIGSTOP)
    answer = backend.job(domain).wait("undone")
    assert answer["error/code"] == "qmp-error"
    domain.qemu.send_signal(signal.SIGCONT)
    assert images(world) == files


def test_a_qemu_that_dies_after_the_switch(world, backend, domain):
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    job.say("switch")
    job.wait("switched")
    domain.write("xvda", 0, b"y" * 512)
    domain.kill_qemu()
    job.say("undo")
    answer = job.wait("undone")
    # What the guest wrote is in the one overlay, and nothing in the other.
    assert "xvda" in answer["error/message"]
    assert answer["disks/xvda/stays"] == "1"
    assert "disks/xvdb/stays" not in answer
    assert os.path.exists(made["xvda"])
    assert not os.path.exists(made["xvdb"])


def test_killed_before_the_switch_it_fails_and_keeps_the_overlays(
        world, backend, domain):
    before, files = chains(domain), images(world)
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    backend.kill()
    backend.start()
    answer = job.wait("failed")
    assert answer["error/code"] == "interrupted"
    # Domain 0 may have told others of them.
    assert all(map(image_is_sound, made.values()))
    # Too late to go on with it.
    job.say("switch")
    assert job.wait("failed")["error/code"] == "interrupted"
    assert chains(domain) == before
    job.say("put-back")
    assert "error/code" not in job.wait("put-back")
    job.say("undo")
    job.wait("undone")
    assert images(world) == files


def test_what_is_put_back_leaves_empty_overlays_until_the_word(
        world, backend, domain):
    before, files = chains(domain), images(world)
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    job.say("switch")
    job.wait("switched")
    domain.write("xvda", 0, b"y" * 512)
    job.say("put-back")
    assert "error/code" not in job.wait("put-back")
    assert chains(domain) == before
    domain.write("xvda", 0, b"z" * 512)
    # Who opens one now sees what the guest writes to the image under it.
    domain.kill_qemu()
    assert read_image(made["xvda"], 512) == b"z" * 512
    job.say("undo")
    job.wait("undone")
    assert images(world) == files
    assert_no_note(backend)


@pytest.mark.parametrize("words", [["put-back", "undo"], ["undo"]])
def test_an_overlay_that_somebody_has_open_is_not_touched(world, backend, domain,
                                                          words):
    """A guest that has rebooted onto it is another domain, with another QEMU."""
    job = backend.job(domain, restore=1)
    made = overlays(job.wait("prepared"))
    qemu_io(made["xvda"], "write -P 0x79 0 64k")
    # As xen-block opens its images: without QEMU's locks.
    with open(made["xvda"], "r+b"):
        for word in words:
            job.say(word)
            answer = job.wait({"undo": "undone"}.get(word, word))
            assert answer["disks/xvda/stays"] == "1"
            assert "disks/xvdb/stays" not in answer
    assert read_image(made["xvda"], 512) == b"y" * 512
    assert [name for name in images(world) if ".s1" in name] == \
        [os.path.basename(made["xvda"])]
    assert_no_note(backend)


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_put_back_and_is_taken_away_stays(world, backend, domain,
                                                   restarted):
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    job.say("put-back")
    job.wait("put-back")
    if restarted:
        backend.kill()
        backend.start()
        job.wait("put-back")
    job.remove()
    backend.wait_log("left as it is")
    assert all(map(image_is_sound, made.values()))
    assert_no_note(backend)


@pytest.mark.parametrize("word, state", [("commit", "committed"),
                                         ("undo", "undone")])
def test_killed_after_the_switch_it_waits_for_the_word(world, backend, domain,
                                                       word, state):
    before, files = chains(domain), images(world)
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    job.say("switch")
    job.wait("switched")
    backend.kill()
    backend.start()
    backend.wait_log("was interrupted")
    assert chains(domain)["xvda"][0][0] == made["xvda"]
    domain.write("xvda", 0, b"y" * 512)
    job.say(word)
    job.wait(state)
    if word == "commit":
        assert chains(domain)["xvdb"][0][0] == made["xvdb"]
    else:
        assert chains(domain) == before
        assert images(world) == files
    assert domain.read("xvda", 0, 512) == b"y" * 512
    assert_no_note(backend)


def test_a_job_that_vanishes_is_left_as_it_is(world, backend, domain):
    job = backend.job(domain)
    made = overlays(job.wait("prepared"))
    job.say("switch")
    job.wait("switched")
    job.remove()
    backend.wait_log("left as it is")
    assert chains(domain)["xvda"][0][0] == made["xvda"]
    assert_no_note(backend)


def test_a_job_that_vanishes_while_it_puts_back(world, backend, domain):
    before, files = chains(domain), images(world)
    job = backend.job(domain, restore=1)
    made = overlays(job.wait("prepared"))
    job.say("switch")
    job.wait("switched")
    domain.write("xvda", 0, b"y" * 512)
    fault = domain.interpose(devd=True).fault("block-commit", "hold-before")
    job.say("put-back")
    fault.wait_reached()
    job.remove()
    backend.wait_log("left as it is")
    fault.release()
    backend.wait_log("cancelled: domain 0 called it off")
    # The guest's configuration may name the overlays; nobody has heard that the
    # others are done with.
    assert chains(domain) == before
    assert domain.read("xvda", 0, 512) == b"y" * 512
    assert all(map(image_is_sound, made.values()))
    assert set(images(world)) == {*files, *map(os.path.basename, made.values())}
    assert_no_note(backend)


def test_it_is_told_to_end_while_it_undoes(world, backend, domain):
    before, files = chains(domain), images(world)
    job = backend.job(domain)
    job.wait("prepared")
    job.say("switch")
    job.wait("switched")
    job.say("undo")
    assert backend.stop() == 0
    backend.start()
    job.wait("undone")
    assert chains(domain) == before
    assert images(world) == files


# -- a revert -----------------------------------------------------------------------


@pytest.fixture(name="reverted")
def fixture_reverted(backend, domain):
    """Goes back to what the disks were on before a snapshot: a job for that, the
    overlays that were left, and the domain, which has ended."""
    job = backend.job(domain)
    left = overlays(job.wait("prepared"))
    for word, state in (("switch", "switched"), ("commit", "committed")):
        job.say(word)
        job.wait(state)
    job.remove()
    domain.kill_qemu()

    def begin(**keys):
        return backend.job(domain, **{"operation": "revert", **{
            f"disks/{vdev}/virtual-bytes": 64 << 20 for vdev in domain.disks}, **keys})
    return begin, left


def commit(job, left):
    """What it answers, told that these are to be removed."""
    job.write({f"disks/{vdev}/remove": path for vdev, path in left.items()})
    job.say("commit")
    return job.wait("committed")


def test_a_revert_makes_fresh_overlays_and_removes_what_was_left(backend, domain, reverted):
    begin, left = reverted
    job = begin()
    answer = job.wait("prepared")
    for vdev, overlay in overlays(answer).items():
        assert overlay not in left.values()
        info = image_info(overlay)
        assert info["full-backing-filename"] == domain.disks[vdev].path
        assert info["virtual-size"] == 64 << 20
        assert answer[f"disks/{vdev}/depth"] == "1"
    assert all(map(os.path.exists, left.values()))
    answer = commit(job, left)
    assert answer["disks/xvda/removed"] == answer["disks/xvdb/removed"] == "1"
    assert not any(map(os.path.exists, left.values()))
    job.remove()
    assert_no_note(backend)


def test_a_revert_that_is_undone_or_only_committed_leaves_all_else(world, backend, reverted):
    begin, left = reverted
    files = images(world)
    job = begin()
    job.wait("prepared")
    # There is nothing to be switched.
    job.say("switch")
    job.say("undo")
    job.wait("undone")
    assert images(world) == files
    job = begin()
    made = overlays(job.wait("prepared"))
    job.say("commit")
    assert "disks/xvda/removed" not in job.wait("committed")
    assert all(map(os.path.exists, [*left.values(), *made.values()]))
    assert_no_note(backend)


def test_what_is_in_use_or_no_overlay_or_stood_on_is_not_removed(backend, domain, reverted):
    begin, left = reverted
    job = begin()
    job.wait("prepared")
    with open(left["xvda"], "r+b"):
        answer = commit(job, {"xvda": left["xvda"], "xvdb": domain.disks["xvdb"].path})
    assert not [key for key in answer if key.endswith("removed")]
    backend.wait_log("in use")
    backend.wait_log("not a qcow2 image")
    assert os.path.exists(left["xvda"]) and os.path.exists(domain.disks["xvdb"].path)
    domain.disks["xvda"].path = left["xvda"]
    domain.disks["xvda"].format = "qcow2"
    job = begin()
    job.wait("prepared")
    answer = commit(job, {"xvda": left["xvda"], "xvdb": "relative"})
    assert not [key for key in answer if key.endswith("removed")]
    assert os.path.exists(left["xvda"])


def test_a_revert_waits_for_a_qemu_that_is_about_to_end(backend, reverted):
    begin, left = reverted
    job = begin()
    job.wait("prepared")
    with subprocess.Popen(["sleep", "60"], stdin=open(left["xvda"], "rb")) as other:
        job.write({"disks/xvda/remove": left["xvda"]})
        job.say("commit")
        backend.wait_log("await-commit done")
        other.kill()
    assert job.wait("committed")["disks/xvda/removed"] == "1"


@pytest.mark.parametrize("keys, code, culprit", [
    ({"operation": "dance"}, "unsupported-operation", "operation"),
    ({"disks/xvda/virtual-bytes": "many"}, "invalid-request", "virtual-bytes"),
    ({"disks/xvda/path": "/images/nothing.qcow2"}, "chain-broken", "nothing.qcow2"),
])
def test_a_revert_that_cannot_be_is_refused(world, reverted, keys, code, culprit):
    begin, _ = reverted
    files = images(world)
    answer = begin(**keys).wait("undone")
    assert answer["error/code"] == code, answer
    assert culprit in answer["error/message"]
    assert images(world) == files


def test_a_delete_removes_the_state_and_the_overlay_for_a_restore(world, backend, reverted):
    begin, left = reverted
    del begin
    state, files = left["xvda"], images(world)
    restore = f"{world.images}/restore.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", state,
                    restore], check=True)
    keys = {"operation": "delete", "uuid": "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
            "name": "s2", "disks/xvda/path": state, "disks/xvda/format": "qcow2",
            "disks/xvda/remove": state, "disks/xvda/restore-overlay": restore}
    job = backend.bare_job(**keys)
    job.wait("prepared")
    job.say("undo")
    job.wait("undone")
    assert set(images(world)) == {*files, "restore.qcow2"}
    job = backend.bare_job(**{**keys, "disks/xvda/remove": left["xvdb"]})
    assert job.wait("undone")["error/code"] == "invalid-request"
    job = backend.bare_job(**keys)
    job.wait("prepared")
    job.say("commit")
    assert job.wait("committed")["disks/xvda/removed"] == "1"
    assert set(images(world)) == {*files} - {os.path.basename(state)}
    # Again, as after a crash of whoever gave it.
    job = backend.bare_job(**keys)
    job.wait("prepared")
    job.say("commit")
    assert job.wait("committed")["disks/xvda/removed"] == "1"
    assert_no_note(backend)


@pytest.mark.parametrize("word, state", [("commit", "committed"), ("undo", "undone")])
def test_killed_when_a_revert_is_prepared_it_waits_for_the_word(world, backend, reverted,
                                                                word, state):
    begin, left = reverted
    files = images(world)
    job = begin()
    made = overlays(job.wait("prepared"))
    backend.kill()
    backend.start()
    # A domain may begin in the overlays.
    assert job.wait("failed")["error/code"] == "interrupted"
    assert all(map(image_is_sound, made.values()))
    job.write({"disks/xvda/remove": left["xvda"]})
    job.say(word)
    answer = job.wait(state)
    if word == "commit":
        assert answer["disks/xvda/removed"] == "1"
        assert all(map(os.path.exists, made.values()))
        assert os.path.exists(left["xvdb"])
    else:
        assert images(world) == files
    assert_no_note(backend)
