# SPDX-License-Identifier: LGPL-2.1-or-later
"""From request to result of a disk-only snapshot, side by side: each round asks
every contestant once, each on a domain of its own, all in one world."""

import os
import signal
import statistics
import subprocess
import time

from native.agent import ROOT
from native.costs import costs_of, count

FLOOR, AGENT, SHELL = "floor", "agent", "shell loop"
CONTESTANTS = (FLOOR, AGENT, SHELL)


class Program:
    """One that takes a snapshot for each line, and prints how long it took."""

    def __init__(self, world, arguments):
        # pylint: disable=consider-using-with
        self._process = subprocess.Popen(
            arguments, env=world.environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)

    def measure(self):
        """Microseconds."""
        print("", file=self._process.stdin, flush=True)
        line = self._process.stdout.readline().strip()
        if not line or line.startswith("failed"):
            raise RuntimeError(f"{self._process.args}: {line or 'has ended'}")
        return float(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Contest:
    """Fresh domains for a few rounds, so that chains stay short."""

    def __init__(self, world, tools, disks, name):
        self._world, self._tools = world, tools
        self._disks, self._name = disks, name
        self._domains = [self._add(kind) for kind in CONTESTANTS]
        floor, agent, shell = self._domains
        self._loop = self._start_loop(shell)
        self.programs = {
            FLOOR: Program(world, [
                f"{tools}/floor", floor.qmp_path, world.images,
                *(f"{vdev}-qcow2" for vdev in floor.disks)]),
            AGENT: Program(world, [f"{tools}/ask", f"{ROOT}/requests",
                                   agent.name]),
            SHELL: Program(world, [f"{tools}/ask", "/bench/shell",
                                   shell.name]),
        }

    def _add(self, kind):
        return self._world.add_domain(
            f"{self._name}-{kind.split()[0]}",
            disks=[{"vdev": f"xvd{letter}", "format": "qcow2", "size": "10G"}
                   for letter in "abcdefgh"[:self._disks]])

    def _start_loop(self, domain):
        self._world.store.mkdir("/bench/shell")
        loop = self._world.spawn(
            [f"{self._tools}/shell-loop.sh", "/bench/shell", str(domain.domid),
             domain.qmp_path, *(f"{vdev},{disk.devid},{disk.path}"
                                for vdev, disk in domain.disks.items())],
            "shell-loop.log", start_new_session=True)
        time.sleep(0.3)  # nothing tells that its watch is set
        return loop

    def close(self):
        for program in self.programs.values():
            program.close()
        # The watch of its pipeline waits for an event that does not come.
        os.killpg(self._loop.pid, signal.SIGKILL)
        for domain in self._domains:
            self._world.remove_domain(domain)


def summarise(values):
    ordered = sorted(values)
    return {"n": len(ordered), "median_us": statistics.median(ordered),
            "p99_us": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}


def latency(world, tools, disks, rounds, per_domain=10):
    """{contestant: {n, median_us, p99_us, ratio}} of an agent that runs."""
    measured = {name: [] for name in CONTESTANTS}
    for batch in range(0, rounds, per_domain):
        contest = Contest(world, tools, disks, f"d{disks}b{batch}")
        try:
            for _ in range(min(per_domain, rounds - batch)):
                for name, program in contest.programs.items():
                    measured[name].append(program.measure())
        finally:
            contest.close()
    result = {name: summarise(values) for name, values in measured.items()}
    for row in result.values():
        row["ratio"] = row["median_us"] / result[FLOOR]["median_us"]
    return result


def costs(world, agent, disks, earlier):
    """What one create waits for, with `earlier` snapshots there already."""
    domain = world.add_domain(
        f"cost{disks}-{earlier}",
        disks=[(f"xvd{letter}", "qcow2") for letter in "abcdefgh"[:disks]])
    for _ in range(earlier):
        agent.request("create", domain=domain.name, memory=0)
    found = costs_of(agent, "create", domain=domain.name, memory=0)
    world.remove_domain(domain)
    return count(found)
