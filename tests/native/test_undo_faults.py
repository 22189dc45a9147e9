# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults in the undo of a create, when QEMU goes back from the new overlay to the
image under it: whatever opens the disk next finds what the guest wrote last."""

import fcntl
import json
import os
import subprocess
import time

import pytest

from native.expect import assert_disk_is_on, assert_failed, assert_works, files_below, \
    named_images
from native.guardians import guardians, kill_with_guardian, stopped, wait_no_guardian
from native.merges import reboot

DISKS = [("xvda", "qcow2"), ("xvdb", "raw")]


class Host:
    """A create that has to be undone, for its record cannot be written; the guest has
    written to the overlays meanwhile."""

    def __init__(self, world, agent, disks):
        self.world, self.agent = world, agent
        self.domain = world.add_domain("alice", disks=disks)
        self.bases = {vdev: (disk.path, disk.format)
                      for vdev, disk in self.domain.disks.items()}
        self.data = {}
        self.write("old", 0)
        self.images = files_below(world.images)
        self.blocker = f"{agent.settings['store']['folder']}/snapshots/{self.domain.uuid}"
        with open(self.blocker, "w", encoding="ascii"):
            pass
        self.relay = self.domain.interpose()
        self.request = None

    def write(self, text, place, vdev=None):
        for name in [vdev] if vdev else self.domain.disks:
            self.data[name, place] = f"{text} of {name}".encode().ljust(4096)
            self.domain.write(name, place * 65536, self.data[name, place])
            self.domain.disks[name].front.flush()

    def begin(self):
        """Until the overlays are in use and hold something."""
        fault = self.relay.fault("transaction", "hold-after")
        self.request = self.agent.submit("create", domain="alice", name="s1", memory=0)
        fault.wait_reached()
        self.write("newer", 0)
        self.write("newer", 1)
        return fault

    def undo_until(self, command, kind, count=1):
        """The `count`-th of these commands meets the fault."""
        fault = self.begin()
        for one in ["hold-before"] * (count - 1) + [kind]:
            earlier, fault = fault, self.relay.fault(command, one)
            earlier.release()
            fault.wait_reached()
        return fault

    def kill(self, guardian=True):
        """The agent, and with `guardian` what would go on for it."""
        if guardian and guardians(self.domain):
            kill_with_guardian(self.world, self.domain, self.agent)
        else:
            self.agent.kill()
        self.domain.uninterpose()
        os.unlink(self.blocker)
        wait_no_guardian(self.world, self.domain)

    def reboot(self, config=None):
        """As `on_reboot` does it: on what the stored configuration names, or named."""
        config = config or self.domain.stored_config()
        disks = [{"vdev": disk["vdev"], "format": disk["format"], "path": disk["pdev_path"]}
                 for disk in config["disks"]]
        self.end_domain()
        self.domain = self.world.add_domain("alice", uuid=self.domain.uuid, disks=disks)

    def end_domain(self):
        self.world.remove_domain(self.domain)

    def content(self, path, image_format):
        raw = f"{self.world.folder}/content"
        subprocess.run(["qemu-img", "convert", "-f", image_format, "-O", "raw", path, raw],
                       check=True)
        with open(raw, "rb") as file:
            return file.read()

    def assert_data(self):
        for (vdev, place), data in self.data.items():
            assert self.domain.read(vdev, place * 65536, len(data)) == data, (vdev, place)

    def assert_undone(self):
        for vdev, (path, image_format) in self.bases.items():
            assert_disk_is_on(self.domain, vdev, path, image_format)
        self.assert_data()
        assert self.domain.qmp("query-jobs") == []
        self.assert_nothing_left()
        for vdev in self.domain.disks:
            assert_works(self.domain, vdev)
        reply = self.agent.request("create", domain="alice", name="s1", memory=0)
        assert reply["state"] == "done", reply

    def assert_nothing_left(self):
        assert files_below(self.world.images) == self.images
        journal = f"{self.agent.settings['store']['folder']}/journal"
        self.world.eventually(lambda: not os.listdir(journal), 10, "no note")


@pytest.fixture(name="host")
def fixture_host(world, agent_stopped):
    agent_stopped.configure("timeouts", lock="300ms")
    return Host(world, agent_stopped.start(), DISKS)


# Each disk's job is dismissed, and once more where it might not have been.
WHERE = [("block-commit", "hold-before", 1), ("job-complete", "hold-after", 1),
         ("job-finalize", "hold-before", 1), ("job-finalize", "hold-after", 1),
         ("job-dismiss", "hold-before", 1), ("job-complete", "hold-after", 2),
         ("job-finalize", "hold-before", 2), ("job-dismiss", "hold-before", 3)]


@pytest.mark.parametrize("command, kind, count", WHERE)
def test_a_domain_that_reboots_without_an_agent_finds_what_it_wrote(host, command, kind, count):
    host.undo_until(command, kind, count)
    # Without a guardian QEMU lets the guest wait where the job is pending.
    for vdev in host.domain.disks:
        if host.domain.chain(vdev)[0] == host.bases[vdev]:
            host.write("newest", 0, vdev)
    host.kill()
    host.reboot()
    host.assert_data()
    host.write("last", 2)
    host.agent.start()
    assert_failed(host.request.wait(), "interrupted")
    host.assert_undone()


@pytest.mark.parametrize("command, kind", [("job-complete", "hold-before"),
                                           ("job-finalize", "hold-before")])
def test_the_guest_does_not_wait_for_its_disk_without_an_agent(host, command, kind):
    host.undo_until(command, kind, 2)
    host.kill(guardian=False)
    host.write("newest", 0)
    host.reboot()
    host.assert_data()
    host.agent.start()
    assert_failed(host.request.wait(), "interrupted")
    host.assert_undone()


def set_back(path):
    """As if the clock had been when it was last written to."""
    long_ago = os.stat(path).st_ctime - 3600
    os.utime(path, (long_ago, long_ago))


@pytest.mark.parametrize("clock_is_set_back", [True, False])
@pytest.mark.parametrize("command, kind, count", [("job-finalize", "hold-before", 2),
                                                  ("job-finalize", "hold-after", 2),
                                                  ("job-dismiss", "hold-before", 3)])
def test_of_a_domain_that_has_ended_the_newer_images_stay(host, command, kind, count,
                                                          clock_is_set_back):
    """It rebooted without an agent, and was shut down then."""
    host.undo_until(command, kind, count)
    host.kill()
    host.reboot()
    host.write("last", 2)
    host.end_domain()
    for path, _ in host.bases.values() if clock_is_set_back else ():
        set_back(path)
    host.agent.start()
    assert_failed(host.request.wait(), "interrupted")
    host.assert_nothing_left()
    host.domain = host.world.add_domain(
        "alice", uuid=host.domain.uuid,
        disks=[{"vdev": vdev, "format": image_format, "path": path}
               for vdev, (path, image_format) in host.bases.items()])
    host.assert_undone()


@pytest.mark.parametrize("clock_is_set_back", [True, False])
def test_a_reboot_that_read_the_configuration_before_the_switch_keeps_its_writes(
        host, clock_is_set_back):
    """The note says that the guest went on with the image under the overlay, but the
    domain was made anew on the overlay, and has ended since."""
    fault = host.undo_until("job-complete", "hold-before", 2)
    config = host.domain.stored_config()
    overlay = host.domain.chain("xvdb")[0]
    assert config["disks"][1]["pdev_path"] == overlay[0]
    finalize = host.relay.fault("job-finalize", "hold-before")
    fault.release()
    finalize.wait_reached()
    assert named_images(host.domain, "xvdb") == {f"aio:{host.bases['xvdb'][0]}"}
    host.kill()
    host.reboot(config)
    host.write("last", 2)
    host.end_domain()
    if clock_is_set_back:
        set_back(overlay[0])
    host.agent.start()
    assert_failed(host.request.wait(), "interrupted", f"disk xvdb stays on {overlay[0]}")
    content = host.content(*overlay)
    for (vdev, place), data in host.data.items():
        if vdev == "xvdb":
            assert content[place * 65536:place * 65536 + len(data)] == data


def test_a_domain_that_ends_behind_the_switch_keeps_what_it_wrote_last(host):
    host.undo_until("job-dismiss", "hold-before", 3)
    host.write("newest", 0)
    host.kill()
    host.end_domain()
    host.agent.start()
    assert_failed(host.request.wait(), "interrupted")
    host.assert_nothing_left()


def test_a_domain_that_reboots_while_its_guest_waits_is_on_the_right_images(host):
    fault = host.undo_until("job-finalize", "hold-before", 2)
    host.reboot()
    host.assert_data()
    fault.drop()
    reply = host.request.wait()
    os.unlink(host.blocker)
    assert_failed(reply, "store-error")
    host.assert_undone()


def test_with_qemu_dead_the_images_that_it_was_to_go_back_to_are_named(host):
    host.undo_until("job-finalize", "kill-before", 2)
    host.domain.uninterpose()
    reply = host.request.wait()
    assert_failed(reply, "store-error")
    assert "stays on" not in reply["error/message"]
    host.assert_nothing_left()
    host.reboot()
    os.unlink(host.blocker)
    host.assert_undone()


def switch_fails(host, fault):
    """Somebody cancels the job at the last moment, and the guest writes on."""
    host.domain.qmp("job-cancel", id="xensnapd-undo-xvdb")
    host.write("newest", 0)
    fault.release()


@pytest.mark.parametrize("times", [1, 3])
def test_a_switch_that_fails_is_tried_again(host, times):
    """A few times. Then the disk stays on its overlay."""
    fault = host.undo_until("job-finalize", "hold-before", 2)
    assert named_images(host.domain, "xvdb") == {f"aio:{host.bases['xvdb'][0]}"}
    for _ in range(times - 1):
        following = host.relay.fault("job-finalize", "hold-before")
        switch_fails(host, fault)
        fault = following
        fault.wait_reached()
    switch_fails(host, fault)
    reply = host.request.wait()
    os.unlink(host.blocker)
    if times == 1:
        assert_failed(reply, "store-error")
        assert "putting things back failed" not in reply["error/message"]
        host.assert_undone()
        return
    overlay, _ = host.domain.chain("xvdb")[0]
    assert_failed(reply, "store-error", f"disk xvdb stays on {overlay}")
    assert_disk_is_on(host.domain, "xvda", *host.bases["xvda"])
    assert_disk_is_on(host.domain, "xvdb", overlay)
    host.assert_data()
    assert files_below(host.world.images) == host.images | {overlay}
    assert host.agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"


def test_a_switch_that_fails_while_no_agent_looks_is_put_right_first(host):
    """Before it goes back in the end, all is to name what is in use."""
    host.undo_until("job-finalize", "hold-before", 2)
    assert named_images(host.domain, "xvdb") == {f"aio:{host.bases['xvdb'][0]}"}
    host.kill()
    host.domain.qmp("job-cancel", id="xensnapd-undo-xvdb")
    host.write("newest", 0)
    fault = host.domain.interpose().fault("block-commit", "hold-before")
    host.agent.start()
    fault.wait_reached()
    overlay, _ = host.domain.chain("xvdb")[0]
    assert_disk_is_on(host.domain, "xvdb", overlay)
    fault.release()
    assert_failed(host.request.wait(), "interrupted")
    host.assert_undone()


def test_libxls_lock_is_not_waited_for_long_while_the_guest_waits(host):
    """The switch is given up and tried again, and the guest goes on in between."""
    fault = host.undo_until("job-finalize", "hold-before")
    lock_path = f"/var/lib/xen/userdata-l.{host.domain.domid}.{host.domain.uuid}" \
        ".domain-userdata-lock"
    with open(lock_path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cancelled = host.relay.fault("job-cancel", "hold-after")
        fault.release()
        cancelled.wait_reached()
        host.write("newest", 0)
        os.unlink(lock_path)
    cancelled.release()
    assert_failed(host.request.wait(), "store-error")
    os.unlink(host.blocker)
    host.assert_undone()


def test_an_undo_that_an_earlier_guardian_is_in_the_way_of_leaves_the_names(host):
    """It lets QEMU go on with the image that is named, when the undo has ended."""
    host.undo_until("job-finalize", "hold-before")
    os.unlink(host.blocker)
    assert named_images(host.domain, "xvda") == {f"qcow2:{host.bases['xvda'][0]}"}
    with stopped(host.domain) as pid:
        host.agent.kill()
        host.domain.uninterpose()
        host.agent.start()
        host.world.eventually(lambda: guardians(host.domain) - {pid}, 20, "the next guardian")
        fault = host.domain.interpose().fault("job-finalize", "hold-before")
    fault.wait_reached()
    assert_failed(host.request.wait(), "interrupted", "stays on")
    fault.release()
    wait_no_guardian(host.world, host.domain)
    host.domain.uninterpose()
    assert_disk_is_on(host.domain, "xvda", *host.bases["xvda"])
    overlay, _ = host.domain.chain("xvdb")[0]
    assert_disk_is_on(host.domain, "xvdb", overlay)
    host.assert_data()


@pytest.mark.parametrize("dies", [True, False])
def test_a_disk_that_is_unplugged_keeps_what_the_guest_wrote(host, dies):
    if dies:
        host.begin()
    else:
        fault = host.undo_until("block-commit", "hold-before", 2)
    overlay, _ = host.domain.chain("xvdb")[0]
    if dies:
        host.kill()
    disk = host.domain.disks["xvdb"]
    host.domain.unplug("xvdb")
    if dies:
        host.agent.start()
    else:
        fault.release()
    assert_failed(host.request.wait(), "interrupted" if dies else "store-error",
                  f"disk xvdb stays on {overlay}: it was unplugged")
    assert_disk_is_on(host.domain, "xvda", *host.bases["xvda"])
    assert files_below(host.world.images) == host.images | {overlay}
    disk.path, disk.format = overlay, "qcow2"
    host.domain.disks["xvdb"] = disk
    host.domain._plug("xvdb")  # pylint: disable=protected-access
    host.assert_data()


def test_a_disk_that_is_unplugged_is_not_in_the_way_of_the_others(host):
    fault = host.relay.fault("transaction", "hold-before")
    request = host.agent.submit("create", domain="alice", name="s1", memory=0)
    fault.wait_reached()
    looked = host.relay.fault("x-debug-query-block-graph", "hold-after")
    fault.drop()
    looked.wait_reached()
    host.domain.unplug("xvdb")
    looked.release()
    reply = request.wait()
    assert_failed(reply, "qmp-error")
    assert "putting things back failed" not in reply["error/message"]
    assert_disk_is_on(host.domain, "xvda", *host.bases["xvda"])
    host.assert_nothing_left()


def test_the_image_over_an_overlay_stays_named(host):
    """The toolstack made it while the undo was not looking."""
    fault = host.begin()
    host.kill()
    fault.drop()
    overlay, _ = host.domain.chain("xvda")[0]
    over = f"{host.world.images}/over.qcow2"
    host.domain.qmp("blockdev-snapshot-sync", snapshot_file=over, format="qcow2",
                    snapshot_node_name="over",
                    node_name=host.domain.block_entry("xvda")["inserted"]["node-name"])
    config = host.domain.stored_config()
    config["disks"][0]["pdev_path"] = over
    with open(host.domain.config_path, "wb") as file:
        file.write(json.dumps(config).encode() + b"\0")
    host.agent.start()
    assert_failed(host.request.wait(), "interrupted", f"{over} was made over it meanwhile")
    assert host.domain.stored_config()["disks"][0]["pdev_path"] == over
    assert_disk_is_on(host.domain, "xvdb", *host.bases["xvdb"])
    assert files_below(host.world.images) == host.images | {overlay, over}
    host.assert_data()


@pytest.mark.parametrize("dies", [True, False])
def test_a_domain_that_is_started_on_the_base_leaves_what_it_had_written(host, dies):
    """From a file of the toolstack's, which knows of no overlay."""
    if dies:
        host.begin()
    else:
        fault = host.undo_until("block-commit", "hold-before")
    tops = {vdev: host.domain.chain(vdev)[0] for vdev in host.domain.disks}
    if dies:
        host.kill()
    host.reboot({"disks": [{"vdev": vdev, "format": image_format, "pdev_path": path}
                           for vdev, (path, image_format) in host.bases.items()]})
    if dies:
        host.agent.start()
    else:
        fault.drop()
    assert_failed(host.request.wait(), "interrupted" if dies else "store-error",
                  "start the domain on it" if not dies else "start it on that")
    log = host.agent.log_text()
    for vdev, (path, image_format) in tops.items():
        assert f"disk {vdev} is on {host.bases[vdev][0]} now, and {path} alone " \
            "has what the guest wrote before: start it on that, or remove that" in log
        content = host.content(path, image_format)
        for (name, place), data in host.data.items():
            assert name != vdev or content[place * 65536:place * 65536 + len(data)] == data
        assert_disk_is_on(host.domain, vdev, *host.bases[vdev])


def destroy_as_far_as_the_domain(world, domain):
    """As libxl does it: QEMU first, then the devices, last and some time later the
    domain."""
    world.xen.set(domain.domid, paused=1)
    domain.kill_qemu()
    for vdev in domain.disks:
        world.store.rm(domain.backend_path(vdev))


@pytest.mark.parametrize("ends", [True, False])
def test_a_domain_that_is_destroyed_at_the_switch_leaves_nothing_untold(world, agent, ends):
    domain = world.add_domain("alice", disks=DISKS)
    images = files_below(world.images)
    fault = domain.interpose().fault("transaction", "hold-after")
    request = agent.submit("create", domain="alice", name="s1", memory=0)
    fault.wait_reached()
    tops = {vdev: domain.chain(vdev)[0][0] for vdev in domain.disks}
    destroy_as_far_as_the_domain(world, domain)
    fault.drop()
    agent.wait_log("step=switch-disks undo")
    if ends:
        # The undo has come to the configuration, which is not all there.
        time.sleep(1)
        world.remove_domain(domain)
    reply = request.wait(60)
    if ends:
        assert_failed(reply, "no-such-domain", "went away meanwhile")
        assert files_below(world.images) == images
        return
    assert_failed(reply, "qmp-error", *(os.path.basename(path) for path in tops.values()))
    assert files_below(world.images) == images | set(tops.values())
    for path in tops.values():
        assert f"{path} stays, empty" in agent.log_text()
    world.remove_domain(domain)
    for count in (2, 1):
        agent.restart()
        for path in list(tops.values())[:count]:
            agent.wait_log(f"no snapshot has the overlay {path}")
        assert agent.log_text().count("no snapshot has the overlay") == 4 - count
        os.unlink(list(tops.values())[count - 1])
    agent.restart()
    assert os.listdir(f"{agent.settings['store']['folder']}/left") == []


@pytest.mark.parametrize("at", ["query-block", "transaction"])
def test_a_domain_that_is_restarted_meanwhile_is_told_of(world, agent, at):
    domain = world.add_domain("alice", disks=DISKS[:1])
    fault = domain.interpose().fault(at, "hold-after")
    request = agent.submit("create", domain="alice", name="s1", memory=0)
    fault.wait_reached()
    agent.freeze()
    again = reboot(world, domain)
    agent.thaw()
    reply = request.wait(60)
    assert_failed(reply, "no-such-domain", f"restarted meanwhile, as domain {again.domid}")
    if at == "query-block":
        assert "putting things back failed" not in reply["error/message"]
