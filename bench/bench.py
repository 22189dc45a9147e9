# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures, and writes what it found as JSON and as a table.

    bench/run [--rounds N] [--disks 1,4] [--json FILE] [--table FILE]

Started by bench/run, which makes the pretended host."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

from native.agent import Agent
from native.costs import Costs
from native.world import World

import latency


def first_line(*command):
    return subprocess.run(command, check=False, text=True,
                          capture_output=True).stdout.splitlines()[0]


def machine():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        model = [line.split(":", 1)[1].strip() for line in file
                 if line.startswith("model name")]
    with open("/proc/meminfo", encoding="ascii") as file:
        memory_kb = int(file.readline().split()[1])
    stat = first_line("stat", "-f", "-c", "%T", tempfile.gettempdir())
    return {"cpu": model[0] if model else platform.machine(),
            "cpus": os.cpu_count(), "memory_mib": memory_kb // 1024,
            "kernel": platform.release(), "file_system": stat,
            "qemu": first_line("/usr/libexec/xen-qemu-system-i386",
                               "--version"),
            "load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d")}


def measure(folder, arguments):
    tools = os.environ["BENCH_TOOLS"]
    world = World(folder, os.environ["NATIVE_SHIMS"])
    agent = Agent(world, f"{os.environ['NATIVE_BUILD']}/xensnapd")
    agent.configure("log", level="info")
    found = {"machine": machine(), "latency": {}, "costs": {}}
    try:
        world.start()
        agent.start()
        for disks in arguments.disks:
            found["latency"][disks] = latency.latency(world, tools, disks,
                                                      arguments.rounds)
        # Writing the costs down takes time of its own: an agent for itself.
        agent.stop()
        agent.costs = Costs(world.folder)
        agent.start()
        for disks in arguments.disks:
            for earlier in (0, 20):
                found["costs"][f"{disks}/{earlier}"] = latency.costs(
                    world, agent, disks, earlier)
        agent.stop()
    finally:
        world.stop()
    return found


def tables(found):
    host = found["machine"]
    yield (f"{host['date']}, {host['cpus']} × {host['cpu']}, "
           f"{host['memory_mib']} MiB, Linux {host['kernel']}, "
           f"{host['file_system']}, {host['qemu']}; load at the start "
           f"{host['load']:.1f}.")
    for disks, rows in found["latency"].items():
        yield (f"\n## Request to result, disk-only, {disks} "
               f"{'disk' if disks == 1 else 'disks'}\n")
        yield "| | n | median, µs | p99, µs | × floor |\n| --- | --- | --- | --- | --- |"
        for name, row in rows.items():
            yield (f"| {name} | {row['n']} | {row['median_us']:.0f} | "
                   f"{row['p99_us']:.0f} | {row['ratio']:.2f} |")
    yield "\n## What one create waits for\n"
    kinds = list(next(iter(found["costs"].values())))
    yield (f"| disks / snapshots before | {' | '.join(kinds)} |\n"
           f"| --- |{' --- |' * len(kinds)}")
    for name, row in found["costs"].items():
        yield f"| {name} | {' | '.join(str(row[kind]) for kind in kinds)} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--disks", default="1,4", type=lambda text: [
        int(word) for word in text.split(",")])
    parser.add_argument("--json")
    parser.add_argument("--table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xensnapd-bench-") as folder:
        found = measure(folder, arguments)
    table = "\n".join(tables(found)) + "\n"
    for path, text in ((arguments.json, json.dumps(found, indent=1) + "\n"),
                       (arguments.table, table)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
