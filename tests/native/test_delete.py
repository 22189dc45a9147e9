# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting snapshots: of running domains live, of others with qemu-img."""

import os
import subprocess

import pytest

from native.expect import assert_disk_is_on, assert_failed, image_info, merge_job_id
from native.faults import KILL_BEFORE, Faults
from native.merges import commit_slowly, nodes_of, reboot


def create(agent, name, **keys):
    reply = agent.request("create", domain="alice", name=name, memory=0, **keys)
    assert reply["state"] == "done", reply
    return reply


def delete(agent, name, **keys):
    return agent.request("delete", domain="alice", name=name, **keys)


def check(path):
    subprocess.run(["qemu-img", "check", "-U", "-q", path], check=True)


def chain(domain):
    return [path for path, _ in domain.chain("xvda")]


def three(world, agent, disk_format="qcow2"):
    """Three snapshots, with something written after each."""
    domain = world.add_domain("alice", disks=[("xvda", disk_format)])
    domain.write("xvda", 0, b"0" * 4096)
    replies = []
    for n in (1, 2, 3):
        replies.append(create(agent, f"s{n}"))
        domain.write("xvda", n * 65536, str(n).encode() * 4096)
    return domain, replies


def assert_content(domain):
    for n in range(4):
        assert domain.read("xvda", n * 65536, 4096) == str(n).encode() * 4096


def test_the_newest_is_merged_and_the_domain_goes_on_with_the_image_under_it(world, agent):
    domain, replies = three(world, agent)
    reply = delete(agent, "s3")
    assert reply["state"] == "done", reply
    assert_content(domain)
    s2, s3 = (replies[n]["result/disks/xvda/path"] for n in (1, 2))
    assert chain(domain)[0] == s2
    assert not os.path.exists(s3)
    check(s2)
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert published["current"] == "s2"


def test_a_middle_one_and_the_oldest_are_merged_beneath_the_running_domain(world, agent):
    domain, replies = three(world, agent, "raw")
    for name in ("s2", "s1"):
        reply = delete(agent, name)
        assert reply["state"] == "done", reply
        assert_content(domain)
        for path in chain(domain)[:-1]:
            check(path)
    assert len(chain(domain)) == 2
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert published["current"] == "s3"
    assert "s3/parent" not in published
    assert published["s3/disks/xvda/path"] == replies[0]["result/disks/xvda/base"]
    reply = delete(agent, "s3")
    assert reply["state"] == "done", reply
    assert chain(domain) == [replies[0]["result/disks/xvda/base"]]
    assert_content(domain)


def test_of_a_domain_that_is_gone_images_are_merged_by_qemu_img(world, agent):
    domain, replies = three(world, agent)
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    for name in ("s2", "s3", "s1"):
        reply = delete(agent, name)
        assert reply["state"] == "done", reply
    base = replies[0]["result/disks/xvda/base"]
    data = subprocess.run(["qemu-io", "-f", "qcow2", "-r", "-c", "read -P 0x33 196608 4096",
                           base], check=True, capture_output=True, text=True).stdout
    assert "Pattern verification failed" not in data
    check(base)
    assert len(os.listdir(world.images)) == 1


def test_branches_find_what_was_merged_beneath_them(world, agent):
    """A branch that no QEMU has open still names the image that goes."""
    domain, replies = three(world, agent)
    # What a revert to s2 leaves: the old branch aside, a fresh overlay over s2.
    side = replies[2]["result/disks/xvda/path"]
    base = replies[2]["result/disks/xvda/base"]
    reply = delete(agent, "s1")
    assert reply["state"] == "done", reply
    for path in (base, side):
        if os.path.exists(path):
            subprocess.run(["qemu-img", "info", "-U", "--backing-chain", path],
                           check=True, capture_output=True)
    assert_content(domain)


def test_an_internal_snapshot_is_not_merged_away(world, agent):
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"0" * 4096)
    create(agent, "outer")
    create(agent, "inner", disks="xvda", **{"keys": {"disks/xvda/external": "0"}})
    reply = delete(agent, "outer")
    assert reply["error/code"] == "snapshot-in-use"
    assert "inner" in reply["error/message"]
    assert delete(agent, "inner")["state"] == "done"
    assert delete(agent, "outer")["state"] == "done"
    assert len(chain(domain)) == 1


def test_a_refused_merge_leaves_the_snapshot_as_it_was(world, agent):
    domain, _ = three(world, agent)
    domain.interpose().fault("block-commit", "error", description="Node busy")
    reply = delete(agent, "s2")
    assert reply["error/code"] == "qmp-error", reply
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert "s2/deleting" not in published
    assert delete(agent, "s2")["state"] == "done"
    assert_content(domain)


def test_what_a_failed_delete_has_merged_is_shown(world, agent):
    """And that it merges, before it does: who copies the state's images looks at
    that."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2"), ("xvdb", "qcow2")])
    state = chain(domain)[0]
    create(agent, "s1")
    domain.write("xvda", 0, b"1" * 4096)
    create(agent, "s2")
    root = f"/tool/xensnapd/snapshots/{domain.uuid}"
    relay = domain.interpose()
    first = relay.fault("block-commit", "hold-before")
    request = agent.submit("delete", domain="alice", name="s1")
    first.wait_reached()
    assert world.store.read(f"{root}/s1/deleting") == "1"
    second = relay.fault("block-commit", "error", description="Node busy")
    first.release()
    assert_failed(request.wait(), "qmp-error", "xvdb", "Node busy")
    assert second.reached.is_set()
    published = world.store.tree(root)
    assert published["s1/deleting"] == "1"
    assert "s1/disks/xvda/path" not in published and "s1/disks/xvdb/path" in published
    assert published["s2/disks/xvda/path"] == state
    assert delete(agent, "s1")["state"] == "done"
    assert "s1/created-at" not in world.store.tree(root)
    assert domain.read("xvda", 0, 4096) == b"1" * 4096


def test_a_pending_configuration_is_found_before_the_merge(world, agent):
    domain, replies = three(world, agent)
    pending = domain.config_path.replace("libxl-json", "xl")
    with open(pending, "w", encoding="ascii") as file:
        file.write("name = 'alice'\n")
    reply = delete(agent, "s3")
    assert reply["error/code"] == "libxl-error", reply
    assert chain(domain)[0] == replies[2]["result/disks/xvda/path"]
    os.unlink(pending)
    assert delete(agent, "s3")["state"] == "done"


def test_a_cancelled_merge_can_be_finished_by_deleting_again(world, agent):
    domain, _ = three(world, agent)
    fault = domain.interpose().fault("query-jobs", "hold-before")
    request = agent.submit("delete", domain="alice", name="s3")
    fault.wait_reached()
    request.cancel()
    fault.release()
    reply = request.wait()
    assert reply["state"] in ("cancelled", "done"), reply
    if reply["state"] == "cancelled":
        assert delete(agent, "s3")["state"] == "done"
    assert_content(domain)


def test_a_cancelled_merge_is_not_taken_for_done_after_a_rescan(world, agent):
    """A toolstack's overlay beside the image that was being merged looks as if it had been
    over that."""
    domain, _ = three(world, agent, "raw")
    top, _, s1, base = chain(domain)
    commit_slowly(domain.qmp, top, s1, base, auto_finalize=False)
    request = agent.submit("delete", domain="alice", name="s1")
    world.eventually(lambda: "bytes-done" in request.output(), 10, "it is merged")
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    side = f"{world.images}/side.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", side],
                   check=True)
    reply = agent.request("rescan", {"disks/xvda/path": side, "disks/xvda/format": "qcow2"},
                          domain="alice", disks="xvda")
    assert reply["state"] == "done", reply
    assert_failed(delete(agent, "s1"), "snapshot-in-use", side, s1)
    world.remove_domain(domain)
    assert_failed(agent.request("delete", domain=domain.uuid, name="s1"), "snapshot-in-use",
                  side, s1)
    # It is s2's state.
    assert os.path.exists(s1)
    assert world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/s2/disks/xvda/path") == s1


def test_nor_after_one_that_the_agents_end_cuts_short(world, agent_stopped):
    """The next agent lets the domain go, and does not take the hold for that of a
    delete."""
    agent = agent_stopped
    agent.faults = Faults(world.folder)
    agent.start()
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    create(agent, "s1")
    domain.write("xvda", 0, b"1" * 4096)
    create(agent, "s2")
    domain = reboot(world, domain)  # xen-block opens its disk without a lock
    top, s1, base = chain(domain)
    commit_slowly(domain.qmp, top, s1, base, auto_finalize=False)
    request = agent.submit("delete", domain="alice", name="s1")
    world.eventually(lambda: "bytes-done" in request.output(), 10, "it is merged")
    request.cancel()
    assert request.wait()["state"] == "cancelled"
    # What the merge would have done as well, but that s2 needs the image.
    subprocess.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", top],
                   check=True)
    agent.faults.arm(KILL_BEFORE, 1, "make .tmp-s")
    agent.submit("rescan", domain="alice", disks="xvda")
    agent.process.wait(20)
    agent.faults.disarm()
    agent.start()
    held = f"{agent.settings['store']['run-folder']}/held"
    world.eventually(lambda: not os.listdir(held), 20, "the hold's end")
    assert chain(domain) == [top, base]
    assert_failed(delete(agent, "s1"), "snapshot-in-use", top, s1)
    assert os.path.exists(s1)
    assert world.store.read(f"/tool/xensnapd/snapshots/{domain.uuid}/s2/disks/xvda/path") == s1


def test_keep_files_removes_the_record_alone(world, agent):
    domain, replies = three(world, agent)
    before = sorted(os.listdir(world.images))
    reply = delete(agent, "s1", keep_files=1)
    assert reply["state"] == "done", reply
    assert sorted(os.listdir(world.images)) == before
    assert len(chain(domain)) == 4
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}")
    assert "s1/name" not in published and "s2/parent" not in published


@pytest.mark.parametrize("s2", [{"keep_files": 1}, {}], ids=["kept", "merged"])
def test_images_that_were_kept_stay_readable(world, agent, s2):
    """Those under them are merged, while nobody runs who would tell of them."""
    domain, replies = three(world, agent)
    assert delete(agent, "s3", keep_files=1)["state"] == "done"
    assert delete(agent, "s2", **s2)["state"] == "done"
    state, active = (replies[n]["result/disks/xvda/path"] for n in (1, 2))
    domain.disks["xvda"].front.flush()
    world.remove_domain(domain)
    copies = {path: f"{path}.copy.raw" for path in (state, active)}
    for path, copy in copies.items():
        subprocess.run(["qemu-img", "convert", "-O", "raw", path, copy], check=True)
    published = world.store.tree(f"/tool/xensnapd/snapshots/{domain.uuid}/s1/disks/xvda")
    reply = agent.request("delete", domain=domain.uuid, name="s1")
    assert reply["state"] == "done", reply
    for path, copy in copies.items():
        subprocess.run(["qemu-img", "compare", path, copy], check=True)
    assert published["active"] == active


def test_what_is_not_there_cannot_be_deleted(world, agent):
    world.add_domain("alice")
    assert delete(agent, "s1")["error/code"] == "no-such-snapshot"
    reply = agent.request("delete", domain="nobody", name="s1")
    assert reply["error/code"] == "no-such-domain"


# -- the other way: what the snapshot holds goes into the image over it ------

LARGE = 4 << 20


def heavy_top(world, agent):
    """Three snapshots; the image that the domain is on holds the most."""
    domain, replies = three(world, agent)
    for place in range(0, LARGE, 1 << 18):
        domain.write("xvda", (8 << 20) + place, b"x" * (1 << 18))
    domain.disks["xvda"].front.flush()
    return domain, replies


def assert_heavy_content(domain):
    assert_content(domain)
    assert domain.read("xvda", (8 << 20) + LARGE - 4096, 4096) == b"x" * 4096


def test_a_state_that_holds_less_goes_into_the_image_over_it(world, agent):
    domain, replies = heavy_top(world, agent)
    relay = domain.interpose()
    small, active = (replies[n]["result/disks/xvda/path"] for n in (1, 2))
    assert delete(agent, "s3")["state"] == "done"
    assert "block-stream" in [command["execute"] for command in relay.commands]
    # The domain stays on its image, which nothing had to be told of.
    assert_disk_is_on(domain, "xvda", active)
    assert not os.path.exists(small)
    assert len(chain(domain)) == 3
    assert_heavy_content(domain)
    check(active)
    assert world.store.read(
        f"/tool/xensnapd/snapshots/{domain.uuid}/current") == "s2"
    # The records know the image: what follows finds it.
    create(agent, "s4")
    for name in ("s4", "s2", "s1"):
        assert delete(agent, name)["state"] == "done"
    assert_heavy_content(domain)
    assert chain(domain) == [replies[0]["result/disks/xvda/base"]]
    assert len(os.listdir(world.images)) == 1


def test_the_base_that_is_not_ours_is_never_the_one_that_goes(world, agent):
    domain, replies = heavy_top(world, agent)
    base = replies[0]["result/disks/xvda/base"]
    for name in ("s2", "s3", "s1"):
        assert delete(agent, name)["state"] == "done"
    assert chain(domain) == [base]
    assert_heavy_content(domain)
    check(base)


def test_a_state_goes_into_the_image_over_it_with_qemu_img(world, agent):
    domain, replies = heavy_top(world, agent)
    small, active = (replies[n]["result/disks/xvda/path"] for n in (1, 2))
    world.remove_domain(domain)
    assert delete(agent, "s3")["state"] == "done"
    assert not os.path.exists(small)
    assert image_info(active)["full-backing-filename"] == \
        replies[0]["result/disks/xvda/path"]
    check(active)
    compare(active, 2 * 65536, b"2")
    compare(active, 3 * 65536, b"3")
    compare(active, 8 << 20, b"x")
    for name in ("s2", "s1"):
        assert delete(agent, name)["state"] == "done"
    assert len(os.listdir(world.images)) == 1


def compare(path, offset, byte):
    """qemu-io itself tells whether 4096 bytes there are that byte."""
    answer = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-r", "-c", f"read -P {ord(byte)} {offset} 4096", path],
        check=True, capture_output=True, text=True)
    assert "failed" not in answer.stdout + answer.stderr


def test_a_merge_that_qemu_gives_up_leaves_all_as_it_was(world, agent):
    domain, replies = heavy_top(world, agent)
    small, active = (replies[n]["result/disks/xvda/path"] for n in (1, 2))
    nodes = nodes_of(domain.qmp)
    # Slowly, so that it can be stopped: the agent takes it for its own.
    job = merge_job_id("xvda", small)
    domain.qmp("block-stream", job_id=job, device=nodes[active],
               base_node=nodes[chain(domain)[2]], speed=1)
    fault = domain.interpose().fault("query-jobs", "hold-after")
    request = agent.submit("delete", domain="alice", name="s3")
    fault.wait_reached()
    domain.qmp("job-cancel", id=job)  # as a full disk does it: no reason is left
    world.eventually(lambda: not domain.qmp("query-jobs"))
    fault.release()
    assert_failed(request.wait(), "qmp-error", small, active)
    assert chain(domain)[:2] == [active, small]
    assert_heavy_content(domain)
    assert delete(agent, "s3")["state"] == "done"
    assert_disk_is_on(domain, "xvda", active)
    assert not os.path.exists(small)


def test_an_image_with_an_internal_snapshot_keeps_what_it_lies_on(world, agent):
    """Its inner state would read through to what is no longer there."""
    domain, _ = heavy_top(world, agent)
    create(agent, "inner", disks="xvda", **{"keys": {"disks/xvda/external": "0"}})
    reply = delete(agent, "s3")
    assert reply["error/code"] == "snapshot-in-use", reply
    assert "inner" in reply["error/message"]
    assert_heavy_content(domain)


def test_the_bytes_of_a_merge_are_told_while_it_runs(world, agent):
    domain, _ = three(world, agent)
    slow = True

    def amend(jobs):
        if not slow:
            return jobs
        return [{**job, "status": "running", "current-progress": 25 << 20,
                 "total-progress": 100 << 20} for job in jobs]

    domain.interpose().amend("query-jobs", amend)
    request = agent.submit("delete", domain="alice", name="s3")
    world.store.wait(f"{request.path}/bytes-total", str(100 << 20))
    assert world.store.read(f"{request.path}/bytes-done") == str(25 << 20)
    assert request.state() == "running"
    slow = False
    assert request.wait()["state"] == "done"
    assert_content(domain)
