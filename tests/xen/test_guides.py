# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guides of docs/guides from their first commands to their last, as a reader
would type them (libvirt.md: test_libvirt.py, driver-domain.md:
test_driver_guide.py)."""

from guides import SHUTDOWN, blocks_of, commands_of, link, run, shut_down
from xenhost import Disk


def start_from_etc(web):
    """As the guides have it: from /etc/xen/web.cfg, with images in /srv/web."""
    web.destroy()
    link("/etc/xen/web.cfg", web.config_path)
    link("/srv/web", web.folder)


def test_a_host_with_xl_alone(agent, guests):
    guide = commands_of("xl.md")
    assert list(guide) == ["xl create", "xensnap create", "xl reboot", "xl save",
                           "xensnap revert", "xensnap delete"]
    web = guests("web", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    start_from_etc(web)

    def boots(command, text=""):
        mark = web.console.size()
        run(command)
        found = web.wait_boot(since=mark)
        assert web.read_key(1)["xvda"] == text
        return found

    boots(guide["xl create"])
    web.write_key(1, "first")
    assert "before-upgrade" in run(guide["xensnap create"])
    web.write_key(1, "second")
    counted = web.ticks()
    assert min(boots(guide["xl reboot"], "second").values()) >= counted

    run(guide["xl save"])
    web.wait_tick(more=2)
    assert web.read_key(1) == {"xvda": "second", "xvdb": "second"}

    run(guide["xensnap revert"])
    web.wait_tick(more=2)
    assert web.read_key(1) == {"xvda": "first", "xvdb": "first"}
    web.write_key(1, "third")

    ends, starts = guide["xensnap delete"].split(SHUTDOWN)
    run(ends)
    mark = web.console.size()
    shut_down(web)
    run(starts)
    found = web.wait_boot(since=mark)
    assert min(found.values()) > counted and web.read_key(1)["xvda"] == "third"
    assert web.open_files() == {str(web.image("xvda")), str(web.image("xvdb"))}


def test_a_backup_and_the_way_back(agent, guests):
    guide = commands_of("backup.md")
    assert list(guide) == ["xensnap create", "mkdir -p", "qemu-img check", "xl shutdown"]
    web = guests("web", disks=(Disk("xvda"),))
    start_from_etc(web)
    run("xl create /etc/xen/web.cfg")
    web.wait_tick()
    web.write_key(1, "saved")
    run(guide["xensnap create"])
    web.write_key(1, "lost")
    run(guide["mkdir -p"])
    run(guide["qemu-img check"])
    assert web.read_key(1) == {"xvda": "lost"}
    assert web.open_files() == {str(web.image("xvda"))}

    _, comes_back = guide["xl shutdown"].split(SHUTDOWN)
    shut_down(web)
    mark = web.console.size()
    run(comes_back)
    web.wait_boot(since=mark)
    assert web.read_key(1) == {"xvda": "saved"}


def test_a_storage_toolstack_that_coalesces(agent, guests):
    """The guest was made on a chain of three; it counts on meanwhile, and after."""
    web = guests("web", disks=(Disk("xvda"),))
    web.destroy()
    base, middle, top = (web.folder / f"{name}.qcow2" for name in ("base", "middle", "top"))
    web.image("xvda").rename(base)
    for below, above in ((base, middle), (middle, top)):
        run(f"qemu-img create -q -f qcow2 -b {below} -F qcow2 {above}")
    run(f"qemu-io -f qcow2 -c 'write -P 7 32M 4k' {middle}")
    config = web.config_path.read_text()
    web.config_path.write_text(config.replace(str(web.image("xvda")), str(top)))
    web.start()
    web.write_key(1, "kept")
    mark = web.console.size()

    prepare, change, complete = blocks_of("storage-toolstack.md")
    run(prepare)
    assert web.open_files() == set()
    run(f"cd {web.folder}; {change}")
    run(complete)
    web.wait_tick(more=2)
    assert "error" not in web.console.text(mark)
    assert web.open_files() == {str(base), str(top)}
    mark = web.console.size()
    web.command("reboot")
    web.wait_boot(since=mark)
    assert web.read_key(1) == {"xvda": "kept"}
    first, last = web.complete_records()["xvda"]
    assert last - first > 2
    assert "failed" not in run(f"qemu-io -U -r -f qcow2 -c 'read -P 7 32M 4k' {top}")
