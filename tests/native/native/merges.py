# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of live merges begin with."""

import contextlib
import os
import subprocess
import zlib

from native.expect import done, merge_job_id
from native.guardians import kill_with_guardian


def chain(domain):
    return [path for path, _ in domain.chain("xvda")]


def two(world, agent):
    """On an image over its base, with newer data in it."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"0" * 4096)
    done(agent.request("create", domain="alice", name="s1", memory=0))
    for place in (0, 65536):
        domain.write("xvda", place, b"1" * 4096)
    domain.disks["xvda"].front.flush()
    return domain, *chain(domain)


def three(world, agent, large="s3", size=1 << 20):
    """Snapshots s1, s2 and s3 with something written after each, the most after the
    one that is named: where that is s3, deleting s2 merges downwards (a commit), and
    deleting s3 streams. chain() is then the images over s3, s2, s1 and the base."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"0" * 4096)
    for n in (1, 2, 3):
        done(agent.request("create", domain="alice", name=f"s{n}", memory=0))
        domain.write("xvda", n * 65536, str(n).encode() * 4096)
        if large == f"s{n}":
            domain.write("xvda", 8 << 20, b"x" * size)
    domain.disks["xvda"].front.flush()
    return domain


def delete(agent, name):
    return agent.request("delete", domain="alice", name=name)


def nodes_of(qmp):
    """The nodes' names by their images' paths."""
    return {node["file"]: node["node-name"]
            for node in qmp("query-named-block-nodes", flat=True)
            if node["drv"] in ("qcow2", "raw")}


def commit_slowly(qmp, active, over, state, **more):
    """A delete finds this job of QEMU's, of xvda, and takes it up as its own; it copies next
    to nothing before it is told to hurry. Gives its name."""
    nodes, job = nodes_of(qmp), merge_job_id("xvda", state)
    qmp("block-commit", job_id=job, device=nodes[active], top_node=nodes[over],
        base_node=nodes[state], auto_dismiss=False, speed=1, **more)
    return job


@contextlib.contextmanager
def unflushable(path):
    """Flushing that file fails meanwhile (shim/disk_shim.c)."""
    note = "/run/fake-xen/unflushable"
    with open(note, "w", encoding="ascii") as file:
        file.write(path)
    try:
        yield
    finally:
        os.unlink(note)


def kill_at(agent, domain, command, kind, guardian=False):
    """Kills the agent, and with `guardian` what would go on for it."""
    fault = domain.interpose().fault(command, kind)
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    if guardian:
        kill_with_guardian(agent.world, domain, agent)
    else:
        agent.kill()
    domain.uninterpose()
    return request


def write(domain, byte):
    domain.write("xvda", 0, byte * 4096)
    domain.disks["xvda"].front.flush()


def reboot(world, domain, path=None):
    """As `on_reboot` does it: on what the stored configuration names."""
    path = path or domain.stored_config()["disks"][0]["pdev_path"]
    world.remove_domain(domain)
    return world.add_domain("alice", uuid=domain.uuid,
                            disks=[{"vdev": "xvda", "format": "qcow2", "path": path}])


def content(path, offset):
    raw = f"{path}.raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
    with open(raw, "rb") as file:
        file.seek(offset)
        data = file.read(4096)
    os.unlink(raw)
    return data


def record_path(agent, domain):
    return f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}/s1.yaml"


def forget_merged(agent, domain):
    """The record as it is when all is copied, and the configuration not yet changed,
    or that not yet noted."""
    with open(record_path(agent, domain), "rb") as file:
        text = file.read().split(b"# crc32 ")[0]
    kept = [line for line in text.splitlines(True) if b"merged: " not in line]
    assert any(b"copied: " in line for line in kept)
    text = b"".join(kept)
    with open(record_path(agent, domain), "wb") as file:
        file.write(text + b"# crc32 %08x\n" % zlib.crc32(text.removesuffix(b"\n")))
