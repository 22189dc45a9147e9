# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent killed at chosen instants of an operation; after each,
`assert_invariants` looks at everything. tests/native has it killed at every
instant, but no hypervisor."""

from invariants import assert_invariants
from xenhost import Disk

TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))

# The instants at which the agent stands still, by what it is about to do.
SWITCH = "qmp transaction"              # suspended, memory saved
RESUME = "libxl libxl_domain_resume"    # switched, still suspended
RECORD = "rename s1.yaml"               # it runs on, nothing is recorded yet
END_DOMAIN = "libxl libxl_domain_destroy"
RESTORE = "libxl libxl_domain_create_restore"   # there is no domain
FILL = "fork"                           # behind RESTORE: it is made, without memory
START = "libxl libxl_domain_unpause"    # restored, has not run


def create(agent, guest, name="s1", **keys):
    reply = agent.request("create", domain=guest.name, name=name, **keys)
    assert reply["state"] == "done", reply


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
