# SPDX-License-Identifier: LGPL-2.1-or-later
"""A rescan's pause that cannot be ended when it should be: it is tried again until the guest
runs."""

import os
import subprocess

import pytest

from native.expect import assert_works
from native.faults import FAIL, Faults
from native.rescans import paths, paused, qemu_img

UNPAUSE = "libxl libxl_domain_unpause"


@pytest.fixture(name="agent")
def fixture_agent(world, agent_stopped):
    agent_stopped.faults = Faults(world.folder)
    return agent_stopped.start()


def assert_goes_on(world, agent, domain):
    """By the agent alone, and nothing is left of the hold."""
    world.eventually(lambda: paused(domain) == 0, 30, "letting go")
    world.eventually(lambda: not os.listdir(f"{agent.folder}/run/held"), 10, "the hold's end")
    world.eventually(lambda: not world.store.tree("/tool/xensnapd/holds"), 10,
                     "nothing to be published")
    assert_works(domain, "xvda")


def test_a_guest_that_was_to_run_on_for_a_busy_disk(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    front = domain.disks["xvda"].front
    domain.write("xvda", 0, b"a" * 4096)
    front._word(2, front._word(2) - 1)  # as if an answer were still to come
    agent.faults.arm(FAIL, 1, UNPAUSE)
    reply = agent.request("rescan", {"phase": "prepare"}, domain="alice")
    agent.faults.disarm()
    front._word(2, front._word(2) + 1)
    assert reply["state"] == "failed", reply
    assert_goes_on(world, agent, domain)


def test_a_guest_that_was_to_go_on_after_a_failure(world, agent):
    """Another disk has the base open as well, which shows once the guest stands still."""
    base = f"{world.images}/golden.raw"
    subprocess.run(["truncate", "-s", "64M", base], check=True)
    tops = [f"{world.images}/{vdev}.qcow2" for vdev in ("xvda", "xvdb")]
    for top in tops:
        qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top)
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    reply = agent.request("rescan", {"disks/xvda/path": tops[0], "disks/xvdb/path": tops[1]},
                          domain="alice")
    assert reply["state"] == "done", reply
    agent.faults.arm(FAIL, 1, UNPAUSE)
    reply = agent.request("rescan", {"phase": "prepare", "disks": "xvda"}, domain="alice")
    agent.faults.disarm()
    assert reply["state"] == "failed", reply
    assert paused(domain) == 1
    assert_goes_on(world, agent, domain)
    assert paths(domain) == [tops[0], base]
