# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rescan: images that others use, and states of snapshots, are no disk's new place."""

import os
import subprocess

import pytest

from native.expect import assert_failed
from native.rescans import PIECE, paths, qemu_img

WRITTEN = b"d" * PIECE


def create(agent, domain, name):
    reply = agent.request("create", domain=domain, name=name, memory=0)
    assert reply["state"] == "done", reply


def rescan(agent, path, disk_format="qcow2", **keys):
    return agent.request("rescan", {"disks/xvda/path": path, "disks/xvda/format": disk_format},
                         domain="web", **keys)


@pytest.fixture(name="web")
def fixture_web(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2")])
    create(agent, "web", "a")
    return domain


@pytest.fixture(name="other")
def fixture_other(world, agent):
    domain = world.add_domain("db", disks=[("xvda", "qcow2")])
    create(agent, "db", "s")
    domain.write("xvda", 0, WRITTEN)
    return domain


def assert_untouched(web, chain, other=None):
    web.write("xvda", 0, b"w" * PIECE)
    assert paths(web) == chain
    if other:
        assert other.read("xvda", 0, PIECE) == WRITTEN


@pytest.mark.parametrize("which", [0, 1], ids=["active", "base"])
def test_not_what_another_domain_is_on(world, agent, web, other, which):
    del world
    chain = paths(web)
    path = paths(other)[which]
    assert_failed(rescan(agent, path), "chain-broken", "xvda", path, '"db"')
    assert_untouched(web, chain, other)


def test_not_an_image_over_what_another_domain_writes_to(world, agent, web, other):
    chain = paths(web)
    over = f"{world.images}/over.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", paths(other)[0], "-F", "qcow2", over)
    assert_failed(rescan(agent, over), "chain-broken", paths(other)[0], '"db"')
    assert_untouched(web, chain, other)


@pytest.mark.parametrize("which", [0, 1], ids=["overlay", "state"])
def test_not_what_a_snapshot_of_a_domain_that_is_off_needs(world, agent, web, other, which):
    chain = paths(web)
    path = paths(other)[which]
    world.remove_domain(other)
    link = f"{world.images}/link.qcow2"
    subprocess.run(["ln", path, link], check=True)
    for name in path, link:
        assert_failed(rescan(agent, name), "snapshot-in-use", "xvda", name, '"s"', '"db"')
    assert_untouched(web, chain)


def test_not_what_a_program_writes_to(world, agent, web):
    chain = paths(web)
    path = f"{world.images}/new.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", chain[0], "-F", "qcow2", path)
    with open(path, "r+b"):
        assert_failed(rescan(agent, path), "chain-broken", path, str(os.getpid()))
    assert_untouched(web, chain)
    assert rescan(agent, path)["state"] == "done"
    assert_untouched(web, [path, *chain])


def test_a_base_that_both_only_read_is_shared(world, agent, web):
    golden = f"{world.images}/golden.raw"
    subprocess.run(["truncate", "-s", "64M", golden], check=True)
    tops = [f"{world.images}/top{n}.qcow2" for n in range(2)]
    for top in tops:
        qemu_img("create", "-q", "-f", "qcow2", "-b", golden, "-F", "raw", top)
    other = world.add_domain("db", disks=[{"vdev": "xvda", "format": "qcow2", "path": tops[1]}])
    other.write("xvda", 0, WRITTEN)
    create(agent, "db", "s")
    assert rescan(agent, tops[0])["state"] == "done"
    assert_untouched(web, [tops[0], golden], other)
    assert_failed(rescan(agent, golden, "raw"), "chain-broken", golden, '"db"')
    assert_untouched(web, [tops[0], golden], other)


@pytest.mark.parametrize("named", ["", "xvda"], ids=["both", "one"])
def test_not_what_another_disk_of_the_domain_needs(world, agent, named):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    create(agent, "web", "a")
    create(agent, "web", "b")
    keys = {"disks": named} if named else {}
    before, other = paths(domain), paths(domain, "xvdb")
    for path in other[1:]:
        assert_failed(rescan(agent, path, **keys), "snapshot-in-use", "xvda", path, "xvdb")
    over = f"{world.images}/over.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", other[0], "-F", "qcow2", over)
    assert_failed(rescan(agent, over, **keys), "chain-broken", "xvda", other[0], "xvdb")
    assert paths(domain) == before and paths(domain, "xvdb") == other
