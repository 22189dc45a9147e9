# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent killed in the middle: the next one puts things right (I1, I2, I5)."""

import os
import subprocess
import zlib

import pytest

from native.agent import FINAL
from native.expect import assert_failed
from native.faults import KILL_AFTER, KILL_BEFORE, Faults
DISKS = [("xvda", "qcow2"), ("xvdb", "raw")]


def listing(world):
    return sorted(os.listdir(world.images))


def chain(domain, vdev="xvda"):
    return [path for path, _ in domain.chain(vdev)]


def stored_path(domain, vdev="xvda"):
    disks = domain.stored_config()["disks"]
    return next(disk["pdev_path"] for disk in disks if disk["vdev"] == vdev)


def notes(agent):
    return [name for name in agent.records() if name.startswith("journal/")]


def open_files(domain):
    folder = f"/proc/{domain.qemu.pid}/fd"
    return [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]


def kill_at(agent, domain, command, kind, operation, until=None, **keys):
    """Submits a request and kills the agent when it has come to `command`, and
    QEMU `until`."""
    fault = domain.interpose().fault(command, kind)
    request = agent.submit(operation, domain="alice", **keys)
    fault.wait_reached()
    if until:
        agent.world.eventually(until)
    agent.kill()
    domain.uninterpose()
    return request


@pytest.mark.parametrize("command, kind", [("query-block", "hold-after"),
                                           ("transaction", "hold-before"),
                                           ("transaction", "hold-after")])
def test_a_killed_create_is_undone(world, agent, command, kind):
    domain = world.add_domain("alice", disks=DISKS)
    domain.write("xvda", 0, b"a" * 4096)
    before, was = listing(world), chain(domain)
    request = kill_at(agent, domain, command, kind, "create", name="s1", memory=0)
    domain.write("xvda", 4096, b"b" * 4096)
    agent.start()
    reply = request.wait()
    assert reply["state"] == "failed"
    assert reply["error/code"] == "interrupted"
    assert chain(domain) == was
    assert stored_path(domain) == was[0]
    assert listing(world) == before
    world.eventually(lambda: notes(agent) == [], 10, "no note left")
    assert domain.read("xvda", 0, 8192) == b"a" * 4096 + b"b" * 4096
    # And the domain is not held by what is over.
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply


def test_a_domain_destroyed_while_the_agent_was_dead_leaves_no_overlay(world, agent):
    domain = world.add_domain("alice", disks=DISKS)
    before = listing(world)
    request = kill_at(agent, domain, "transaction", "hold-before", "create",
                      name="s1", memory=0)
    world.remove_domain(domain)
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    assert listing(world) == before


def test_a_file_by_the_name_of_a_planned_overlay_is_not_removed(world, agent):
    domain = world.add_domain("alice", disks=DISKS)
    request = kill_at(agent, domain, "transaction", "hold-before", "create",
                      name="s1", memory=0)
    overlay = next(name for name in listing(world) if "xvda.s1" in name)
    with open(f"{world.images}/{overlay}", "wb") as file:
        file.write(b"somebody else's")
    agent.start()
    request.wait()
    assert overlay in listing(world)


def test_a_create_that_was_called_off_meanwhile_is_cancelled(world, agent):
    domain = world.add_domain("alice", disks=DISKS)
    before, was = listing(world), chain(domain)
    request = kill_at(agent, domain, "transaction", "hold-after", "create", name="s1", memory=0)
    request.cancel()
    agent.start()
    assert_failed(request.wait(), "cancelled", "undone")
    assert (listing(world), chain(domain)) == (before, was)
    world.eventually(lambda: notes(agent) == [], 10, "no note left")


def test_a_cancel_of_another_that_has_the_id_by_now_is_not_its_own(world, agent):
    """That of the one which is put right is gone, with its folder."""
    domain = world.add_domain("alice", disks=DISKS)
    for name in ("s1", "s2"):
        assert agent.request("create", domain="alice", name=name, memory=0)["state"] == "done"
    request = kill_at(agent, domain, "transaction", "hold-after", "create", name="s3", memory=0)
    request.remove()
    other = agent.submit("delete", {"cancel": "1"}, id=os.path.basename(request.path),
                         domain="alice", name="s1")
    agent.start()
    assert_failed(other.wait(), "cancelled", "before anything was done")
    agent.wait_log("interrupted: the agent ended", 60)


@pytest.mark.parametrize("command, kind", [("block-commit", "hold-before"),
                                           ("block-commit", "hold-after")])
def test_a_delete_that_was_called_off_meanwhile_is_not_begun_again(world, agent, command, kind):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"1" * 4096)
    assert agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"
    domain.write("xvda", 65536, b"2" * 4096)
    was = chain(domain)
    request = kill_at(agent, domain, command, kind, "delete", name="s1")
    request.cancel()
    agent.start()
    assert_failed(request.wait(), "cancelled")
    assert chain(domain) == was and domain.qmp("query-jobs") == []
    world.eventually(lambda: notes(agent) == [], 10, "no note left")
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert chain(domain) == was[1:]
    assert domain.read("xvda", 0, 4096) + domain.read("xvda", 65536, 4096) == \
        b"1" * 4096 + b"2" * 4096


@pytest.mark.parametrize("operation, point", [("create", "rename current"),
                                              ("delete", "unlink s1.yaml")])
def test_a_cancel_behind_the_commit_comes_too_late_for_the_next_agent(world, agent_stopped,
                                                                     operation, point):
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    was = chain(domain)
    if operation == "delete":
        assert agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"
    agent.faults.arm(KILL_BEFORE, 1, point)
    request = agent.submit(operation, domain="alice", name="s1", memory=0) \
        if operation == "create" else agent.submit(operation, domain="alice", name="s1")
    world.eventually(lambda: agent.process.poll() is not None, 30, "the agent's end")
    agent.faults.disarm()
    agent.process.wait()
    request.cancel()
    agent.start()
    assert request.wait()["state"] == "done"
    assert (chain(domain) == was) == (operation == "delete")


@pytest.mark.parametrize("command, kind", [("block-stream", "hold-before"),
                                           ("block-stream", "hold-after"),
                                           ("block-stream", "pending"),
                                           ("job-finalize", "hold-before"),
                                           ("job-finalize", "hold-after")])
def test_a_killed_delete_that_streams_is_carried_to_its_end(world, agent, command, kind):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    for n in (1, 2):
        domain.write("xvda", n * 65536, str(n).encode() * 4096)
        reply = agent.request("create", domain="alice", name=f"s{n}", memory=0)
        assert reply["state"] == "done", reply
    domain.write("xvda", 1 << 20, b"3" * (4 << 20))
    domain.disks["xvda"].front.flush()
    images = chain(domain)
    pending = kind == "pending"
    request = kill_at(agent, domain, command, "hold-after" if pending else kind, "delete",
                      until=lambda: not pending or
                      domain.qmp("query-jobs")[0]["status"] == "pending", name="s2")
    agent.start()
    assert request.wait()["state"] == "done"
    assert chain(domain) == [images[0], images[2]]
    assert not os.path.exists(images[1])
    assert not [name for name in open_files(domain) if "(deleted)" in name]
    for n in (1, 2):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096
    # The image that stayed is known to be ours.
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert chain(domain) == [images[2]]
    assert os.listdir(world.images) == [os.path.basename(images[2])]


@pytest.mark.parametrize("command, kind", [("block-commit", "hold-before"),
                                           ("block-commit", "hold-after"),
                                           ("job-complete", "hold-after"),
                                           ("job-finalize", "hold-before"),
                                           ("job-finalize", "hold-after"),
                                           ("job-dismiss", "hold-after")])
@pytest.mark.parametrize("name", ["s1", "s2"])
def test_a_killed_delete_is_carried_to_its_end(world, agent, command, kind, name):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    for n in (1, 2):
        domain.write("xvda", n * 65536, str(n).encode() * 4096)
        reply = agent.request("create", domain="alice", name=f"s{n}", memory=0)
        assert reply["state"] == "done", reply
    domain.write("xvda", 3 * 65536, b"3" * 4096)
    if name == "s1" and command == "job-complete":
        pytest.skip("a merge below the active image is never ready for it")
    request = kill_at(agent, domain, command, kind, "delete", name=name)
    agent.start()
    reply = request.wait()
    assert reply["state"] == "done", reply
    assert len(chain(domain)) == 2
    assert stored_path(domain) == chain(domain)[0]
    assert sorted(f"{world.images}/{file}" for file in listing(world)) == \
        sorted(chain(domain))
    for n in (1, 2, 3):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096
    other = "s2" if name == "s1" else "s1"
    assert agent.request("delete", domain="alice", name=other)["state"] == "done"
    assert len(chain(domain)) == 1


def statuses(domain):
    return {job["status"] for job in domain.qmp("query-jobs")}


def content(path, offset, length):
    raw = f"{path}.raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
    with open(raw, "rb") as file:
        file.seek(offset)
        data = file.read(length)
    os.unlink(raw)
    return data


@pytest.mark.parametrize("command", ["job-complete", "job-finalize", "job-dismiss"])
def test_a_domain_that_ends_behind_a_killed_merge_keeps_what_it_wrote_last(
        world, agent, command):
    """What is merged is older than what the guest has written since."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"0" * 4096)
    assert agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"
    domain.write("xvda", 0, b"1" * 4096)
    domain.write("xvda", 65536, b"1" * 4096)
    over, base = chain(domain)
    request = kill_at(agent, domain, command, "hold-after", "delete", name="s1")
    # QEMU lets no guest wait until there is an agent again.
    world.eventually(lambda: statuses(domain) <= {"concluded"}, 10, "it is over")
    assert chain(domain) == ([over, base] if command == "job-complete" else [base])
    domain.write("xvda", 0, b"2" * 4096)
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    agent.start()
    assert request.wait()["state"] == "done"
    assert not os.path.exists(over)
    assert content(base, 0, 4096) == b"2" * 4096
    assert content(base, 65536, 4096) == b"1" * 4096


def test_an_id_that_is_of_another_domain_by_now_hides_no_note(world, agent):
    """What was asked for first is still being undone when its folder is written anew,
    and both come to their end when the agent that was killed is followed."""
    domains = [world.add_domain(name, disks=[("xvda", "qcow2")]) for name in ("alice", "bob")]
    before, files = [chain(domain) for domain in domains], listing(world)
    fault = domains[0].interpose().fault("transaction", "hold-after")
    first = agent.submit("create", id="same", domain="alice", name="s1", memory=0)
    fault.wait_reached()
    first.remove()
    agent.request("explode", domain="alice")  # by its end the removal was seen
    fault = domains[1].interpose().fault("transaction", "hold-after")
    second = agent.submit("create", id="same", domain="bob", name="s1", memory=0)
    fault.wait_reached()
    assert sorted(notes(agent)) == sorted(
        f"journal/op-same.{domain.uuid}.json" for domain in domains)
    agent.kill()
    for domain in domains:
        domain.uninterpose()
    agent.start()
    reply = second.wait()
    assert (reply["state"], reply["error/code"]) == ("failed", "interrupted")
    world.eventually(lambda: notes(agent) == [], 20, "no note is left")
    assert ([chain(domain) for domain in domains], listing(world)) == (before, files)


def test_who_waits_is_not_told_the_end_of_another_of_that_id(world, agent):
    """Whose folder was removed and written anew."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    fault = domain.interpose().fault("transaction", "hold-after")
    first = agent.submit("create", id="same", domain="alice", name="s1", memory=0)
    fault.wait_reached()
    first.remove()
    agent.request("explode", domain="alice")  # by its end the removal was seen
    second = agent.submit("create", id="same", domain="alice", name="s2", memory=0)
    second.wait_state("queued")
    agent.kill()
    domain.uninterpose()
    agent.start()
    reply = second.wait()
    assert (reply["state"], reply.get("result/name")) == ("done", "s2"), reply
    assert [".s1." in path for path, _ in domain.chain("xvda")] == [False, False]
    assert notes(agent) == []


def test_the_end_of_one_leaves_the_note_of_another_of_its_id(world, agent):
    domains = [world.add_domain(name, disks=[("xvda", "qcow2")]) for name in ("alice", "bob")]
    before = chain(domains[1])
    faults = [domain.interpose().fault("transaction", "hold-after") for domain in domains]
    first = agent.submit("create", id="same", domain="alice", name="s1", memory=0)
    faults[0].wait_reached()
    first.remove()
    agent.request("explode", domain="alice")
    second = agent.submit("create", id="same", domain="bob", name="s1", memory=0)
    faults[1].wait_reached()
    faults[0].release()
    world.eventually(lambda: notes(agent) == [f"journal/op-same.{domains[1].uuid}.json"], 20,
                     "the first is over")
    agent.kill()
    domains[1].uninterpose()
    agent.start()
    assert second.wait()["error/code"] == "interrupted"
    assert chain(domains[1]) == before


def test_a_note_that_an_earlier_version_named_is_taken_up(world, agent):
    """By the id alone; it is replaced and removed by that name, too."""
    domain = world.add_domain("alice", disks=DISKS)
    before, was = listing(world), chain(domain)
    request = kill_at(agent, domain, "transaction", "hold-after", "create",
                      name="s1", memory=0)
    name, = notes(agent)
    folder = agent.settings["store"]["folder"]
    os.rename(f"{folder}/{name}", f"{folder}/journal/op-{os.path.basename(request.path)}.json")
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    world.eventually(lambda: notes(agent) == [], 20, "no note is left")
    assert (listing(world), chain(domain)) == (before, was)


@pytest.mark.parametrize("what", ["the note", "the note's end", "the journal"])
def test_what_cannot_be_read_now_is_not_forgotten(world, agent, what):
    domain = world.add_domain("alice", disks=DISKS)
    images, was = listing(world), chain(domain)
    request = kill_at(agent, domain, "transaction", "hold-after", "create", name="s1", memory=0)
    name, = notes(agent)
    path = f"{agent.settings['store']['folder']}/{name}"
    agent.unreadable = os.path.dirname(path) if what == "the journal" else path
    agent.unreadable_from = 16 if what == "the note's end" else None
    agent.start(ready=False)
    assert agent.wait_exit() == 1
    assert f"{agent.unreadable}" in agent.log_text()
    assert notes(agent) == [name] and request.state() == "running"
    agent.unreadable = None
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    assert (listing(world), chain(domain)) == (images, was)
    world.eventually(lambda: notes(agent) == [], 10, "no note")


def cut_short(note):
    return note[:len(note) // 2]


def one_bit_changed(note):
    return note.replace(b'"xvda"', b'"xvdb"', 1)


def of_another_version(note):
    """Whole: its checksum is right."""
    text = note.split(b"\n# crc32")[0].replace(b'"version":2', b'"version":3')
    return text + b"\n# crc32 %08x\n" % zlib.crc32(text)


def at_an_unknown_step(note):
    text = note.split(b"\n# crc32")[0].replace(b'"make-overlays"', b'"weave-overlays"')
    return text + b"\n# crc32 %08x\n" % zlib.crc32(text)


@pytest.mark.parametrize("damage, words", [
    (cut_short, "it was cut short"), (one_bit_changed, "checksum"),
    (lambda note: b"", "it was cut short"),
    (of_another_version, "in version 3 of its form"),
    (at_an_unknown_step, 'no step "weave-overlays" in a create')])
def test_a_note_that_cannot_be_used_is_set_aside(world, agent, damage, words):
    domain = world.add_domain("alice", disks=DISKS)
    domain.write("xvda", 0, b"a" * 4096)
    request = kill_at(agent, domain, "transaction", "hold-after", "create",
                      name="s1", memory=0)
    images, now = listing(world), chain(domain)
    name, = notes(agent)
    path = f"{agent.settings['store']['folder']}/{name}"
    with open(path, "rb") as file:
        note = file.read()
    damaged = damage(note)
    assert damaged != note
    with open(path, "wb") as file:
        file.write(damaged)
    agent.start()
    # Who asked is told; nothing is done on the strength of such a note.
    reply = request.wait()
    assert (reply["state"], reply["error/code"]) == ("failed", "interrupted")
    agent.wait_log(f"{name} cannot be used: ")
    agent.wait_log(words)
    agent.wait_log(f"is kept as {os.path.basename(name)}.aside")
    assert (listing(world), chain(domain)) == (images, now)
    assert notes(agent) == [f"{name}.aside"]
    with open(f"{path}.aside", "rb") as file:
        assert file.read() == damaged
    # Nor is it at a later start, and the domain is not held by it.
    agent.stop()
    agent.start()
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    assert domain.read("xvda", 0, 4096) == b"a" * 4096
    world.eventually(lambda: notes(agent) == [f"{name}.aside"], 10, "no other note")


def record_path(agent, domain, name):
    return f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}/{name}.yaml"


def change_record(agent, domain, name, old, new):
    with open(record_path(agent, domain, name), "r+b") as file:
        text = file.read()
        assert old in text
        file.seek(0)
        file.write(text.replace(old, new))


def test_beside_a_damaged_record_nothing_is_merged_or_removed(world, agent):
    """It may be of a snapshot that needs the images."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    for name in ("s1", "s2"):
        reply = agent.request("create", domain="alice", name=name, memory=0)
        assert reply["state"] == "done", reply
    agent.stop()
    change_record(agent, domain, "s1", b'consistency: "crash"', b'consistency: "crasH"')
    agent.start()
    agent.wait_log("s1.yaml: it is damaged")
    before, was = listing(world), chain(domain)
    for name in ("s1", "s2"):
        reply = agent.request("delete", domain="alice", name=name)
        assert reply["error/code"] == "store-error", reply
        assert 'snapshot "s1" is damaged' in reply["error/message"]
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["error/code"] == "snapshot-exists", reply
    assert (listing(world), chain(domain)) == (before, was)
    # Mended as the log says.
    agent.stop()
    change_record(agent, domain, "s1", b'consistency: "crasH"', b'consistency: "crash"')
    agent.start()
    for name in ("s1", "s2"):
        assert agent.request("delete", domain="alice", name=name)["state"] == "done"
    assert len(chain(domain)) == 1


def damage_record(agent, domain):
    change_record(agent, domain, "s1", b'consistency: "crash"', b'consistency: "crasH"')


def hide_folder(agent, domain):
    """What is in its place cannot be listed either."""
    path = f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}"
    os.rename(path, f"{agent.world.folder}/hidden")
    with open(path, "wb"):
        pass


@pytest.mark.parametrize("harm", [damage_record, hide_folder])
def test_a_create_whose_record_cannot_be_read_behind_the_commit_is_left_as_it_is(world, agent,
                                                                               harm):
    """Undoing it would merge away what the record, once mended, names."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    request = kill_at(agent, domain, "transaction", "hold-before", "create",
                      name="s1", memory=0)
    name, = notes(agent)
    path = f"{agent.settings['store']['folder']}/{name}"
    with open(path, "rb") as file:
        note = file.read()
    agent.start()
    request.wait()
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    agent.stop()
    # As if it had been killed between the record and the result.
    with open(path, "wb") as file:
        file.write(note)
    harm(agent, domain)
    before, was = listing(world), chain(domain)
    agent.start()
    agent.wait_log("what was done is left as it is")
    world.eventually(lambda: notes(agent) == [], 10, "no note left")
    assert (listing(world), chain(domain)) == (before, was)


def create_killed_at(agent, kind, point, keys=None, **others):
    """A create of alice by an agent that is killed at the first point of that name."""
    agent.faults.arm(kind, 1, point)
    request = agent.submit("create", keys, domain="alice", **others)
    agent.world.eventually(lambda: agent.process.poll() is not None, 30, "the agent's end")
    agent.faults.disarm()
    agent.process.wait()
    return request


def test_a_record_that_is_there_is_current(world, agent_stopped):
    """Killed between the record and the link that says so."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    assert agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"
    request = create_killed_at(agent, KILL_BEFORE, "rename current", name="s2", memory=0)
    agent.start()
    assert request.wait()["state"] == "done"
    assert agent.request("create", domain="alice", name="s3", memory=0)["state"] == "done"
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert [published[f"{name}/parent"] for name in ("s2", "s3")] == ["s1", "s2"]
    assert published["current"] == "s3"


@pytest.mark.parametrize("kind, point", [
    (KILL_AFTER, "rename op-"), (KILL_BEFORE, "rename {path}")], ids=["begun", "saved"])
def test_a_memory_file_of_somebody_else_stays(world, agent_stopped, save, kind, point):
    """The toolstack saves the domain itself, where it wanted the file that the agent did
    not come to give that name."""
    del save
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    world.add_domain("alice", disks=[("xvda", "qcow2")])
    path = f"{world.folder}/alice.save"
    request = create_killed_at(agent, kind, point.format(path="alice.save"),
                               {"memory-path": path}, name="s1")
    assert not os.path.exists(path)
    with open(path, "wb") as file:
        file.write(b"saved by xl")
    # The next one dies as well, once it has removed what it had written.
    agent.faults.arm(KILL_AFTER, 1, "unlink alice.save.partial")
    process = agent.start(ready=False).process
    world.eventually(lambda: process.poll() is not None or request.state() in FINAL, 30,
                     "the second agent's end, or that of the request")
    agent.faults.disarm()
    if agent.faults.reached():
        process.wait()
        agent.start()
    assert request.wait()["error/code"] == "interrupted"
    with open(path, "rb") as file:
        assert file.read() == b"saved by xl"
    assert not os.path.exists(f"{path}.partial")
