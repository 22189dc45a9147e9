# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libvirt asks before it starts a domain, and what domains of its may be
given: libvirt itself is pretended (tests/xen/test_libvirt.py has a real one)."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from native.expect import Picture, assert_failed, checksum

REBOOT = 1  # SHUTDOWN_reboot
STATES = Path("/run/libvirt/libxl")


class Libvirt:
    """Its state file of a domain, and the calls of the hook."""

    def __init__(self, agent, domain):
        self.agent = agent
        self.domain = domain
        STATES.mkdir(parents=True, exist_ok=True)
        self.state = STATES / f"{domain.name}.xml"
        self.state.write_text(self.definition({}))

    def definition(self, images):
        disks = "".join(f"    <disk type='file' device='disk'>\n"
                        f"      <source file='{path}'/>\n"
                        f"      <target dev='{vdev}' bus='xen'/>\n"
                        f"    </disk>\n" for vdev, path in images.items())
        return (f"<domain type='xen'>\n  <uuid>{self.domain.uuid}</uuid>\n"
                f"  <devices>\n{disks}  </devices>\n</domain>\n")

    def begin(self, operation, images, environment=None):
        """The hook, with the definition before it."""
        with tempfile.TemporaryFile("w+") as definition:
            definition.write(self.definition(images))
            definition.seek(0)
            return subprocess.Popen(
                [self.agent.program, "--libvirt-hook", "--config",
                 f"{os.path.splitext(self.agent.log)[0]}.yaml", "--",
                 self.domain.name, operation, "begin", "-"],
                text=True, stdin=definition, stderr=subprocess.PIPE,
                env={**os.environ, **(environment or {})})

    def hook(self, operation, environment=None, **images):
        """Its exit status and what it says."""
        with self.begin(operation, images, environment) as hook:
            words = hook.communicate(timeout=120)[1]
            return hook.returncode, words

    def may_start(self, environment=None, **images):
        """"" or why not."""
        status, words = self.hook("prepare", environment, **images)
        assert (status == 0) == (words == "")
        return words


@pytest.fixture(name="web")
def fixture_web(world, agent):
    return world.add_domain("web", disks=(("xvda", "qcow2"), ("xvdb", "raw")))


@pytest.fixture(name="libvirt")
def fixture_libvirt(agent, web):
    one = Libvirt(agent, web)
    yield one
    one.state.unlink(missing_ok=True)


def create(agent, **more):
    return agent.request("create", domain="web", name="s1", memory=0, **more)


def images_of(web):
    return {vdev: web.chain(vdev)[0][0] for vdev in web.disks}


def test_no_external_snapshot_where_libvirt_does_not_ask(agent, web, libvirt):
    before = Picture(agent, web)
    assert_failed(create(agent), "hook-failed", "libxl.d/xensnapd",
                  "/etc/libvirt/hooks/libxl,")
    before.assert_same()
    assert create(agent, keys={"disks": "xvda", "disks/xvda/external": 0})[
        "state"] == "done"
    assert libvirt.hook("reconnect") == (0, "")
    assert agent.request("create", domain="web", name="s2", memory=0)["state"] == "done"


def test_a_domain_that_has_ended_is_not_guarded_any_more(agent, web, libvirt):
    libvirt.hook("prepare")
    libvirt.hook("started")
    libvirt.hook("release")
    assert_failed(create(agent), "hook-failed", "web")
    libvirt.state.unlink()
    assert create(agent)["state"] == "done"


def test_no_start_on_images_that_hold_a_snapshot(agent, web, libvirt):
    first = images_of(web)
    assert libvirt.may_start(**first) == ""
    assert create(agent)["state"] == "done"
    words = libvirt.may_start(**first)
    assert first["xvda"] in words and "xensnap delete web s1" in words
    # Each disk counts, and so does another name of the same file.
    assert "xvdb" in libvirt.may_start(**{**images_of(web), "xvdb": first["xvdb"]})
    link = f"{first['xvda']}.link"
    os.symlink(first["xvda"], link)
    assert link in libvirt.may_start(xvda=link)
    assert libvirt.may_start(**images_of(web)) == ""
    assert agent.request("delete", domain="web", name="s1")["state"] == "done"
    assert images_of(web) == first
    assert libvirt.may_start(**first) == ""


def test_the_answer_needs_no_agent(agent, web, libvirt):
    first = images_of(web)
    libvirt.hook("prepare")
    assert create(agent)["state"] == "done"
    agent.stop()
    web.kill_qemu()
    sums = {path: checksum(path) for path in first.values()}
    assert "s1" in libvirt.may_start(**first)
    assert {path: checksum(path) for path in first.values()} == sums
    agent.start()


def test_no_start_while_an_operation_is_under_way(agent, web, libvirt):
    agent.stop()
    note = Path(agent.settings["store"]["folder"], "journal", f"op-a.{web.uuid}.json")
    note.write_text("")
    soon = {"LD_PRELOAD": f"{agent.world.shims}/clock_shim.so", "STEADY_RATE": "60",
            "ASAN_OPTIONS": "verify_asan_link_order=0"}
    assert "at work" in libvirt.may_start(soon, **images_of(web))
    note = note.rename(f"{note}.aside")
    assert f"{note}, which is kept" in libvirt.may_start(**images_of(web))
    note = note.rename(note.with_name(f"op-a.{web.uuid[:-1]}x.json"))
    assert libvirt.may_start(**images_of(web)) == ""
    note.unlink()


@pytest.mark.parametrize("ended", [False, True])
def test_a_reboot_in_a_create_that_is_undone_waits_for_its_undo(agent, web, libvirt, ended):
    """libvirt asks once: a guest that it may not start then stays off."""
    first = images_of(web)
    libvirt.hook("reconnect")
    fault = web.interpose().fault("transaction", "hold-after")
    request = agent.submit("create", domain="web", name="s1", memory=0)
    fault.wait_reached()
    agent.world.xen.shut_down(web.domid, REBOOT)
    request.cancel()
    libvirt.state.unlink()
    libvirt.hook("release")
    with libvirt.begin("prepare", first) as hook:
        if ended:
            agent.world.remove_domain(web)
        else:
            fault.release()
        assert request.wait()["state"] == "cancelled"
        assert hook.communicate(timeout=120)[1] == ""
        assert hook.returncode == 0


def test_no_snapshot_is_forgotten_under_an_overlay_in_use(agent, web, libvirt):
    first = images_of(web)
    libvirt.hook("reconnect")
    assert create(agent, keys={"disks": "xvda"})["state"] == "done"
    reply = agent.request("delete", domain="web", name="s1", keep_files=1)
    assert_failed(reply, "hook-failed", first["xvda"], "without keep-files")
    assert "s1" in libvirt.may_start(**first)
    # As any other toolstack's it may be.
    libvirt.state.unlink()
    assert agent.request("delete", domain="web", name="s1", keep_files=1)["state"] == "done"


def test_an_internal_snapshot_may_be_forgotten(agent, web, libvirt):
    libvirt.hook("reconnect")
    assert create(agent, keys={"disks": "xvda", "disks/xvda/external": 0})["state"] == "done"
    assert agent.request("delete", domain="web", name="s1", keep_files=1)["state"] == "done"
    assert libvirt.may_start(**images_of(web)) == ""


def fail_create(agent, web):
    """With what was written meanwhile on the overlay of xvda, which stays."""
    blocker = Path(agent.settings["store"]["folder"], "snapshots", web.uuid)
    blocker.write_text("")
    relay = web.interpose()
    fault = relay.fault("transaction", "hold-after")
    request = agent.submit("create", domain="web", name="s1", memory=0, disks="xvda")
    fault.wait_reached()
    web.write("xvda", 0, b"new!" * 128)
    relay.fault("block-commit", "error", times=3, description="no undo today")
    fault.release()
    reply = request.wait()
    blocker.unlink()
    return reply


def notes_of(agent):
    return list(Path(agent.settings["store"]["folder"], "journal").iterdir())


def test_no_start_under_an_overlay_that_a_failed_create_left(agent, web, libvirt):
    first = images_of(web)
    libvirt.hook("reconnect")
    reply = fail_create(agent, web)
    overlay = images_of(web)["xvda"]
    assert overlay != first["xvda"]
    aside = [".aside"]
    agent.world.eventually(lambda: [note.suffix for note in notes_of(agent)] == aside)
    note, = notes_of(agent)
    assert_failed(reply, "store-error", "libvirt may not start", f"then remove {note}")
    # Also where libvirt has ended the domain, and for each agent that starts.
    libvirt.hook("release")
    assert str(note) in libvirt.may_start(**first)
    agent.restart()
    assert str(note) in libvirt.may_start(**first)
    told, _ = json.loads(note.read_text().splitlines()[0])["disks"]
    assert told["overlay"] == overlay
    note.unlink()
    assert libvirt.may_start(**images_of(web)) == ""


def test_a_failed_create_of_another_toolstacks_domain_leaves_no_note(agent, web):
    reply = fail_create(agent, web)
    assert_failed(reply, "store-error", "stays on")
    assert "aside" not in reply["error/message"]
    agent.world.eventually(lambda: not notes_of(agent))


def test_no_start_where_a_record_cannot_be_read(agent, web, libvirt):
    libvirt.hook("prepare")
    assert create(agent)["state"] == "done"
    record = Path(agent.settings["store"]["folder"], "snapshots", web.uuid, "s1.yaml")
    text = record.read_text()
    record.write_text("damaged")
    assert str(record) in libvirt.may_start(**images_of(web))
    record.write_text(text)
    assert libvirt.may_start(**images_of(web)) == ""


def test_a_setting_that_is_wrong_keeps_no_domain_from_its_start(agent, web, libvirt):
    """Only those that may not start anyhow."""
    first = images_of(web)
    config = Path(f"{os.path.splitext(agent.log)[0]}.yaml")
    text = config.read_text()
    wrong = json.loads(text)
    wrong["limits"] = {"total": "many"}
    config.write_text(json.dumps(wrong))
    status, words = libvirt.hook("prepare", **first)
    assert status == 0 and "limits.total" in words
    assert create(agent)["state"] == "done"
    status, words = libvirt.hook("prepare", **first)
    assert status == 1 and "xensnap delete web s1" in words
    assert libvirt.hook("prepare", **images_of(web))[0] == 0
    config.write_text(text)


def test_a_running_domain_is_never_given_up(agent, libvirt):
    """libvirt forgets a domain that the hook says no to when it is there."""
    config = Path(f"{os.path.splitext(agent.log)[0]}.yaml")
    text = config.read_text()
    config.write_text("nonsense")
    for operation in ("start", "started", "reconnect", "stopped", "release"):
        assert libvirt.hook(operation)[0] == 0
    status, words = libvirt.hook("prepare")
    assert status == 1 and "store.folder" in words
    config.write_text(text)
    assert libvirt.hook("prepare")[0] == 0
