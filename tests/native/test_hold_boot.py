# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hold's note in a run folder that outlives the boot."""

import json
import os
import zlib


def of_another_boot(path):
    with open(path, "rb") as file:
        note = json.loads(file.read().split(b"\n# crc32 ")[0])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert note["boot"] == file.read().strip()
    note["boot"] = "00000000-0000-4000-8000-000000000000"
    note["deadline"] += 10 ** 9  # that boot had been up for longer
    text = json.dumps(note).encode()
    with open(path, "wb") as file:
        file.write(text + b"\n# crc32 %08x\n" % zlib.crc32(text))


def test_a_hold_ends_with_its_boot(world, agent):
    """The domain that was started since has its uuid, and by chance its domid."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    path = domain.disks["xvda"].path
    reply = agent.request("rescan", {"phase": "prepare", "hold": 60}, domain="alice")
    assert reply["state"] == "done", reply
    agent.kill()
    held = f"{agent.settings['store']['run-folder']}/held"
    note, = os.listdir(held)
    of_another_boot(f"{held}/{note}")
    world.remove_domain(domain)
    domain = world.add_domain("alice", uuid=domain.uuid, domid=domain.domid,
                              disks=[{"vdev": "xvda", "format": "qcow2", "path": path}])
    agent.start()
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    assert os.listdir(held) == []
    assert world.xen.get(domain.domid)["paused"] == "0"
    domain.write("xvda", 0, b"a" * 4096)
