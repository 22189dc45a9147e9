# SPDX-License-Identifier: LGPL-2.1-or-later
"""Internal snapshots: kept inside a qcow2 image."""

import os
import subprocess

import pytest

from native.expect import (Picture, assert_disk_is_on, assert_failed,
                           assert_works, image_is_sound, internal_snapshots)

INTERNAL = {"disks/xvda/external": "0"}


def create(agent, name="s1", keys=None, **more):
    return agent.request("create", {**INTERNAL, **(keys or {})},
                         domain="web", name=name, memory=0, **more)


def test_the_image_holds_the_snapshot_and_stays_active(world, agent):
    domain = world.add_domain("web")
    path = domain.disks["xvda"].path
    reply = create(agent)
    assert reply["state"] == "done", reply
    assert internal_snapshots(path) == ["s1"]
    assert reply["result/disks/xvda/snapshot"] == "s1"
    assert reply["result/disks/xvda/external"] == "0"
    assert reply["result/disks/xvda/path"] == path
    assert reply["result/disks/xvda/base"] == path
    assert reply["result/disks/xvda/format"] == "qcow2"
    assert reply["result/disks/xvda/depth"] == "1"
    assert_disk_is_on(domain, "xvda", path)
    assert_works(domain, "xvda")


def test_the_snapshot_holds_what_the_disk_held_then(world, agent):
    domain = world.add_domain("web")
    path = domain.disks["xvda"].path
    domain.write("xvda", 0, b"t" * 4096)
    assert create(agent)["state"] == "done"
    domain.write("xvda", 0, b"n" * 4096)
    domain.disks["xvda"].front.flush()
    domain.unplug("xvda")
    assert image_is_sound(path)
    content = f"{world.folder}/then.raw"
    subprocess.run(["qemu-img", "convert", "-l", "snapshot.name=s1", path,
                    content], check=True)
    with open(content, "rb") as file:
        assert file.read(4096) == b"t" * 4096


def test_its_name_may_differ_from_the_whole_snapshots(world, agent):
    domain = world.add_domain("web")
    reply = create(agent, keys={"disks/xvda/name": "tag"})
    assert reply["result/disks/xvda/snapshot"] == "tag"
    assert reply["result/name"] == "s1"
    assert internal_snapshots(domain.disks["xvda"].path) == ["tag"]


def test_internal_and_external_go_together(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    reply = create(agent)
    assert reply["state"] == "done", reply
    assert internal_snapshots(domain.disks["xvda"].path) == ["s1"]
    assert_disk_is_on(domain, "xvdb", reply["result/disks/xvdb/path"])
    published = world.store.tree(
        f"/tool/xensnapd/snapshots/{domain.uuid}/s1/disks")
    assert published["xvda/external"] == "0"
    assert published["xvda/snapshot"] == "s1"
    assert published["xvdb/external"] == "1"


def test_an_overlay_can_hold_the_next_one(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "raw")])
    first = agent.request("create", domain="web", name="s1", memory=0)
    overlay = first["result/disks/xvda/path"]
    second = create(agent, "s2")
    assert second["state"] == "done", second
    assert internal_snapshots(overlay) == ["s2"]
    assert second["result/disks/xvda/depth"] == "2"
    assert_disk_is_on(domain, "xvda", overlay)


def test_a_tag_that_the_image_holds_is_refused(world, agent):
    domain = world.add_domain("web")
    assert create(agent)["state"] == "done"
    picture = Picture(agent, domain)
    assert_failed(create(agent, "s2", {"disks/xvda/name": "s1"}),
                  "snapshot-exists", "s1", "xvda")
    picture.assert_same()
    assert internal_snapshots(domain.disks["xvda"].path) == ["s1"]


def test_a_raw_disk_cannot_hold_one(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "raw")])
    picture = Picture(agent, domain)
    assert_failed(create(agent), "unsupported-disk", "raw", "xvda")
    picture.assert_same()


@pytest.mark.parametrize("keys, words", [
    ({"disks/xvda/path": "/x/y"}, ("disks/xvda/path", "external=0")),
    ({"disks/xvda/format": "raw"}, ("raw", "disks/xvda/format")),
])
def test_keys_that_contradict_it_are_refused(world, agent, keys, words):
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    reply = create(agent, keys=keys)
    assert_failed(reply, reply["error/code"], *words)
    assert reply["error/code"] in ("invalid-request", "unsupported-disk")
    picture.assert_same()


def test_a_failure_elsewhere_takes_it_out_again(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    block = f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}"
    with open(block, "w", encoding="ascii"):
        pass
    reply = create(agent)
    os.unlink(block)
    assert_failed(reply, "store-error")
    assert reply["error/step"] == "write-record"
    picture.assert_same()
    assert not internal_snapshots(domain.disks["xvda"].path)
