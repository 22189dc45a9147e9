# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap as a user has it in dom0."""

import os
import subprocess

from agent import BUILD, LIMIT, SNAPSHOTS

DONE, FAILED = range(2)
PROGRAM = BUILD / "xensnap"
# Programs say the same whatever the building machine's locale is.
ENVIRONMENT = {**os.environ, "LC_ALL": "C"}


def xensnap(*words, status=DONE):
    """What it prints, as subprocess.run() gives it, once it has ended so."""
    done = subprocess.run([PROGRAM, *map(str, words)], check=False, text=True, timeout=LIMIT,
                          stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT)
    assert done.returncode == status, f"xensnap {' '.join(map(str, words))}: {done}"
    return done


def snapshots(guest):
    """The names of its snapshots."""
    return set(guest.store.ls(f"{SNAPSHOTS}/{guest.uuid}")) - {"current"}
