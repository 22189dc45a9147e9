# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of running domains, as a user sees them."""

from xenhost import Disk


def test_checkpoint_of_a_pv_domain(agent, guests):
    guest = guests("alice", kind="pv", disks=[Disk("xvda"), Disk("xvdb", "raw")])
    guest.wait_tick(3)
    reply = agent.request("create", domain=guest.name, name="s1")
    print(reply)
    assert reply["state"] == "done", reply
    guest.wait_tick(more=3)
    print(guest.open_files())
