# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/guides/xl.md from its first command to its last, as a reader would type them."""

from guides import SHUTDOWN, commands_of, link, run, shut_down
from xenhost import Disk


def test_a_host_with_xl_alone(agent, guests):
    guide = commands_of("xl.md")
    assert list(guide) == ["xl create", "xensnap create", "xl reboot", "xl save",
                           "xensnap revert", "xensnap delete"]
    web = guests("web", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    web.destroy()
    link("/etc/xen/web.cfg", web.config_path)

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
