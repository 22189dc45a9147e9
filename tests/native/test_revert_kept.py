# SPDX-License-Identifier: LGPL-2.1-or-later
"""What disks hold is kept while a revert applies internal snapshots to them: a failure
puts it back, and nothing of it is left. The toolstack is the test's."""

import os
import subprocess

import pytest

from native.agent import FINAL, ROOT
from native.expect import image_is_sound, internal_snapshots
from native.merges import content
from native.toolstack import Toolstack

BEFORE, AFTER = b"before!!" * 64, b"after!!!" * 64
LEFT = b"others!!" * 64
KEPT = "xensnapd-before-revert-"
INSIDE = ("xvda", "xvdb")
DISKS = [(vdev, "qcow2") for vdev in (*INSIDE, "xvdc")]

# Fails as on a full disk where the call is among those in a file; each line is for one.
WRAPPER = """#!/bin/sh
name=$4 # but of -a, which is told its id
[ "$3" != -a ] || name=$(/usr/bin/qemu-img snapshot -l "$5" | awk -v id="$4" '$1 == id {{ print $2 }}')
case "$name" in xensnapd-*) tag=kept ;; *) tag=own ;; esac
line=$(grep -n -m1 -F -x -e "$3 $tag ${{5##*/}}" {folder}/fails 2>/dev/null)
if [ -n "$line" ]; then
    sed -i "${{line%%:*}}d" {folder}/fails
    echo "qemu-img: No space left on device" >&2
    exit 1
fi
exec /usr/bin/qemu-img "$@"
"""


class Host:
    """A domain with two internal snapshots and an external one of the same name, and what
    it went on with."""

    def __init__(self, world, agent_stopped, folder):
        self.folder = folder
        with open(f"{folder}/qemu-img", "w", encoding="ascii") as file:
            file.write(WRAPPER.format(folder=folder))
        os.chmod(f"{folder}/qemu-img", 0o755)
        world.variables["PATH"] = f"{folder}:{os.environ['PATH']}"
        agent_stopped.configure("timeouts", qmp_greeting="3s")
        self.world, self.agent = world, agent_stopped.start()
        self.toolstack = Toolstack(world)
        self.domain = world.add_domain("web", disks=DISKS)
        self.images = {vdev: self.domain.chain(vdev)[0][0] for vdev in INSIDE}

    def snapshot(self, memory=0):
        self.write(BEFORE)
        reply = self.agent.request(
            "create", {f"disks/{vdev}/external": "0" for vdev in INSIDE}, domain="web",
            name="s1", memory=memory)
        assert reply["state"] == "done", reply
        self.write(AFTER)
        self.tops = {vdev: self.domain.chain(vdev)[0][0] for vdev in self.domain.disks}
        return self

    def off(self):
        self.snapshot()
        self.world.remove_domain(self.domain)
        return self

    def write(self, data):
        for vdev in self.domain.disks:
            self.domain.write(vdev, 0, data)
            self.domain.disks[vdev].front.flush()

    def fail(self, *calls):
        """The next such calls: option, which snapshot, disk."""
        with open(f"{self.folder}/fails", "w", encoding="ascii") as file:
            for option, tag, vdev in calls:
                file.write(f"{option} {tag} {os.path.basename(self.images[vdev])}\n")

    def submit(self, **keys):
        return self.agent.submit("revert", domain="web", name="s1", **keys)

    def end(self, request):
        """Domains are made meanwhile."""
        self.world.eventually(lambda: request.state() in FINAL, 60, "the end")
        return request.output()

    def boot(self):
        return self.end(self.submit(start="boot"))

    def kept(self, vdev):
        return [name for name in internal_snapshots(self.images[vdev]) if name != "s1"]

    def assert_as_it_was(self):
        """Off."""
        for vdev, path in self.tops.items():
            assert content(path, 0)[:len(AFTER)] == AFTER, vdev
        self.assert_nothing_is_left()

    def assert_nothing_is_left(self):
        for vdev, path in self.images.items():
            assert internal_snapshots(path) == ["s1"], vdev
            assert image_is_sound(path)
        assert self.published() == {"s1"}

    def published(self):
        tree = self.world.store.tree(f"{ROOT}/snapshots/{self.domain.uuid}")
        return {key.split("/")[0] for key in tree if key.endswith("/name")}


@pytest.fixture(name="host")
def fixture_host(world, agent_stopped, tmp_path, save):
    del save
    return Host(world, agent_stopped, tmp_path)


def assert_holds(domain, data):
    for vdev in domain.disks:
        assert domain.read(vdev, 0, len(data)) == data, vdev


# ---- a domain that does not run ----

def test_a_domain_that_cannot_be_made_leaves_the_disks_as_they_were(host):
    host.off().toolstack.refuse = 1
    reply = host.boot()
    assert reply["error/code"] == "libxl-error", reply
    assert "internal snapshot" not in reply["error/message"]
    host.assert_as_it_was()


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_a_name_that_is_the_id_of_another_goes_back_to_its_own_state(host, name):
    """QEMU numbers them as they come."""
    for number in ("2", "3", "1"):
        host.write(number.encode() * 512)
        reply = host.agent.request(
            "create", {f"disks/{vdev}/external": "0" for vdev in INSIDE}, domain="web",
            name=number, memory=0)
        assert reply["state"] == "done", reply
    host.world.remove_domain(host.domain)
    reply = host.end(host.agent.submit("revert", domain="web", name=name, start="boot"))
    assert reply["state"] == "done", reply
    for vdev, path in host.images.items():
        assert content(path, 0)[:512] == name.encode() * 512, vdev
        assert internal_snapshots(path) == ["2", "3", "1"], vdev


def test_a_second_disk_that_fails_has_the_first_put_back(host):
    host.off().fail(("-a", "own", "xvdb"))
    reply = host.boot()
    assert reply["error/code"] == "no-space", reply
    assert "disk xvdb: " in reply["error/message"]
    assert host.toolstack.made == []
    host.assert_as_it_was()


def test_a_full_disk_is_met_before_anything_changes(host):
    host.off().fail(("-c", "kept", "xvdb"))
    reply = host.boot()
    assert reply["error/code"] == "no-space", reply
    host.assert_as_it_was()
    # Once there is room, it works.
    reply = host.boot()
    assert reply["state"] == "done", reply
    assert_holds(host.toolstack.made[-1], BEFORE)


def test_an_agent_that_ends_behind_applied_snapshots_has_them_put_back(host):
    host.off().toolstack.hang = 1
    request = host.submit(start="boot")
    host.world.eventually(lambda: host.toolstack.hanging, 30, "it is made")
    assert content(host.images["xvda"], 0)[:len(BEFORE)] == BEFORE
    host.agent.kill()
    host.agent.start()
    reply = host.end(request)
    assert reply["error/code"] == "interrupted", reply
    assert "internal snapshot" not in reply["error/message"]
    host.assert_as_it_was()


def test_what_hinders_putting_them_back_may_pass(host):
    host.off().toolstack.refuse = 1
    host.fail(("-a", "kept", "xvda"), ("-d", "kept", "xvdb"))
    reply = host.boot()
    assert "internal snapshot" not in reply["error/message"], reply
    host.assert_as_it_was()


def test_a_cancel_behind_applied_snapshots_puts_them_back(host):
    host.off().toolstack.hang = 1
    request = host.submit(start="boot")
    host.world.eventually(lambda: host.toolstack.hanging, 30, "it is made")
    request.cancel()
    reply = host.end(request)
    assert reply["state"] == "cancelled", reply
    host.assert_as_it_was()


def test_nothing_is_left_of_it_when_the_domain_runs(host, run):
    host.off().toolstack.hang = 1
    request = host.submit(start="boot")
    host.world.eventually(lambda: host.toolstack.hanging, 30, "it is made")
    kept, = {name for vdev in INSIDE for name in host.kept(vdev)}
    assert kept.startswith(KEPT)
    # It is no snapshot of the domain's.
    assert host.published() == {"s1"}
    assert KEPT not in run("list", "web").stdout
    host.toolstack.go_on()
    reply = host.end(request)
    assert reply["state"] == "done" and "result/warning" not in reply, reply
    assert_holds(host.toolstack.made[-1], BEFORE)
    host.assert_nothing_is_left()


def test_what_somebody_wrote_to_an_applied_snapshot_is_not_thrown_away(host):
    """The agent had ended, and he started the domain."""
    host.off().toolstack.hang = 1
    request = host.submit(start="boot")
    host.world.eventually(lambda: host.toolstack.hanging, 30, "it is made")
    host.agent.kill()
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {LEFT[0]} 0 512",
                    host.images["xvdb"]], check=True, stdout=subprocess.DEVNULL)
    host.agent.start()
    reply = host.end(request)
    kept, = host.kept("xvdb")
    assert reply["error/code"] == "interrupted", reply
    assert f'is in its internal snapshot "{kept}": disk xvdb: ' in reply["error/message"]
    assert content(host.images["xvdb"], 0)[:512] == LEFT[:1] * 512
    assert content(host.images["xvda"], 0)[:len(AFTER)] == AFTER
    assert host.kept("xvda") == []
    # What it held can be had.
    subprocess.run(["qemu-img", "snapshot", "-a", kept, host.images["xvdb"]], check=True)
    assert content(host.images["xvdb"], 0)[:len(AFTER)] == AFTER
    # And it is told of as long as it is there.
    host.agent.stop()
    host.agent.start()
    host.agent.wait_log(f'the internal snapshot "{kept}" in {host.images["xvdb"]}', 20)


# ---- a domain that runs ----

def test_a_domain_is_brought_back_with_what_its_disks_held(host):
    host.snapshot(memory=1).toolstack.refuse = 1
    reply = host.end(host.submit())
    assert reply["result/brought-back"] == "running-state", reply
    assert "result/running-state-not-kept" not in reply
    assert_holds(host.toolstack.made[-1], AFTER)
    host.assert_nothing_is_left()


def test_a_domain_is_booted_from_what_its_disks_held(host):
    host.snapshot().toolstack.refuse = 3
    reply = host.boot()
    assert reply["result/brought-back"] == "boot", reply
    assert "booted from the disks it was on" in reply["error/message"]
    assert_holds(host.toolstack.made[-1], AFTER)
    host.assert_nothing_is_left()


def test_a_domain_that_stays_down_has_its_disks_as_they_were(host):
    host.snapshot().toolstack.refuse = 4
    reply = host.boot()
    assert "is down and could not be brought back; its disks are as they were" in \
        reply["error/message"], reply
    host.assert_as_it_was()


def test_a_full_disk_brings_the_running_state_back(host):
    host.snapshot(memory=1).fail(("-c", "kept", "xvdb"))
    reply = host.end(host.submit())
    assert reply["error/code"] == "no-space", reply
    assert reply["result/brought-back"] == "running-state"
    assert_holds(host.toolstack.made[-1], AFTER)
    host.assert_nothing_is_left()


def test_the_snapshot_is_tried_again_behind_what_was_put_back(host):
    host.snapshot().toolstack.refuse = 2
    reply = host.boot()
    assert reply["state"] == "done", reply
    assert_holds(host.toolstack.made[-1], BEFORE)
    host.assert_nothing_is_left()


def test_where_it_cannot_be_put_back_it_stays_and_is_told_of(host):
    host.snapshot().toolstack.refuse = 2
    host.fail(*[("-a", "kept", "xvdb")] * 6)
    reply = host.boot()
    kept, = host.kept("xvdb")
    assert reply["result/brought-back"] == "boot", reply
    assert "booted from the snapshot's disks" in reply["error/message"]
    assert f'held before is in their internal snapshot "{kept}"' in reply["error/message"]
    assert_holds(host.toolstack.made[-1], BEFORE)


def test_a_restore_that_is_taken_up_again_writes_over_nothing(host):
    """The agent had ended, and somebody had started the domain."""
    host.snapshot().toolstack.hang = 1
    request = host.submit(start="boot")
    host.world.eventually(lambda: host.toolstack.hanging, 30, "it is made")
    host.agent.kill()
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {LEFT[0]} 0 512",
                    host.images["xvdb"]], check=True, stdout=subprocess.DEVNULL)
    host.toolstack.go_on()
    host.agent.start()
    reply = host.end(request)
    web = host.toolstack.made[-1]
    assert reply["result/brought-back"] == "boot", reply
    assert web.read("xvdb", 0, 512) == LEFT[:1] * 512
    assert host.kept("xvdb")[0] in reply["error/message"]


def test_a_temporary_snapshot_that_qemu_does_not_delete_at_first_goes_later(host):
    host.off()
    faults = []
    host.toolstack.on_made = lambda domain: faults.append(
        domain.interpose().fault("blockdev-snapshot-delete-internal-sync", "error"))
    reply = host.boot()
    assert faults[0].reached.is_set()
    assert reply["state"] == "done" and "result/warning" not in reply, reply
    host.assert_nothing_is_left()


def test_a_temporary_snapshot_that_qemu_does_not_delete_is_told_of(host):
    host.off()

    def on_made(domain):
        domain.interpose().silent = True
    host.toolstack.on_made = on_made
    reply = host.boot()
    kept, = host.kept("xvda")
    assert reply["state"] == "done", reply
    assert f'the temporary internal snapshot "{kept}" stays' in reply["result/warning"]
    assert_holds(host.toolstack.made[-1], BEFORE)
