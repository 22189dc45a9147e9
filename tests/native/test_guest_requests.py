# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests of guests: each speaks to xenstored over its own ring, with its
own permissions and quotas."""

import signal

import pytest

from native.agent import FINAL
from native.expect import Picture, assert_failed, rewrite_settings
from native.faults import KILL_BEFORE, STOP_BEFORE, Faults
from native.hypervisor import GuestPorts
from native.ring import Denied

DOM0 = {"who": "domid 0", "operations": "all", "targets": "any",
        "folders": "any"}
OWN = {"who": "web*", "operations": ["create", "delete", "rescan", "revert"]}
FOLDER = "snapshot/requests"


def start(agent, *rules):
    agent.settings["policy"] = [DOM0, *rules]
    return agent.start()


def wait_folder(world, domain):
    """Until the agent has made the domain's folder."""
    path = f"{domain.path}/{FOLDER}"
    world.store.wait_for(path, lambda: world.store.read(path) is not None)


@pytest.fixture(name="web")
def _web(world, agent_stopped):
    """A guest that may ask for its own snapshots; the agent runs."""
    domain = world.add_domain("web")
    start(agent_stopped, OWN)
    wait_folder(world, domain)
    return domain


def ask(agent, guest, operation="create", keys=None, **more):
    """The guest's answer, as it reads it itself."""
    if operation == "create":
        more.setdefault("memory", 0)
    request = agent.submit(operation, keys, guest=guest, **more)
    return answer(guest, request.path)


def answer(guest, path, timeout=30):
    mine = guest.xenstore()
    mine.wait(f"{path}/state", *FINAL, timeout=timeout)
    return tree(mine, path)


def tree(store, path):
    result = {}
    for name in store.ls(path):
        result[name] = store.read(f"{path}/{name}")
        for key, value in tree(store, f"{path}/{name}").items():
            result[f"{name}/{key}"] = value
    return result


# -- the folder -----------------------------------------------------------

def test_a_guest_asks_for_itself_and_reads_its_answer(web, agent_stopped):
    mine = web.xenstore()
    mine.write_all({f"{FOLDER}/r1/memory": 0, f"{FOLDER}/r1/name": "s1",
                    f"{FOLDER}/r1/operation": "create"})
    mine.wait(f"{FOLDER}/r1/state", *FINAL)
    reply = tree(mine, f"{FOLDER}/r1")
    assert reply["state"] == "done", reply
    assert web.chain("xvda")[0][0] == reply["result/disks/xvda/path"]
    agent_stopped.wait_log(f"req={web.domid}:r1 by={web.domid}(web) op=create")
    reply = ask(agent_stopped, web, "delete", name="s1")
    assert reply["state"] == "done", reply
    assert len(web.chain("xvda")) == 1


def test_the_folder_has_the_least_rights(world, web):
    other = world.add_domain("other")
    mine, foreign = web.xenstore(), other.xenstore()
    assert mine.permissions(FOLDER) == [f"n{web.domid}"]
    assert world.store.permissions(f"{web.path}/snapshot") == ["n0"]
    with pytest.raises(Denied, match="EACCES"):
        mine.write("snapshot/other", "x")
    for path in (f"{web.path}/{FOLDER}/x/operation",
                 f"{other.path}/{FOLDER}/x/operation"):
        with pytest.raises(Denied, match="EACCES"):
            foreign.write(path, "create")


def test_who_is_in_no_rule_has_no_folder(world, agent_stopped):
    agent = start(agent_stopped, OWN)
    world.add_domain("db")
    web = world.add_domain("web-2")
    wait_folder(world, web)
    assert world.store.ls("/local/domain/1/snapshot") == []
    assert ask(agent, web)["state"] == "done"


def test_as_shipped_nobody_has_a_folder(world, agent_stopped):
    web = world.add_domain("web")
    # What an agent with another policy left.
    world.store.write(f"{web.path}/{FOLDER}/x/operation", "create")
    agent = agent_stopped.start()
    world.store.wait_gone(f"{web.path}/{FOLDER}")
    world.add_domain("web-2")
    assert agent.request("explode", domain="web")["state"] == "failed"
    for domid in (1, 2):
        assert FOLDER.split("/")[1] not in world.store.ls(
            f"/local/domain/{domid}/snapshot")


def test_a_request_in_a_new_folder_is_not_taken_for_one_of_the_folder_before(
        world, agent_stopped):
    """It has the same name, and was written before the agent watched the new folder."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    web = world.add_domain("web")
    start(agent, OWN)
    wait_folder(world, web)
    path = f"{web.path}/{FOLDER}"
    assert ask(agent, web, id="old")["state"] == "done"

    def go_on_to(point):
        agent.faults.arm(STOP_BEFORE, 1, point)
        agent.process.send_signal(signal.SIGCONT)
        world.eventually(agent.faults.reached, what=point)
        agent.faults.disarm()

    agent.faults.arm(STOP_BEFORE, 1, f"xs-rm {path}")
    world.store.write(f"{web.path}/name", "db")
    world.eventually(agent.faults.reached, what="it goes")
    world.store.write(f"{web.path}/name", "web")
    go_on_to("xs-commit")
    world.store.mkdir(path)
    world.store.set_permissions(path, f"n{web.domid}")
    request = agent.submit("create", guest=web, id="old", memory=0)
    agent.process.send_signal(signal.SIGCONT)
    assert answer(web, request.path)["state"] == "done"


def test_the_folder_comes_and_goes_with_the_right(world, web, agent_stopped):
    agent = agent_stopped
    path = f"{web.path}/{FOLDER}"
    assert ask(agent, web, id="old")["state"] == "done"
    # Its name.
    world.store.write(f"{web.path}/name", "db")
    world.store.wait_gone(path)
    world.store.write(f"{web.path}/name", "web")
    wait_folder(world, web)
    assert ask(agent, web, id="old")["state"] == "done"
    # The settings.
    agent.settings["policy"] = [DOM0]
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    world.store.wait_gone(path)
    agent.settings["policy"] = [DOM0, OWN]
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    wait_folder(world, web)
    # It removes its folder itself.
    web.xenstore().rm(FOLDER)
    wait_folder(world, web)
    assert world.store.permissions(path) == [f"n{web.domid}"]
    assert ask(agent, web)["state"] == "done"
    # Xenstored forgets everything.
    world.restart_xenstored()
    wait_folder(world, web)
    # Another domain takes its domid.
    domid = web.domid
    world.remove_domain(web)
    other = world.add_domain("db", domid=domid)
    third = world.add_domain("web-3")
    wait_folder(world, third)
    assert world.store.ls(f"{other.path}/snapshot") == []


def test_a_reboot_gives_a_new_folder(world, web, agent_stopped):
    """And so do a revert and a migration: the same uuid, another domid."""
    uuid = web.uuid
    agent_stopped.settings["policy"] = [
        DOM0, {"who": uuid, "operations": "create", "rate": "1/1h"}]
    rewrite_settings(agent_stopped)
    agent_stopped.process.send_signal(signal.SIGHUP)
    agent_stopped.wait_log("settings read again")
    assert ask(agent_stopped, web)["state"] == "done"
    world.remove_domain(web)
    again = world.add_domain("renamed", uuid=uuid)
    wait_folder(world, again)
    # How often it asked is not forgotten.
    assert_failed(ask(agent_stopped, again), "busy", "1 requests in 3600 s")


# -- the answer -----------------------------------------------------------

def test_an_answer_cannot_be_forged_nor_removed_alone(world, web,
                                                      agent_stopped):
    mine, path = web.xenstore(), f"{FOLDER}/r1"
    mine.write_all({f"{path}/memory": 0, f"{path}/state": "done",
                    f"{path}/result/name": "forged",
                    f"{path}/result/evil": "x", f"{path}/error": "x",
                    f"{path}/operation": "create"})
    world.store.wait(f"{web.path}/{path}/step", "done")
    reply = answer(web, path)
    assert reply["state"] == "done"
    assert reply["result/name"] != "forged"
    assert "result/evil" not in reply
    for key in ("state", "step", "progress", "queued-at", "started-at",
                "finished-at", "result", "result/name", "result/disks",
                "result/disks/xvda", "result/disks/xvda/path"):
        assert mine.permissions(f"{path}/{key}") == ["n0", f"r{web.domid}"]
        for act in (lambda k: mine.write(f"{path}/{k}", "x"),
                    lambda k: mine.rm(f"{path}/{k}"),
                    lambda k: mine.set_permissions(f"{path}/{k}", "n1")):
            with pytest.raises(Denied, match="EACCES|EPERM"):
                act(key)
    with pytest.raises(Denied, match="EACCES"):
        mine.write(f"{path}/result/more", "x")
    # All of it is its own to remove.
    mine.rm(path)
    assert mine.ls(FOLDER) == []
    assert ask(agent_stopped, web, id="r1")["state"] == "done"


def test_what_becomes_of_its_delete_is_shown(world, web, agent_stopped):
    """The snapshot is marked while it is merged, and not once QEMU has refused to."""
    agent = agent_stopped
    ask(agent, web, name="s1")
    mark = f"/tool/xensnapd/snapshots/{web.uuid}/s1/deleting"
    relay = web.interpose()
    relay.fault("block-commit", "error", description="Node busy")
    assert_failed(ask(agent, web, "delete", name="s1"), "qmp-error", "Node busy")
    assert world.store.read(mark) is None
    held = relay.fault("block-commit", "hold-before")
    request = agent.submit("delete", guest=web, name="s1")
    held.wait_reached()
    assert world.store.read(mark) == "1"
    # Whether QEMU began cannot be known.
    held.drop()
    assert_failed(answer(web, request.path), "qmp-error")
    assert world.store.read(mark) == "1"
    assert ask(agent, web, "delete", name="s1")["state"] == "done"


def test_what_it_put_in_the_place_of_output_keys_goes(web, agent_stopped):
    keys = {"error/code": "x", "error/step": "x", "result/evil": "x",
            "bytes-done": "x", "progress": "x", "started-at": "x"}
    for more in ({}, {"name": ""}):
        alone = ask(agent_stopped, web, keys=more)
        reply = ask(agent_stopped, web, keys={**keys, **more})
        assert set(reply) == set(alone)
        assert "x" not in reply.values()


def test_a_forged_state_is_none(web, agent_stopped):
    """Neither "done" nor "running", which would be an earlier agent's."""
    for state in FINAL + ("running", "queued", "x" * 1000):
        request = agent_stopped.submit("create", guest=web, memory=0,
                                       state=state)
        web.xenstore().wait(f"{request.path}/step", "done")
        assert answer(web, request.path)["state"] == "done"


def exhaust(store, folder):
    """Makes nodes until xenstored refuses, few in each folder, for these have
    a limit of their own; gives their paths."""
    made = []
    with pytest.raises(Denied, match="ENOSPC|EDQUOT"):
        while len(made) < 5000:
            path = f"{folder}/{len(made) // 50}/{len(made)}"
            store.write(path, "x" * 500)
            made.append(path)
    return made


def test_a_full_quota_neither_hinders_an_answer_nor_pays_for_it(
        web, agent_stopped):
    mine, path = web.xenstore(), f"{FOLDER}/full"
    mine.write_all({f"{path}/memory": 0, f"{path}/domain": web.domid})
    made = exhaust(mine, "data")
    # Room for the trigger alone.
    mine.rm(made[-1])
    mine.write(f"{path}/operation", "create")
    reply = answer(web, path)
    assert reply["state"] == "done", reply
    with pytest.raises(Denied, match="ENOSPC|EDQUOT"):
        mine.write("data/more", "x")
    # The folder, its three keys, and nothing of the answer were its own.
    mine.rm(path)
    for index in range(4):
        mine.write(f"data/{index + 100}", "x")
    with pytest.raises(Denied, match="ENOSPC|EDQUOT"):
        mine.write("data/more", "x")


# -- who wrote it ---------------------------------------------------------

def test_a_request_that_another_could_have_written_is_refused(
        world, web, agent_stopped):
    other = world.add_domain("web-2")
    mine, path = web.xenstore(), f"{FOLDER}/shared"
    picture = Picture(agent_stopped, web)
    shared = (f"n{web.domid}", f"w{other.domid}")
    for key, permissions in (
            ("operation", shared), ("name", shared),
            ("disks/xvda/external", shared), ("operation", (f"w{web.domid}",)),
            ("operation", (f"n{web.domid}", f"r{other.domid}"))):
        mine.start_transaction()
        for name, value in (("memory", 0), ("name", "s1"),
                            ("disks/xvda/external", 1),
                            ("operation", "create")):
            mine.write(f"{path}/{name}", value)
        mine.set_permissions(f"{path}/{key}", *permissions)
        mine.end_transaction()
        assert_failed(answer(web, path), "permission-denied", key,
                      f"domain {web.domid}")
        mine.rm(path)
    # The other writes into a folder that was opened to it.
    mine.mkdir(path)
    mine.set_permissions(path, f"n{web.domid}", f"w{other.domid}")
    other.xenstore().write_all({
        f"{web.path}/{path}/memory": 0,
        f"{web.path}/{path}/operation": "create"})
    mine.wait(f"{path}/state", "failed")
    assert mine.read(f"{path}/error/code") == "permission-denied"
    assert "operation: " in mine.read(f"{path}/error/message")
    picture.assert_same()


# -- event channels -------------------------------------------------------

def test_only_the_owner_of_a_request_is_rung(world, web, agent_stopped):
    other = world.add_domain("web-2")
    wait_folder(world, other)
    ports, foreign = (GuestPorts(world.xen, domain.domid, "client")
                      for domain in (web, other))
    for _ in range(3):
        ports.offer(40)
        foreign.offer(41)
        # Another's port, one that was never there, one out of bounds.
        for port, state in ((41, "done"), (99, "done"), (131071, "done"),
                            (131072, "failed"), (0, "failed"),
                            ("-1", "failed")):
            assert ask(agent_stopped, web, notify_port=port)[
                "state"] == state
        assert ask(agent_stopped, web, notify_port=40)["state"] == "done"
        assert 40 in ports.wait()
    with pytest.raises(TimeoutError):
        foreign.wait(timeout=0.2)
    before = agent_stopped.descriptor_count()
    # One that closes under the agent's hands, many times over.
    for _ in range(20):
        ports.offer(40)
        request = agent_stopped.submit("delete", guest=web, name="none",
                                       notify_port=40)
        ports.close()
        answer(web, request.path)
        ports = GuestPorts(world.xen, web.domid, "client")
    assert agent_stopped.descriptor_count() == before
    assert ask(agent_stopped, other)["state"] == "done"
    ports.close()
    foreign.close()


def test_another_request_by_the_id_of_one_that_a_crash_cut_short(world, agent_stopped):
    """The answer to that is not written there, and it is carried out."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.settings["policy"] = [DOM0, OWN]
    web = world.add_domain("web", disks=[("xvda", "qcow2")])
    agent.start()
    path = f"{web.path}/snapshot/requests"
    world.store.wait_for(path, lambda: world.store.read(path) is not None)
    agent.faults.arm(KILL_BEFORE, 1, "symlink")
    agent.submit("create", id="same", guest=web, name="s1", memory=0)
    world.eventually(lambda: agent.process.poll() is not None, 30)
    agent.faults.disarm()
    mine = web.xenstore()
    mine.rm(f"{path}/same")
    agent.submit("create", id="same", guest=web, name="s2", memory=0)
    agent.start()
    mine.wait(f"{path}/same/state", *FINAL, timeout=30)
    reply = world.store.tree(f"{path}/same")
    assert reply["state"] == "done", reply
    assert reply["result/name"] == "s2"
