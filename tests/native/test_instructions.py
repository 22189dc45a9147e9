# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many instructions the agent takes, by callgrind: they do not depend on
what else the machine does. Libraries and the pretended hypervisor are included,
so the numbers are those of Debian 12. One that falls short of its bound by much
is a reason to lower the bound; what was cut already is in docs/performance.md.

`make check-instructions` runs it, with the build that is shipped."""

import pytest

from native import crowd
from native.callgrind import Callgrind

REQUESTS, RECORDS = 60, 200

# Of one more of them.
RECORD_MAX = 215_000
REQUEST_MAX = 220_000

# Of a disk-only snapshot, on average over chains of two to ten images.
CREATES = 8
CREATE_MAX = 3_400_000

# What anything else costs a request, relative: lists that grow by half their
# length are noticed, a tree's one more level is not.
FLAT = 1.05


@pytest.fixture(name="callgrind")
def fixture_callgrind(world, agent_stopped):
    """An agent that has one record, of a domain that runs."""
    agent = agent_stopped
    if "asan" in agent.program:
        pytest.skip("counts the build that is shipped")
    agent.configure("log", level="error")
    agent.configure("xenstore", keep_finished="0s")
    world.add_domain("web")
    agent.start()
    assert agent.request("create", domain="web", memory=0)["state"] == "done"
    agent.stop()
    return Callgrind(agent)


def test_what_a_record_and_a_request_cost(world, callgrind):
    """The way of a request to its answer, without what QEMU does: `delete` of
    a snapshot that there is not. The first of an agent is left out: with it
    the agent gets to know the domains."""
    agent = callgrind.agent

    def ask(times):
        for _ in range(times):
            request = agent.submit("delete", domain="web", name="none")
            assert request.wait()["error/code"] == "no-such-snapshot"
            request.remove()

    def count_start():
        return callgrind.count(lambda: ask(1))

    def count_request(start):
        return (callgrind.count(lambda: ask(1 + REQUESTS)) - start) / REQUESTS

    start = count_start()
    request = count_request(start)
    crowd.add_records(agent, RECORDS // 20, 20)
    record = (count_start() - start) / RECORDS
    crowd.add_idle_domains(world, 100)
    crowd.add_finished_requests(world, 200)
    # The start, which is taken away, is long by now, and varies.
    crowded = min(count_request(count_start()) for _ in range(2))
    print(f"start {start}, a record {record:.0f}, a request {request:.0f}, "
          f"among many {crowded:.0f}")
    assert record < RECORD_MAX
    assert request < REQUEST_MAX
    assert crowded < request * FLAT


def test_what_a_create_costs(callgrind):
    """Much of it is parsing: what QEMU says of the chain, and what libxl has
    stored of the domain."""
    agent = callgrind.agent

    def create(times):
        for _ in range(times):
            reply = agent.request("create", domain="web", memory=0)
            assert reply["state"] == "done", reply

    one = callgrind.count(lambda: create(1))
    cost = (callgrind.count(lambda: create(1 + CREATES)) - one) / CREATES
    print(f"a create {cost:.0f}")
    assert cost < CREATE_MAX
