# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent killed while a real domain is suspended, ended or half restored."""

from pathlib import Path

from xenhost import Disk

TWO_DISKS = (Disk("xvda", "qcow2"), Disk("xvdb", "raw"))


def files(guest):
    folders = (guest.folder, Path("/var/lib/xensnapd"))
    return {str(path) for folder in folders for path in folder.rglob("*") if path.is_file()}


def kill_when(agent, request, words):
    """Kill the agent once it has come to a step, and start the next one."""
    agent.wait_node(f"{request.path}/step", lambda step: step == words)
    agent.kill9()
    agent.start()


def test_killed_while_the_guest_is_suspended(agent, guests):
    guest = guests("killed", kind="pv", disks=TWO_DISKS)
    domid, before = guest.domid, files(guest)
    request = agent.submit("create", domain=guest.name, name="s1")
    kill_when(agent, request, "saving memory")
    reply = request.wait()
    assert reply["state"] == "failed"
    assert reply["error/code"] == "interrupted"
    guest.wait_tick(more=3)
    assert guest.domid == domid and guest.state() == "running"
    assert files(guest) == before
    # Not held by what is over, and still looked after.
    assert agent.request("create", domain=guest.name, name="s1")["state"] == "done"
    mark = guest.console.size()
    guest.command("reboot")
    guest.wait_boot(since=mark)


def test_killed_in_a_revert(agent, guests):
    guest = guests("killed2", kind="pv", disks=TWO_DISKS)
    guest.write_key(1, "then")
    assert agent.request("create", domain=guest.name, name="s1")["state"] == "done"
    guest.write_key(1, "now")
    domid, before = guest.domid, files(guest)

    # Before the domain is ended: back.
    request = agent.submit("revert", domain=guest.name, name="s1")
    kill_when(agent, request, "keeping the running state")
    reply = request.wait()
    assert reply["error/code"] == "interrupted", reply
    guest.wait_tick(more=2)
    assert guest.domid == domid
    assert files(guest) == before
    assert guest.read_key(1) == {"xvda": "now", "xvdb": "now"}

    # Afterwards: forward.
    request = agent.submit("revert", domain=guest.name, name="s1")
    kill_when(agent, request, "restoring the domain")
    reply = request.wait()
    assert reply["state"] == "done", reply
    guest.wait_tick(more=2)
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
    assert len(files(guest)) == len(before)
