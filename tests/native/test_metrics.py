# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file for Prometheus' node exporter, and the log line of each request."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from native.expect import rewrite_settings

DASHBOARD = (Path(__file__).resolve().parents[2] /
             "install/grafana-xensnapd.json")


class Metrics:
    """The file of an agent, parsed as Prometheus does."""

    def __init__(self, world):
        self.world = world
        self.path = f"{world.folder}/metrics/xensnapd.prom"
        os.mkdir(os.path.dirname(self.path))

    def samples(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                families = list(text_string_to_metric_families(file.read()))
        except FileNotFoundError:
            return []
        for family in families:
            assert family.type != "unknown", family.name
            assert family.documentation, family.name
        return [sample for family in families for sample in family.samples]

    def value(self, name, **labels):
        """None if there is no such sample."""
        found = [sample.value for sample in self.samples()
                 if sample.name == f"xensnapd_{name}" and
                 labels.items() <= sample.labels.items()]
        assert len(found) <= 1, found
        return found[0] if found else None

    def wait(self, value, name, **labels):
        self.world.eventually(
            lambda: self.value(name, **labels) == value, 10,
            f"{name} {labels} = {value}, it is {self.value(name, **labels)}")


@pytest.fixture(name="metrics")
def fixture_metrics(world, agent_stopped):
    metrics = Metrics(world)
    agent_stopped.configure("metrics", file=metrics.path, interval="100ms")
    return metrics


def create(agent, name, **more):
    return agent.request("create", domain="web", name=name, memory=0, **more)


def test_operations_snapshots_and_chains_are_measured(
        world, agent_stopped, metrics):
    agent = agent_stopped.start()
    domain = world.add_domain("web", disks=[("xvda", "qcow2"),
                                            ("xvdb", "raw")])
    metrics.wait(0, "operations_total", operation="create", result="done")
    assert os.stat(metrics.path).st_mode & 0o777 == 0o644
    create(agent, "s1")
    create(agent, "s2", disks="xvda")
    assert create(agent, "s2")["error/code"] == "snapshot-exists"
    assert agent.request("create", colour="red")["state"] == "failed"
    vm = {"vm": domain.uuid, "domain": "web"}
    metrics.wait(1, "errors_total", operation="unknown",
                 code="invalid-request")
    for value, name, labels in (
            (2, "operations_total", {"operation": "create", "result": "done"}),
            (1, "operations_total", {"operation": "create",
                                     "result": "failed"}),
            (1, "errors_total", {"code": "snapshot-exists"}),
            (2, "snapshots", vm), (0, "queue_length", {}),
            (3, "chain_depth", {**vm, "disk": "xvda"}),
            (2, "chain_depth", {**vm, "disk": "xvdb"}),
            (3, "operation_duration_seconds_count", {"operation": "create"}),
            (0, "downtime_seconds_count", {"operation": "create"}),
            (0, "leftover_files", {}), (0, "operations_running", {})):
        assert metrics.value(name, **labels) == value, (name, labels)
    path = f"/tool/xensnapd/chains/{domain.uuid}/xvda/bytes"
    assert metrics.value("chain_bytes", disk="xvda") == int(
        world.store.read(path))
    assert metrics.value("last_snapshot_timestamp_seconds") >= metrics.value(
        "start_time_seconds") - 1
    for name in ("s2", "s1"):
        agent.request("delete", domain="web", name=name)
    metrics.wait(None, "snapshots", **vm)
    assert metrics.value("chain_depth", disk="xvda") is None
    agent.stop()
    assert os.listdir(os.path.dirname(metrics.path)) == []


def test_downtime_and_memory_of_a_checkpoint_are_measured(
        world, agent_stopped, metrics, save):
    del save
    agent = agent_stopped.start()
    world.add_domain("web")
    reply = agent.request("create", domain="web", name="s1", live=0)
    assert reply["state"] == "done", reply
    metrics.wait(1, "downtime_seconds_count", operation="create")
    downtime = int(reply["result/downtime-ms"])
    assert metrics.value("downtime_seconds_sum",
                         operation="create") == downtime / 1000
    size = int(reply["result/memory-bytes"])
    assert metrics.value("memory_written_bytes_total") == size
    assert metrics.value("snapshot_memory_bytes") == size
    assert f"downtime-ms={downtime} bytes={size} disks=1" in agent.log_text()


def test_the_queue_is_told_while_it_is_there(world, agent_stopped, metrics):
    agent = agent_stopped.start()
    domain = world.add_domain("web")
    fault = domain.interpose().fault("transaction", "hold-before")
    first = agent.submit("create", domain="web", name="s1", memory=0)
    fault.wait_reached()
    second = agent.submit("create", domain="web", name="s2", memory=0)
    metrics.wait(1, "queue_length")
    assert metrics.value("operations_running") == 1
    fault.release()
    assert first.wait()["state"] == second.wait()["state"] == "done"
    metrics.wait(0, "operations_running")


def test_every_metric_of_the_dashboard_is_there(world, agent_stopped, metrics):
    agent = agent_stopped.start()
    world.add_domain("web")
    create(agent, "s1")
    create(agent, "s1")
    metrics.wait(1, "errors_total", code="snapshot-exists")
    there = {sample.name for sample in metrics.samples()}
    with open(DASHBOARD, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    used = {name for panel in panels for target in panel["targets"]
            for name in re.findall(r"xensnapd_\w+", target["expr"])}
    assert len(panels) > 10 and used <= there, used - there
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in used}
    for name in there:
        assert re.sub("_(bucket|sum|count)$", "", name) in shown, name


def test_it_is_not_written_more_often_than_the_interval(
        world, agent_stopped, metrics):
    agent_stopped.configure("metrics", interval="1h")
    agent = agent_stopped.start()
    world.add_domain("web")
    metrics.wait(0, "operations_total", operation="create", result="done")
    before = os.stat(metrics.path)
    for name in ("s1", "s2", "s3"):
        assert create(agent, name)["state"] == "done"
    assert os.stat(metrics.path) == before


def test_a_link_in_the_way_is_not_followed(world, agent_stopped, metrics):
    victim = f"{world.folder}/victim"
    Path(victim).write_text("mine", encoding="ascii")
    for suffix in ("", ".new"):
        os.symlink(victim, metrics.path + suffix)
    agent_stopped.start()
    world.eventually(lambda: not os.path.islink(metrics.path), 10, "a file")
    assert metrics.value("queue_length") == 0
    assert Path(victim).read_text(encoding="ascii") == "mine"


@pytest.mark.parametrize("content", [
    "", "\0" * 100, "# HELP xensnapd_x x\n"], ids=["empty", "zeros", "metrics"])
def test_what_may_be_of_an_earlier_agent_is_replaced(
        world, agent_stopped, metrics, content):
    """Also as a power cut may have left it."""
    path = Path(metrics.path)
    path.write_text(content, encoding="ascii")
    agent_stopped.start()
    world.eventually(
        lambda: "xensnapd_queue_length 0\n" in path.read_text(encoding="ascii"), 10, "metrics")


def test_a_file_of_somebody_else_s_is_left_alone(
        world, agent_stopped, metrics):
    path = Path(metrics.path)
    path.write_text("# HELP node_x x\n", encoding="ascii")
    agent = agent_stopped.start()
    agent.wait_log(f"metrics.file: {path} is there already, and is none")
    world.add_domain("web")
    create(agent, "s1")
    assert path.read_text(encoding="ascii") == "# HELP node_x x\n"
    agent.stop()
    assert path.read_text(encoding="ascii") == "# HELP node_x x\n"
    assert agent.log_text().count("metrics.file") == 1
    agent.start()
    path.unlink()
    create(agent, "s2")
    metrics.wait(1, "operations_total", operation="create", result="done")


def test_each_file_of_somebody_else_s_is_told_of(world, agent_stopped, metrics):
    """Also where another one was complained of before."""
    mine = [Path(metrics.path + suffix) for suffix in ("", ".other")]
    for path in mine:
        path.write_text("# HELP node_x x\n", encoding="ascii")
    agent = agent_stopped.start()
    agent.wait_log(f"metrics.file: {mine[0]} is there already, and is none")
    agent.configure("metrics", file=str(mine[1]))
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    world.add_domain("web")
    create(agent, "s1")
    agent.wait_log(f"metrics.file: {mine[1]} is there already, and is none")


def test_without_the_folder_nothing_is_written_or_said(
        world, agent_stopped, metrics):
    folder = os.path.dirname(metrics.path)
    os.rmdir(folder)
    agent = agent_stopped.start()
    world.add_domain("web")
    create(agent, "s1")
    create(agent, "s2")
    assert not os.path.exists(folder)
    assert "metrics" not in agent.log_text()
    os.mkdir(folder)
    create(agent, "s3")
    metrics.wait(3, "operations_total", operation="create", result="done")


def test_the_log_tells_each_request_in_one_line(world, agent):
    domain = world.add_domain("web")
    agent.request("create", domain="web", name="s1", memory=0, id="r1")
    agent.request("create", domain="web", name="s1", memory=0, id="r2")
    lines = [line.split("info: ", 1)[1] for line in
             agent.log_text().splitlines() if "info: ended " in line]
    start = f"ended dom=web uuid={domain.uuid} "
    assert re.fullmatch(re.escape(start) + r"req=r1 op=create name=s1 "
                        r"result=done ms=\d+ disks=1 depth=2 requester=0",
                        lines[0])
    assert re.fullmatch(re.escape(start) + r"req=r2 op=create name=s1 "
                        r"result=failed code=snapshot-exists ms=\d+ "
                        r"requester=0", lines[1])


def test_a_domain_of_several_words_is_one_field_in_all_lines_of_its_request(world, agent):
    path = f"{world.images}/disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
    world.add_domain("my guest", disks=[{"vdev": "xvda", "path": path, "format": "qcow2"}])
    agent.request("create", domain="my guest", name="s1", memory=0, id="r1")
    lines = [line.split("info: ", 1)[1] for line in agent.log_text().splitlines()
             if " req=r1 op=create" in line and "dom=" in line]
    assert len(lines) > 3
    assert not [line for line in lines if 'dom="my guest" ' not in line]
