# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the time of one disk-only snapshot goes, call by call: what the agent waits
for, in order, with when it begins."""

import collections
import os
import statistics


def _flushed(path):
    name = os.path.basename(path)
    if "/journal/" in path:
        return "the note"
    if name == "journal":
        return "the note's folder"
    if name.endswith((".qcow2", ".img", ".raw")):
        return "overlays and images"
    return "the record" if "/snapshots/" in path else "the overlays' folder"


def _kind(who, what, path):
    if what == "flush":
        return f"flush: {_flushed(path)}"
    if what.startswith("qmp"):
        return "QEMU is told" if what == "qmp_send" else "QEMU answers"
    return f"xenstored, asked by {'libxl' if who == 'libxl' else 'the agent'}"


def _groups(calls):
    """[[kind, began, calls, ns in them]] of what comes after one another, until the
    last word to xenstored, the result; `began` counts from the first."""
    while not calls[-1][3].startswith("xs_"):
        calls.pop()
    groups = []
    for began, took, *what in calls:
        kind = _kind(*what)
        if not groups or groups[-1][0] != kind:
            groups.append([kind, began - calls[0][0], 0, 0])
        groups[-1][2] += 1
        groups[-1][3] += took
    return groups


def _one(agent, domain):
    agent.costs.take()
    reply = agent.request("create", domain=domain.name, memory=0)
    assert reply["state"] == "done", reply
    agent.world.eventually(
        lambda: not [name for name in agent.records() if name.startswith("journal/")],
        what="no note")
    return _groups(agent.costs.take_timed())


def timeline(world, agent, disks, rounds):
    """Rows of medians, of the order of calls that came most often:
    {what, calls, from_us, until_next_us, in_calls_us}."""
    domain = world.add_domain(
        f"time{disks}", disks=[(f"xvd{letter}", "qcow2") for letter in "abcdefgh"[:disks]])
    runs = collections.defaultdict(list)
    for _ in range(rounds + 1):  # the first finds nothing remembered
        run = _one(agent, domain)
        runs[tuple(group[0] for group in run)].append(run)
    world.remove_domain(domain)
    same = max(runs.values(), key=len)
    rows = [{"what": groups[0][0], "calls": statistics.median_low(group[2] for group in groups),
             "from_us": statistics.median(group[1] for group in groups) / 1000,
             "in_calls_us": statistics.median(group[3] for group in groups) / 1000}
            for groups in zip(*same)]
    for row, after in zip(rows, rows[1:]):
        row["until_next_us"] = after["from_us"] - row["from_us"]
    rows[-1]["until_next_us"] = rows[-1]["in_calls_us"]
    return {"n": len(same), "rows": rows}
