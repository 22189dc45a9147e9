# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy at work: requests that belong to a domain other than 0."""

import os
import signal

import pytest

from native.agent import FINAL, ROOT
from native.expect import (Picture, assert_failed, files_below,
                           rewrite_settings)

REQUESTS = f"{ROOT}/requests"
DOM0 = {"who": "domid 0", "operations": "all", "targets": "any",
        "folders": "any"}


@pytest.fixture(name="folder")
def _folder(world):
    """A folder that a rule gives away."""
    path = f"{world.folder}/given"
    os.makedirs(f"{path}/sub")
    return path


def start(agent, *rules):
    agent.settings["policy"] = [DOM0, *rules]
    return agent.start()


def pass_on(world, asker, operation, keys=None, **more):
    """Domain 0 passes on a request of the domain's; gives the path."""
    path = f"{REQUESTS}/passed-on"
    values = {**{key.replace("_", "-"): value for key, value in more.items()},
              **(keys or {}), "operation": operation}

    def write():
        world.store.rm(path)
        for key, value in values.items():
            world.store.write(f"{path}/{key}", value)
        world.store.set_permissions(f"{path}/operation", f"n{asker.domid}",
                                    "b0")
    world.store.transact(write)
    return path


def ask(world, asker, operation, keys=None, **more):
    path = pass_on(world, asker, operation, keys, **more)
    world.store.wait(f"{path}/state", *FINAL, timeout=30)
    return world.store.tree(path)


def test_a_rule_lets_a_domain_do_what_it_says_and_no_more(world,
                                                          agent_stopped):
    web, other = world.add_domain("web-1"), world.add_domain("db")
    agent = start(agent_stopped, {"who": "web-*", "operations": ["create"]})
    reply = ask(world, web, "create", domain="web-1", name="s1", memory=0)
    assert reply["state"] == "done", reply
    picture = Picture(agent, other)
    for operation, target in (("create", "db"), ("create", other.uuid),
                              ("create", other.domid), ("create", "nobody"),
                              ("delete", "web-1")):
        reply = ask(world, web, operation, domain=target, name="s1")
        assert_failed(reply, "permission-denied", "web-1", operation,
                      str(target))
    # Not even who is there is told.
    assert ask(world, web, "create", domain="db")["error/message"].replace(
        "db", "X") == ask(world, web, "create", domain="nobody")[
            "error/message"].replace("nobody", "X")
    picture.assert_same()
    agent.wait_log("by=1(web-1) op=delete permission-denied")


def test_paths_lead_where_the_policy_says(world, agent_stopped, folder):
    web = world.add_domain("web")
    agent = start(agent_stopped, {"who": "web", "operations": "all",
                                  "folders": folder})
    os.symlink("/etc", f"{folder}/link")
    os.symlink("/etc/passwd", f"{folder}/file.qcow2")
    os.mkdir(f"{folder}/open")
    os.chmod(f"{folder}/open", 0o777)
    picture = Picture(agent, web)
    before = files_below(folder)
    for path in ("/etc/xensnap.qcow2", f"{folder}/../x.qcow2",
                 f"{folder}x/x.qcow2", f"{folder}/link/x.qcow2",
                 f"{folder}/file.qcow2", f"{folder}/open/x.qcow2",
                 "nbd://localhost/x", "json:{}", "x:y", "", "x" * 2000):
        reply = ask(world, web, "create", {"disks/xvda/path": path},
                    domain="web", memory=0)
        assert_failed(reply, "path-not-allowed", "disks/xvda/path")
    assert_failed(ask(world, web, "create", {"memory-path": "/etc/x.save"},
                      domain="web"), "path-not-allowed", "memory-path")
    picture.assert_same()
    assert files_below(folder) == before
    reply = ask(world, web, "create",
                {"disks/xvda/path": f"{folder}/sub/a:b.qcow2"},
                domain="web", memory=0)
    assert reply["state"] == "done", reply


def test_a_link_put_in_between_check_and_use_is_not_followed(
        world, agent_stopped, folder):
    web = world.add_domain("web")
    agent = start(agent_stopped, {"who": "web", "operations": "all",
                                  "folders": folder})
    elsewhere = f"{world.folder}/elsewhere"
    os.mkdir(elsewhere)
    picture = Picture(agent, web)
    # The request was checked; its overlay is made behind this command.
    fault = web.interpose().fault("query-block", "hold-before")
    path = pass_on(world, web, "create",
                   {"disks/xvda/path": f"{folder}/sub/x.qcow2"},
                   domain="web", memory=0)
    fault.wait_reached()
    os.rmdir(f"{folder}/sub")
    os.symlink(elsewhere, f"{folder}/sub")
    fault.release()
    world.store.wait(f"{path}/state", *FINAL, timeout=30)
    assert_failed(world.store.tree(path), "path-not-allowed", "link")
    assert os.listdir(elsewhere) == []
    picture.assert_same()


def test_rate_open_and_snapshots_are_bounded(world, agent_stopped):
    web = world.add_domain("web")
    world.add_domain("db")
    agent = start(agent_stopped,
                  {"who": "web", "operations": ["create"], "snapshots": 1},
                  {"who": "web", "operations": ["delete"], "rate": "2/1h",
                   "targets": "any"})
    assert ask(world, web, "create", domain="web", name="s1",
               memory=0)["state"] == "done"
    assert_failed(ask(world, web, "create", domain="web", name="s2",
                      memory=0), "busy", "no more than 1")
    # What is refused does not count; what is permitted does, done or not.
    for _ in range(3):
        assert_failed(ask(world, web, "create", domain="db", memory=0),
                      "permission-denied")
    for _ in range(2):
        assert_failed(ask(world, web, "delete", domain="db", name="s1"),
                      "no-such-snapshot")
    assert_failed(ask(world, web, "delete", domain="web", name="s1"),
                  "busy", "2 requests in 3600 s")
    # Domain 0 is in no bound of a guest's.
    assert agent.request("delete", domain="web", name="s1")["state"] == "done"


def test_a_policy_is_read_again(world, agent_stopped):
    web = world.add_domain("web")
    agent = start(agent_stopped)
    assert_failed(ask(world, web, "create", domain="web", memory=0),
                  "permission-denied", "no rule of the policy is about it")
    agent.settings["policy"] = [
        DOM0, {"who": web.uuid.upper(), "operations": "create"}]
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log("settings read again")
    assert ask(world, web, "create", domain="web",
               memory=0)["state"] == "done"
