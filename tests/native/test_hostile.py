# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that do what they can against the agent, each over its own ring.

What must hold: nothing outside its policy is read, written or named; the agent
lives on; others' requests are answered in time.
"""

import itertools
import os
import struct
import subprocess
import threading
import time

import pytest

from native.agent import FINAL
from native.expect import (Picture, assert_disk_is_on, assert_failed,
                           files_below)
from native.ring import Denied
from test_guest_requests import (FOLDER, OWN, answer, ask, exhaust, start,
                                 tree, wait_folder)

# SECURITY.md promises this to others while one domain floods the agent; the
# sanitizers and a busy machine are slower than what is measured there.
OTHERS_WAIT_S = 5

MANY = 10000


@pytest.fixture(name="folder")
def _folder(world):
    """A folder that the policy gives to the hostile guest."""
    path = f"{world.folder}/given"
    os.mkdir(path)
    return path


@pytest.fixture(name="evil")
def _evil(world, agent_stopped, folder):
    domain = world.add_domain("web-evil", disks=[("xvda", "qcow2"),
                                                 ("xvdb", "raw")])
    start(agent_stopped, {**OWN, "folders": folder})
    wait_folder(world, domain)
    return domain


@pytest.fixture(name="other")
def _other(world, evil):  # pylint: disable=unused-argument
    """Somebody whose requests must not suffer."""
    return world.add_domain("db")


def assert_others_are_served(agent, other, name):
    begin = time.monotonic()
    reply = agent.request("create", domain=other.name, name=name, memory=0)
    assert reply["state"] == "done", reply
    assert time.monotonic() - begin < OTHERS_WAIT_S


# -- names and values -----------------------------------------------------

def test_values_of_every_length_and_byte(world, evil, other, agent_stopped):
    """Each is refused, none makes the agent do or say what it should not."""
    agent, mine = agent_stopped, evil.xenstore()
    before = files_below(world.images)
    bytes_of_all = "".join(map(chr, range(1, 128)))
    values = ["", "\x01", "\x7f", "%s%n%n", "../../etc/shadow", "x" * 1900,
              bytes_of_all, "\\", "\"", "{\"a\":1}", "\x1b[2J", "é" * 900, "\u202egpj.exe",
              b"web-evil\0"]
    keys = ["name", "domain", "memory", "memory-path", "disks", "expires",
            "disks/xvda/path", "disks/xvda/format", "schedule", "timeout"]
    for index, (key, value) in enumerate(
            zip(itertools.cycle(keys), values * 3)):
        path = f"{FOLDER}/v{index}"
        mine.write_all({f"{path}/{key}": value, f"{path}/operation":
                        "create" if key != "memory" else value})
        reply = answer(evil, path)
        assert reply["state"] == "failed", (key, value, reply)
        assert reply["error/message"].isprintable()
        mine.rm(path)
    assert files_below(world.images) == before
    assert_others_are_served(agent, other, "s1")


def test_ids_of_every_length_and_byte(evil, other, agent_stopped):
    mine = evil.xenstore()
    for request_id in ("x" * 64, "x" * 65, "x" * 255, "x" * 256, "x" * 1900,
                       "a@b", "-", "@"):
        path = f"{FOLDER}/{request_id}"
        mine.write_all({f"{path}/operation": "delete",
                        f"{path}/name": "none"})
        mine.wait(f"{path}/state", *FINAL)
        valid = len(request_id) <= 64 and "@" not in request_id
        assert mine.read(f"{path}/error/code") == (
            "no-such-snapshot" if valid else "invalid-request")
        mine.rm(path)
    for request_id in ("a:b", "a.b", "a b", "ä", "a//b"):
        with pytest.raises(Denied):
            mine.write(f"{FOLDER}/{request_id}/operation", "create")
    assert_others_are_served(agent_stopped, other, "s1")


def test_names_of_others_files_are_not_taken(world, evil, other,
                                             agent_stopped, folder):
    """Nor is told which of them exist."""
    agent = agent_stopped
    foreign = other.disks["xvda"].path
    record = agent.settings["store"]["folder"]
    picture = Picture(agent, other)
    before = files_below(world.images, folder)
    messages = set()
    for path in (foreign, f"{foreign}.new", "/etc/shadow", "/etc/none",
                 f"{record}/x", "json:{\"driver\":\"nbd\"}", "nbd://x/y",
                 "nbd:unix:/x", f"file:{foreign}", f"{folder}/../x", folder,
                 "/proc/self/fd/0", "/dev/null", "//etc/x"):
        for operation, keys in (
                ("create", {"disks/xvda/path": path, "memory": 0}),
                ("create", {"memory-path": path, "memory": 1}),
                ("rescan", {"disks/xvda/path": path}),
                ("rescan", {"disks/xvdb/path": path,
                            "disks/xvdb/format": "qcow2"})):
            reply = ask(agent, evil, operation, keys)
            assert_failed(reply, "path-not-allowed")
            messages.add(reply["error/message"].replace(path, "PATH"))
    # One for each key and way of being wrong, whatever is there.
    assert not [one for one in messages if "exist" in one or "such" in one]
    assert files_below(world.images, folder) == before
    picture.assert_same()


def test_an_image_header_names_what_the_policy_does_not(
        world, evil, other, agent_stopped):
    """Written into a raw disk by the guest, or into an image of its chain."""
    agent = agent_stopped
    header = f"{world.folder}/header.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b",
                    "/etc/shadow", "-F", "raw", header, "64M"], check=True)
    with open(header, "rb") as file:
        evil.write("xvdb", 0, file.read(64 << 10))
    # A raw disk stays one, whatever is in it.
    for operation in ("create", "rescan"):
        reply = ask(agent, evil, operation)
        assert reply["state"] == "done", reply
    assert evil.chain("xvdb")[-1] == (evil.disks["xvdb"].path, "raw")
    for key, value in (("format", "qcow2"), ("path", evil.disks["xvdb"].path)):
        reply = ask(agent, evil, "rescan", {f"disks/xvdb/{key}": value})
        assert_failed(reply, "path-not-allowed", f"disks/xvdb/{key}")
    assert "/etc/shadow" not in evil.open_files()
    # An image of its chain that comes to name another's file.
    overlay, base = (path for path, _ in evil.chain("xvda"))
    secret = f"{world.images}/".ljust(len(base), "s")
    with open(secret, "wb") as file:
        file.truncate(64 << 20)
    picture = Picture(agent, other)
    with open(overlay, "r+b") as file:
        file.seek(8)
        offset, length = struct.unpack(">QI", file.read(12))
        assert length == len(secret)
        file.seek(offset)
        file.write(secret.encode())
    assert_failed(ask(agent, evil, "rescan"), "path-not-allowed", secret)
    assert secret not in evil.open_files()
    picture.assert_same()
    # Domain 0 may ask for it: then it is looked at, and found to be no qcow2.
    assert_failed(agent.request("rescan", domain="web-evil"), "chain-broken",
                  "not a qcow2 image")


# -- crowds ---------------------------------------------------------------

def test_a_crowd_of_requests_delays_nobody_else(evil, other, agent_stopped):
    """As many as xenstored lets a domain write in ten seconds, over and over,
    refused and permitted ones; then another asks."""
    mine, agent = evil.xenstore(), agent_stopped
    ended = threading.Event()
    written = [0]

    def flood():
        for index in itertools.count():
            if ended.is_set():
                return
            path = f"{FOLDER}/f{index % 200}"
            mine.write_all({f"{path}/name": "none", f"{path}/operation":
                            ("delete", "create", "x")[index % 3],
                            f"{path}/memory": 0 if index % 3 else "x"})
            if index % 200 == 199:
                mine.rm(FOLDER)
            written[0] = index
    thread = threading.Thread(target=_quietly, args=(flood,), daemon=True)
    thread.start()
    for index in range(4):
        assert_others_are_served(agent, other, f"s{index}")
    ended.set()
    thread.join(30)
    assert written[0] > 20
    assert agent.request("delete", domain="web-evil",
                         name="gone")["state"] == "failed"


def _quietly(act):
    """A guest whose folder is just being made anew is refused."""
    try:
        act()
    except (Denied, TimeoutError):
        pass


def test_ten_thousand_requests_at_once_do_not_delay_others(
        world, evil, other, agent_stopped):
    """More than its quota would let it write: domain 0 writes them for it."""
    agent, store = agent_stopped, world.store
    folder = f"{evil.path}/{FOLDER}"
    for base in range(0, MANY, 1000):
        store.write_all({f"{folder}/m{index}/operation": "x"
                         for index in range(base, base + 1000)})
    assert_others_are_served(agent, other, "s1")
    # They are answered meanwhile, and go all at once.
    store.wait(f"{folder}/m100/state", "failed", timeout=60)
    store.rm(folder)
    assert_others_are_served(agent, other, "s2")
    wait_folder(world, evil)
    assert ask(agent, evil, name="s1")["state"] == "done"


def test_a_request_that_never_stands_still_is_given_up(evil, other,
                                                       agent_stopped):
    """Nodes are replaced under the agent's feet, as fast as it goes."""
    mine, agent, path = evil.xenstore(), agent_stopped, f"{FOLDER}/restless"
    # Few rounds: xenstored itself slows down who writes much.
    for index in range(3):
        mine.write_all({f"{path}/memory": "0", f"{path}/name": f"s{index}",
                        f"{path}/operation": "create"})
        try:
            for value in ("1", "x", "0"):
                mine.write(f"{path}/memory", value)
                mine.write(f"{path}/name", "../x")
            mine.rm(path)
        except Denied as denial:
            assert denial.code in ("ENOENT", "EACCES")
    assert_others_are_served(agent, other, "s1")
    # Whatever was taken is undone or complete.
    reply = agent.request("create", domain="web-evil", name="calm", memory=0)
    assert reply["state"] == "done", reply
    assert_disk_is_on(evil, "xvda", reply["result/disks/xvda/path"])


def test_watches_and_nodes_are_exhausted(world, evil, other, agent_stopped):
    mine, agent = evil.xenstore(), agent_stopped
    with pytest.raises(Denied, match="E2BIG|ENOSPC"):
        for index in range(1000):
            mine.watch("device", f"w{index}")
    exhaust(mine, f"{FOLDER}/full")
    assert_others_are_served(agent, other, "s1")
    mine.rm(f"{FOLDER}/full")
    mine.write(f"{FOLDER}/r1/name", "none")
    mine.write(f"{FOLDER}/r1/operation", "delete")
    world.store.wait(f"{evil.path}/{FOLDER}/r1/state", "failed")


# -- in the middle --------------------------------------------------------

@pytest.mark.parametrize("command", ["query-block", "transaction"])
def test_its_domain_is_destroyed_in_the_middle(world, evil, other,
                                               agent_stopped, command):
    agent = agent_stopped
    chain = other.chain("xvda")
    fault = evil.interpose().fault(command, "hold-before")
    request = agent.submit("create", guest=evil, name="s1", memory=0)
    waits = agent.submit("create", guest=evil, name="s2", memory=0)
    fault.wait_reached()
    waits.wait_state("queued")
    world.remove_domain(evil)
    assert_others_are_served(agent, other, "s1")
    fault.release()
    for request_id in ("test-1", "test-2"):
        agent.wait_log(f" req=1:{request_id} op=create name=s"
                       f"{request_id[-1]} result=", timeout=30)
    assert world.store.ls(request.path) == world.store.ls(waits.path) == []
    reply = agent.request("delete", domain="db", name="s1")
    assert reply["state"] == "done", reply
    assert other.chain("xvda") == chain


def test_a_hold_cannot_be_left_to_others(evil, other, agent_stopped):
    """Only its own disks are held, and it cannot be told by a forged state
    that somebody else's hold came to nothing."""
    agent = agent_stopped
    reply = agent.request("rescan", domain=other.name, phase="prepare")
    assert reply["state"] == "done", reply
    for state in (None, "running"):
        more = {"state": state} if state else {}
        request = agent.submit("rescan", guest=evil, domain=other.name,
                               phase="prepare", **more)
        evil.xenstore().wait(f"{request.path}/error/code",
                             "permission-denied")
        assert tree(evil.xenstore(), request.path)["state"] == "failed"
    reply = agent.request("rescan", domain=other.name, phase="complete")
    assert reply["state"] == "done", reply
