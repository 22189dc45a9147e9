# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk-only snapshots: all of `create` that needs no hypervisor."""


def test_an_external_snapshot_of_all_disks(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "raw")])
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    print(reply)
