# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a revert finds out before it touches the domain; the way back itself needs
a hypervisor."""

import subprocess


def test_an_image_that_another_program_writes_is_refused(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    base = reply["result/disks/xvda/base"]
    world.remove_domain(domain)
    with subprocess.Popen(["qemu-io", "-f", "qcow2", base], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:
        other.stdin.write("length\n")
        other.stdin.flush()
        other.stdout.readline()
        reply = agent.request("revert", domain="alice", name="s1", start="boot")
        assert reply["error/code"] == "snapshot-in-use", reply
        assert base in reply["error/message"]
        other.stdin.write("quit\n")
