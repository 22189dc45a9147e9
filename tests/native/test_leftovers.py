# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that no snapshot has are told of, and never removed."""

import os
import subprocess

import pytest

from native.expect import assert_failed
from native.merges import chain, content, reboot, two, write


def put(folder, *names):
    path = os.path.join(folder, *names)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(3 << 20)
    return path


def told(agent):
    """What the agent that was started last says of leftovers."""
    text = agent.log_text().rsplit("no snapshot has nothing\n", 1)[-1]
    return [line for line in text.splitlines()
            if "no snapshot has" in line or "may be of snapshot" in line]


def start_anew(agent):
    """Tells its lines from those of the next."""
    agent.stop()
    with open(agent.log, "a", encoding="ascii") as file:
        file.write("no snapshot has nothing\n")
    agent.start()


def record(agent, domain, name):
    return f"{agent.settings['store']['folder']}/snapshots/{domain.uuid}/{name}.yaml"


def test_a_memory_file_that_no_snapshot_has_is_told_of_and_stays(agent_stopped):
    folder = agent_stopped.settings["store"]["memory-folder"]
    lost = put(folder, "0d5e0d5e-0000-4000-8000-000000000001", "s1.save.partial")
    aside = put(folder, "not-ours")
    # As where the folder is above others'.
    put(folder, "backup", "disk.img")
    os.symlink("/etc", os.path.join(folder, "link"))
    empty = os.path.join(folder, "0d5e0d5e-0000-4000-8000-000000000002")
    os.makedirs(empty)
    os.makedirs(os.path.join(folder, "lost+found"))
    agent_stopped.start()
    lines = told(agent_stopped)
    assert len(lines) == 1 and f"{lost} (3 MiB)" in lines[0]
    assert os.path.exists(lost) and os.path.exists(aside)
    # A killed agent's, who had not come to put a file there.
    assert not os.path.exists(empty)
    assert os.path.exists(os.path.join(folder, "lost+found"))


def test_what_a_record_has_is_no_leftover(world, agent):
    domain = world.add_domain("alice")
    assert agent.request("create", domain="alice", name="s1", memory=0)["state"] == "done"
    agent.stop()
    settings = agent.settings["store"]
    path = put(settings["memory-folder"], domain.uuid, "s1.save")
    with open(record(agent, domain, "s1"), "r+", encoding="utf-8") as file:
        # Without its checksum: what is changed by hand has none.
        text = file.read().split("\n# crc32")[0]
        assert "memory: false\n" in text
        file.seek(0)
        file.truncate()
        file.write(text.replace("memory: false\n", f"memory: true\nmemory-path: {path}\n"))
    agent.start()
    assert world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/s1/memory") == "1"
    assert told(agent) == []


def damage(path):
    with open(path, "r+", encoding="utf-8") as file:
        text = file.read().replace("xvda", "xvdb")
        file.seek(0)
        file.write(text)


def test_a_memory_file_whose_record_cannot_be_read_is_not_nobodys(world, agent):
    domain = world.add_domain("alice")
    for name in ("s1", "s2"):
        assert agent.request("create", domain="alice", name=name, memory=0)["state"] == "done"
    settings = agent.settings["store"]
    path = put(settings["memory-folder"], domain.uuid, "s1.save")
    other = put(settings["memory-folder"], "0d5e0d5e-0000-4000-8000-000000000001", "s1.save")
    damage(record(agent, domain, "s1"))
    start_anew(agent)
    lines = sorted(told(agent), key=lambda line: other in line)
    assert len(lines) == 2, lines
    assert path in lines[0] and 'may be of snapshot "s1"' in lines[0], lines
    assert "keep it" in lines[0] and "no snapshot has" not in lines[0]
    assert other in lines[1] and "no snapshot has the memory file" in lines[1]
    assert os.path.exists(path)


# -- overlays ---------------------------------------------------------------


def overlay(agent, name):
    """Where one over a block device of that name would be."""
    return f"{agent.settings['store']['disk-folder']}/dev-vg-alice.{name}.qcow2"


def create(agent, name):
    reply = agent.request("create", {"disks/xvda/path": overlay(agent, name)},
                          domain="alice", name=name, memory=0)
    assert reply["state"] == "done", reply


def make_overlay(path, base):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path],
                   check=True)


def test_an_overlay_that_nothing_explains_is_told_of_and_stays(world, agent):
    domain = world.add_domain("alice")
    base = domain.disks["xvda"].path
    create(agent, "s1")
    lost = overlay(agent, "s0")
    make_overlay(lost, base)
    # Of another naming, or over nothing: somebody else's.
    make_overlay(f"{os.path.dirname(lost)}/mine.qcow2", base)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2",
                    f"{os.path.dirname(lost)}/debian.12.qcow2", "1M"], check=True)
    start_anew(agent)
    line, = told(agent)
    assert f"no snapshot has the overlay {lost} (" in line
    assert os.path.exists(lost)


def test_what_a_chain_is_made_of_is_no_leftover(world, agent):
    """Its records gone, an image is in use as long as the domain runs, and after that
    as long as a known one lies over it."""
    domain = world.add_domain("alice")
    for name in ("s1", "s2", "s3"):
        create(agent, name)
    domain.write("xvda", 0, b"3" * 4096)
    for name in ("s1", "s2"):
        assert agent.request("delete", domain="alice", name=name, keep_files=1)["state"] == "done"
    start_anew(agent)
    assert told(agent) == []
    world.remove_domain(domain)
    start_anew(agent)
    assert told(agent) == []
    assert agent.request("delete", domain=domain.uuid, name="s3", keep_files=1)["state"] == "done"
    start_anew(agent)
    assert len(told(agent)) == 3


def test_an_overlay_may_be_of_a_snapshot_whose_record_cannot_be_read(world, agent):
    domain = world.add_domain("alice")
    create(agent, "s1")
    world.remove_domain(domain)
    damage(record(agent, domain, "s1"))
    start_anew(agent)
    line, = told(agent)
    assert overlay(agent, "s1") in line and 'may be of snapshot "s1"' in line


def test_the_folder_may_be_a_link(world, agent):
    """And may have been named otherwise when the snapshot was made."""
    domain = world.add_domain("alice")
    create(agent, "s1")
    lost = overlay(agent, "s0")
    make_overlay(lost, domain.disks["xvda"].path)
    world.remove_domain(domain)
    link = f"{world.folder}/link"
    os.symlink(os.path.dirname(lost), link)
    agent.configure("store", disk_folder=link)
    start_anew(agent)
    line, = told(agent)
    assert f"{link}/{os.path.basename(lost)}" in line


# -- overlays that an undo left beside their images -------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_an_overlay_that_stays_keeps_what_is_under_it(world, agent, restarted):
    """QEMU dies right behind a create's switch, and the domain is started on the overlay,
    as the answer says; no record has that."""
    domain, under, base = two(world, agent)
    kill = domain.kill_qemu

    def write_and_die():
        write(domain, b"2")
        kill()
    domain.kill_qemu = write_and_die
    domain.interpose().fault("transaction", "kill-after")
    reply = agent.request("create", domain="alice", name="s2", memory=0)
    domain.kill_qemu = kill
    domain.uninterpose()
    over = domain.stored_config()["disks"][0]["pdev_path"]
    assert_failed(reply, "qmp-error", f"{over}: it holds what the guest wrote last, so start "
                  "the domain on it")
    domain = reboot(world, domain, over)
    assert chain(domain) == [over, under, base]
    world.remove_domain(domain)
    if restarted:
        agent.restart()
    assert agent.request("delete", domain=domain.uuid, name="s1")["state"] == "done"
    assert not os.path.exists(under)
    assert content(over, 0) == b"2" * 4096
    assert content(over, 65536) == b"1" * 4096


@pytest.mark.parametrize("running", [True, False])
def test_nothing_is_merged_into_an_image_under_an_overlay_that_stays(world, agent, running):
    domain, over, base = two(world, agent)
    agent.stop()
    left = f"{world.images}/left.qcow2"
    make_overlay(left, base)
    folder = f"{agent.settings['store']['folder']}/left"
    os.makedirs(folder)
    os.symlink(left, f"{folder}/{domain.uuid}.2026-11-30T00:00:00.000Z.xvda")
    agent.start()
    if not running:
        world.remove_domain(domain)
    assert_failed(agent.request("delete", domain=domain.uuid, name="s1"), "snapshot-in-use",
                  over, left, "remove that if nobody needs what it holds")
    assert content(left, 0) == b"0" * 4096
    os.unlink(left)
    assert agent.request("delete", domain=domain.uuid, name="s1")["state"] == "done"
