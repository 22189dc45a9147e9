# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the agent waits for, see shim/cost_shim.c."""

import collections

FLUSHES = "flushes"
AGENT, LIBXL = "round trips", "round trips of libxl"
LIST = "libxl_list_domain"  # what is asked of Xen


class Costs:
    """Round trips to xenstored, flushes and lists of domains, in order."""

    def __init__(self, folder, with_qmp=False):
        self.path = f"{folder}/costs"
        self.with_qmp = with_qmp
        with open(self.path, "wb"):
            pass
        self._seen = 0

    def take(self):
        """Those since the last look, as [who, what, path]."""
        return [cost[2:] for cost in self.take_timed()]

    def take_timed(self):
        """With when it began and how long it took, in ns, before that."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self._seen)
            text = file.read()
            self._seen = file.tell()
        found = (line.split(" ", 4) for line in text.splitlines())
        return [[int(began), int(took), *what] for began, took, *what in found]


def count(costs):
    """{kind: number} of what take() gave."""
    kinds = collections.Counter({AGENT: 0, LIBXL: 0, FLUSHES: 0})
    for who, what, _ in costs:
        if what != LIST:
            kinds[FLUSHES if what == "flush" else
                  LIBXL if who == "libxl" else AGENT] += 1
    return dict(kinds)


def _tells_progress(cost):
    keys = {word.rsplit("/", 1)[-1] for word in cost[2].split()}
    return cost[1] == "xs_together" and "step" in keys and "state" not in keys


def _without_progress(costs):
    """How often progress is told depends on time: it is left out, with the
    beginning and the end of its transaction."""
    result = []
    skip = 0
    for cost in costs:
        if skip:
            skip -= 1
        elif _tells_progress(cost):
            result.pop()
            skip = 1
        else:
            result.append(cost)
    return result


def costs_of(agent, operation, **keys):
    """What one request costs, its end and the removal of its note included."""
    agent.costs.take()
    reply = agent.request(operation, **keys)
    assert reply["state"] == "done", reply
    agent.world.eventually(
        lambda: not [name for name in agent.records()
                     if name.startswith("journal/")], what="no note")
    return _without_progress(agent.costs.take())
