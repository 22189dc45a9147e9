# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long chains are is published, and bounded."""

import os
import signal

import pytest

from native.agent import ROOT
from native.expect import rewrite_settings


def create(agent, name, **more):
    return agent.request("create", domain="alice", name=name, memory=0, **more)


def depths(world, domain):
    keys = world.store.tree(f"{ROOT}/chains/{domain.uuid}")
    return {path.split("/")[0]: int(value) for path, value in keys.items()
            if path.endswith("/depth")}


def test_depth_and_bytes_of_each_disk_are_published(world, agent):
    domain = world.add_domain("alice", disks=[
        ("xvda", "qcow2"), ("xvdb", "raw")])
    domain.write("xvda", 0, b"1" * 65536)
    create(agent, "s1")
    assert depths(world, domain) == {"xvda": 2, "xvdb": 2}
    # "disks" would be a node among the snapshots' names.
    create(agent, "disks", disks="xvda")
    assert depths(world, domain) == {"xvda": 3, "xvdb": 2}
    files = [path for path, _ in domain.chain("xvda")]
    taken = sum(os.stat(path).st_blocks * 512 for path in files)
    path = f"{ROOT}/chains/{domain.uuid}"
    assert world.store.read(f"{path}/xvda/bytes") == str(taken)
    agent.restart()
    assert depths(world, domain) == {"xvda": 3, "xvdb": 2}
    for name in ("s1", "disks"):
        reply = agent.request("delete", domain="alice", name=name)
        assert reply["state"] == "done", reply
    assert not world.store.ls(path)


@pytest.mark.parametrize("external, state", [("1", "failed"), ("0", "done")])
def test_a_chain_grows_up_to_max_depth(world, agent_stopped, external, state):
    agent = agent_stopped
    agent.configure("limits", max_depth=3)
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    assert create(agent, "s1")["state"] == "done"
    assert create(agent, "s2")["state"] == "done"
    before = domain.chain("xvda")
    reply = create(agent, "s3", keys={"disks/xvda/external": external})
    assert reply["state"] == state, reply
    assert domain.chain("xvda") == before
    if state == "done":
        return
    assert reply["error/code"] == "busy"
    assert reply["error/step"] == "check-limits"
    for words in ("xvda", "3 images", "limits.max-depth is 3", '"s1"'):
        assert words in reply["error/message"]
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert create(agent, "s3")["state"] == "done"


def test_a_vm_has_at_most_max_snapshots(world, agent_stopped):
    agent = agent_stopped
    agent.configure("limits", max_snapshots=2)
    agent.start()
    world.add_domain("alice")
    world.add_domain("bob")
    assert create(agent, "s1")["state"] == "done"
    assert create(agent, "s2")["state"] == "done"
    reply = create(agent, "s3")
    assert reply["error/code"] == "busy", reply
    for words in ("limits.max-snapshots allows, 2", '"s1"'):
        assert words in reply["error/message"]
    assert agent.request("create", domain="bob", name="s1",
                         memory=0)["state"] == "done"
    assert agent.request("delete", domain="alice", name="s1")["state"] == "done"
    assert create(agent, "s3")["state"] == "done"


def test_a_long_chain_brings_a_warning(world, agent_stopped):
    agent = agent_stopped
    agent.configure("limits", warn_depth=3)
    agent.start()
    world.add_domain("alice")
    assert "result/warning" not in create(agent, "s1")
    reply = create(agent, "s2")
    assert reply["state"] == "done"
    assert "chain of 3 images" in reply["result/warning"]
    assert "limits.warn-depth" in agent.log_text()
    assert world.store.read(f"{ROOT}/status/warn-depth") == "3"
    agent.configure("limits", warn_depth=0)
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    world.store.wait(f"{ROOT}/status/warn-depth", "0")
