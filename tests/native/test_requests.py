# SPDX-License-Identifier: LGPL-2.1-or-later
"""A request's way through the agent: intake, queue, answers, and its end."""

import fcntl
import os
import threading

import pytest

from native.agent import FINAL, ROOT
from native.expect import (TIME, Picture, assert_disk_is_on, assert_failed,
                           files_below)
from native.hypervisor import GuestPorts
from native.xenstore import Store

REQUESTS = f"{ROOT}/requests"


def submit(agent, name, domain="web", **more):
    return agent.submit("create", domain=domain, name=name, memory=0, **more)


def hold(domain, command="transaction"):
    """Keeps the domain's next operation at a QMP command."""
    return domain.interpose().fault(command, "hold-before")


# -- intake ---------------------------------------------------------------

def test_nothing_is_read_before_the_operation_is_there(world, agent):
    world.add_domain("web")
    path = f"{REQUESTS}/slow"
    for key, value in (("domain", "web"), ("name", "s1")):
        world.store.write(f"{path}/{key}", value)
    # Another request, later and done, shows that the agent has passed by.
    assert submit(agent, "s2").wait()["state"] == "done"
    assert set(world.store.ls(path)) == {"domain", "name"}
    world.store.write(f"{path}/memory", "0")
    world.store.write(f"{path}/operation", "create")
    assert world.store.wait(f"{path}/state", *FINAL) == "done"


def test_operation_may_come_first_within_a_transaction(world, agent):
    world.add_domain("web")
    path = f"{REQUESTS}/x"
    world.store.write_all({f"{path}/operation": "create",
                           f"{path}/memory": "0", f"{path}/domain": "web"})
    assert world.store.wait(f"{path}/state", *FINAL) == "done"


@pytest.mark.parametrize("request_id", ["a", "A_b-9", "x" * 64, "-", "0"])
def test_ids_of_all_kinds_are_taken(world, agent, request_id):
    world.add_domain("web")
    assert submit(agent, "s1", id=request_id).wait()["state"] == "done"


@pytest.mark.parametrize("request_id", ["x" * 65, "a@b", "x" * 250])
def test_an_id_that_is_none_is_answered(world, agent_stopped, request_id):
    agent = agent_stopped
    agent.configure("xenstore", keep_finished="1s")
    agent.start()
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    request = submit(agent, "s1", id=request_id)
    assert_failed(request.wait(), "invalid-request", request_id[:50])
    picture.assert_same()
    # It goes away like every other.
    world.store.wait_gone(f"{request.path}/operation")


def test_an_id_that_is_none_is_not_taken_for_its_beginning(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    good = submit(agent, "s1", id="x" * 64)
    fault.wait_reached()
    for request in (submit(agent, "s2", id="x" * 65),
                    submit(agent, "s2", id="x" * 66)):
        request.wait()
        request.cancel()
        request.remove()
    agent.request("explode", domain="web")
    fault.release()
    assert good.wait()["state"] == "done"


def test_an_unknown_key_is_named_and_those_that_exist_are_listed(world, agent):
    world.add_domain("web")
    reply = agent.request("create", {"colour": "red"}, domain="web")
    assert_failed(reply, "invalid-request", "colour", "memory-path")


def test_input_below_a_disk_that_is_no_key_is_refused(world, agent):
    world.add_domain("web")
    reply = agent.request("create", {"disks/xvda/path/deep": "x"},
                          domain="web", memory=0)
    assert reply["state"] == "failed", reply


@pytest.mark.parametrize("key, value", [
    ("name", b"s1\0x"), ("name", b"s1\0"), ("operation", b"create\0"),
    ("disks/xvda/external", b"1\0"), ("description", b"\0"),
    ("disks", b"\0xvdb")])
def test_a_value_with_a_nul_byte_is_refused(world, agent, key, value):
    """Its beginning would count, and nobody be told of the rest."""
    picture = Picture(agent, world.add_domain("web"))
    keys = {key: value}
    reply = agent.request(keys.pop("operation", "create"), keys, domain="web",
                          memory=0)
    assert_failed(reply, "invalid-request", f"{key}: ", "NUL")
    picture.assert_same()


def test_what_is_not_read_as_text_may_hold_nul_bytes(world, agent):
    world.add_domain("web")
    reply = agent.request("create", {"step": b"x\0y"}, domain="web", memory=0)
    assert reply["state"] == "done"
    reply = agent.request("create", {"cancel": b"\0"}, domain="web", memory=0)
    assert reply["state"] == "cancelled"


# All that an earlier answer may have left; its state has been removed.
OLD_ANSWER = {
    "step": "x", "progress": "77", "bytes-done": "1", "bytes-total": "2",
    "error": "x", "error/code": "x", "error/step": "x", "result": "x",
    "result/name": "old", "result/warning": "x", "result/disks/sda/path": "x",
    "queued-at": "never", "started-at": "never", "finished-at": "never"}


def test_output_keys_that_stand_there_already_go(world, agent):
    """A client that reuses a folder without clearing it."""
    world.add_domain("web")
    alone = agent.request("create", domain="web", name="s1", memory=0)
    reply = agent.request("create", OLD_ANSWER, domain="web", name="s2",
                          memory=0)
    assert reply["state"] == "done"
    assert reply["result/name"] == "s2"
    assert reply["progress"] == "100"
    assert set(reply) == set(alone)
    assert "never" not in reply.values() and "x" not in reply.values()


@pytest.mark.parametrize("keys", [
    {"domain": "nobody"},           # refused when it is taken
    {"domain": "web", "name": ""},  # when it is read
    {"domain": "web", "name": "s1", "disks": "xvdz"}])  # by its first step
def test_what_stands_there_does_not_get_into_an_error(world, agent, keys):
    world.add_domain("web")
    alone = agent.request("create", keys)
    assert alone["state"] == "failed"
    reply = agent.request("create", {**OLD_ANSWER, **keys})
    assert set(reply) == set(alone)
    assert reply["error/code"] == alone["error/code"]
    assert "never" not in reply.values() and "x" not in reply.values()


def test_what_stands_there_goes_when_the_request_is_taken(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    second = submit(agent, "s2", keys=OLD_ANSWER)
    second.wait_state("queued")
    assert not set(OLD_ANSWER) - {"queued-at"} & set(second.output())
    fault.release()
    assert first.wait()["state"] == second.wait()["state"] == "done"


def test_what_stands_below_an_id_that_is_none_goes(world, agent):
    reply = agent.request("create", OLD_ANSWER, id="x" * 65)
    assert reply["error/code"] == "invalid-request"
    assert not set(reply) & set(OLD_ANSWER) - {
        "error", "error/code", "finished-at"}


def test_the_request_is_fixed_once_it_is_read(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    request = submit(agent, "s1")
    fault.wait_reached()
    world.store.write(f"{request.path}/name", "other")
    world.store.write(f"{request.path}/disks/xvda/path", "/tmp/other")
    world.store.write(f"{request.path}/operation", "delete")
    fault.release()
    reply = request.wait()
    assert reply["state"] == "done"
    assert reply["result/name"] == "s1"
    assert "other" not in reply["result/disks/xvda/path"]


def test_only_domain_0_can_read_requests(world, agent):
    world.add_domain("web")
    request = submit(agent, "s1")
    request.wait()
    assert world.store.permissions(REQUESTS) == ["n0"]
    assert world.store.permissions(f"{request.path}/state") == ["n0"]


def test_the_owner_of_operation_is_who_asks(world, agent):
    """Domain 0 may pass on what a domain wrote; the domain still is who
    asks."""
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    path = f"{REQUESTS}/passed-on"

    def write():
        for key, value in (("domain", "web"), ("memory", "0"),
                           ("operation", "create")):
            world.store.write(f"{path}/{key}", value)
        world.store.set_permissions(f"{path}/operation", f"n{domain.domid}",
                                    "b0")
    world.store.transact(write)
    world.store.wait(f"{path}/state", *FINAL)
    assert_failed(world.store.tree(path), "permission-denied",
                  str(domain.domid))
    picture.assert_same()


def test_a_thousand_keys_are_too_many_and_answered(world, agent):
    world.add_domain("web")
    keys = {f"disks/xvd{index}/external": "1" for index in range(300)}
    reply = agent.request("create", keys, domain="web", memory=0)
    assert_failed(reply, "invalid-request", "disks")


def test_the_folder_of_requests_may_be_removed(world, agent):
    world.add_domain("web")
    assert submit(agent, "s1").wait()["state"] == "done"
    world.store.rm(REQUESTS)
    assert submit(agent, "s2", id="again").wait()["state"] == "done"
    world.store.rm("/tool/xensnapd")
    assert submit(agent, "s3", id="again").wait()["state"] == "done"


# -- answers --------------------------------------------------------------

class Watcher(threading.Thread):
    """Reads a whole request whenever its `state` fires."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self._path = path
        self._store = Store()
        self._watching = threading.Event()
        self.seen = []
        self.start()
        self._watching.wait(10)

    def run(self):
        def look():
            self._watching.set()
            tree = self._store.transact(lambda: self._store.tree(self._path))
            if tree.get("state") and (not self.seen or
                                      tree != self.seen[-1]):
                self.seen.append(tree)
            return tree.get("state") in FINAL
        self._store.wait_for(f"{self._path}/state", look, 30)
        self._store.close()


def test_a_watch_on_state_sees_the_whole_result(world, agent):
    domain = world.add_domain("web")
    watcher = Watcher(f"{REQUESTS}/x")
    fault = hold(domain)
    request = submit(agent, "s1", id="x")
    fault.wait_reached()
    request.wait_state("running")
    fault.release()
    reply = request.wait()
    watcher.join(30)
    assert watcher.seen[-1] == reply
    assert watcher.seen[-1]["result/disks/xvda/path"]
    assert watcher.seen[-1]["finished-at"]
    for tree in watcher.seen[:-1]:
        assert tree["state"] in ("queued", "running")
        assert "result/name" not in tree
        assert "finished-at" not in tree


def test_a_watch_on_state_sees_the_whole_error(world, agent):
    domain = world.add_domain("web")
    domain.interpose().fault("transaction", "error", description="no more")
    watcher = Watcher(f"{REQUESTS}/x")
    reply = submit(agent, "s1", id="x").wait()
    watcher.join(30)
    assert watcher.seen[-1] == reply
    assert_failed(reply, "qmp-error", "no more")
    assert reply["error/step"] == "switch-disks"


def test_times_are_in_utc_and_in_order(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    second = submit(agent, "s2")
    second.wait_state("queued")
    assert TIME.fullmatch(second.output()["queued-at"])
    assert "started-at" not in second.output()
    assert TIME.fullmatch(first.output()["started-at"])
    assert "finished-at" not in first.output()
    fault.release()
    reply = second.wait()
    times = [reply[key] for key in ("queued-at", "started-at", "finished-at")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)
    assert first.output()["finished-at"] <= reply["started-at"]


def test_a_long_step_is_told_while_it_lasts(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    request = submit(agent, "s1")
    fault.wait_reached()
    store = world.store
    store.wait(f"{request.path}/step", "switching the disks")
    before = int(store.read(f"{request.path}/progress"))
    assert 0 < before < 100
    fault.release()
    assert int(request.wait()["progress"]) == 100


def test_the_requester_is_notified(world, agent):
    world.add_domain("web")
    ports = GuestPorts(world.xen, 0, "client")
    for name, state in (("s1", "done"), ("s1", "failed"), ("s2", "done")):
        ports.offer(77)
        request = submit(agent, name, notify_port=77)
        assert 77 in ports.wait()
        # The final state was there before the event.
        assert request.state() == state
    ports.close()


def test_a_port_that_cannot_be_notified_harms_nobody(world, agent):
    world.add_domain("web")
    assert submit(agent, "s1", notify_port=99).wait()["state"] == "done"
    assert submit(agent, "s2").wait()["state"] == "done"


# -- the queue ------------------------------------------------------------

def test_requests_of_one_domain_are_carried_out_in_order(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    requests = [submit(agent, f"s{index}") for index in range(5)]
    fault.wait_reached()
    for request in requests[1:]:
        request.wait_state("queued")
    fault.release()
    replies = [request.wait() for request in requests]
    assert [reply["state"] for reply in replies] == ["done"] * 5
    finished = [reply["finished-at"] for reply in replies]
    assert finished == sorted(finished)
    assert len(domain.chain("xvda")) == 6
    store = world.store
    parents = [store.read(f"{ROOT}/snapshots/{domain.uuid}/s{index}/parent")
               for index in range(5)]
    assert parents == [None, "s0", "s1", "s2", "s3"]


def test_two_domains_proceed_side_by_side(world, agent):
    slow = world.add_domain("slow")
    world.add_domain("quick")
    fault = hold(slow)
    first = submit(agent, "s1", domain="slow")
    fault.wait_reached()
    assert submit(agent, "s1", domain="quick").wait()["state"] == "done"
    assert first.state() == "running"
    fault.release()
    assert first.wait()["state"] == "done"


def test_a_failure_does_not_stop_what_waits(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    bad, good = submit(agent, "s1"), submit(agent, "s2")
    fault.release()
    assert first.wait()["state"] == "done"
    assert_failed(bad.wait(), "snapshot-exists", "s1")
    assert good.wait()["state"] == "done"


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
def test_what_waits_for_libxls_lock_of_devices_can_be_given_up(world, agent, how):
    """As somebody has it who attaches a device."""
    domain = world.add_domain("web")
    path = f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}.libxl-device-changes-lock"
    with open(path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        request = agent.submit("create", {"timeout": "3"} if how == "timeout" else {},
                               domain="web", name="s1", memory=0)
        world.store.wait(f"{request.path}/step", "reading the domain's configuration")
        if how == "cancelled":
            request.cancel()
        assert_failed(request.wait(), how)
        os.unlink(path)
    # Nothing is left that waits, or holds the lock.
    assert agent.request("create", domain="web", name="s1", memory=0)["state"] == "done"
    assert agent.stop() == 0


def test_a_domain_that_goes_while_its_request_waits(world, agent):
    domain = world.add_domain("web")
    files = files_below(world.images)
    with open(f"/var/lib/xen/userdata-l.{domain.domid}.{domain.uuid}"
              ".qmp-socket-lock", "w", encoding="ascii") as lock:
        # As libxl does while it talks to QEMU.
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = submit(agent, "s1")
        first.wait_state("running")
        second = submit(agent, "s2")
        second.wait_state("queued")
        world.remove_domain(domain)
    assert first.wait()["state"] == "failed"
    assert_failed(second.wait(), "domain-inactive", "web")
    assert files_below(world.images) == files


# -- cancelling -----------------------------------------------------------

def test_a_name_that_outlives_its_domain_in_xenstore_is_not_taken_for_it(world, agent):
    web = world.add_domain("web")
    assert submit(agent, "s1").wait()["state"] == "done"
    web.vanish()
    world.store.write(f"{web.path}/name", "web")
    world.add_domain("web")
    reply = submit(agent, "s1").wait()
    assert reply["state"] == "done", reply


def test_what_waits_is_cancelled_at_once(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    second = submit(agent, "s2")
    second.wait_state("queued")
    second.cancel()
    assert_failed(second.wait(), "cancelled")
    fault.release()
    assert first.wait()["state"] == "done"
    assert len(domain.chain("xvda")) == 2


@pytest.mark.parametrize("command", ["query-block", "transaction"])
def test_what_runs_is_rolled_back(world, agent, command):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    fault = hold(domain, command)
    request = submit(agent, "s1")
    fault.wait_reached()
    request.cancel()
    # Once the agent has seen this one, it has seen the cancel as well.
    agent.request("explode", domain="web")
    fault.release()
    assert_failed(request.wait(), "cancelled")
    picture.assert_same()
    assert submit(agent, "s1").wait()["state"] == "done"


def test_what_the_agent_does_unasked_takes_no_id(world, agent):
    """A hold's time is over while a request of that name is under way."""
    domain, other = world.add_domain("web"), world.add_domain("other")
    reply = agent.request("rescan", domain="other", phase="prepare", hold=2)
    assert reply["state"] == "done", reply
    fault = hold(domain)
    request = submit(agent, "s1", id="let-go")
    fault.wait_reached()
    agent.wait_log("step=end-hold done")
    assert len(other.chain("xvda")) == 1
    request.cancel()
    agent.request("explode", domain="web")
    fault.release()
    assert_failed(request.wait(), "cancelled")
    assert len(domain.chain("xvda")) == 1


def test_cancelled_before_it_was_read(world, agent):
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    assert_failed(submit(agent, "s1", cancel="1").wait(), "cancelled")
    picture.assert_same()


def test_a_cancel_that_comes_too_late_changes_nothing(world, agent):
    domain = world.add_domain("web")
    request = submit(agent, "s1")
    reply = request.wait()
    request.cancel()
    assert submit(agent, "s2").wait()["state"] == "done"
    after = request.output()
    del after["cancel"]
    assert after == reply
    assert len(domain.chain("xvda")) == 3


# -- time limits ----------------------------------------------------------

def test_time_runs_out_in_the_queue(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    second = agent.submit("create", {"timeout": "1"}, domain="web",
                          name="s2", memory=0)
    assert_failed(second.wait(), "timeout")
    assert first.state() == "running"
    fault.release()
    assert first.wait()["state"] == "done"


def test_time_runs_out_under_way(world, agent):
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    picture = Picture(agent, domain)
    fault = hold(domain)
    request = agent.submit("create", {"timeout": "1"}, domain="web",
                           name="s1", memory=0)
    fault.wait_reached()
    threading.Timer(1.5, fault.release).start()
    reply = request.wait()
    assert_failed(reply, "timeout", "switch-disks")
    assert reply["error/step"] == "switch-disks"
    picture.assert_same()


def test_the_configured_limit_holds_where_none_is_given(world, agent_stopped):
    agent = agent_stopped
    agent.configure("timeouts", request="1s")
    agent.start()
    domain = world.add_domain("web")
    fault = hold(domain)
    request = submit(agent, "s1")
    fault.wait_reached()
    threading.Timer(1.5, fault.release).start()
    assert_failed(request.wait(), "timeout")
    assert submit(agent, "s2").wait()["state"] == "done"


# -- removal --------------------------------------------------------------

def test_a_removed_request_that_waits_is_not_carried_out(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    second, third = submit(agent, "s2"), submit(agent, "s3")
    third.wait_state("queued")
    second.remove()
    fault.release()
    assert first.wait()["state"] == "done"
    assert third.wait()["state"] == "done"
    assert world.store.ls(second.path) == []
    assert set(world.store.ls(f"{ROOT}/snapshots/{domain.uuid}")) == {
        "s1", "s3", "current"}


def test_a_removed_request_that_runs_is_rolled_back(world, agent):
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    fault = hold(domain)
    request = submit(agent, "s1")
    fault.wait_reached()
    request.remove()
    agent.request("explode", domain="web")
    fault.release()
    agent.wait_log("the request was removed")
    # The next one waits until that one is over.
    assert submit(agent, "s1 ", id="odd").wait()["state"] == "failed"
    agent.request("create", domain="web", name="nothing", memory=0,
                  keys={"disks/xvda/path": domain.disks["xvda"].path})
    assert world.store.ls(request.path) == []
    picture.assert_same()


def test_an_id_can_be_used_again_at_once(world, agent):
    domain = world.add_domain("web")
    for index in range(5):
        request = submit(agent, f"s{index}", id="same")
        assert request.wait()["result/name"] == f"s{index}"
        request.remove()
    assert len(domain.chain("xvda")) == 6


def test_an_id_is_used_again_while_the_first_still_runs(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1", id="same")
    fault.wait_reached()
    first.remove()
    second = submit(agent, "s2", id="same")
    second.wait_state("queued")
    fault.release()
    reply = second.wait()
    assert reply["state"] == "done"
    assert reply["result/name"] == "s2"
    assert len(domain.chain("xvda")) == 2


def test_a_folder_replaced_in_one_transaction_is_a_new_request(world, agent):
    world.add_domain("web")
    first = submit(agent, "s1", id="same")
    first.wait()
    store = world.store

    def replace():
        store.rm(first.path)
        for key, value in (("domain", "web"), ("memory", "0"),
                           ("name", "s2"), ("operation", "create")):
            store.write(f"{first.path}/{key}", value)
    store.transact(replace)
    store.wait(f"{first.path}/result/name", "s2")
    assert first.wait()["state"] == "done"


# -- what is over ---------------------------------------------------------

def test_a_finished_request_stays_for_the_configured_time(world,
                                                          agent_stopped):
    agent = agent_stopped
    agent.configure("xenstore", keep_finished="1s")
    agent.start()
    world.add_domain("web")
    request = submit(agent, "s1")
    request.wait()
    failed = submit(agent, "s1")
    failed.wait()
    assert request.state() == "done"
    for path in (request.path, failed.path):
        world.store.wait_gone(f"{path}/state")
        assert world.store.ls(path) == []
    assert world.store.ls(REQUESTS) == []


def test_a_request_from_before_a_restart_expires_as_well(world, agent_stopped):
    agent = agent_stopped
    agent.configure("xenstore", keep_finished="1h")
    agent.start()
    world.add_domain("web")
    request = submit(agent, "s1")
    odd = submit(agent, "s1", id="x" * 65)
    request.wait()
    odd.wait()
    agent.configure("xenstore", keep_finished="1s")
    agent.restart()
    for path in (request.path, odd.path):
        world.store.wait_gone(f"{path}/state")


def test_zero_means_for_ever(world, agent_stopped):
    agent = agent_stopped
    agent.configure("xenstore", keep_finished="0s")
    agent.start()
    world.add_domain("web")
    request = submit(agent, "s1")
    request.wait()
    assert submit(agent, "s2").wait()["state"] == "done"
    assert request.state() == "done"


# -- restarts -------------------------------------------------------------

def test_what_was_written_while_no_agent_ran_is_carried_out(world,
                                                            agent_stopped):
    domain = world.add_domain("web")
    agent = agent_stopped
    requests = [submit(agent, f"s{index}") for index in range(4)]
    agent.start()
    replies = [request.wait() for request in requests]
    assert [reply["state"] for reply in replies] == ["done"] * 4
    finished = [reply["finished-at"] for reply in replies]
    assert finished == sorted(finished)
    assert len(domain.chain("xvda")) == 5


def test_what_waited_is_carried_out_after_a_restart(world, agent):
    domain = world.add_domain("web")
    fault = hold(domain)
    first = submit(agent, "s1")
    fault.wait_reached()
    second = submit(agent, "s2")
    second.wait_state("queued")
    agent.process.terminate()
    world.store.wait(f"{ROOT}/status/state", "draining")
    fault.release()
    assert agent.wait_exit() == 0
    assert first.output()["state"] == "done"
    assert second.state() == "queued"
    agent.start()
    assert second.wait()["state"] == "done"
    assert len(domain.chain("xvda")) == 3


def test_a_finished_request_is_not_carried_out_again(world, agent):
    domain = world.add_domain("web")
    request = submit(agent, "s1")
    reply = request.wait()
    for _ in range(2):
        agent.restart()
        assert request.output() == reply
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])


def test_a_request_that_is_refused_at_once_has_one_state(world, agent):
    """So its requester's watch wakes it but once."""
    world.add_domain("web")
    path = f"{REQUESTS}/refused"
    watcher = Store()
    watcher.watch(f"{path}/state")
    reply = agent.request("delete", id="refused", domain="web", name="none")
    assert_failed(reply, "no-such-snapshot")
    assert watcher.read(path) is not None  # no event is under way any more
    assert len(watcher.events()) == 2  # one of them that it watches


def test_a_cancel_of_one_that_was_removed_does_not_reach_the_next_by_its_id(world, agent):
    world.add_domain("alice", disks=[("xvda", "qcow2")])
    agent.freeze()
    first = agent.submit("create", id="same", domain="alice", name="s1", memory=0)
    first.cancel()
    first.remove()
    second = agent.submit("create", id="same", domain="alice", name="s2", memory=0)
    agent.thaw()
    reply = second.wait()
    assert reply["state"] == "done", reply


def test_a_domain_that_was_renamed_is_still_known_by_its_snapshots(world, agent):
    domain = world.add_domain("old", disks=[("xvda", "qcow2")])
    for name in "s1", "s2":
        assert agent.request("create", domain="old", name=name, memory=0)["state"] == "done"
    world.xl("rename", "old", "new")
    for operation, keys in ("rescan", {}), ("delete", {"name": "s1"}):
        reply = agent.request(operation, keys, domain="old")
        assert reply["state"] == "done", reply
    assert len(domain.chain("xvda")) == 2
    assert agent.request("delete", domain="new", name="s2")["state"] == "done"
