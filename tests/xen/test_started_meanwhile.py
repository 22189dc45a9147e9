# SPDX-License-Identifier: LGPL-2.1-or-later
"""`xl create` while qemu-img merges the images of that domain."""

import os
import subprocess
import time

import pytest

from xenhost import Agent, Disk

# It has begun, and would not be over before the domain is there.
WRAPPER = """#!/bin/sh
if [ "$1" = commit ] && mkdir {folder}/begun 2>/dev/null; then
    shift
    exec /usr/bin/qemu-img commit -r 1024 "$@"
fi
exec /usr/bin/qemu-img "$@"
"""


@pytest.fixture(name="slow")
def fixture_slow(tmp_path):
    (tmp_path / "qemu-img").write_text(WRAPPER.format(folder=tmp_path))
    (tmp_path / "qemu-img").chmod(0o755)
    agent = Agent(environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    agent.start()
    yield agent
    agent.close()


def is_working():
    return subprocess.run(["pgrep", "-f", "^/usr/bin/qemu-img commit"], check=False,
                          stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.slow
def test_a_domain_that_is_started_beside_a_merge_keeps_its_data(slow, guests):
    guest = guests("meanwhile", kind="pv", disks=(Disk("xvda", "qcow2"),))
    reply = slow.request("create", domain=guest.name, name="s1", memory=0)
    assert reply["state"] == "done", reply
    base, overlay = (reply[f"result/disks/xvda/{key}"] for key in ("base", "path"))
    guest.write_key(1, "since")
    before = guest.wait_tick(more=2)
    guest.destroy()
    guest.config_path.write_text(guest.config_path.read_text().replace(base, overlay))

    request = slow.submit("delete", domain=guest.name, name="s1")
    deadline = time.monotonic() + 120
    while not is_working():  # nothing tells of it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    guest.start()
    reply = request.wait()
    assert (reply["state"], reply["error/code"]) == ("failed", "busy"), reply
    assert overlay in reply["error/message"]
    assert not is_working()
    assert guest.read_key(1) == {"xvda": "since"}
    assert guest.ticks() >= before

    reply = slow.request("delete", domain=guest.name, name="s1")
    assert reply["state"] == "done", reply
    guest.wait_tick(more=2)
    assert guest.read_key(1) == {"xvda": "since"}
    assert not os.path.exists(overlay)
    guest.destroy()
    subprocess.run(["qemu-img", "check", "-q", base], check=True)
