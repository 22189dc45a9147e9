# SPDX-License-Identifier: LGPL-2.1-or-later
"""From request to result of a disk-only snapshot, side by side: each round asks
every contestant once, each on a domain of its own, all in one world."""

import contextlib
import os
import signal
import statistics
import subprocess
import time

import libvirtd
from native.agent import ROOT
from native.costs import costs_of, count

FLOOR, AGENT, SHELL = "floor", "agent", "shell loop"
LIBVIRT, VIRSH = "libvirt, one connection", "virsh process"
OF_LIBVIRT = (LIBVIRT, VIRSH)


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

    def __init__(self, world, tools, daemon, disks, name):
        self._world, self._tools, self._daemon = world, tools, daemon
        self._letters, self._name = "abcdefgh"[:disks], name
        self.programs = {}
        with contextlib.ExitStack() as closing:
            self._closing = closing
            self._add_floor()
            self._add_agent()
            self._add_shell()
            if daemon:
                self._add_libvirt()
                self._add_virsh()
            self._closing = closing.pop_all()

    def _add_domain(self, kind):
        domain = self._world.add_domain(
            f"{self._name}-{kind}",
            disks=[{"vdev": f"xvd{letter}", "format": "qcow2", "size": "10G"}
                   for letter in self._letters])
        self._closing.callback(self._world.remove_domain, domain)
        return domain

    def _add(self, contestant, program):
        self._closing.callback(program.close)
        self.programs[contestant] = program

    def _add_floor(self):
        domain = self._add_domain("floor")
        self._add(FLOOR, Program(self._world, [
            f"{self._tools}/floor", domain.qmp_path, self._world.images,
            *(f"{vdev}-qcow2" for vdev in domain.disks)]))

    def _add_agent(self):
        domain = self._add_domain("agent")
        self._add(AGENT, Program(self._world, [
            f"{self._tools}/ask", f"{ROOT}/requests", domain.name]))

    def _add_shell(self):
        domain = self._add_domain("shell")
        self._world.store.mkdir("/bench/shell")
        loop = self._world.spawn(
            [f"{self._tools}/shell-loop.sh", "/bench/shell", str(domain.domid),
             domain.qmp_path, *(f"{vdev},{disk.devid},{disk.path}"
                                for vdev, disk in domain.disks.items())],
            "shell-loop.log", start_new_session=True)
        # The watch of its pipeline waits for an event that does not come.
        self._closing.callback(os.killpg, loop.pid, signal.SIGKILL)
        time.sleep(0.3)  # nothing tells that its watch is set
        self._add(SHELL, Program(self._world, [
            f"{self._tools}/ask", "/bench/shell", domain.name]))

    def _add_guest(self, kind):
        guest = self._daemon.add_domain(f"{self._name}-{kind}", self._letters)
        self._closing.callback(guest.close)
        return guest

    def _add_libvirt(self):
        guest = self._add_guest("libvirt")
        self._add(LIBVIRT, Program(self._world, [
            f"{self._tools}/libvirt", libvirtd.URI, guest.name,
            self._world.images, *(disk.vdev for disk in guest.disks)]))

    def _add_virsh(self):
        self._add(VIRSH, libvirtd.VirshProcess(self._world,
                                               self._add_guest("virsh")))

    def close(self):
        self._closing.close()


def summarise(values):
    ordered = sorted(values)
    return {"n": len(ordered), "median_us": statistics.median(ordered),
            "p99_us": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}


@contextlib.contextmanager
def contestants(world, tools):
    """libvirt's daemon, and who is left out: {contestant: why}."""
    missing = libvirtd.missing(tools)
    if missing:
        yield None, dict.fromkeys(OF_LIBVIRT, missing)
        return
    with contextlib.closing(libvirtd.Daemon(world)) as daemon:
        yield daemon, {}


def latency(world, tools, daemon, disks, rounds, per_domain=10):
    """{contestant: {n, median_us, p99_us, ratio}} of an agent that runs."""
    measured = {}
    for batch in range(0, rounds, per_domain):
        contest = Contest(world, tools, daemon, disks, f"d{disks}b{batch}")
        with contextlib.closing(contest):
            for _ in range(min(per_domain, rounds - batch)):
                for name, program in contest.programs.items():
                    measured.setdefault(name, []).append(program.measure())
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
