# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/guides/xl.md from its first command to its last, as a reader would type them."""

import os
import re
import subprocess
from pathlib import Path

from agent import BUILD, CHECKOUT
from xenhost import Disk

ENVIRONMENT = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}"}


def commands_of(guide):
    """The blocks of commands, by the first words of each."""
    text = (CHECKOUT / "docs" / "guides" / guide).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return {" ".join(block.split()[:2]): block for block in blocks}


def run(text):
    done = subprocess.run(["sh", "-ec", text], check=False, text=True, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def test_a_host_with_xl_alone(agent, guests):
    guide = commands_of("xl.md")
    assert list(guide) == ["xl create", "xensnap create", "xl reboot", "xl save",
                           "xensnap revert", "xensnap delete"]
    web = guests("web", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    web.destroy()
    config = Path("/etc/xen/web.cfg")
    config.unlink(missing_ok=True)
    config.symlink_to(web.config_path)

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

    # The guest has no init that would answer to xl's request: it is told as well.
    ends, starts = guide["xensnap delete"].split("xl shutdown -w web\n")
    run(ends)
    mark = web.console.size()
    with subprocess.Popen(["xl", "shutdown", "-w", "web"]) as shutdown:
        web.command("poweroff")
        assert shutdown.wait(120) == 0
    run(starts)
    found = web.wait_boot(since=mark)
    assert min(found.values()) > counted and web.read_key(1)["xvda"] == "third"
    assert web.open_files() == {str(web.image("xvda")), str(web.image("xvdb"))}
