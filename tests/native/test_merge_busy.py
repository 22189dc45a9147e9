# SPDX-License-Identifier: LGPL-2.1-or-later
"""A block job of somebody else on the images that a delete is to merge."""

import pytest

from native.expect import assert_disk_is_on, assert_failed
from native.merges import chain, delete


def four(world, agent):
    """Snapshots s1, s2 and s3; deleting s2 merges downwards, deleting s3 streams."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    for n in (1, 2, 3):
        reply = agent.request("create", domain="alice", name=f"s{n}", memory=0, disks="xvda")
        assert reply["state"] == "done", reply
        domain.write("xvda", n * 65536, str(n).encode() * 4096)
    domain.write("xvda", 8 << 20, b"x" * (1 << 20))
    domain.disks["xvda"].front.flush()
    return domain


def node_of(domain, path):
    node, = [node["node-name"] for node in domain.qmp("query-named-block-nodes", flat=True)
             if node["drv"] == "qcow2" and node["file"] == path]
    return node


def add_target(domain):
    path = f"{domain.world.folder}/target.raw"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    domain.qmp("blockdev-add", driver="raw", node_name="target",
               file={"driver": "file", "filename": path})


def mirror(domain, path):
    add_target(domain)
    domain.qmp("blockdev-mirror", job_id="theirs", device=node_of(domain, path),
               target="target", sync="full", speed=1)


def backup(domain, path):
    add_target(domain)
    domain.qmp("blockdev-backup", job_id="theirs", device=node_of(domain, path),
               target="target", sync="full", speed=1)


def stream(domain, path):
    place = chain(domain).index(path)
    domain.qmp("block-stream", job_id="theirs", device=node_of(domain, path),
               base_node=node_of(domain, chain(domain)[place + 2]), speed=1)


@pytest.mark.parametrize("begin, name", [(mirror, "s2"), (mirror, "s3"), (backup, "s2"),
                                         (stream, "s2"), (stream, "s3")])
def test_a_job_that_is_in_the_way_is_named(world, agent, begin, name):
    domain = four(world, agent)
    images = chain(domain)
    begin(domain, images[0])
    assert_failed(delete(agent, name), "busy", "disk xvda", "block job \"theirs\"",
                  "xensnapd did not begin", "wait for its end or cancel it")
    assert [job["id"] for job in domain.qmp("query-jobs")] == ["theirs"]
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert f"{name}/deleting" not in published
    domain.qmp("job-cancel", id="theirs")
    world.eventually(lambda: not domain.qmp("query-jobs"))
    assert chain(domain) == images
    assert_disk_is_on(domain, "xvda", images[0])
    assert delete(agent, name)["state"] == "done"
    for n in (1, 2, 3):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096


def test_a_job_on_another_disk_is_not_in_the_way(world, agent):
    domain = four(world, agent)
    mirror(domain, domain.disks["xvdb"].path)
    relay = domain.interpose()
    relay.fault("block-commit", "error", description="not this time")
    assert_failed(delete(agent, "s2"), "qmp-error", "not this time")
    assert delete(agent, "s2")["state"] == "done"


def test_an_undo_says_what_is_in_its_way(world, agent):
    """The overlay stays in use then."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    blocker = f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}"
    with open(blocker, "w", encoding="ascii"):
        pass
    fault = domain.interpose().fault("transaction", "hold-after")
    request = agent.submit("create", domain="alice", name="s1", memory=0)
    fault.wait_reached()
    overlay = chain(domain)[0]
    mirror(domain, overlay)
    fault.release()
    reply = request.wait()
    assert_failed(reply, "store-error", f"disk xvda stays on {overlay}", "\"theirs\"")
    assert_disk_is_on(domain, "xvda", overlay)
