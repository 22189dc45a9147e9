# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/guides/driver-domain.md from its first command to its last, in the domain that
it says. Debian's package, and systemd in both domains, have stand-ins here."""

import re
import shutil
from pathlib import Path

import pytest

from agent import CHECKOUT, FINAL, Agent
from guides import blocks_of, run
from xenhost import Disk, Driver

SETTINGS = Path("/etc/xensnapd/agent.yaml")
IN_THE_DRIVER_DOMAIN = """set -e
systemctl() {
    [ "$*" = "restart xensnapd" ]
    xensnapd --foreground >>/run/rig/agent.log 2>&1 &
    echo $! >/run/rig/agent.pid
}
"""
WAIT = re.compile("^until .*\n", re.M)


class Storage:
    """The driver domain, as the guide makes it. Its images outlive it."""

    def __init__(self, store):
        self.store = store
        self.domain = None

    def start(self, blocks):
        """Its root does not outlive it here, so all is installed anew."""
        self.domain = Driver("storage", wrapper=False, images=True)
        self.run("make -s -C $CHECKOUT -o all install prefix=/usr "
                 "BUILD=${XENSNAP_BUILD:-build} >/dev/null")
        for block in blocks:
            self.run(block)
        self.store.wait(f"{self.domain.answers}/state", "ready", 300)

    def run(self, block):
        return self.domain.run(IN_THE_DRIVER_DOMAIN + block)

    def ask(self, block):
        """What it asks for in its own folder, and the answer. The loop in which
        the guide waits starts many programs: one pass shows that it ends."""
        asks, shows = WAIT.split(block)
        self.run(asks)
        folder = re.search("^R=(.*)$", block, re.M)[1]
        path = f"/local/domain/{self.domain.domid}/{folder}"
        self.store.wait(f"{path}/state", FINAL, 300)
        shown = self.run(f"R={folder}\n{WAIT.search(block)[0]}{shows}")
        return self.store.tree(path), shown


@pytest.fixture(name="host")
def fixture_host(request):
    """An agent in dom0 as it is installed, and `systemctl reload` for it."""
    SETTINGS.parent.mkdir(exist_ok=True)
    shutil.copy(CHECKOUT / "conf" / "agent.yaml", SETTINGS)
    one = Agent(SETTINGS)
    one.start()
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("agent's log", one.log.tail(60))]]
    systemctl = Path("/usr/local/bin/systemctl")
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "reload xensnapd" ] && kill -HUP {one.pid}\n')
    systemctl.chmod(0o755)
    yield one
    systemctl.unlink()
    one.close()


def assert_refused(host, code, operation="create", **keys):
    reply = host.request(operation, domain="web", **keys)
    assert (reply["state"], reply.get("error/code")) == ("failed", code), reply


def name_images_in_use(web, listed):
    """In the file that it is started from."""
    text = web.config_path.read_text().replace("format=raw", "format=qcow2")
    for path, vdev in re.findall(r'"pdev_path": "(.*)",\n *"vdev": "(.*)"', listed):
        text = text.replace(str(web.image(vdev)), path)
    web.config_path.write_text(text)


def test_the_guide(host, guests, store, request):
    (role, wrapper, reboot, ready, rule, create, create_here, revert_here, revert,
     again, deletes, paths) = blocks_of("driver-domain.md")
    storage = Storage(store)
    request.node.reporters.append(lambda: storage.domain.report())
    storage.start([role])
    web = guests("web", disks=(Disk("xvda"), Disk("xvdb", "raw", driver=storage.domain)))

    def reads(text):
        web.wait_tick(more=2)
        assert web.read_key(1) == {"xvda": text, "xvdb": text}

    assert_refused(host, "unsupported-disk", disks="xvda xvdb")
    storage.run(wrapper)
    mark = web.console.size()
    run(reboot)
    web.wait_boot(since=mark)
    assert run(ready) == "ready\n"

    run(rule)
    folder = f"/local/domain/{storage.domain.domid}/snapshot/requests"
    store.wait(folder, lambda value: value is not None, 300)
    web.write_key(1, "first")
    reply, shown = storage.ask(create)
    assert reply["state"] == "done", reply
    assert {'state = "done"', 'result/consistency = "full"',
            'result/disks/xvdb/driver-domain = "storage"'} <= set(shown.splitlines())
    assert reply["result/disks/xvdb/base"] == str(web.image("xvdb"))
    web.write_key(1, "second")

    assert "nightly" in run(create_here)
    web.write_key(1, "third")
    run(revert_here)
    reads("first")
    web.write_key(1, "fourth")
    reply, _ = storage.ask(revert)
    assert reply["state"] == "done", reply
    reads("first")

    # The driver domain dies, and the guest goes back on the next one.
    storage.domain.kill()
    assert_refused(host, "unsupported-disk", disks="xvda xvdb")
    assert_refused(host, "domain-inactive", "revert", name="before-upgrade")
    storage.start([role, wrapper])
    run(again)
    reads("first")

    # Or goes on where it was, from its file.
    web.write_key(1, "fifth")
    storage.domain.kill()
    storage.start([role, wrapper])
    listed = run(paths)
    print(listed)
    web.destroy()
    name_images_in_use(web, listed)
    web.start()
    reads("fifth")
    run(deletes)
    reads("fifth")
    assert web.open_files() == {str(web.image("xvda"))}
    web.destroy()
    storage.domain.close()
