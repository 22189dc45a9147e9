#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What compressing a memory file would save and cost, on an emulated Xen host:
`tests/xen/host run bench/compress.py`.

A guest that does nothing and one that dirties memory are saved by `xl save -c`;
what comes out is given to compressors, and to fallocate, which leaves the zeros
out and the file one that `xl restore` takes. Times are of the same emulated
processor, so their ratio to the save's says what a compressor in the stream
would do to it.
"""

import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.append(str(CHECKOUT / "tests" / "xen"))

import xenhost  # noqa: E402  (after the line above)

SAVED = Path("/var/lib/xen/saved")
COPY = Path("/var/lib/xen/copy")
HOST = Path("/run/host")
MIB = 1 << 20
COMMANDS = ("zstd -q -1 --single-thread -c", "zstd -q -1 --single-thread -d -c",
            "lz4 -q -1 -c", "cat")


def processor_ms():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def filtered(command, source, target):
    """ms of processor time that the command took from one file to the other."""
    before = processor_ms()
    with open(source, "rb") as data, open(target, "wb") as out:
        subprocess.run(command.split(), stdin=data, stdout=out, check=True)
    return processor_ms() - before


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def used(path):
    return path.stat().st_blocks * 512


def compress(title, save_ms):
    size = SAVED.stat().st_size
    row(title, "xl save", f"{size / MIB:.0f}", "", f"{save_ms / size * MIB:.1f}", "1.0")
    source = SAVED
    for command in COMMANDS:
        target = COPY.with_suffix(f".{len(command)}")
        ms = filtered(command, source, target)
        row(title, command, f"{target.stat().st_size / MIB:.1f}",
            f"{size / target.stat().st_size:.1f}", f"{ms / size * MIB:.1f}",
            f"{ms / save_ms:.1f}")
        source = target if command == COMMANDS[0] else SAVED
    before = processor_ms()
    subprocess.run(["fallocate", "--dig-holes", SAVED], check=True)
    ms = processor_ms() - before
    row(title, "fallocate --dig-holes", f"{used(SAVED) / MIB:.1f}",
        f"{size / used(SAVED):.1f}", f"{ms / size * MIB:.1f}", f"{ms / save_ms:.1f}")


def measure(guests, kind, dirty):
    title = f"{kind}, " + (f"{dirty} MiB dirtied" if dirty else "idle")
    guest = guests(re.sub(r"\W+", "-", title), kind=kind, disks=[xenhost.Disk("xvda")])
    if dirty:
        guest.command(f"fill {dirty}", expect="filled .*")
    guest.wait_tick(more=4)
    began = time.monotonic()
    guest.save(SAVED)
    save_ms = (time.monotonic() - began) * 1000
    shutil.copy(SAVED, HOST / f"{guest.name}.save")
    compress(title, save_ms)
    guest.destroy()


def main():
    guests = xenhost.Guests()
    row("guest", "command", "MiB", "smaller by", "ms for each MiB saved", "× save")
    row(*["---"] * 6)
    try:
        for kind, dirty in (("pv", 0), ("pv", 32)):
            measure(guests, kind, dirty)
    finally:
        guests.close()


main()
