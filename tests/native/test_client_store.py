# SPDX-License-Identifier: LGPL-2.1-or-later
"""xensnap while what it reads changes, and where xenstored refuses."""

import json

import pytest

from native.agent import ROOT
from native.store_relay import DIRECTORY, READ, TRANSACTION_END, WATCH, StoreRelay
from native.xenstore import Store

DONE, FAILED, USAGE, NO_AGENT = range(4)
CREATED = "2026-03-01T09:30:00.125Z"


def publish(store, uuid, name, old=None):
    """As the agent does, at once: one snapshot, where the domain runs, in place of
    another."""
    folder = f"{ROOT}/snapshots/{uuid}"

    def write():
        if old:
            store.rm(f"{folder}/{old}")
        for key, value in (("name", name), ("created-at", CREATED)):
            store.write(f"{folder}/{name}/{key}", value)
        store.write(f"{folder}/current", name)
    store.transact(write)


@pytest.fixture(name="relay")
def fixture_relay(tmp_path):
    one = StoreRelay(tmp_path)
    yield one
    one.close()


@pytest.fixture(name="web")
def fixture_web(world):
    """It runs on its one snapshot; the agent is played."""
    domain = world.add_domain("web")
    world.store.write(f"{ROOT}/status/state", "ready")
    publish(world.store, domain.uuid, "s1")
    return domain


@pytest.fixture(name="here")
def fixture_here(world, run, relay):
    """Runs xensnap behind the relay."""
    return lambda *arguments: run(*arguments,
                                  env={**world.environment(), **relay.environment})


def test_what_is_shown_is_of_one_moment(web, relay, here):
    relay.before(DIRECTORY, f"{ROOT}/snapshots/{web.uuid}",
                 lambda: publish(Store(), web.uuid, "s2", "s1"))
    result = here("list")
    assert result.returncode == DONE, result.stderr
    _, *rows = result.stdout.splitlines()
    assert len(rows) == 1 and "s2" in rows[0] and "*" in rows[0], result.stdout


def test_what_is_too_much_for_a_transaction_is_shown(web, relay, here):
    """A domain's may have 1024 nodes, and what is read counts."""
    del web
    relay.refuse_in_transactions(READ, TRANSACTION_END)
    _, *rows = here("list").stdout.splitlines()
    assert len(rows) == 1 and "s1" in rows[0] and "*" in rows[0]


def test_a_snapshot_that_goes_meanwhile_is_left_out(web, relay, here):
    relay.before(READ, f"/local/domain/{web.domid}/name",
                 lambda: publish(Store(), web.uuid, "s2", "s1"))
    one, = json.loads(here("list", "--json").stdout)
    assert one["name"] == "web" and one["snapshots"] == []


def test_a_snapshot_that_goes_while_it_is_shown_is_told(web, relay, here):
    relay.before(READ, f"/local/domain/{web.domid}/name",
                 lambda: publish(Store(), web.uuid, "s2", "s1"))
    result = here("show", web.uuid, "s1", "--json")
    assert result.returncode == FAILED
    assert json.loads(result.stdout)["error"]["code"] == "no-such-snapshot"


def test_a_watch_that_cannot_begin_ends(web, relay, here):
    del web
    relay.refuse(WATCH)
    result = here("watch", "--json")
    assert result.returncode == NO_AGENT
    assert json.loads(result.stdout.splitlines()[-1])["error"]["code"] == "no-xenstore"


def test_a_watch_that_misses_a_domain_ends(world, web, relay, spawn):
    del web
    process = spawn("watch", env={**world.environment(), **relay.environment})
    assert "ready" in process.stdout.readline()
    relay.refuse(WATCH)
    world.add_domain("late")
    process.communicate(timeout=20)
    assert process.returncode == NO_AGENT
