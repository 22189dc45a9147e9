# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures, and writes what it found as JSON and as a table.

    bench/run [--parts latency,costs,timeline,scale,start] [--rounds N] [--disks 1,4]
              [--requests N] [--json FILE] [--table FILE]

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
import libvirtd
import scale
from timeline import timeline

PARTS = ("latency", "costs", "timeline", "scale", "start")


def first_line(*command):
    return subprocess.run(command, check=False, text=True,
                          capture_output=True).stdout.splitlines()[0]


def machine(tools):
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
            "libvirt": None if libvirtd.missing(tools) else libvirtd.version(),
            "load": os.getloadavg()[0], "date": time.strftime("%Y-%m-%d")}


def measure_latency(world, agent, arguments, tools):
    agent.start()
    with latency.contestants(world, tools) as (daemon, left_out):
        found = {disks: latency.latency(world, tools, daemon, disks,
                                        arguments.rounds)
                 for disks in arguments.disks}
    agent.stop()
    for rows in found.values():
        rows.update({name: {"left_out": why} for name, why in left_out.items()})
    return found


def measure_costs(world, agent, arguments, _tools):
    # Writing the costs down takes time of its own: an agent for itself.
    agent.costs = Costs(world.folder)
    agent.start()
    found = {f"{disks}/{earlier}": latency.costs(world, agent, disks, earlier)
             for disks in arguments.disks for earlier in (0, 20)}
    agent.stop()
    agent.costs = None
    return found


def measure_timeline(world, agent, arguments, _tools):
    agent.costs = Costs(world.folder, with_qmp=True)
    agent.start()
    found = {disks: timeline(world, agent, disks, arguments.rounds)
             for disks in arguments.disks}
    agent.stop()
    agent.costs = None
    return found


def measure_scale(world, agent, arguments, tools):
    agent.configure("log", level="error")
    agent.start()
    found = scale.scale(world, agent, tools, arguments.requests)
    agent.stop()
    return found


def measure_start(world, agent, _arguments, _tools):
    agent.start()
    world.add_domain("model")
    agent.request("create", domain="model", memory=0)
    agent.stop()
    found = scale.start(world, agent)
    agent.stop()
    return found


MEASURES = {"latency": measure_latency, "costs": measure_costs,
            "timeline": measure_timeline, "scale": measure_scale, "start": measure_start}


def measure(folder, arguments):
    """Each part on a host of its own."""
    found = {"machine": machine(os.environ["BENCH_TOOLS"])}
    for part in arguments.parts:
        world = World(f"{folder}/{part}", os.environ["NATIVE_SHIMS"])
        agent = Agent(world, f"{os.environ['NATIVE_BUILD']}/xensnapd")
        agent.configure("log", level="info")
        try:
            world.start()
            found[part] = MEASURES[part](world, agent, arguments,
                                         os.environ["BENCH_TOOLS"])
        finally:
            world.stop()
    return found


def machine_line(host):
    programs = ", ".join(filter(None, (host["qemu"], host["libvirt"])))
    return (f"{host['date']}, {host['cpus']} × {host['cpu']}, "
            f"{host['memory_mib']} MiB, Linux {host['kernel']}, "
            f"{host['file_system']}, {programs}; load at the start "
            f"{host['load']:.1f}.")


def latency_table(rows_by_disks):
    for disks, rows in rows_by_disks.items():
        yield (f"\n## Request to result, disk-only, {disks} "
               f"{'disk' if disks == 1 else 'disks'}\n")
        yield "| | n | median, µs | p99, µs | × floor |\n| --- | --- | --- | --- | --- |"
        for name, row in rows.items():
            if "left_out" in row:
                yield f"| {name} | left out: {row['left_out']} | | | |"
            else:
                yield (f"| {name} | {row['n']} | {row['median_us']:.0f} | "
                       f"{row['p99_us']:.0f} | {row['ratio']:.2f} |")


def costs_table(rows):
    yield "\n## What one create waits for\n"
    kinds = list(next(iter(rows.values())))
    yield (f"| disks / snapshots before | {' | '.join(kinds)} |\n"
           f"| --- |{' --- |' * len(kinds)}")
    for name, row in rows.items():
        yield f"| {name} | {' | '.join(str(row[kind]) for kind in kinds)} |"


def timeline_table(found):
    for disks, line in found.items():
        yield (f"\n## Call by call, {disks} {'disk' if disks == 1 else 'disks'}, "
               f"medians of {line['n']}\n")
        yield ("| what | calls | from, µs | until the next, µs | of it in the calls, µs |"
               "\n| --- | --- | --- | --- | --- |")
        for row in line["rows"]:
            yield (f"| {row['what']} | {row['calls']} | {row['from_us']:.0f} | "
                   f"{row['until_next_us']:.0f} | {row['in_calls_us']:.0f} |")


def scale_table(rows):
    yield "\n## Requests without disk work, on a host of many domains\n"
    yield ("| domains / requesters | requests/s | × floor | median, µs | p99, µs"
           " | slowest domain's mean × all domains' | processor, µs each | RSS,"
           " KiB | descriptors |\n|" + " --- |" * 9)
    for name, row in rows.items():
        yield (f"| {name} | {row['per_s']:.0f} | {row['ratio']:.2f} | "
               f"{row['median_us']:.0f} | {row['p99_us']:.0f} | "
               f"{row['unfairness']:.2f} | {row['cpu_us']:.0f} | "
               f"{row['rss_kib']} | {row['descriptors']} |")


def start_table(row):
    yield "\n## Start with 10,000 records and 1,000 requests that wait\n"
    yield "| | |\n| --- | --- |"
    yield f"| ready, s | {row['ready_s']:.2f} |"
    yield f"| processor time until then, s | {row['cpu_s']:.2f} |"
    yield f"| all answered, s | {row['answered_s']:.2f} |"
    yield f"| processor time until then, s | {row['answered_cpu_s']:.2f} |"
    yield f"| xenstored's, s | {row['xenstored_cpu_s']:.2f} |"
    yield f"| resident, KiB | {row['rss_kib']} |"


TABLES = {"latency": latency_table, "costs": costs_table,
          "timeline": timeline_table, "scale": scale_table,
          "start": start_table}


def tables(found):
    yield machine_line(found["machine"])
    for part, table in TABLES.items():
        if part in found:
            yield from table(found[part])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--disks", default="1,4", type=lambda text: [
        int(word) for word in text.split(",")])
    parser.add_argument("--requests", type=int, default=4096)
    parser.add_argument("--parts", default=",".join(PARTS), type=lambda text:
                        [part for part in PARTS if part in text.split(",")])
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
