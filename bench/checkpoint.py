#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints of running guests, on an emulated Xen host (`make bench-xen`).

For each guest, in turns: a checkpoint by the agent (memory and every disk), and
`xl save -c`, which saves the memory alone. How long the guest stands still is
told by the guest itself, from tick to tick, and by the agent (downtime-ms). And
back: the agent's revert against `xl destroy; xl restore`, until the guest's next
tick.

Time in such a host is counted in instructions (tests/xen/README.md), so what else
the machine does is not in the figures; nor are a real disk and a real processor.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.append(str(CHECKOUT / "tests" / "xen"))

import xenhost  # noqa: E402  (after the line above)

HZ = 100  # so that the guest sees its pause to within a tick of 10 ms
DISKS = ("xvda", "xvdb", "xvdc", "xvdd")
SAVED = Path("/var/lib/xensnapd/xl.save")


def longest_gap(guest, mark):
    """ms between two ticks, over the checkpoint: the pause, and up to two periods."""
    gaps = re.findall(r"^gap (\d+) ", guest.console.text(mark), re.MULTILINE)
    return max(map(int, gaps), default=None)


def timed(work):
    began = time.monotonic()
    result = work()
    return result, (time.monotonic() - began) * 1000


class Contest:
    """One guest, asked alternately by the agent and by xl."""

    def __init__(self, agent, guest):
        self.agent = agent
        self.guest = guest
        self.rows = []

    def checkpoint(self, number):
        mark = self.guest.console.size()
        log_mark = self.agent.log.size()
        name = f"s{number}"
        reply, whole = timed(lambda: self.agent.request(
            "create", domain=self.guest.name, name=name))
        assert reply["state"] == "done", reply
        self.guest.wait_tick(more=3)
        self._note("agent", mark, whole, int(reply["result/memory-bytes"]),
                   said_ms=int(reply["result/downtime-ms"]), live=reply["result/live"],
                   steps=self._steps(log_mark))
        reply = self.agent.request("delete", domain=self.guest.name, name=name)
        assert reply["state"] == "done", reply

    def _steps(self, mark):
        """{step: ms}, as the agent's log tells them."""
        found = re.findall(r"op=create step=(\S+) done ms=(\d+)", self.agent.log.text(mark))
        return {name: int(ms) for name, ms in found}

    def save(self):
        mark = self.guest.console.size()
        _, whole = timed(lambda: self.guest.save(SAVED))
        self.guest.wait_tick(more=3)
        self._note("xl save -c", mark, whole, SAVED.stat().st_size)
        SAVED.unlink()

    def _note(self, who, mark, whole, size, **more):
        self.rows.append({"who": who, "still_ms": longest_gap(self.guest, mark),
                          "whole_ms": round(whole), "bytes": size, **more})

    def back_and_forth(self):
        """{who: ms until the next tick} of going back once each."""
        reply = self.agent.request("create", domain=self.guest.name, name="back")
        assert reply["state"] == "done", reply
        result = {"agent": self._until_tick(lambda: self._revert("back"))}
        self.guest.save(SAVED)
        result["xl destroy; xl restore"] = self._until_tick(self._restore)
        SAVED.unlink()
        return result

    def _revert(self, name):
        reply = self.agent.request("revert", domain=self.guest.name, name=name)
        assert reply["state"] == "done", reply

    def _restore(self):
        xenhost.xl("destroy", self.guest.name)
        self.guest.restore(SAVED)

    def _until_tick(self, work):
        def all_of_it():
            work()
            self.guest.wait_tick(more=1)
        return round(timed(all_of_it)[1])


def measure(agent, guests, kind, disks, dirty, rounds):
    name = f"{kind}-{disks}-{'dirty' if dirty else 'idle'}"
    guest = guests(name, kind=kind, disks=[xenhost.Disk(vdev) for vdev in DISKS[:disks]],
                   hz=HZ)
    if dirty:
        guest.command(f"fill {dirty}")
    guest.wait_tick(more=HZ)
    contest = Contest(agent, guest)
    for number in range(rounds):
        contest.checkpoint(number)
        contest.save()
    result = {"kind": kind, "disks": disks, "dirty_mb": dirty, "rows": contest.rows,
              "back_ms": contest.back_and_forth()}
    guest.destroy()
    return result


def of(result, who, key):
    return [row[key] for row in result["rows"] if row["who"] == who]


def median(values):
    return round(statistics.median(values))


def print_tables(results):
    print("\n| guest | live | still: agent says, ms | guest saw | xl save -c, guest saw | ratio |"
          " whole, ms | xl, ms | MiB/s | xl, MiB/s |\n|" + " --- |" * 10)
    for result in results:
        mine, theirs = (median(of(result, who, "still_ms")) for who in ("agent", "xl save -c"))
        rates = [statistics.median(row["bytes"] / 1048.576 / row["whole_ms"]
                                   for row in result["rows"] if row["who"] == who)
                 for who in ("agent", "xl save -c")]
        print(f"| {title(result)} | {of(result, 'agent', 'live')[0]} "
              f"| {median(of(result, 'agent', 'said_ms'))} | {mine} | {theirs} "
              f"| {mine / theirs:.2f} | {median(of(result, 'agent', 'whole_ms'))} "
              f"| {median(of(result, 'xl save -c', 'whole_ms'))} "
              f"| {rates[0]:.0f} | {rates[1]:.0f} |")
    print("\n| guest | revert to the next tick, ms | xl destroy; xl restore, ms | ratio |\n|"
          + " --- |" * 4)
    for result in results:
        mine, theirs = result["back_ms"].values()
        print(f"| {title(result)} | {mine} | {theirs} | {mine / theirs:.2f} |")
    print("\n| step, ms | " + " | ".join(map(title, results)) + " |\n|"
          + " --- |" * (len(results) + 1))
    for step in of(results[0], "agent", "steps")[0]:
        print(f"| {step} | " + " | ".join(
            str(median(steps.get(step, 0) for steps in of(result, "agent", "steps")))
            for result in results) + " |")


def title(result):
    return (f"{result['kind']}, {result['disks']} disk{'s' * (result['disks'] > 1)}, "
            + (f"{result['dirty_mb']} MiB dirtied" if result["dirty_mb"] else "idle"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="pv,pvh", help="pv, pvh, hvm (default: %(default)s)")
    parser.add_argument("--json", type=Path, default="/run/host/checkpoint.json")
    options = parser.parse_args()
    agent = xenhost.Agent().start()
    guests = xenhost.Guests()
    results = []
    try:
        for kind in options.kinds.split(","):
            for disks, dirty in ((1, 0), (4, 0), (1, 32)):
                results.append(measure(agent, guests, kind, disks, dirty, options.rounds))
                print(title(results[-1]), file=sys.stderr)
    except BaseException:
        print(agent.log.tail(40), file=sys.stderr)
        raise
    finally:
        guests.close()
        agent.close()
    options.json.write_text(json.dumps(results, indent=1))
    print_tables(results)


main()
