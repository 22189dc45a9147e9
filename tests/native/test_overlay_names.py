# SPDX-License-Identifier: LGPL-2.1-or-later
"""What new overlays are called: after the first image and the snapshot, however many
there were before."""

import os

import pytest

from native.agent import FINAL
from native.domain import Disk
from native.expect import assert_disk_is_on
from native.toolstack import Toolstack


def done(reply):
    assert reply["state"] == "done", reply
    return reply


def create(agent, name, path=None, **more):
    keys = {"disks/xvda/path": path} if path else None
    return done(agent.request("create", keys, domain="alice", name=name,
                              **{"memory": 0, **more}))


def delete(agent, name):
    done(agent.request("delete", domain="alice", name=name))


def boot(agent, name):
    """Domains are made meanwhile."""
    request = agent.submit("revert", domain="alice", name=name, start="boot")
    agent.world.eventually(lambda: request.state() in FINAL, 60, "the end")
    return done(request.wait())


def file_name(reply, key="path"):
    return os.path.basename(reply[f"result/disks/xvda/{key}"])


def test_they_do_not_grow_where_the_current_snapshot_is_deleted(world, agent):
    """What lies over its state is kept, and called after it."""
    domain = world.add_domain("alice", disks=[("xvda", "raw")])
    create(agent, "first")
    for n in range(1, 6):
        reply = create(agent, f"s{n}")
        assert file_name(reply) == f"alice-xvda.s{n}.qcow2"
        create(agent, "between")
        for name in (f"s{n}", "between") if n % 2 else ("between", f"s{n}"):
            delete(agent, name)
    assert len(domain.chain("xvda")) == 2


def test_they_do_not_grow_with_reverts(world, agent):
    toolstack = Toolstack(world)
    world.add_domain("alice", disks=[("xvda", "qcow2")])
    for n in range(1, 4):
        create(agent, f"s{n}")
        create(agent, "between")
        delete(agent, "between")
    for name in "s3", "s2", "s3":
        reply = boot(agent, name)
        assert file_name(reply).startswith(f"alice-xvda.{name}"), reply
        assert file_name(create(agent, f"on-{name}-{len(toolstack.made)}")).count(".") == 2


def test_they_do_not_grow_in_a_driver_domain(world, agent, backend, driver):
    del backend
    world.add_domain("alice", disks=[Disk("xvda", "raw", driver=driver, devd=True)])
    for n in range(1, 4):
        reply = create(agent, f"s{n}", disks="xvda")
        assert file_name(reply) == f"alice-xvda.s{n}.qcow2"


def test_a_long_name_is_cut(world, agent):
    """Of 255 bytes, what the snapshot is called takes some."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    toolstack = Toolstack(world)
    path = f"{world.images}/{'x' * 240}.qcow2"
    create(agent, "s1", path)
    reply = create(agent, "a-name-of-some-length")
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])
    assert len(file_name(reply)) == 255
    assert file_name(reply).endswith("x.a-name-of-some-length.qcow2")
    assert file_name(boot(agent, "a-name-of-some-length")).endswith(
        "x.a-name-of-some-length-1.qcow2")
    assert toolstack.made


@pytest.mark.usefixtures("save")
def test_what_a_record_names_is_taken_also_where_it_is_missing(world, agent):
    """As the overlay for `xl restore` is while somebody puts a fresh one in its place."""
    world.add_domain("alice", disks=[("xvda", "qcow2")])
    create(agent, "s1", memory=1, live=0)
    named = f"{world.images}/alice-xvda.s1.restore.qcow2"
    os.unlink(named)
    reply = create(agent, "s1.restore")
    assert reply["result/disks/xvda/path"] != named
    assert not os.path.exists(named)
