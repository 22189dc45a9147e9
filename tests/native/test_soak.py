# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations on many domains for a while, the agent killed now and then; then
on one agent for a while. Nothing may grow. The save helper and the toolstack that
makes the domains of reverts are the test's.

`make check-soak SOAK_SECONDS=3600` runs it for longer, SOAK_SEED=N again with
the same choices (though not with the same timing); SOAK_DOMAINS says how many
domains."""

import collections
import os
import random
import re
import time

import pytest

from native.agent import FINAL, ROOT
from native.expect import assert_works, files_below
from native.toolstack import Toolstack
from native.tools import xen_tool

DOMAINS = int(os.environ.get("SOAK_DOMAINS", "8"))
SNAPSHOTS_MAX = 5
BLOCK = 65536

# What a freshly warmed-up agent may grow by: pages that malloc keeps. A request
# is more than 20 KiB, so some dozens of them that are kept are noticed.
GROWTH_KIB = 512
MEASURED_MIN = 200

# What may come of any operation, and of one of its kind, if it is not done;
# anything else is a fault.
EXCUSES_OF_ALL = {"cancelled", "interrupted"}
EXCUSES = {
    "create": set(),
    "create-again": {"snapshot-exists"},
    "checkpoint": set(),
    # The one that it names may have been deleted meanwhile, or branches part there.
    "delete": {"no-such-snapshot", "snapshot-in-use"},
    "revert": {"no-such-snapshot"},
    "rescan": set(),
    "nonsense": {"invalid-request", "unsupported-operation", "no-such-domain",
                 "no-such-disk"},
}
NONSENSE = (
    ("erase", {}), ("create", {"colour": "red"}), ("delete", {}),
    ("create", {"domain": "nobody"}), ("rescan", {"phase": "complete"}),
    ("create", {"memory": "0", "disks": "xvdz"}),
)

SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))

# It is bounded by its own time; the margin is for a host that is busy with
# something else.
pytestmark = [pytest.mark.skipif(not SECONDS, reason="make check-soak runs it"),
              pytest.mark.timeout(SECONDS * 2 + 1200)]


class Pending:
    """A request, and what its snapshot may hold: of each block all that was there
    while it was made."""

    def __init__(self, kind, request, keys, blocks):
        self.kind = kind
        self.request = request
        self.name = keys.get("name")
        self.may_hold = {block: {data} for block, data in blocks.items()}


class Guest:
    """A domain, what is under way on it, and what its disk must hold."""

    def __init__(self, domain):
        self.domain = domain
        self.pending = []
        self.blocks = {block: bytes(512) for block in range(16)}
        self.names = 0
        self.states = {}  # what the snapshots that can be gone back to may hold
        self.memories = set()  # those of them that have one
        self.goes_back = False  # once nothing is under way

    def write(self, chance):
        block = chance.randrange(16)
        self.blocks[block] = chance.randbytes(512)
        self.domain.write("xvda", block * BLOCK, self.blocks[block])
        for pending in self.pending:
            pending.may_hold[block].add(self.blocks[block])

    def is_reverting(self):
        return any(pending.kind == "revert" for pending in self.pending)

    def forget_state(self, name):
        """Whether it is there, and what it holds, is not known from now on."""
        self.states.pop(name, None)
        self.memories.discard(name)

    def go_on(self, domain, state):
        """With another domain, and what a snapshot holds; None: what the disk held."""
        self.domain = domain
        for block, data in (state or {}).items():
            self.blocks[block] = domain.read("xvda", block * BLOCK, 512)
            assert self.blocks[block] in data
        self.check()

    def check(self):
        for block, data in self.blocks.items():
            assert self.domain.read("xvda", block * BLOCK, 512) == data


class Soak:
    """Random operations; what came of them is checked as they end."""

    def __init__(self, world, agent, chance):
        self.world, self.agent, self.chance = world, agent, chance
        self.guests = [Guest(world.add_domain(f"guest{index}"))
                       for index in range(DOMAINS)]
        self.toolstack = Toolstack(world)
        self.ended = collections.Counter()
        self.kills = 0

    def snapshots(self, guest):
        """Names of those that exist, the oldest first."""
        folder = f"{ROOT}/snapshots/{guest.domain.uuid}"
        names = [name for name in self.world.store.ls(folder) or []
                 if name != "current"]
        return sorted(names, key=lambda name: int(name[1:]))

    # -- beginning --------------------------------------------------------

    def _choose(self, guest):
        """(kind, operation, keys)"""
        snapshots = self.snapshots(guest)
        name = self.chance.choice(snapshots) if snapshots else None
        kinds = ["create"] * 3 + ["checkpoint"] * 2 + ["rescan"] * 2 + ["nonsense"]
        if name:
            kinds += ["delete"] * 3 + ["create-again"]
        kind = self.chance.choice(kinds)
        if guest.goes_back:
            guest.goes_back = False
            kind = "revert" if guest.states else "create"
        if len(snapshots) >= SNAPSHOTS_MAX and kind in ("create", "checkpoint"):
            kind = "delete"
        if kind == "nonsense":
            return (kind, *self.chance.choice(NONSENSE))
        if kind == "revert":
            name = self.chance.choice(sorted(guest.states))
            boots = name not in guest.memories or self.chance.random() < 0.3
            return kind, kind, {"name": name, **({"start": "boot"} if boots else {})}
        if kind in ("delete", "create-again"):
            guest.forget_state(name)
        if kind in ("delete", "rescan"):
            return kind, kind, {"name": name} if kind == "delete" else {}
        if kind != "create-again":
            guest.names += 1
            name = f"s{guest.names}"
        memory = int(kind == "checkpoint")
        return kind, "create", {"name": name, "memory": memory}

    def begin(self, guest):
        kind, operation, keys = self._choose(guest)
        guest.write(self.chance)
        request = self.agent.submit(
            operation, {"domain": guest.domain.name, **keys})
        # The toolstack does not hear that it is to make no domain any more.
        fate = 0.5 if kind == "revert" else self.chance.random()
        if fate < 0.08:
            request.cancel()
        if fate > 0.92:
            # Nobody will be told what came of it.
            request.remove()
            self.ended["removed"] += 1
        else:
            guest.pending.append(Pending(kind, request, keys, guest.blocks))
        # The toolstack makes one domain at a time.
        if guest.states and self.chance.random() < 0.5 and not any(
                one.goes_back or one.is_reverting() for one in self.guests):
            guest.goes_back = True

    # -- ending -----------------------------------------------------------

    def collect(self):
        """Takes the answers that are there; whether there was any."""
        found = False
        for guest in self.guests:
            for pending in list(guest.pending):
                if pending.request.state() in FINAL:
                    found = True
                    guest.pending.remove(pending)
                    reply = pending.request.output()
                    self._judge(pending.kind, reply)
                    self._settle(guest, pending, reply["state"] == "done")
                    pending.request.remove()
        return found

    def _settle(self, guest, pending, done):
        if pending.kind == "revert":
            made = [domain for domain in self.toolstack.made
                    if domain.uuid == guest.domain.uuid]
            for domain in made:
                if domain.domid > guest.domain.domid:
                    self.world.forget_domain(guest.domain)
                    guest.domain = domain
            guest.go_on(guest.domain, guest.states[pending.name] if done else None)
            self.toolstack.made.clear()
        elif done and pending.kind in ("create", "checkpoint", "create-again"):
            guest.states[pending.name] = pending.may_hold
            if pending.kind == "checkpoint":
                guest.memories.add(pending.name)

    def _judge(self, kind, reply):
        code = reply.get("error/code", "done")
        self.ended[f"{kind} {code}"] += 1
        allowed = EXCUSES[kind] | EXCUSES_OF_ALL
        assert code == "done" or code in allowed, reply

    def count(self):
        return sum(self.ended.values())

    # -- the whole --------------------------------------------------------

    def step(self):
        """Begins something, or waits for something to end."""
        free = [guest for guest in self.guests if not guest.is_reverting() and
                len(guest.pending) < (1 if guest.goes_back else 2)]
        if free:
            self.begin(self.chance.choice(free))
            self.world.attend()
            self.collect()
        else:
            self.world.eventually(self.collect, 120, "the end of a request")

    def kill(self):
        self.agent.kill()
        self.kills += 1
        self.world.attend()  # what it had begun to make is there, or nothing
        self.agent.start()

    def suspend_each(self):
        """The agent looks after each domain that it was about to suspend, for
        as long as the host runs."""
        for guest in self.guests:
            for operation in ("create", "delete"):
                reply = self.agent.request(operation, name="suspended", timeout=120,
                                           domain=guest.domain.name, id="suspend")
                assert reply["state"] == "done", reply
                self.world.store.rm(f"{ROOT}/requests/suspend")

    def rest(self):
        """Lets everything end, and deletes all snapshots."""
        def idle():
            self.collect()
            return not any(guest.pending for guest in self.guests)

        self.world.eventually(idle, 120, "the end of all requests")
        for guest in self.guests:
            # A request that was removed may still be making one, or undoing
            # it; the queue is in order, so this comes after it.
            assert self.agent.request("rescan", timeout=120,
                                      domain=guest.domain.name,
                                      id="rest")["state"] == "done"
            self.world.store.rm(f"{ROOT}/requests/rest")
            self._delete_all(guest)
            assert len(guest.domain.chain("xvda")) == 1
            guest.states.clear()
            guest.memories.clear()
            guest.goes_back = False
            guest.check()
            assert_works(guest.domain, "xvda")


    def _delete_all(self, guest):
        """Where branches part, one of them goes first."""
        while names := self.snapshots(guest):
            for name in names:
                reply = self.agent.request("delete", name=name, timeout=120,
                                           domain=guest.domain.name, id="rest")
                if reply["state"] != "done":
                    assert reply["error/code"] == "snapshot-in-use", reply
                self.world.store.rm(f"{ROOT}/requests/rest")
            assert len(self.snapshots(guest)) < len(names)


# -- what may not grow ------------------------------------------------------

def watches(world):
    """How many xenstored knows of, by its own account."""
    path = f"{world.folder}/xenstored.report"
    world.run(xen_tool("xenstore-control"), "memreport", path)
    with open(path, encoding="ascii", errors="replace") as file:
        found = re.findall(r"struct watch\b", file.read())
    os.unlink(path)
    return len(found)


def process_status(agent, key):
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as file:
        return int(re.search(rf"^{key}:\s+(\d+)", file.read(), re.M)[1])


def block_nodes(guest):
    """A delete leaves an empty one (plug_node.h); a domain may be newer than that."""
    return max(len(guest.domain.qmp("query-named-block-nodes")), 3)


DOMID = re.compile(r"(local/domain/(?!0/)|device-model/|libxl/|backend/\w+/|"
                   r"userdata-\w\.|qmp-libx\w+-)(\d+)\b")


def picture(soak):
    """What must be the same whenever all is at rest, whatever number a domain has."""
    agent, world = soak.agent, soak.world
    names = {str(guest.domain.domid): guest.domain.name for guest in soak.guests}

    def named(paths):
        return {DOMID.sub(lambda found: found[1] + names.get(found[2], found[2]), path)
                for path in paths}

    return {
        "descriptors": agent.descriptor_count(),
        "threads": process_status(agent, "Threads"),
        "watches": watches(world),
        "nodes": named(f"{top}/{key}" for top in world.store.ls("/")
                       for key in world.store.tree(f"/{top}")),
        "files": named(files_below(world.images, agent.folder, "/var/lib/xen",
                                   "/run/xen")),
        "block nodes": [block_nodes(guest) for guest in soak.guests],
    }


def assert_nothing_grew(soak, before):
    """What ends a moment after its result is there is waited for."""
    differs = {}

    def same():
        now = picture(soak)
        differs.clear()
        differs.update({key: (value, now[key])
                        for key, value in before.items() if now[key] != value})
        return not differs

    try:
        soak.world.eventually(same, 20, "everything as before")
    except (TimeoutError, AssertionError):
        for key, (was, now) in differs.items():
            if isinstance(was, set):
                assert now - was == set() and was - now == set(), key
            assert now == was, key
        raise


def grown(soak, agent):
    """By how many KiB, in so many operations."""
    memory = process_status(agent, "RssAnon")
    begun_at, until = soak.count(), time.monotonic() + SECONDS * 0.15
    while time.monotonic() < until or soak.count() < begun_at + MEASURED_MIN:
        soak.step()
    soak.rest()
    return process_status(agent, "RssAnon") - memory


def test_nothing_grows(world, agent_stopped, save):
    del save
    seed = int(os.environ.get("SOAK_SEED") or time.time())
    print(f"seed {seed}")
    agent = agent_stopped
    agent.configure("log", level="info")
    agent.start()
    chance = random.Random(seed)
    soak = Soak(world, agent, chance)
    begun = time.monotonic()

    # With kills, until each kind of end was met.
    kill_at = chance.randrange(30)
    while time.monotonic() < begun + SECONDS * 0.5 or soak.kills < 5 or \
            not all(soak.ended[f"{kind} done"]
                    for kind in ("create", "checkpoint", "delete")):
        soak.step()
        if soak.count() >= kill_at:
            soak.kill()
            # In work and not in time: a slow host gets as much done in between.
            kill_at = soak.count() + chance.randrange(5, 30)
    soak.rest()

    # With one agent; what it keeps once and for all it has after a while.
    agent.restart()
    soak.suspend_each()
    until = time.monotonic() + SECONDS * 0.15
    begun_at = soak.count()
    while time.monotonic() < until or soak.count() < begun_at + MEASURED_MIN / 2 or \
            not soak.ended["revert done"]:
        soak.step()
    soak.rest()
    before = picture(soak)
    begun_at = soak.count()
    # What leaks does so all the time; what is kept for good, such as room in the heap for
    # more at once than ever before, is not.
    growth = [grown(soak, agent), grown(soak, agent)]
    print(f"{soak.count()} operations, {soak.kills} kills, in "
          f"{time.monotonic() - begun:.0f} s; the last agent grew by {growth} "
          f"KiB in {soak.count() - begun_at}: {dict(soak.ended)}")
    assert_nothing_grew(soak, before)
    assert min(growth) < GROWTH_KIB
