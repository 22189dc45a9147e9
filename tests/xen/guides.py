# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands of docs/guides, and running them as a reader would."""

import os
import re
import subprocess
from pathlib import Path

from agent import BUILD, CHECKOUT

ENVIRONMENT = {**os.environ,
               "PATH": f"{BUILD}:{CHECKOUT / 'install'}:{os.environ['PATH']}"}
SHUTDOWN = "xl shutdown -w web\n"


def blocks_of(guide):
    text = (CHECKOUT / "docs" / "guides" / guide).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)


def commands_of(guide):
    """The blocks of commands, by the first words of each."""
    blocks = blocks_of(guide)
    found = {" ".join(block.split()[:2]): block for block in blocks}
    assert len(found) == len(blocks)
    return found


def run(text):
    done = subprocess.run(["sh", "-ec", text], check=False, text=True, env=ENVIRONMENT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def link(path, target):
    """What a guide calls so is there."""
    path = Path(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def shut_down(web):
    """The guest has no init that would answer to xl's request: it is told as well."""
    with subprocess.Popen(SHUTDOWN.split()) as shutdown:
        web.command("poweroff")
        assert shutdown.wait(120) == 0
