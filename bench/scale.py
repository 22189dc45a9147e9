# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many domains, many requesters, many records: what a request without disk work
takes among them, and what the agent takes to start."""

import contextlib
import os
import re
import statistics
import subprocess
import time

from native import crowd
from native.agent import ROOT

REQUESTERS = (1, 16, 256)
DOMAINS = (1, 10, 100, 1000)
FIRST = 1000


def _status(agent, key):
    with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as file:
        return int(re.search(rf"^{key}:\s+(\d+)", file.read(), re.M)[1])


def _cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(world, tools, folder, requesters, rounds, domains):
    """One crowd's requests, summarised."""
    output = subprocess.run(
        [f"{tools}/crowd", folder, str(requesters), str(rounds), str(domains),
         "idle", str(FIRST), "name=none", "operation=delete"],
        env=world.environment(), check=True, text=True,
        capture_output=True).stdout.splitlines()
    by_domain = {}
    for line in output[:-1]:
        domain, microseconds = line.split()
        by_domain.setdefault(int(domain), []).append(float(microseconds))
    values = sorted(value for each in by_domain.values() for value in each)
    means = [statistics.mean(each) for each in by_domain.values()]
    return {"n": len(values), "per_s": len(values) / float(output[-1]) * 1e6,
            "median_us": statistics.median(values),
            "p99_us": values[min(len(values) - 1, len(values) * 99 // 100)],
            "unfairness": max(means) / statistics.mean(means)}


@contextlib.contextmanager
def _echo(world, tools, folder):
    """The floor: answers each request below the folder."""
    with subprocess.Popen([f"{tools}/echo", folder], text=True,
                          env=world.environment(),
                          stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def _loops(world, agent, tools, total, domains):
    """By the number of requesters: the agent's requests, and the floor's."""
    rows = {}
    for requesters in REQUESTERS:
        rounds = max(1, total // requesters)
        with _echo(world, tools, "/bench/echo"):
            floor = _ask(world, tools, "/bench/echo", requesters, rounds,
                         domains)
        before = _cpu_seconds(agent.process.pid)
        row = _ask(world, tools, f"{ROOT}/requests", requesters, rounds,
                   domains)
        row["cpu_us"] = (_cpu_seconds(agent.process.pid) - before
                         ) / row["n"] * 1e6
        row["floor_per_s"] = floor["per_s"]
        row["ratio"] = row["per_s"] / floor["per_s"]
        row["rss_kib"] = _status(agent, "VmRSS")
        row["descriptors"] = agent.descriptor_count()
        rows[f"{domains}/{requesters}"] = row
    return rows


def scale(world, agent, tools, total):
    """{"domains/requesters": row}; the agent runs."""
    rows, there = {}, 0
    for domains in DOMAINS:
        crowd.add_idle_domains(world, domains - there, FIRST + there)
        there = domains
        rows.update(_loops(world, agent, tools, total, domains))
    return rows


def start(world, agent, records=10000, waiting=1000):
    """With the domains of scale(), and one that has a record already: what
    the start of an agent that does not run yet takes."""
    crowd.add_records(agent, records // 20, 20)
    for number in range(waiting):
        world.store.write_all({
            f"{ROOT}/requests/waits-{number}/domain": f"idle{FIRST + number}",
            f"{ROOT}/requests/waits-{number}/name": "none",
            f"{ROOT}/requests/waits-{number}/operation": "delete"})
    begun, before = time.monotonic(), _cpu_seconds(world.xenstored.pid)
    agent.start(ready=False)
    agent.wait_ready(600)
    result = {"ready_s": time.monotonic() - begun,
              "cpu_s": _cpu_seconds(agent.process.pid)}
    last = f"{ROOT}/requests/waits-{waiting - 1}/state"
    world.store.wait(last, "failed", timeout=600)
    result.update(answered_s=time.monotonic() - begun,
                  answered_cpu_s=_cpu_seconds(agent.process.pid),
                  xenstored_cpu_s=_cpu_seconds(world.xenstored.pid) - before,
                  rss_kib=_status(agent, "VmRSS"))
    return result
