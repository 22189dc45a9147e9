# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service manager is told about when an agent that is silent is to be
killed: while a guest stands still for a rescan, which no guardian can end."""

import socket

import pytest

ON, OFF = b"WATCHDOG_USEC=60000000\nWATCHDOG=1", b"WATCHDOG_USEC=0"


@pytest.fixture(name="notify")
def fixture_notify(world, tmp_path):
    world.variables.update(NOTIFY_SOCKET=f"{tmp_path}/notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{tmp_path}/notify")
        notify.settimeout(20)
        yield notify


def heard(notify):
    """All that has been said by now."""
    notify.setblocking(False)
    said = []
    try:
        while True:
            said.append(notify.recv(4096))
    except BlockingIOError:
        notify.settimeout(20)
    return [words for words in said if b"WATCHDOG" in words]


def test_it_is_on_while_a_guest_stands_still_for_a_rescan(world, notify, agent):
    domain = world.add_domain("alice")

    def ask(operation, **keys):
        reply = agent.request(operation, domain="alice", **keys)
        assert reply["state"] == "done", reply
        return heard(notify)

    assert ask("create", name="s1", memory=0) == []
    assert ask("rescan", phase="prepare", hold=600) == [ON]
    agent.kill()
    agent.start()
    assert heard(notify) == [ON]
    assert ask("rescan", phase="complete") == [OFF]
    assert world.xen.get(domain.domid)["paused"] == "0"
    # One that needs no hold pauses the guest for a moment.
    assert ask("delete", name="s1") == []
    ask("rescan", phase="prepare", hold=1)
    assert notify.recv(4096) == OFF
