# SPDX-License-Identifier: LGPL-2.1-or-later
"""`xl save` is at work on the domain, by the helper that only the host's processes tell of."""

import os
import shutil
import subprocess

import pytest

from xenhost import Disk


@pytest.fixture(name="saving")
def fixture_saving(guests, tmp_path):
    """Saves into a pipe that nobody reads until told, as if the disk were slow."""
    guest = guests("saved", kind="pv", disks=(Disk("xvda", "qcow2"),))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    guest.wait_tick()
    with subprocess.Popen(["xl", "save", "-c", guest.name, pipe]) as save:
        with open(pipe, "rb", buffering=0) as stream:
            assert stream.read(1)  # it has begun
            yield guest, save, stream
            while stream.read(1 << 20):
                pass


def test_meanwhile_requests_are_refused_and_afterwards_done(agent, saving):
    guest, save, stream = saving
    # The kernel tells the agent which programs start, and of that one as well.
    assert "the kernel does not tell" not in agent.log.tail(200)
    keys = {"domain": guest.name, "name": "s1", "memory": 0}
    reply = agent.request("create", **keys)
    assert reply["error/code"] == "busy", reply
    assert "(libxl-save-helper)" in reply["error/message"]
    while stream.read(1 << 20):
        pass
    assert save.wait() == 0
    guest.wait_tick(more=2)
    assert agent.request("create", **keys)["state"] == "done"
    assert agent.request("delete", domain=guest.name, name="s1")["state"] == "done"
    guest.wait_tick(more=2)


def test_one_that_begins_in_a_delete_finds_its_image(stoppable, guests, tmp_path):
    agent = stoppable
    guest = guests("saved", kind="pv", disks=(Disk("xvda", "qcow2"),))
    assert agent.request("create", domain=guest.name, name="s1", memory=0)["state"] == "done"
    guest.write_key(1, "since")
    images = guest.open_files()
    request = agent.stop_before("qmp block-commit", "delete", domain=guest.name, name="s1")
    pipe, saved = tmp_path / "pipe", tmp_path / "saved"
    os.mkfifo(pipe)
    with subprocess.Popen(["xl", "save", guest.name, pipe]) as save, \
            open(pipe, "rb", buffering=0) as stream, open(saved, "wb") as file:
        # Memory, so that the helper is at work.
        while file.tell() < 1 << 20:
            file.write(stream.read(1 << 16))
        agent.go_on()
        reply = request.wait()
        assert reply["error/code"] == "busy", reply
        shutil.copyfileobj(stream, file)
        assert save.wait() == 0
    guest.restore(saved)
    guest.wait_tick(more=2)
    assert guest.read_key(1) == {"xvda": "since"}
    assert guest.open_files() == images
    assert agent.request("delete", domain=guest.name, name="s1")["state"] == "done"
    assert guest.open_files() == {str(guest.image("xvda"))}
    assert guest.read_key(1) == {"xvda": "since"}
