#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints of running guests, on an emulated Xen host (`make bench-xen`).

For each guest, in turns: a checkpoint by the agent (memory and every disk), and
`xl save -c`, which saves the memory alone. xl cannot save live: where the agent
does, libxl's own live save (live-save.py) takes part as well. How long the guest
stands still is told by the guest itself, by a thread that watches the clock, and
by the agent (downtime-ms); from tick to tick it also has the ticks' writes. And
back: the agent's revert against `xl destroy; xl restore`, until the guest's next
tick.

Time in such a host is counted in instructions (tests/xen/README.md), so what else
the machine does is not in the figures; nor are a real disk and a real processor.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.append(str(CHECKOUT / "tests" / "xen"))

import xenhost  # noqa: E402  (after the line above)

HZ = 20
PULSE_MS = 2
DISKS = ("xvda", "xvdb", "xvdc", "xvdd")
SAVED = Path("/var/lib/xensnapd/xl.save")
LIVE_SAVE = CHECKOUT / "bench" / "live-save.py"
XL, LIVE = "xl save -c", "libxl, live"
# Kind, disks, MiB dirtied at each tick. Without HVM guests, which may hang the host.
GUESTS = "pv-1-0 pv-4-0 pv-1-32 pv-4-32 pvh-1-0 pvh-4-0 pvh-1-32 pvh-4-32"


def longest(word, guest, mark):
    """ms, of what the guest has said since then."""
    said = re.findall(rf"^{word} (\d+)\b", guest.console.text(mark), re.MULTILINE)
    return max(map(int, said), default=0)


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
        self._save(XL, lambda: self.guest.save(SAVED))

    def save_live(self):
        domid = self.guest.domid
        self._save(LIVE, lambda: subprocess.run([LIVE_SAVE, str(domid), SAVED], check=True))

    def _save(self, who, work):
        mark = self.guest.console.size()
        _, whole = timed(work)
        self.guest.wait_tick(more=3)
        self._note(who, mark, whole, SAVED.stat().st_size)
        SAVED.unlink()

    def saves_live(self):
        return self.rows[0]["live"] == "1"

    def _note(self, who, mark, whole, size, **more):
        self.rows.append({"who": who, "still_ms": longest("still", self.guest, mark),
                          "gap_ms": longest("gap", self.guest, mark),
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


def measure(agent, guests, kind, disks, dirty, options):
    name = f"{kind}-{disks}-{'dirty' if dirty else 'idle'}"
    guest = guests(name, kind=kind, disks=[xenhost.Disk(vdev) for vdev in DISKS[:disks]],
                   hz=HZ)
    if dirty:
        guest.command(f"fill {dirty}")
    guest.command(f"pulse {PULSE_MS}", expect=rf"pulse {PULSE_MS}")
    guest.wait_tick(more=HZ)
    contest = Contest(agent, guest)
    for number in range(options.rounds):
        contest.checkpoint(number)
        contest.save()
        if contest.saves_live():
            contest.save_live()
    result = {"kind": kind, "disks": disks, "dirty_mb": dirty, "rows": contest.rows,
              "back_ms": contest.back_and_forth() if options.reverts else {}}
    guest.destroy()
    return result


def of(result, who, key):
    return [row[key] for row in result["rows"] if row["who"] == who]


def median(values):
    return round(statistics.median(values))


def rate(result, who):
    """MiB/s."""
    return median(row["bytes"] / 1048.576 / row["whole_ms"]
                  for row in result["rows"] if row["who"] == who)


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |")


def print_head(*cells):
    print()
    print_row(*cells)
    print("|" + " --- |" * len(cells))


def print_still(results):
    print_head("guest", "live", "still: agent says, ms", "guest saw", "of", "guest saw", "ratio",
               "tick to tick, ms", "of the other")
    for result in results:
        for who in rivals(result):
            mine, theirs = (median(of(result, name, "still_ms")) for name in ("agent", who))
            print_row(title(result), of(result, "agent", "live")[0],
                      median(of(result, "agent", "said_ms")), mine, who, theirs,
                      f"{mine / theirs:.2f}",
                      *(median(of(result, name, "gap_ms")) or "–" for name in ("agent", who)))


def print_stream(results):
    print_head("guest", "whole, ms", "MiB", "MiB/s", "of", "whole, ms", "MiB", "MiB/s")
    for result in results:
        for who in rivals(result):
            cells = [(median(of(result, name, "whole_ms")),
                      median(of(result, name, "bytes")) >> 20, rate(result, name))
                     for name in ("agent", who)]
            print_row(title(result), *cells[0], who, *cells[1])


def print_back(results):
    print_head("guest", "revert to the next tick, ms", "xl destroy; xl restore, ms", "ratio")
    for result in filter(lambda result: result["back_ms"], results):
        mine, theirs = result["back_ms"].values()
        print_row(title(result), mine, theirs, f"{mine / theirs:.2f}")


def print_steps(results):
    print_head("step, ms", *map(title, results))
    for step in of(results[0], "agent", "steps")[0]:
        print_row(step, *(median(steps.get(step, 0) for steps in of(result, "agent", "steps"))
                          for result in results))


def rivals(result):
    return [who for who in (XL, LIVE) if of(result, who, "still_ms")]


def print_tables(results):
    print_still(results)
    print_stream(results)
    print_back(results)
    print_steps(results)


def title(result):
    return (f"{result['kind']}, {result['disks']} disk{'s' * (result['disks'] > 1)}, "
            + (f"{result['dirty_mb']} MiB dirtied" if result["dirty_mb"] else "idle"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("guests", nargs="*", default=GUESTS.split(),
                        help="kind, disks, MiB dirtied at each tick, as hvm-1-0 "
                             f"(default: {GUESTS})")
    parser.add_argument("--no-reverts", dest="reverts", action="store_false")
    parser.add_argument("--json", type=Path, default="/run/host/checkpoint.json")
    options = parser.parse_args()
    agent = xenhost.Agent().start()
    guests = xenhost.Guests()
    results = []
    try:
        for which in options.guests:
            kind, disks, dirty = which.split("-")
            results.append(measure(agent, guests, kind, int(disks), int(dirty), options))
            options.json.write_text(json.dumps(results, indent=1))
            print(title(results[-1]), file=sys.stderr)
    except BaseException:
        print(agent.log.tail(40), file=sys.stderr)
        raise
    finally:
        guests.close()
        agent.close()
    print_tables(results)


main()
