# SPDX-License-Identifier: LGPL-2.1-or-later
"""Domains that libvirt runs: docs/guides/libvirt.md from its first command to its
last, and what it says of libvirt."""

import shutil
from pathlib import Path

import pytest

from guides import SHUTDOWN, blocks_of, run, shut_down
from libvirt_host import Libvirt, LibvirtGuest, install_hook, virsh
from xenhost import Disk

SNAPSHOT = "before-upgrade"


@pytest.fixture(name="libvirt")
def fixture_libvirt(request, tmp_path):
    one = Libvirt(tmp_path)
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("libvirt's log", one.log.tail(30))]]
    yield one.start()
    one.stop()


@pytest.fixture(name="web")
def fixture_web(libvirt):
    """Started by a libvirt that has no hook yet."""
    folder = Path("/srv/web")
    if folder.is_symlink():  # of another guide's test
        folder.unlink()
    guest = LibvirtGuest("web", folder)
    guest.create(disks=(Disk("xvda"),))
    yield guest
    guest.close()
    shutil.rmtree(folder, ignore_errors=True)


def assert_is_on(web, image, text):
    assert web.open_files() >= {str(image)}
    assert web.read_key(1) == {"xvda": text}


def boots(web, text, what, *arguments):
    mark = web.console.size()
    what(*arguments)
    web.wait_boot(since=mark)
    assert web.read_key(1) == {"xvda": text}


def assert_not_started(*command):
    with pytest.raises(AssertionError, match=f"state of its snapshot {SNAPSHOT}"):
        virsh(*command)


@pytest.mark.slow
def test_the_guide(agent, libvirt, web, tmp_path):
    (create, tell, delete, restart, back) = blocks_of("libvirt.md")
    first = web.image("xvda")
    overlay = first.with_name(f"xvda.{SNAPSHOT}.qcow2")

    # Without the hook.
    reply = agent.request("create", domain="web", memory=False)
    assert (reply["state"], reply["error/code"]) == ("failed", "hook-failed")
    install_hook()
    libvirt.restart()

    # A reboot that libvirt may not carry out: it would be on the old image.
    run(create)
    web.write_key(1, "one")
    mark = libvirt.log.size()
    web.command("reboot")
    libvirt.log.wait_match(".*Failed to restart VM 'web'.*", 120, since=mark)
    assert web.state() is None and web.libvirt_state() == "shut off"
    assert_not_started("start", "web")
    run(f"xensnap delete web {SNAPSHOT}")
    boots(web, "one", virsh, "start", "web")

    # What libvirt saves knows the old image as well.
    run(create)
    web.write_key(1, "two")
    ticks = web.ticks()
    virsh("save", "web", tmp_path / "save")
    assert_not_started("restore", tmp_path / "save")
    run(f"xensnap delete web {SNAPSHOT}")
    virsh("restore", tmp_path / "save")
    assert web.wait_tick(more=2) > ticks
    assert_is_on(web, first, "two")

    # One that it knows how to carry out.
    run(create)
    run(tell)
    web.write_key(1, "three")
    boots(web, "three", web.command, "reboot")
    assert_is_on(web, overlay, "three")
    run(delete)
    assert_is_on(web, first, "three")

    # A checkpoint, after which it may be deaf until it is started again.
    run(create.replace(" --no-memory", ""))
    run(tell)
    libvirt.restart()
    web.write_key(1, "four")
    boots(web, "four", web.command, "reboot")
    boots(web, "four", run, restart)

    # A revert takes the domain from it.
    web.write_key(1, "lost")
    run(f"xensnap revert web {SNAPSHOT}")
    web.wait_tick(more=2)
    assert web.read_key(1) == {"xvda": "three"}
    assert web.libvirt_state() == "shut off"
    web.write_key(1, "five")
    boots(web, "five", web.command, "reboot")
    merges, starts = back.split(SHUTDOWN)
    run(merges)
    shut_down(web)
    boots(web, "five", run, starts)
    assert web.libvirt_state() == "running"
    assert_is_on(web, first, "five")
