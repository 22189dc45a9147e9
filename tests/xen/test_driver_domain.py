# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that a driver domain serves."""

import os
import re

import pytest

from agent import CHECKOUT, FINAL, Agent
from invariants import stored_images
from xenhost import Disk, Driver


@pytest.fixture
def driver(request):
    """A driver domain, whose QEMUs have a QMP socket."""
    made = Driver("driver")
    request.node.reporters = [*getattr(request.node, "reporters", []), made.report]
    yield made
    made.close()


def images(blocks):
    """{image: format} of what `query-block` tells; empty drives are there, too."""
    return {block["inserted"]["file"]: block["inserted"]["drv"]
            for block in blocks if "inserted" in block}


def test_guest_has_a_disk_from_dom0_and_one_from_a_driver_domain(driver, guests):
    guest = guests("both", disks=(Disk("xvda"), Disk("xvdb", "raw"),
                                  Disk("xvdc", driver=driver),
                                  Disk("xvdd", "raw", driver=driver)))
    guest.write_key(1, "everywhere")
    assert set(guest.read_key(1)) == {"xvda", "xvdb", "xvdc", "xvdd"}
    # dom0's QEMU has the one half, and the driver domain's, by the socket that our
    # wrapper gave it, tells of the other.
    assert guest.open_files() == {str(guest.image("xvda")), str(guest.image("xvdb"))}
    assert images(driver.qmp(guest, "query-block")) == {
        str(guest.image("xvdc")): "qcow2", str(guest.image("xvdd")): "raw"}
    assert "everywhere" in driver.run(f"strings {guest.image('xvdd')}")


class Job:
    """A job for a driver domain's agent, written by hand."""

    def __init__(self, store, driver, guest, disk):
        self.store, self.answers = store, f"{driver.answers}/jobs/{disk.vdev}"
        folder = f"/tool/xensnapd/backends/{driver.domid}"
        self.path = f"{folder}/{disk.vdev}"
        store.mkdir(folder)
        store.set_permissions(folder, ["n0", f"r{driver.domid}"])
        keys = {"guest": guest.domid, "uuid": guest.uuid, "name": "s1",
                f"disks/{disk.vdev}/path": guest.image(disk.vdev),
                f"disks/{disk.vdev}/format": disk.format, "phase": "prepare"}
        store.write({f"{self.path}/{key}": value for key, value in keys.items()})

    def say(self, phase):
        self.store.write({f"{self.path}/phase": phase})

    def wait(self, state):
        """All of the answer, once it is in that state."""
        self.store.wait(f"{self.answers}/state", {state, "undone", "committed"}, 300)
        answer = self.store.tree(self.answers)
        assert answer["state"] == state, answer
        return answer


def test_its_agent_takes_a_disk_s_part_and_undoes_it(driver, guests, store):
    disk = Disk("xvdb", driver=driver)
    guest = guests("both", disks=(Disk("xvda"), disk))
    driver.start_agent()
    job = Job(store, driver, guest, disk)
    overlay = job.wait("prepared")[f"disks/{disk.vdev}/overlay"]
    job.say("switch")
    job.wait("switched")
    guest.write_key(1, "after the switch")
    assert images(driver.qmp(guest, "query-block")) == {overlay: "qcow2"}
    job.say("undo")
    job.wait("undone")
    assert images(driver.qmp(guest, "query-block")) == {str(guest.image("xvdb")): "qcow2"}
    assert guest.read_key(1)["xvdb"] == "after the switch"
    assert "gone" in driver.run(f"ls {overlay} || echo gone")
    # What it is told comes from domain 0 alone.
    assert "refused" in driver.run(f"xenstore-write {job.path}/phase commit || echo refused")
    guest.wait_tick(more=2)
    first, last = guest.complete_records()["xvdb"]
    assert first == 1 and last > 1


def test_a_checkpoint_leaves_its_disks_as_they_are(driver, guests, agent):
    guest = guests("both", disks=(Disk("xvda"), Disk("xvdb", driver=driver)))
    guest.write_key(1, "before")
    reply = agent.request("create", domain="both", name="s1")
    assert reply["state"] == "done", reply
    assert f"domain {driver.domid} (driver)" in reply["result/disks/xvdb/skipped"]
    guest.write_key(1, "after")
    refused = agent.request("create", domain="both", disks="xvdb")
    assert refused["error/code"] == "unsupported-disk"
    # The domain is made anew, and the driver domain serves it again.
    mark = guest.console.size()
    reply = agent.request("revert", domain="both", name="s1")
    assert reply["state"] == "done", reply
    guest.wait_tick(more=2)
    assert "error" not in guest.console.text(mark)
    assert guest.read_key(1) == {"xvda": "before", "xvdb": "after"}


# --- a snapshot of both ---------------------------------------------------------


@pytest.fixture
def both(driver, guests):
    """A guest with a disk from dom0 and one from the driver domain, whose agent runs."""
    guest = guests("both", disks=(Disk("xvda"), Disk("xvdb", "raw", driver=driver)))
    driver.start_agent()
    return guest


@pytest.fixture
def asked_by_driver(tmp_path):
    """An agent that lets the driver domain take snapshots of the guest."""
    policy = "  - who: driver\n    operations: create\n    targets: both\n"
    config = tmp_path / "agent.yaml"
    config.write_text((CHECKOUT / "conf" / "agent.yaml").read_text() + policy)
    agent = Agent(config)
    agent.start()
    yield agent
    agent.close()


def test_the_driver_domain_asks_for_a_snapshot_of_both(both, driver, asked_by_driver, store):
    folder = "snapshot/requests/mine"
    home = f"/local/domain/{driver.domid}"
    store.wait(f"{home}/snapshot/requests", lambda value: value is not None)
    both.write_key(1, "before")
    saved = both.wait_tick(more=2)
    driver.run(f"xenstore-write {folder}/domain both {folder}/name s1 "
               f"{folder}/disks 'xvda xvdb' {folder}/operation create")
    asked_by_driver.wait_node(f"{home}/{folder}/state", FINAL)
    reply = store.tree(f"{home}/{folder}")
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "full"
    assert reply["result/disks/xvdb/driver-domain"] == "driver"
    # Both go on in overlays, and whatever opens them next finds these.
    overlays = {vdev: reply[f"result/disks/{vdev}/path"] for vdev in ("xvda", "xvdb")}
    assert stored_images(both) == overlays
    assert images(driver.qmp(both, "query-block")) == {overlays["xvdb"]: "qcow2"}
    assert overlays["xvda"] in both.open_files()
    both.write_key(1, "after")
    left = both.wait_tick(more=6)
    for first, last in both.complete_records().values():
        assert first == 1 and last > 1
    # And back: memory and the disks of both domains.
    mark = both.console.size()
    back = asked_by_driver.request("revert", domain="both", name="s1")
    assert back["state"] == "done", back
    assert "result/warning" not in back
    both.wait_tick(more=2)
    assert "error" not in both.console.text(mark)
    assert saved <= int(re.search(r"tick (\d+)", both.console.text(mark))[1]) < left
    assert both.read_key(1) == {"xvda": "before", "xvdb": "before"}
    for first, last in both.complete_records().values():
        assert first == 1 and last >= both.ticks() - 2
    fresh = {vdev: back[f"result/disks/{vdev}/path"] for vdev in ("xvda", "xvdb")}
    assert stored_images(both) == fresh
    assert images(driver.qmp(both, "query-block")) == {fresh["xvdb"]: "qcow2"}
    # What was left is removed where it was.
    assert not os.path.exists(overlays["xvda"])
    assert "gone" in driver.run(f"ls {overlays['xvdb']} || echo gone")
    # By hand, too: the guest goes on there, and reads what it had written.
    both.destroy()
    mark = both.console.size()
    both.restore(reply["result/memory-path"])
    both.wait_tick(more=2)
    assert "error" not in both.console.text(mark)
    assert both.read_key(1) == {"xvda": "before", "xvdb": "before"}
    for first, last in both.complete_records().values():
        assert first == 1 and last > 1


def test_the_driver_domain_is_killed_before_it_switches(both, driver, stoppable):
    before = stored_images(both)
    request = stoppable.stop_before("libxl libxl_domain_suspend", "create", domain="both",
                                    name="s1", disks="xvda xvdb")
    driver.kill()
    stoppable.go_on()
    reply = request.wait()
    assert reply["state"] == "failed", reply
    assert "driver" in reply["error/message"], reply
    # No half snapshot, and the guest runs, on the disk that it still has.
    assert stoppable.snapshots(both.uuid) == {}
    both.wait_state("running")
    assert stored_images(both) == before
    assert both.open_files() == {str(both.image("xvda"))}


def test_its_agent_is_killed_in_the_middle_and_both_are_as_before(both, driver, stoppable,
                                                                 store):
    before = stored_images(both)
    request = stoppable.stop_before("qmp end of transaction", "create", domain="both", name="s1",
                                    disks="xvda xvdb")
    assert str(both.image("xvdb")) not in images(driver.qmp(both, "query-block"))
    driver.run("kill -9 $(cat /run/rig/agent.pid)")
    stoppable.kill9()
    driver.start_agent()
    stoppable.start()
    reply = request.wait()
    assert reply["error/code"] == "interrupted", reply
    assert images(driver.qmp(both, "query-block")) == {str(both.image("xvdb")): "raw"}
    assert stored_images(both) == before
    assert not store.ls(f"/tool/xensnapd/backends/{driver.domid}")
    both.wait_tick(more=2)
    for first, last in both.complete_records().values():
        assert first == 1 and last > 1


# --- a rescan of both -------------------------------------------------------------


def test_a_toolstack_changes_the_chains_of_both(both, driver, agent):
    reply = agent.request("create", domain="both", name="s1", disks="xvda xvdb")
    assert reply["state"] == "done", reply
    overlay, base = reply["result/disks/xvdb/path"], str(both.image("xvdb"))
    both.write_key(1, "before")
    # What is unchanged costs nothing.
    reply = agent.request("rescan", domain="both", disks="xvda xvdb")
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvdb/changed"] == "0"
    assert reply["result/downtime-ms"] == "0"
    # Held, nothing there has the images open.
    reply = agent.request("rescan", domain="both", disks="xvda xvdb", phase="prepare", hold=600)
    assert reply["state"] == "done", reply
    driver.run(f"qemu-img commit -q -f qcow2 {overlay} && rm {overlay}")
    reply = agent.request("rescan", domain="both", phase="complete",
                          **{"disks/xvdb/path": base, "disks/xvdb/format": "raw"})
    assert reply["state"] == "done", reply
    assert reply["result/disks/xvdb/changed"] == "1"
    assert images(driver.qmp(both, "query-block")) == {base: "raw"}
    assert stored_images(both)["xvdb"] == base
    both.write_key(2, "after")
    both.wait_tick(more=4)
    assert both.read_key(1)["xvdb"] == "before" and both.read_key(2)["xvdb"] == "after"
    for first, last in both.complete_records().values():
        assert first == 1 and last > 1


# --- a delete that merges in both ---------------------------------------------------


def test_snapshots_of_both_are_merged_while_the_guest_writes(both, driver, agent):
    bases = {vdev: str(both.image(vdev)) for vdev in ("xvda", "xvdb")}
    overlays = {}
    for number, name in enumerate(("s1", "s2"), 1):
        both.write_key(number, name)
        reply = agent.request("create", domain="both", name=name, disks="xvda xvdb")
        assert reply["state"] == "done", reply
        overlays[name] = reply["result/disks/xvdb/path"]
    both.write_key(3, "last")
    # The image in the middle, and then the one that the guest uses.
    for name, gone, left in (("s1", "s1", overlays["s2"]), ("s2", "s2", bases["xvdb"])):
        reply = agent.request("delete", domain="both", name=name)
        assert reply["state"] == "done", reply
        assert stored_images(both)["xvdb"] == left
        assert list(images(driver.qmp(both, "query-block"))) == [left]
        assert "gone" in driver.run(f"ls {overlays[gone]} || echo gone")
    assert stored_images(both) == bases
    assert agent.snapshots(both.uuid) == {}
    both.wait_tick(more=4)
    for number, text in ((1, "s1"), (2, "s2"), (3, "last")):
        assert both.read_key(number) == {"xvda": text, "xvdb": text}
    for first, last in both.complete_records().values():
        assert first == 1 and last > 1


# --- the same while the guest is off -------------------------------------------------

# Does not get on with it as long as that file is there.
HELD = """cat >/usr/lib/xen-4.17/bin/qemu-img <<'END'
#!/bin/sh
while [ "$1" = commit ] && [ -e /run/hold ]; do sleep 0.2; done
exec /usr/bin/qemu-img "$@"
END
chmod 755 /usr/lib/xen-4.17/bin/qemu-img
touch /run/hold
"""


def test_snapshots_of_a_guest_that_is_off_are_merged_there(both, driver, agent):
    bases, uuid = {vdev: str(both.image(vdev)) for vdev in ("xvda", "xvdb")}, both.uuid
    overlays = []
    for number, name in enumerate(("s1", "s2"), 1):
        both.write_key(number, name)
        reply = agent.request("create", domain="both", name=name, disks="xvda xvdb")
        assert reply["state"] == "done", reply
        overlays.append(reply["result/disks/xvdb/path"])
    both.write_key(3, "last")
    both.command("poweroff")
    both.wait_state(None)
    # Started by a file that knows of none of that, it is on the image that s1 is being
    # merged into: that is given up before its QEMU has it open.
    driver.run(HELD)
    request = agent.submit("delete", domain="both", name="s1")
    driver.run("until pgrep -f 'qemu-img commit'; do sleep 0.2; done")
    both.start(wait=False)
    reply = request.wait()
    assert reply["state"] == "failed" and reply["error/code"] == "busy", reply
    assert driver.run("pgrep -f '[q]emu-img commit' || echo none").strip() == "none"
    both.destroy()
    driver.run(f"rm /run/hold; ls {' '.join(overlays)}")
    for name, gone in ("s1", overlays[0]), ("s2", overlays[1]):
        reply = agent.request("delete", domain="both", name=name)
        assert reply["state"] == "done", reply
        assert "gone" in driver.run(f"ls {gone} || echo gone")
    assert agent.snapshots(uuid) == {}
    both.start()
    assert stored_images(both) == bases
    for number, text in ((1, "s1"), (2, "s2"), (3, "last")):
        assert both.read_key(number) == {"xvda": text, "xvdb": text}


def test_what_may_be_needed_there_is_not_merged(driver, guests, agent):
    """An image is away, as on storage that is not mounted; and somebody runs the guest on a
    snapshot's state, and tells nobody."""
    guest = guests("both", disks=(Disk("xvda"), Disk("xvdb", driver=driver)))
    driver.start_agent()
    overlays = []
    for number, name in enumerate(("s1", "s2", "s3"), 1):
        reply = agent.request("create", domain="both", name=name, disks="xvda xvdb")
        assert reply["state"] == "done", reply
        overlays.append(reply["result/disks/xvdb/path"])
        guest.write_key(number, name)
    xvda, uuid = stored_images(guest)["xvda"], guest.uuid
    guest.command("poweroff")
    guest.wait_state(None)
    for away, names in ((overlays[1], ("s2", "s1")), (overlays[2], ("s3", "s1"))):
        driver.run(f"mv {away} {away}.away")
        for name in names:
            reply = agent.request("delete", domain=uuid, name=name)
            assert (reply["state"], reply["error/code"]) == ("failed", "chain-broken"), reply
            assert away in reply["error/message"] and '"s3"' in reply["error/message"]
        driver.run(f"mv {away}.away {away}")
    guest.start_on(xvda=xvda, xvdb=overlays[1])
    guest.write_key(4, "astray")
    guest.destroy()
    for _ in range(2):
        reply = agent.request("delete", domain=uuid, name="s3")
        assert (reply["state"], reply["error/code"]) == ("failed", "snapshot-in-use"), reply
        assert "written to" in reply["error/message"]
    driver.run(f"ls {' '.join(overlays)}")
    # Who starts it on the other says that this counts.
    guest.start_on(xvda=xvda, xvdb=overlays[2])
    for name in "s3", "s1", "s2":
        reply = agent.request("delete", domain="both", name=name)
        assert reply["state"] == "done", reply
        assert guest.read_key(3) == {"xvda": "s3", "xvdb": "s3"}
    assert guest.read_key(4) == {"xvda": "astray", "xvdb": ""}
    assert "gone" in driver.run(f"ls {' '.join(overlays)} || echo gone")
