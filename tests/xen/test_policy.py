# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest asks by its own xenstore alone, on a real xenstored (C or OCaml)."""

import json
import subprocess

import pytest

import xenhost
from agent import BUILD
from xenhost import Disk

FOLDER = "snapshot/requests"
POLICY = [{"who": "domid 0", "operations": "all", "targets": "any",
           "folders": "any"},
          {"who": "asker*", "operations": ["create", "delete", "revert"],
           "open": 2},
          {"who": "tools", "operations": "all", "targets": "any"},
          {"who": "web-dm", "operations": ["create", "delete"], "targets": "web"}]


@pytest.fixture(name="agent")
def _agent(request, tmp_path):
    """With a policy that lets some guests ask for themselves."""
    config = tmp_path / "agent.yaml"
    config.write_text(json.dumps({"policy": POLICY}))
    one = xenhost.Agent(config)
    request.node.reporters = [*getattr(request.node, "reporters", []),
                              lambda: [("agent's log", one.log.tail(60))]]
    yield one.start()
    one.close()


def ask(agent, guest, request_id, /, **keys):
    """The guest writes a request; gives {key: what the guest reads of it}."""
    path = f"{FOLDER}/{request_id}"
    keys = {key.replace("__", "/").replace("_", "-"): value for key, value in keys.items()}
    guest.command("store-write " + " ".join(
        f"{path}/{key} {value}" for key, value in keys.items()), r"stored")
    agent.wait_node(f"{guest.path}/{path}/state", xenhost.FINAL)
    return {key: read(guest, f"{path}/{key}")
            for key in ("state", "error/code", "result/name", "result/domid")}


def read(guest, path):
    return guest.command(f"store-read {path}", rf"store {path}[= ](.*)").group(1)


def test_a_guest_asks_for_itself_and_for_nothing_else(agent, guests, store):
    other = guests("other", kind="pv", disks=[Disk("xvda")])
    guest = guests("asker", kind="pv", disks=[Disk("xvda"), Disk("xvdb", "raw")])
    other.wait_tick()
    guest.wait_tick()
    store.wait(f"{guest.path}/{FOLDER}", "")
    assert store.permissions(f"{guest.path}/{FOLDER}") == [f"n{guest.domid}"]
    assert store.ls(f"{other.path}/snapshot") == []

    reply = ask(agent, guest, "r1", name="s1", memory=0, operation="create")
    assert reply["state"] == "done", reply
    assert reply["result/name"] == "s1"
    assert guest.wait_tick(more=2)
    # To be read, and not to be forged.
    for key in ("state", "result", "result/name"):
        assert store.permissions(f"{guest.path}/{FOLDER}/r1/{key}") == [
            "n0", f"r{guest.domid}"]
        guest.command(f"store-write {FOLDER}/r1/{key} forged", "EACCES")
    guest.command("store-write snapshot/x y", "EACCES")

    for index, keys in enumerate((
            {"domain": "other", "memory": 0, "operation": "create"},
            {"domain": "nobody", "memory": 0, "operation": "create"},
            {"operation": "rescan"})):
        assert ask(agent, guest, f"r2-{index}", **keys)["error/code"] == "permission-denied"
    assert ask(agent, guest, "r3", memory_path="/etc/x.save",
               operation="create")["error/code"] == "path-not-allowed"
    assert other.wait_tick(more=2)
    assert agent.request("create", domain="other", memory=False)["state"] == "done"

    # It goes back; its new domain finds a new folder, and can ask again.
    reply = ask(agent, guest, "r4", name="s2", operation="create")
    assert reply["state"] == "done", reply
    old = guest.domid
    guest.command(f"store-write {FOLDER}/r5/name s2 {FOLDER}/r5/operation revert", r"stored")
    store.wait("@introduceDomain", lambda _: guest.domid not in (None, old))
    store.wait(f"{guest.path}/{FOLDER}", "")
    guest.wait_tick(more=2)
    reply = ask(agent, guest, "r6", name="s1", operation="delete")
    assert reply["state"] == "done", reply


@pytest.mark.slow
def test_a_stub_domain_asks_for_its_guest(agent, guests, store):
    """By its name, which libxl makes so; it has no other programs than QEMU."""
    web = guests("web", kind="pv", disks=[Disk("xvda")])
    stub = guests("web-dm", kind="pv", disks=[Disk("xvda")])
    web.wait_tick()
    store.wait(f"{stub.path}/{FOLDER}", "")
    reply = ask(agent, stub, "r1", domain="web", name="s1", operation="create")
    assert reply["state"] == "done" and reply["result/name"] == "s1", reply
    assert web.wait_tick(more=2)
    assert ask(agent, stub, "r2", domain="web", name="s1",
               operation="revert")["error/code"] == "permission-denied"
    reply = ask(agent, stub, "r3", domain="web", name="s1", operation="delete")
    assert reply["state"] == "done", reply
    assert web.wait_tick(more=2)


@pytest.fixture(name="tools")
def _tools(request):
    """A domain with the programs that dom0 has."""
    made = xenhost.Driver("tools")
    request.node.reporters = [*getattr(request.node, "reporters", []), made.report]
    yield made
    made.close()


@pytest.mark.slow
def test_xensnap_asks_in_a_domain_as_it_does_in_dom0(agent, guests, store, tools):
    guest = guests("other", kind="pv", disks=[Disk("xvda")])
    guest.wait_tick()
    store.wait(f"/local/domain/{tools.domid}/{FOLDER}", "")

    def xensnap(words):
        return tools.run(f"$CHECKOUT/${{XENSNAP_BUILD:-build}}/xensnap {words} 2>&1")

    assert "xensnap revert other s1 --start boot" in xensnap(
        "create other --no-memory --name s1")
    assert store.ls(f"/local/domain/{tools.domid}/{FOLDER}") == []
    tree = xensnap("tree other")
    assert guest.uuid in tree and "s1" in tree and "does not run" not in tree
    assert "operations" in xensnap("status")
    # Domain 0 sees what is asked there, and the domain nothing else.
    mine = xensnap("delete other nothing --no-wait").strip()
    agent.wait_node(f"/local/domain/{tools.domid}/{FOLDER}/{mine}/state", "failed")
    agent.submit("delete", "dom0-s", domain="other", name="nothing").wait()
    here = subprocess.run([BUILD / "xensnap", "requests"], check=True,
                          capture_output=True, text=True).stdout
    assert f"{tools.domid}:{mine}" in here and "dom0-s" in here
    assert mine in (seen := xensnap("requests")) and "dom0-s" not in seen
    assert "no-such-snapshot" in xensnap(f"watch {mine} || true")
    assert "xensnap tree other" in xensnap("delete other s1")
    assert guest.wait_tick(more=2)
