# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real guest with a real file system is frozen for a snapshot, and never stays
so."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from agent import BUILD
from guest import ARTIFACTS
from xenhost import Disk, xl

HERE = Path(__file__).resolve().parent
MODULES = ("ext4", "xen-evtchn")
MAX_FREEZE = 6
LIMIT = 120


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, text=True,
                          stdout=subprocess.PIPE, **options).stdout


def module_files():
    found = []
    for name in MODULES:
        for line in run("modprobe", "--show-depends", name).splitlines():
            if line.startswith("insmod ") and line.split()[1] not in found:
                found.append(line.split()[1])
    return found


def libraries_of(program):
    """None of one that is linked statically, which ldd calls a failure."""
    found = subprocess.run(["ldd", program], check=False, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return re.findall(r"(/\S+) \(0x", found)


def copy_program(more, program):
    """With what it is linked to, under the same paths."""
    shutil.copy(program, more / "sbin")
    for library in libraries_of(program):
        place = more / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)


def make_ramdisk(folder, *programs):
    """The usual one, and what is laid over it; one of `programs` freezes."""
    more = folder / "more"
    (more / "sbin").mkdir(parents=True)
    (more / "more-modules").mkdir()
    shutil.copy(HERE / "guest/quiesce-init", more / "init")
    for program in programs:
        copy_program(more, program)
    files = module_files()
    for path in files:
        shutil.copy(path, more / "more-modules")
    (more / "more-modules/modules.order").write_text(
        "".join(f"{Path(path).name}\n" for path in files))
    names = "\n".join(str(path.relative_to(more)) for path in sorted(more.rglob("*")))
    ramdisk = folder / "initrd.cpio"
    shutil.copy(ARTIFACTS / "guest-initrd.cpio", ramdisk)
    with open(ramdisk, "ab") as file:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=more,
                       check=True, input=names.encode(), stdout=file)
    return ramdisk


def start(guests, ramdisk, kind="pv", prepare=None, **extra):
    """It counts in a file of the ext4 on its disk."""
    one = guests("quiet", kind=kind, disks=[Disk("xvda", "raw")], paused=True,
                 ramdisk=str(ramdisk), **extra)
    # What a mounted ext4 has as a mark of its being mounted, a frozen one has not.
    run("mkfs.ext4", "-q", "-O", "^metadata_csum", one.image("xvda"))
    if prepare:
        prepare(one)
    xl("unpause", one.name)
    wait_writes(one)
    return one


def make_keys(guest):
    """What a toolstack does for guest tools, and libxl does not."""
    vss = f"/vss/{guest.uuid}"
    for path in (f"{guest.path}/control/snapshot",
                 f"{guest.path}/control/feature-snapshot", vss):
        run("xenstore-write", path, "")
        run("xenstore-chmod", path, "n0", f"b{guest.domid}")
    run("xenstore-write", f"{guest.path}/vss", vss)


@pytest.fixture
def guest(guests, tmp_path):
    """With our helper."""
    return start(guests, make_ramdisk(tmp_path, BUILD / "xensnap-guest"))


@pytest.fixture
def guest_of_qemu(guests, kind, tmp_path):
    """With QEMU's guest agent, behind a channel: the second, for xl gives the first
    the number of the console, which libxl refuses."""
    return start(guests, make_ramdisk(tmp_path, "/usr/sbin/qemu-ga"), kind, channel=[
        "connection=pty,name=none",
        f"connection=socket,path={tmp_path}/qga.sock,name=org.qemu.guest_agent.0"])


@pytest.fixture
def guest_with_tools(guests, tmp_path):
    """With a script that plays the tools of another toolstack."""
    programs = [shutil.which(f"xenstore-{word}")
                for word in ("read", "write", "rm", "exists")]
    return start(guests, make_ramdisk(tmp_path, HERE / "guest/quiesce-tools", *programs),
                 prepare=make_keys)


def wait_writes(guest, more=2):
    """Waits for more numbers; gives the last."""
    text = guest.console.wait(
        lambda text: len(re.findall(r"^wrote \d+$", text, re.M)) >= more and text,
        LIMIT, f"{more} more writes", since=guest.console.size())
    return int(re.findall(r"^wrote (\d+)$", text, re.M)[-1])


class State:
    """The file system in a snapshot's disk."""

    def __init__(self, reply, folder):
        self.image = folder / "state.raw"
        run("qemu-img", "convert", "-U", "-O", "raw", reply["result/disks/xvda/base"],
            self.image)

    def features(self):
        header = run("dumpe2fs", "-h", self.image, stderr=subprocess.DEVNULL)
        return re.search(r"^Filesystem features: *(.*)$", header, re.M)[1].split()

    def count(self):
        return int(run("debugfs", "-R", "cat /count", self.image,
                       stderr=subprocess.DEVNULL))

    def is_sound(self):
        """Without a replay of the journal."""
        return subprocess.run(["e2fsck", "-fn", self.image], check=False,
                              stdout=subprocess.DEVNULL).returncode == 0


def create(agent, guest, name, **keys):
    reply = agent.request("create", domain=guest.name, name=name, **keys)
    assert reply["state"] == "done", reply
    return reply


def assert_quiesced(agent, guest, name, folder):
    written = wait_writes(guest)
    reply = create(agent, guest, name, memory=False, quiesce=1)
    assert reply["result/consistency"] == "quiesced", reply
    state = State(reply, folder)
    assert "needs_recovery" not in state.features()
    assert state.is_sound()
    assert state.count() >= written
    wait_writes(guest)


def test_a_guest_with_a_file_system(agent, guest, tmp_path):
    agent.config = tmp_path / "agent.yaml"
    agent.config.write_text("log:\n  level: debug\n"
                            f"timeouts:\n  freeze: 5s\n  max-freeze: {MAX_FREEZE}s\n")
    agent.restart()

    # Without being asked it is as after a power cut: the journal is needed.
    reply = create(agent, guest, "crash", memory=False)
    assert reply["result/consistency"] == "crash"
    assert "needs_recovery" in State(reply, tmp_path).features()

    assert_quiesced(agent, guest, "quiesced", tmp_path)
    assert "the guest has rung" in agent.log.text()

    # The agent is stopped when it has asked, and dies when the guest is frozen.
    helper = f"{guest.path}/data/xensnap-guest"
    mark = guest.console.size()
    request = agent.submit("create", domain=guest.name, name="killed", memory=False,
                           quiesce=1)
    guest.store.wait(f"{helper}/request", bool, LIMIT)
    os.kill(agent.pid, signal.SIGSTOP)
    guest.store.wait(f"{helper}/state", lambda state: (state or "").startswith("frozen"),
                     LIMIT)
    agent.kill9()
    guest.store.wait(f"{helper}/state", lambda state: state.startswith("expired"), LIMIT)
    wait_writes(guest)
    assert "error" not in guest.console.text(mark)
    agent.start()
    assert request.wait()["error/code"] == "interrupted"

    # With memory it is thawed when it is suspended, and so is what is restored.
    reply = create(agent, guest, "memory", quiesce=1)
    assert reply["result/consistency"] == "full"
    wait_writes(guest)
    reply = agent.request("revert", domain=guest.name, name="memory")
    assert reply["state"] == "done", reply
    wait_writes(guest)
    guest.store.wait(f"{guest.path}/data/xensnap-guest/version", "1", LIMIT)
    assert_quiesced(agent, guest, "restored", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pv", "hvm"])
def test_a_guest_with_qemus_guest_agent(agent, guest_of_qemu, tmp_path):
    guest = guest_of_qemu
    reply = create(agent, guest, "crash", memory=False)
    assert "needs_recovery" in State(reply, tmp_path).features()

    assert_quiesced(agent, guest, "quiesced", tmp_path)
    assert_quiesced(agent, guest, "again", tmp_path)

    # With memory it is thawed when it is suspended.
    reply = create(agent, guest, "memory", quiesce=1)
    assert reply["result/consistency"] == "full"
    assert_quiesced(agent, guest, "last", tmp_path)


@pytest.mark.slow
def test_a_guest_with_the_tools_of_another_toolstack(agent, guest_with_tools, tmp_path):
    guest = guest_with_tools
    control, vss = f"{guest.path}/control/snapshot", f"/vss/{guest.uuid}"
    guest.store.wait(f"{guest.path}/control/feature-snapshot", "1", LIMIT)
    reply = create(agent, guest, "crash", memory=False)
    assert "needs_recovery" in State(reply, tmp_path).features()

    assert_quiesced(agent, guest, "quiesced", tmp_path)
    assert_quiesced(agent, guest, "again", tmp_path)
    assert "tools: snapshots-created" in guest.console.text()
    assert guest.store.ls(control) == guest.store.ls(vss) == []

    # The agent is stopped when it has asked, and dies when the guest is frozen.
    mark = guest.console.size()
    request = agent.submit("create", domain=guest.name, name="killed", memory=False,
                           quiesce=1)
    guest.store.wait(f"{control}/type", "vm", LIMIT)
    os.kill(agent.pid, signal.SIGSTOP)
    guest.store.wait(f"{vss}/status", "create-snapshots", LIMIT)
    agent.kill9()
    guest.console.wait(lambda text: "tools: snapshots-failed" in text, LIMIT,
                       "answer to the tools", since=mark)
    wait_writes(guest)
    assert "error" not in guest.console.text(mark)
    agent.start()
    assert request.wait()["error/code"] == "interrupted"
    guest.store.wait(f"{control}/type", None, LIMIT)
    assert_quiesced(agent, guest, "last", tmp_path)
