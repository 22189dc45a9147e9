# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of docs/guides, as they stand there, and the script for backups."""

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from native.domain import Disk
from native.tools import xen_tool
from native.toolstack import Toolstack

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


# -- driver-domain.md -------------------------------------------------------------

DOM0 = {"who": "domid 0", "operations": "all", "targets": "any", "folders": "any"}


@pytest.fixture(name="both")
def fixture_both(world, driver, save):
    """A guest with a disk from each, whose memory can be saved. Before `agent`, which
    inherits this."""
    del save
    return world.add_domain("web", disks=[
        ("xvda", "qcow2"), Disk("xvdb", "raw", driver=driver, devd=True)])


def write_settings(agent):
    """As agent.yaml is: the policy comes last, a rule a line."""
    sections = "".join(f"{name}: {json.dumps(keys)}\n"
                       for name, keys in agent.settings.items())
    path = f"{agent.world.folder}/agent.yaml"
    Path(path).write_text(f"{sections}policy:\n  - {json.dumps(DOM0)}\n", encoding="ascii")
    return path


def put(program, text):
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_what_the_driver_domain_guide_installs(shell, tmp_path):
    role, wrapper = commands_of("driver-domain.md")[:2]
    shipped = (CHECKOUT / "conf" / "agent.yaml").read_text(encoding="utf-8")
    settings = tmp_path / "agent.yaml"
    settings.write_text(shipped, encoding="utf-8")
    put(shell.before / "systemctl", f'[ "$*" = "restart xensnapd" ] && touch {tmp_path}/restarted')
    shell(role.replace("/etc/xensnapd/agent.yaml", str(settings)))
    assert settings.read_text(encoding="utf-8") == shipped.replace("role: host", "role: backend")
    assert (tmp_path / "restarted").exists()

    qemu = tmp_path / "qemu"
    put(qemu, 'echo "$0" "$@"')
    (tmp_path / "dpkg").mkdir()
    put(shell.before / "dpkg-divert", f'exec /usr/bin/dpkg-divert --admindir {tmp_path}/dpkg "$@"')
    here = wrapper.replace("/usr/libexec/xen-qemu-system-i386", str(qemu)).replace(
        "/usr/libexec/xensnapd", str(CHECKOUT / "install"))
    shell(here)
    assert shell(f"{qemu} -xen-domid 7").stdout.startswith(
        f"{qemu}.distrib -xen-domid 7 -chardev socket,id=xensnapd,path=/run/xen/qmp-devd-7,")
    text = (CHECKOUT / "docs" / "guides" / "driver-domain.md").read_text(encoding="utf-8")
    removes, puts_back = re.search("To take it out again: `(.*)`, and `(.*)`", text).groups()
    shell(f"qemu={qemu}\n{removes}\n{puts_back}")
    assert shell(f"{qemu} -xen-domid 7").stdout == f"{qemu} -xen-domid 7\n"


def test_the_driver_domain_guide(world, both, backend, agent, driver, shell):
    # pylint: disable=too-many-locals,too-many-arguments
    (_, _, _, ready, rule, create, create_here, revert_here, revert, again,
     deletes, paths) = commands_of("driver-domain.md")
    toolstack = Toolstack(world)
    home = f"/local/domain/{driver.domid}"
    put(shell.before / "systemctl",
        f'[ "$*" = "reload xensnapd" ] && kill -HUP {agent.process.pid}')
    put(shell.before / "xl",
        f'LD_PRELOAD={world.shims}/hypervisor_shim.so exec {xen_tool("xl")} "$@"')

    def run(text):
        """Domains are made meanwhile."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            done = pool.submit(shell, text)
            world.eventually(done.done, 60, text)
            return done.result().stdout

    def ask(text):
        """What is the driver domain's own folder belongs to it, whoever writes there."""
        return run(text.replace("R=", f"R={home}/"))

    assert run(ready) == "ready\n"
    run(rule.replace("/etc/xensnapd/agent.yaml", write_settings(agent)))
    world.store.wait_for(f"{home}/snapshot/requests",
                         lambda: world.store.read(f"{home}/snapshot/requests") is not None)
    both.write("xvdb", MIB, b"1" * 4096)
    first = [both.chain(vdev)[0][0] for vdev in ("xvda", "xvdb")]
    base = first[1]
    answer = ask(create)
    agent.wait_log(f"by={driver.domid}(storage) op=create")
    overlay = both.chain("xvdb")[0][0]
    assert {'state = "done"', 'result/consistency = "full"',
            'result/disks/xvdb/driver-domain = "storage"',
            f'result/disks/xvdb/base = "{base}"',
            f'result/disks/xvdb/path = "{overlay}"'} <= set(answer.splitlines())
    assert overlay == base.replace(".raw", ".before-upgrade.qcow2")

    assert "nightly" in run(create_here)
    both.write("xvdb", MIB, b"2" * 4096)

    def goes(back):
        back()
        web = toolstack.made[-1]
        assert web.read("xvdb", MIB, 4096) == b"1" * 4096
        web.write("xvdb", MIB, b"3" * 4096)
        return web

    goes(lambda: run(revert_here))
    web = goes(lambda: ask(revert))
    # The driver domain dies, with all that runs there, and is started again.
    backend.kill()
    web.served[driver.domid].kill()
    world.remove_domain(driver)
    backend.driver = world.add_domain("storage", disks=())
    backend.answers = f"{backend.driver.path}/data/xensnapd"
    backend.start()
    web = goes(lambda: run(again))

    def named():
        return re.findall('"pdev_path": "(.*)"', run(paths))

    assert named() == [web.chain(vdev)[0][0] for vdev in ("xvda", "xvdb")]
    run(deletes)
    assert named() == first
    assert web.chain("xvdb") == [(base, "raw")]
    assert web.read("xvdb", MIB, 4096) == b"3" * 4096


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


@pytest.mark.parametrize("command", ["info", "convert"])
def test_a_snapshot_that_is_deleted_before_it_is_copied_is_no_backup(web, shell, folder,
                                                                    command):
    """Then it is qemu-img that fails: the image is locked, or has gone."""
    shell("xensnap create web --name s1 --no-memory")
    (folder / "xvda.qcow2").write_text("an earlier backup")
    image = shell.before / "qemu-img"
    image.write_text(f'#!/bin/sh\n[ "$1" != {command} ] || {{ '
                     'xensnap delete web s1 >/dev/null\n'
                     'echo "Failed to get a lock" >&2; exit 1; }\n'
                     'exec /usr/bin/qemu-img "$@"\n')
    image.chmod(0o755)
    done = shell(f"xensnap-backup web s1 {folder}", CHANGED)
    assert "s1 of web was changed or deleted meanwhile" in done.stderr
    assert "lock" not in done.stderr
    assert os.listdir(folder) == ["xvda.qcow2"]
    assert (folder / "xvda.qcow2").read_text() == "an earlier backup"


def test_what_qemu_img_says_is_told(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    image = shell.before / "qemu-img"
    image.write_text('#!/bin/sh\n[ "$1" != convert ] || { '
                     'echo "No such luck" >&2; exit 1; }\n'
                     'exec /usr/bin/qemu-img "$@"\n')
    image.chmod(0o755)
    assert "No such luck" in shell(f"xensnap-backup web s1 {folder}", FAILED).stderr
    assert os.listdir(folder) == []


def test_a_folder_may_look_like_an_option(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    (folder / "-d").mkdir()
    shell("xensnap-backup -f raw -- web s1 -d", cwd=folder)
    assert sorted(os.listdir(folder / "-d")) == ["xvda.raw", "xvdb.raw"]


def test_a_snapshot_taken_meanwhile_does_not_matter(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    convert = shell.before / "qemu-img"
    convert.write_text('#!/bin/sh\n/usr/bin/qemu-img "$@" || exit\n'
                       '[ "$1" != convert ] || '
                       'xensnap create web --no-memory --name "s$$" >/dev/null\n')
    convert.chmod(0o755)
    shell(f"xensnap-backup web s1 {folder}")
    assert sorted(os.listdir(folder)) == ["xvda.qcow2", "xvdb.qcow2"]


def test_what_cannot_be_copied_is_told(web, shell, folder):
    shell("xensnap create web --name inside --no-memory --disk xvda --internal")
    done = shell(f"xensnap-backup web inside {folder}", FAILED)
    assert "xvda has an internal snapshot" in done.stderr
    assert "no-such-snapshot" in shell(f"xensnap-backup web s9 {folder}", FAILED).stderr
    assert "/nowhere" in shell("xensnap-backup web inside /nowhere", FAILED).stderr
    shell("xensnap-backup web", USAGE)
    shell(f"xensnap-backup -f vhd web inside {folder}", USAGE)
    assert os.listdir(folder) == []


def test_a_disk_of_a_driver_domain_is_not_taken_for_a_file_here(
        both, backend, agent, shell, folder):
    """A file of the same path may well be there."""
    del both, backend, agent
    shell("xensnap create web --name s1 --no-memory --disk xvdb")
    done = shell(f"xensnap-backup web s1 {folder}", FAILED)
    assert "disk xvdb is served by storage: back it up there" in done.stderr
    assert os.listdir(folder) == []


def test_copies_are_for_their_owner_alone(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    shell(f"umask 022; xensnap-backup web s1 {folder}")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_folder_is_as_it_was_after_any_failure(web, shell, folder):
    shell("xensnap create web --name s1 --no-memory")
    shell(f"xensnap-backup -f raw web s1 {folder} >/dev/full", FAILED)
    assert os.listdir(folder) == []
    (folder / "xvdb.raw").mkdir()
    done = shell(f"xensnap-backup -f raw web s1 {folder}", FAILED)
    assert f"{folder}/xvdb.raw is a folder" in done.stderr
    assert [path.name for path in folder.rglob("*")] == ["xvdb.raw"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_a_backup_explains_itself(world, shell, option):
    done = shell(f"xensnap-backup {option}")
    assert done.stdout.startswith("Usage: xensnap-backup ") and not done.stderr


def test_without_an_agent(world, shell, folder):
    shell(f"xensnap-backup web s1 {folder}", NO_AGENT)
