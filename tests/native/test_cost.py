# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a request costs, counted and not timed: round trips to xenstored and
flushes. A number that falls short of its bound is a reason to lower the bound."""

import pytest

from native.costs import AGENT, FLUSHES, LIBXL, Costs, costs_of, count

# By the number of disks, for a snapshot that is not the domain's first.
BOUNDS = {
    1: {AGENT: 15, LIBXL: 28, FLUSHES: 7},
    4: {AGENT: 15, LIBXL: 55, FLUSHES: 13},
}


@pytest.fixture(name="agent")
def fixture_agent(agent_stopped):
    agent_stopped.costs = Costs(agent_stopped.world.folder)
    return agent_stopped.start()


@pytest.mark.parametrize("disks", BOUNDS)
def test_a_disk_only_snapshot_costs_no_more(world, agent, disks):
    domain = world.add_domain("web", disks=[
        (f"xvd{letter}", "qcow2") for letter in "abcd"[:disks]])
    costs_of(agent, "create", domain="web", memory=0)
    costs = costs_of(agent, "create", domain="web", memory=0)
    found = count(costs)
    assert all(found[kind] for kind in found), "nothing was counted"
    for kind, bound in BOUNDS[disks].items():
        assert found[kind] <= bound, (kind, "\n".join(map(str, costs)))
    assert len(domain.chain("xvda")) == 3


def test_a_snapshot_costs_what_the_one_before_it_did(world, agent):
    world.add_domain("web")
    found = [count(costs_of(agent, "create", domain="web", memory=0))
             for _ in range(6)]
    assert found[5] == found[1]


def test_domains_that_nobody_asks_about_cost_nothing(world, agent):
    """Also where a domain is asked for by its name."""
    def cost():
        costs_of(agent, "create", domain="web", memory=0)
        return count(costs_of(agent, "create", domain="web", memory=0))

    for number in range(3):
        world.add_domain(f"before{number}", disks=[])
    world.add_domain("web")
    alone = cost()
    for number in range(3):
        world.add_domain(f"after{number}", disks=[])
    assert cost() == alone


def test_a_name_is_looked_for_anew_where_it_was_not_found(world, agent):
    old = world.add_domain("web")
    costs_of(agent, "create", domain="web", memory=0)
    world.store.write(f"{old.path}/name", "other")
    # By the name in its snapshot's record.
    assert agent.request("create", domain="web", memory=0)["state"] == "done"
    costs_of(agent, "create", domain="other", memory=0)
    new = world.add_domain("web")
    costs_of(agent, "create", domain="web", memory=0)
    assert len(new.chain("xvda")) == 2
