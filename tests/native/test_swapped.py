# SPDX-License-Identifier: LGPL-2.1-or-later
"""Folders and files that are swapped while a request is under way: nothing that a
link leads to is written or removed, and the domain is as it was (I1, I2)."""

import contextlib
import os
import shutil

import pytest

from native.expect import assert_works, files_below


@contextlib.contextmanager
def suspended(world, domain, save):
    """The domain is, since its memory is being saved, until the block is left."""
    world.eventually(lambda: not world.xen.is_running(domain.domid), 20, "suspended")
    yield
    save.release()


@pytest.fixture(name="outside")
def fixture_outside(tmp_path):
    """Where nothing may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return str(folder)


def swap(folder, outside):
    """Gives where it was moved to."""
    os.rename(folder, f"{folder}-moved")
    os.symlink(outside, folder)
    return f"{folder}-moved"


def content(folder):
    result = {}
    for path in files_below(folder):
        with open(path, "rb") as file:
            result[path] = file.read()
    return result


def test_a_memory_folder_that_is_swapped_is_not_left(world, save, agent, outside):
    save.hold()
    domain = world.add_domain("alice")
    folder = f"{world.folder}/memories"
    os.mkdir(folder)
    chain = domain.chain("xvda")
    request = agent.submit("create", domain="alice", name="s1", live=0,
                           memory_path=f"{folder}/s1.save")
    with suspended(world, domain, save):
        moved = swap(folder, outside)
        shutil.copy(f"{moved}/s1.save.partial", outside)
        before = content(outside)
    reply = request.wait()
    assert reply["state"] == "failed" and reply["error/code"] == "store-error", reply
    assert f"{folder}/s1.save" in reply["error/message"]
    assert content(outside) == before
    assert os.listdir(moved) == []
    assert world.xen.is_running(domain.domid) and domain.chain("xvda") == chain
    assert_works(domain, "xvda")


def test_an_overlay_folder_that_is_swapped_is_not_left(world, save, agent, outside):
    save.hold()
    domain = world.add_domain("alice")
    folder = f"{world.folder}/overlays"
    os.mkdir(folder)
    chain = domain.chain("xvda")
    request = agent.submit("create", {"disks/xvda/path": f"{folder}/over.qcow2"},
                           domain="alice", name="s1", live=0)
    with suspended(world, domain, save):
        moved = swap(folder, outside)
        # As good an overlay as the one that was made.
        shutil.copy(f"{moved}/over.qcow2", outside)
        before = content(outside)
    reply = request.wait()
    assert reply["state"] == "failed" and reply["error/code"] == "store-error", reply
    assert f"{folder}/over.qcow2" in reply["error/message"]
    assert content(outside) == before
    assert os.listdir(moved) == []
    assert world.xen.is_running(domain.domid) and domain.chain("xvda") == chain
    assert_works(domain, "xvda")


@pytest.mark.parametrize("link", ["over.qcow2", "s1.save", "s1.save.partial"])
def test_a_link_in_the_place_of_a_file_is_not_followed(world, agent, outside, link):
    domain = world.add_domain("alice")
    folder = f"{world.folder}/files"
    os.mkdir(folder)
    os.symlink(f"{outside}/made", f"{folder}/{link}")
    reply = agent.request("create", {"disks/xvda/path": f"{folder}/over.qcow2"},
                          domain="alice", name="s1", live=0,
                          memory_path=f"{folder}/s1.save")
    assert reply["state"] == "failed", reply
    assert f"{folder}/{link}" in reply["error/message"]
    assert os.listdir(outside) == [] and os.listdir(folder) == [link]
    assert_works(domain, "xvda")


def test_images_may_be_reached_through_a_link(world, agent):
    os.mkdir(f"{world.folder}/srv")
    os.symlink(f"{world.folder}/srv", f"{world.images}/guests")
    over = f"{world.images}/guests/over.qcow2"
    domain = world.add_domain("alice")
    reply = agent.request("create", {"disks/xvda/path": over}, domain="alice", name="s1",
                          memory=0)
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvda/path"] == over == domain.chain("xvda")[0][0]
    assert os.listdir(f"{world.folder}/srv") == ["over.qcow2"]
    reply = agent.request("delete", domain="alice", name="s1")
    assert reply["state"] == "done", reply
    assert os.listdir(f"{world.folder}/srv") == []
