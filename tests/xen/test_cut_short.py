# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is left of a request that was cut short, or of a domain that ran where it should not
have: nothing is lost by what is asked for next."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from invariants import assert_all_name_the_same_images, chain, files, stored_images
from xenhost import STATUS, Agent, Disk, GrowingFile, xl

HEADER_SHIM = Path(__file__).resolve().parent.parent / "native" / "shim" / "header_shim.c"
HOLDS = STATUS.replace("status", "holds")
LIMIT = 120

# Sectors in a cluster: keys so far apart are in one each.
PIECE = 128


def ask(agent, domain, operation, **keys):
    reply = agent.request(operation, domain=domain, **keys)
    assert reply["state"] == "done", reply
    return reply


def create(agent, guest, *names, large=()):
    """With something written after each, and that much that the state under it goes into
    the image, where it is a large one."""
    for name in names:
        ask(agent, guest.name, "create", name=name, memory=0)
        guest.write_key(int(name[1:]) * PIECE, f"since {name}")
        for cluster in range(400, 416) if name in large else ():
            guest.command(f"poke {cluster * PIECE} {cluster:04x}", r"poked .*")


def assert_written(guest, up_to):
    """All up to that snapshot's number, and nothing of later."""
    for number in range(1, 5):
        text = f"since s{number}" if number <= up_to else ""
        assert guest.read_key(number * PIECE) == {"xvda": text}


def assert_refused(agent, guest, uuid, operation, *words, **keys):
    """And nothing has changed by it."""
    def all_there():
        return (files(guest.folder), agent.snapshots(uuid).get("current"),
                [chain(path) for path in sorted(files(guest.folder))
                 if path.endswith(".qcow2")])

    before = all_there()
    reply = agent.request(operation, domain=uuid, **keys)
    assert (reply["state"], reply["error/code"]) == ("failed", "snapshot-in-use"), reply
    for word in words:
        assert word in reply["error/message"], reply
    assert all_there() == before


PROGRAM = """#!/bin/sh
case $1 in
rebase) shim={folder}/header_shim.so ;;
commit) shim= ;;
*) exec /usr/bin/qemu-img "$@" ;;
esac
mkdir {folder}/once 2>/dev/null || exec /usr/bin/qemu-img "$@"
LD_PRELOAD=$shim /usr/bin/qemu-img "$@"
echo cut >{folder}/cut
exec sleep 1000000
"""


class Cut:
    """An agent whose first `qemu-img rebase` dies as soon as it has written the image's
    header, or whose first `qemu-img commit` when it is through. It does not hear of it."""

    def __init__(self, folder):
        self.told = GrowingFile(folder / "cut")
        program = folder / "qemu-img"
        program.write_text(PROGRAM.format(folder=folder))
        program.chmod(0o755)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "header_shim.so", HEADER_SHIM],
                       check=True)
        self.agent = Agent(environment={"PATH": f"{folder}:{os.environ['PATH']}"}).start()

    def delete(self, uuid, name):
        """As far as that. The agent ends there, too."""
        request = self.agent.submit("delete", domain=uuid, name=name)
        self.told.wait_match("cut", LIMIT)
        self.agent.kill9()
        return request


@pytest.fixture(name="cut")
def fixture_cut(request, tmp_path):
    made = Cut(tmp_path)
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("agent's log", made.agent.log.tail(60))]]
    yield made
    made.agent.close()


# --- the state was being copied into the image over it ------------------------


class Torn:
    """s3's state was being copied into `torn`, which is s4's."""

    def __init__(self, cut, guest):
        self.guest, self.uuid = guest, guest.uuid
        create(cut.agent, guest, "s1", "s2", "s3", "s4", large=("s3",))
        self.active, self.torn, self.state, under, _ = chain(stored_images(guest)["xvda"])
        guest.destroy()
        self.request = cut.delete(self.uuid, "s3")
        assert chain(self.torn)[1] == under

    def assert_mended(self):
        assert not os.path.exists(self.state)
        self.guest.start_on(xvda=self.active)
        assert_written(self.guest, 4)
        (first, last), = self.guest.complete_records().values()
        assert first == 1 and last >= self.guest.ticks() - 2
        assert_all_name_the_same_images(self.guest)


@pytest.mark.slow
def test_what_was_half_copied_into_is_mended_before_anything_else_uses_it(cut, guests):
    agent, guest = cut.agent, guests("torn", kind="pv")
    torn = Torn(cut, guest)
    torn.request.cancel()
    agent.start()
    assert torn.request.wait()["state"] == "cancelled"
    for operation, keys in (("delete", {"name": "s4"}), ("delete", {"name": "s2"}),
                            ("revert", {"name": "s4", "start": "boot"}),
                            ("delete", {"name": "s3", "keep_files": True})):
        assert_refused(agent, guest, torn.uuid, operation, torn.torn, torn.state, '"s3"',
                       "delete that snapshot", **keys)
        assert guest.domid is None
    ask(agent, torn.uuid, "delete", name="s3")
    torn.assert_mended()
    ask(agent, torn.uuid, "delete", name="s2")
    assert_written(guest, 4)
    mark = guest.console.size()
    ask(agent, torn.uuid, "revert", name="s4", start="boot")
    guest.wait_boot(since=mark)
    assert_written(guest, 3)
    assert_all_name_the_same_images(guest)


@pytest.mark.slow
def test_the_next_agent_mends_what_was_half_copied_into(cut, guests):
    torn = Torn(cut, guests("torn", kind="pv"))
    cut.agent.start()
    assert torn.request.wait()["state"] == "done"
    torn.assert_mended()


# --- what a revert is told to keep was being merged ---------------------------


def revert_and_keep(agent, guest, uuid, left):
    """To s1, and s2's delete is asked for again. What lies over s2 is not touched."""
    mark = guest.console.size()
    reply = ask(agent, uuid, "revert", name="s1", start="boot", keep_current=True)
    assert reply["result/disks/xvda/abandoned"] == left
    guest.wait_boot(since=mark)
    assert_written(guest, 0)
    assert_refused(agent, guest, uuid, "delete", f"no snapshot needs {Path(left).name}: remove",
                   name="s2")
    assert_written(guest, 0)
    guest.destroy()
    assert_refused(agent, guest, uuid, "delete", f"{left}", name="s2")
    guest.start_on(xvda=left)
    assert_written(guest, 2)
    ask(agent, uuid, "delete", name="s2")
    assert_written(guest, 2)
    assert_all_name_the_same_images(guest)


@pytest.mark.slow
def test_what_keep_current_keeps_a_live_merge_had_begun_with(stoppable, guests):
    agent, guest = stoppable, guests("kept", kind="pv")
    create(agent, guest, "s1", "s2", large=("s1",))
    left = stored_images(guest)["xvda"]
    request = agent.stop_before("qmp job-complete", "delete", domain=guest.name, name="s2")
    guest.kill_qemu()
    agent.go_on()
    assert request.wait()["error/code"] == "qmp-error"
    mark = guest.console.size()
    xl("reboot", guest.name)
    guest.wait_boot(since=mark)
    revert_and_keep(agent, guest, guest.uuid, left)


@pytest.mark.slow
def test_what_keep_current_keeps_was_merged_but_for_its_end(cut, guests):
    agent, guest = cut.agent, guests("kept", kind="pv")
    create(agent, guest, "s1", "s2", large=("s1",))
    uuid, left = guest.uuid, stored_images(guest)["xvda"]
    guest.destroy()
    request = cut.delete(uuid, "s2")
    request.cancel()
    agent.start()
    assert request.wait()["state"] == "cancelled"
    revert_and_keep(agent, guest, uuid, left)


# --- it ran on a snapshot's state ---------------------------------------------


@pytest.mark.slow
def test_what_was_written_on_a_snapshots_state_is_not_merged_over(agent, guests):
    """By a file of before the snapshot, and the agent was not even there."""
    guest = guests("stray", kind="pv")
    uuid, state = guest.uuid, str(guest.image("xvda"))
    create(agent, guest, "s1")
    over = stored_images(guest)["xvda"]
    guest.destroy()
    agent.stop()
    guest.start()
    assert_written(guest, 0)
    guest.write_key(0, "stray")
    guest.destroy()
    agent.start()
    assert_refused(agent, guest, uuid, "delete", state, over, "was written to", name="s1")
    guest.start()
    assert guest.read_key(0) == {"xvda": "stray"}
    assert_refused(agent, guest, uuid, "delete", over, name="s1")
    guest.destroy()
    # Which one counts is its owner's to say.
    guest.start_on(xvda=over)
    assert_written(guest, 1)
    ask(agent, uuid, "delete", name="s1")
    assert_written(guest, 1)
    assert_all_name_the_same_images(guest)
    assert not os.path.exists(over)


# --- it was saved meanwhile ---------------------------------------------------


@pytest.mark.slow
def test_what_stays_for_a_save_is_merged_once_it_is_restored(stoppable, guests, tmp_path):
    """It begins just before the configuration names the other image."""
    agent, guest = stoppable, guests("saved", kind="pv", disks=(Disk("xvda", "qcow2"),))
    create(agent, guest, "s1")
    base, over = str(guest.image("xvda")), stored_images(guest)["xvda"]
    # To have what is copied flushed, and then all but noted that it is.
    request = agent.stop_before("qmp human-monitor-command", "delete", domain=guest.name,
                                name="s1")
    agent.stop_again_before("rename s1.yaml")
    pipe, saved = tmp_path / "pipe", tmp_path / "saved"
    os.mkfifo(pipe)
    with subprocess.Popen(["xl", "save", guest.name, pipe]) as save, \
            open(pipe, "rb", buffering=0) as stream, open(saved, "wb") as file:
        # Of the helper's first words. The guest, whose disk waits, cannot be suspended yet.
        begin = b""
        while b"XENF" not in begin and (more := stream.read(1 << 16)):
            begin += more
        file.write(begin)
        agent.go_on()
        reply = request.wait()
        assert reply["error/code"] == "busy" and f"{over} stays" in reply["error/message"], reply
        shutil.copyfileobj(stream, file)
        assert save.wait() == 0
    mark = guest.console.size()
    guest.restore(saved)
    guest.wait_console(r"tick \d+", since=mark)
    assert_written(guest, 1)
    assert guest.open_files() == {over, base}
    guest.write_key(2 * PIECE, "since s2")
    ask(agent, guest.name, "delete", name="s1")
    assert_written(guest, 2)
    assert guest.open_files() == {base} and not os.path.exists(over)
    assert_all_name_the_same_images(guest)


# --- it was destroyed meanwhile -----------------------------------------------


@pytest.mark.slow
def test_a_domain_destroyed_as_its_disks_are_taken_leaves_no_hold(stoppable, guests):
    agent = stoppable
    guest = guests("held", kind="pv", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    uuid = guest.uuid
    guest.write_key(1, "then")
    ask(agent, guest.name, "create", name="s1")
    request = agent.stop_before("qmp blockdev-mirror", "rescan", domain=guest.name,
                                phase="prepare", hold=300)
    guest.destroy()
    agent.go_on()
    reply = request.wait()
    assert (reply["state"], reply["error/code"]) == ("failed", "no-such-domain"), reply
    mark = guest.console.size()
    ask(agent, uuid, "revert", name="s1")
    guest.wait_console(r"tick \d+", since=mark)
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
    assert not agent.store.tree(HOLDS)
    ask(agent, uuid, "delete", name="s1")
    guest.wait_tick(more=2)
    assert_all_name_the_same_images(guest)
