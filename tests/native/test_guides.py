# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of docs/guides, as they stand there, and the script for backups."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DONE, FAILED, USAGE, NO_AGENT, CHANGED = range(5)
MIB = 1 << 20


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *map(str, arguments)], check=True,
                   stdout=subprocess.DEVNULL)


def commands_of(guide):
    """The blocks of commands, each as one text."""
    text = (CHECKOUT / "docs" / "guides" / guide).read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    assert found, f"{guide} has no commands"
    return found


@pytest.fixture(name="shell")
def fixture_shell(world, xensnap, tmp_path):
    """Runs commands as a reader would; `before` are programs that come first."""
    before = tmp_path / "before"
    before.mkdir()
    environment = world.environment()
    environment["PATH"] = ":".join([
        str(before), os.path.dirname(xensnap), str(CHECKOUT / "install"),
        environment["PATH"]])

    def shell(text, expected=DONE, **options):
        done = subprocess.run(["sh", "-ec", text], check=False, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              env=environment, **options)
        assert done.returncode == expected, f"{text}\n{done.stdout}{done.stderr}"
        return done
    shell.before = before
    return shell


@pytest.fixture(name="web")
def fixture_web(world, agent):
    """A domain with something on both disks."""
    domain = world.add_domain("web", disks=(("xvda", "qcow2"), ("xvdb", "raw")))
    for number, vdev in enumerate(domain.disks):
        domain.write(vdev, MIB, bytes([number + 1]) * 4096)
    return domain


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    path = tmp_path / "backup"
    path.mkdir()
    return path


def checksum(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def assert_holds_first_state(image, disk_format, value):
    raw = f"{image}.content"
    qemu_img("convert", "-f", disk_format, "-O", "raw", image, raw)
    with open(raw, "rb") as file:
        file.seek(MIB)
        assert file.read(4096) == bytes([value]) * 4096
    os.unlink(raw)


def test_the_backup_guide(web, shell, folder):
    guide = commands_of("backup.md")[:3]
    create, backup, check = (text.replace("/srv/backup", str(folder)) for text in guide)
    assert str(folder) in backup and str(folder) in check
    before = web.chain("xvda")
    shell(create)
    for vdev in web.disks:
        web.write(vdev, MIB, b"z" * 4096)
    shell(backup)
    shell(check)
    assert_holds_first_state(folder / "web" / "xvda.qcow2", "qcow2", 1)
    assert_holds_first_state(folder / "web" / "xvdb.qcow2", "qcow2", 2)
    assert web.read("xvda", MIB, 4096) == b"z" * 4096
    assert web.chain("xvda") == before


def test_the_storage_guide(world, agent, shell, tmp_path):
    images = tmp_path / "storage"
    images.mkdir()
    base, middle, top = (str(images / f"{name}.qcow2")
                         for name in ("base", "middle", "top"))
    qemu_img("create", "-f", "qcow2", base, "64M")
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "qcow2", middle)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 4k", middle],
                   check=True, stdout=subprocess.DEVNULL)
    qemu_img("create", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
    web = world.add_domain("web", disks=[{"vdev": "xvda", "format": "qcow2",
                                          "path": top}])
    web.write("xvda", 2 * MIB, b"w" * 4096)
    for text in commands_of("storage-toolstack.md"):
        shell(text, cwd=images)
    assert [path for path, _ in web.chain("xvda")] == [top, base]
    assert web.read("xvda", MIB, 4096) == b"\7" * 4096
    assert web.read("xvda", 2 * MIB, 4096) == b"w" * 4096


def test_a_backup_does_not_write_to_its_source(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    images = [web.chain(vdev)[1][0] for vdev in web.disks]
    sums = [checksum(path) for path in images]
    done = shell(f"xensnap-backup -f raw web s1 {folder}")
    assert done.stdout.split() == [f"{folder}/xvda.raw", f"{folder}/xvdb.raw"]
    assert [checksum(path) for path in images] == sums
    assert sorted(os.listdir(folder)) == ["xvda.raw", "xvdb.raw"]
    assert_holds_first_state(folder / "xvdb.raw", "raw", 2)


def test_a_snapshot_that_is_deleted_meanwhile_is_no_backup(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    (folder / "xvda.qcow2").write_text("an earlier backup")
    web.write("xvda", MIB, b"z" * 4096)
    # The delete comes when the first copy is complete.
    convert = shell.before / "qemu-img"
    convert.write_text('#!/bin/sh\n/usr/bin/qemu-img "$@" || exit\n'
                       '[ "$1" != convert ] || xensnap delete web s1 >/dev/null\n')
    convert.chmod(0o755)
    done = shell(f"xensnap-backup web s1 {folder}", CHANGED)
    assert "changed or removed while it was copied" in done.stderr
    assert os.listdir(folder) == ["xvda.qcow2"]
    assert (folder / "xvda.qcow2").read_text() == "an earlier backup"


def test_what_cannot_be_copied_is_told(web, shell, folder):
    shell("xensnap create web --name inside --no-memory --disk xvda --internal")
    done = shell(f"xensnap-backup web inside {folder}", FAILED)
    assert "xvda has an internal snapshot" in done.stderr
    assert "no-such-snapshot" in shell(f"xensnap-backup web s9 {folder}", FAILED).stderr
    assert "/nowhere" in shell("xensnap-backup web inside /nowhere", FAILED).stderr
    shell("xensnap-backup web", USAGE)
    shell(f"xensnap-backup -f vhd web inside {folder}", USAGE)
    assert os.listdir(folder) == []


def test_without_an_agent(world, shell, folder):
    shell(f"xensnap-backup web s1 {folder}", NO_AGENT)
