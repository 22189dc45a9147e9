# SPDX-License-Identifier: LGPL-2.1-or-later
"""Agent, QEMU or xenstored killed at chosen instants of an operation; after each
`assert_invariants` looks at everything. tests/native has the agent killed at
every instant, but no hypervisor."""

import pytest

from invariants import assert_invariants, chain, stored_images
from xenhost import Disk, Store, xl
from xenstored import Memory, Xenstored

TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))
LIMIT = 120

# The instants at which the agent stands still, by what it is about to do.
SWITCH = "qmp end of transaction"       # suspended, memory saved
RESUME = "libxl libxl_domain_resume"    # switched, still suspended
RECORD = "rename s1.yaml"               # it runs on, nothing is recorded yet
END_DOMAIN = "libxl libxl_domain_destroy"
RESTORE = "libxl libxl_domain_create_restore"   # there is no domain
FILL = "fork"                           # behind RESTORE: it is made, without memory
START = "libxl libxl_domain_unpause"    # restored, has not run
GUARD = "spawn"                         # the first that a merge starts is its guardian
MERGE = "qmp block-commit"              # guarded, not begun
MERGED = "qmp job-complete"             # all is copied, QEMU goes on copying
PIVOT = "qmp job-finalize"              # QEMU is about to go on without


def create(agent, guest, name="s1", **keys):
    reply = agent.request("create", domain=guest.name, name=name, **keys)
    assert reply["state"] == "done", reply


def delete(agent, guest, name="s1"):
    reply = agent.request("delete", domain=guest.name, name=name)
    assert reply["state"] == "done", reply


def restart(guest):
    """What its owner does when a guest's disks do not answer any more."""
    mark = guest.console.size()
    xl("reboot", guest.name)
    guest.wait_boot(since=mark)


# --- the agent ---------------------------------------------------------------


def test_the_agent_killed_in_a_create(stoppable, guests):
    agent = stoppable
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    domid = guest.domid

    def take_up(request):
        agent.kill9()
        guest.wait_tick(more=2)  # whether or not there is another agent
        agent.start()
        reply = assert_invariants(agent, guest, request, domid)
        assert reply["error/code"] == "interrupted", reply

    request = agent.submit("create", domain=guest.name, name="s1")
    guest.wait_state("suspend")
    take_up(request)
    for instant in (SWITCH, RESUME, RECORD):
        take_up(agent.stop_before(instant, "create", domain=guest.name, name="s1"))
    # Still looked after.
    create(agent, guest)
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)


def test_the_agent_killed_in_a_revert(stoppable, guests):
    agent = stoppable
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    guest.write_key(1, "then")
    create(agent, guest)
    guest.write_key(1, "now")
    domid = guest.domid

    request = agent.stop_before(END_DOMAIN, "revert", domain=guest.name, name="s1")
    agent.kill9()
    agent.start()
    reply = assert_invariants(agent, guest, request, domid)
    assert reply["error/code"] == "interrupted", reply
    assert guest.read_key(1) == {"xvda": "now", "xvdb": "now"}

    for instant in (RESTORE, FILL, START):
        guest.write_key(1, "now")
        first = RESTORE if instant == FILL else instant
        request = agent.stop_before(first, "revert", domain=guest.name, name="s1")
        if instant == FILL:
            agent.stop_again_before(FILL)
        agent.kill9()
        agent.start()
        reply = assert_invariants(agent, guest, request)
        assert reply["state"] == "done", reply
        assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}


def test_the_agent_killed_in_a_live_merge(stoppable, guests):
    agent = stoppable
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    domid = guest.domid
    for instant in (MERGED, PIVOT):
        create(agent, guest, memory=0)
        guest.wait_tick(more=2)
        request = agent.stop_before(instant, "delete", domain=guest.name, name="s1")
        agent.kill9()
        guest.wait_tick(more=4)  # each is written to its disks
        agent.start()
        reply = assert_invariants(agent, guest, request, domid)
        assert reply["state"] == "done", reply
        assert guest.open_files() == {str(image) for image in guest.images.values()}


# --- QEMU --------------------------------------------------------------------


# One disk: of two, only one may have got the last tick.
@pytest.mark.slow
@pytest.mark.parametrize("who", ["qemu", "both"])
def test_qemu_killed(stoppable, guests, who):
    agent = stoppable
    guest = guests("killed", kind="pv")

    def kill_in(operation, instant):
        """The guest's disks hang until somebody reboots it."""
        request = agent.stop_before(instant, operation, domain=guest.name, name="s1")
        guest.kill_qemu()
        if who == "both":
            agent.kill9()
            agent.start()
        else:
            agent.go_on()
        reply = request.wait()
        if operation != "revert" or reply["state"] != "done":
            restart(guest)
        assert_invariants(agent, guest, request)
        return reply

    assert kill_in("create", SWITCH)["state"] == "failed"
    # Whole if the agent lives, for QEMU has done its part.
    expected = "done" if who == "qemu" else "failed"
    assert kill_in("create", RESUME)["state"] == expected
    if who == "both":
        create(agent, guest)
    assert kill_in("delete", MERGED)["state"] == "failed"
    delete(agent, guest)
    assert guest.open_files() == {str(guest.image("xvda"))}
    create(agent, guest)
    assert kill_in("revert", END_DOMAIN)["state"] == expected


@pytest.mark.slow
def test_qemu_killed_as_a_merge_begins(stoppable, guests):
    agent = stoppable
    guest = guests("killed", kind="pv")
    create(agent, guest, memory=0)
    guest.write_key(1, "since")
    images = guest.open_files()
    for instant in (GUARD, MERGE):
        request = agent.stop_before(instant, "delete", domain=guest.name, name="s1")
        guest.kill_qemu()
        agent.go_on()
        reply = request.wait()
        assert (reply["state"], reply["error/code"]) == ("failed", "qmp-error"), reply
        assert set(chain(stored_images(guest)["xvda"])) == images
        restart(guest)
        assert guest.open_files() == images
        assert guest.read_key(1) == {"xvda": "since"}
        assert_invariants(agent, guest, request)
    delete(agent, guest)
    assert guest.open_files() == {str(guest.image("xvda"))}
    assert guest.read_key(1) == {"xvda": "since"}
    assert_invariants(agent, guest)


# --- the guest reboots while there is no agent --------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("instant", [SWITCH, RESUME, RECORD])
def test_a_reboot_while_the_agent_is_dead_in_a_create(stoppable, guests, instant):
    """Nobody restarts it: the xl that watched it has ended with the suspend."""
    agent = stoppable
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    request = agent.stop_before(instant, "create", domain=guest.name, name="s1")
    agent.kill9()
    guest.wait_tick(more=1)
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_state("reboot")
    agent.start()
    guest.wait_boot(since=mark)
    reply = assert_invariants(agent, guest, request)
    assert reply["error/code"] == "interrupted", reply


@pytest.mark.slow
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_a_reboot_while_the_agent_is_dead_in_a_live_merge(stoppable, guests, watched):
    agent = stoppable
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    create(agent, guest, memory=0 if watched else 1)
    guest.wait_tick(more=2)
    request = agent.stop_before(MERGED, "delete", domain=guest.name, name="s1")
    agent.kill9()
    mark = guest.console.size()
    guest.command("reboot")
    if not watched:
        guest.wait_state("reboot")
        agent.start()
    guest.wait_boot(since=mark)
    if watched:
        agent.start()
    reply = assert_invariants(agent, guest, request)
    assert reply["state"] == "done", reply


# --- xenstored ----------------------------------------------------------------


def test_xenstored_replaced_while_memory_is_saved(agent, guests):
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    request = agent.submit("create", domain=guest.name, name="s1")
    guest.wait_state("suspend")
    Xenstored().update()
    reply = assert_invariants(agent, guest, request, guest.domid)
    assert reply["state"] == "done", reply


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pv", "pvh"])
def test_xenstored_killed_while_memory_is_saved(agent, guests, kind):
    """No tool of Xen's makes guests known to a new xenstored: until somebody does,
    they run on, and that is what an agent can see to. What else runs on that host
    afterwards runs on a damaged one."""
    guest = guests("killed", kind=kind, disks=TWO_DISKS)
    domid, xenstored = guest.domid, Xenstored()
    request = agent.submit("create", domain=guest.name, name="s1", live=0)
    guest.wait_state("suspend")
    known = Memory(guest)
    xenstored.kill()
    guest.wait_tick(more=2)
    agent.log.wait_match(rf".*ended .*req={request.id} .*", LIMIT)
    xenstored.start()
    agent.store, guest.store = Store(), Store()
    agent.wait_ready()
    known.bring_back(guest.store)
    assert_invariants(agent, guest, domid=domid)


@pytest.mark.slow
def test_xenstored_and_the_agent_killed_in_a_create(stoppable, guests):
    """The next agent puts all back, though xenstore does not tell it anything."""
    agent = stoppable
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    domid, known, xenstored = guest.domid, Memory(guest), Xenstored()
    request = agent.stop_before(RESUME, "create", domain=guest.name, name="s1")
    agent.kill9()
    guest.wait_tick(more=2)
    xenstored.kill()
    guest.wait_tick(more=2)
    xenstored.start()
    agent.store, guest.store = Store(), Store()
    agent.start()
    agent.log.wait_match(rf".*ended .*req={request.id} .*", LIMIT)
    known.bring_back(guest.store)
    assert_invariants(agent, guest, domid=domid)
