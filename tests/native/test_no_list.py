# SPDX-License-Identifier: LGPL-2.1-or-later
"""libxl cannot list the domains for a while: none counts as gone for that."""

import zlib

from native.expect import files_below
from native.guardians import kill_with_guardian
from test_crash import chain, kill_at, notes
from test_pause import DISKS, create, running, wait_suspended


def sealed(text):
    data = text.encode()
    return data + b"\n# crc32 %08x\n" % zlib.crc32(data)


def start_without_lists(world, agent):
    world.xen.fail_lists()
    agent.start()
    agent.wait_log("waits: libxl cannot list the domains")


def test_a_suspended_guest_is_resumed_once_they_can_be(world, save, agent):
    domain = world.add_domain("web", disks=DISKS)
    before = files_below(world.images)
    save.hold()
    request = create(agent)
    wait_suspended(world, domain)
    kill_with_guardian(world, domain, agent)
    start_without_lists(world, agent)
    assert request.state() not in ("done", "failed", "cancelled")
    world.xen.fail_lists(False)
    save.release()
    assert request.wait()["error/code"] == "interrupted"
    assert running(world, domain)
    world.eventually(lambda: notes(agent) == [], 10, "no note")
    assert files_below(world.images) == before


def test_a_create_is_undone_once_they_can_be(world, agent):
    domain = world.add_domain("alice", disks=DISKS)
    was, before = chain(domain), files_below(world.images)
    request = kill_at(agent, domain, "transaction", "hold-after", "create", name="s1", memory=0)
    start_without_lists(world, agent)
    world.xen.fail_lists(False)
    assert request.wait()["error/code"] == "interrupted"
    assert chain(domain) == was and files_below(world.images) == before


def test_a_request_says_so(world, agent):
    world.add_domain("web", disks=DISKS)
    world.xen.fail_lists()
    reply = agent.request("create", domain="web", memory=0)
    assert reply["error/code"] == "libxl-error"
    assert "cannot list the domains" in reply["error/message"]
    world.xen.fail_lists(False)
    assert agent.request("create", domain="web", memory=0)["state"] == "done"



def test_an_agent_with_restarts_to_see_to_does_not_start_without(world, agent):
    domain = world.add_domain("web", disks=DISKS)
    agent.stop()
    notes_folder = f"{agent.settings['store']['run-folder']}/supervised"
    with open(f"{notes_folder}/{domain.uuid}", "wb") as file:
        file.write(sealed(str(domain.domid)))
    with open(domain.config_path, "rb") as config, \
            open(f"{notes_folder}/{domain.uuid}.json", "wb") as file:
        file.write(sealed(config.read().rstrip(b"\0").decode()))
    world.xen.fail_lists()
    agent.start(ready=False)
    assert agent.wait_exit() == 1
    assert "libxl cannot list the domains" in agent.log_text()
    world.xen.fail_lists(False)
    agent.start()
    assert running(world, domain)
