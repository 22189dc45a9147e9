# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user sees of xensnap, and what the agent does by itself: on a host where
nothing is played. Each value and each refusal has a test of its own in tests/native."""

import contextlib
import json
import re
import subprocess
import time
import uuid
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent import REQUESTS, SNAPSHOTS
from invariants import STORE, assert_invariants, files, stored_images
from tool import DONE, FAILED, snapshots, xensnap
from xenhost import Disk, GrowingFile

TWO_DISKS = (Disk("xvda"), Disk("xvdb", "raw"))
LIMIT = 300


def make(name, *words, status=DONE):
    """A snapshot of the disks of "web"."""
    return xensnap("create", "web", "--no-memory", "--name", name, *words, status=status)


# --- what goes by itself -----------------------------------------------------


def wait_until_older(guest, name, seconds):
    made = datetime.fromisoformat(guest.store.read(
        f"{SNAPSHOTS}/{guest.uuid}/{name}/created-at").replace("Z", "+00:00")).timestamp()
    while time.time() < made + seconds + 1:
        guest.wait_tick(more=1)


def test_what_a_schedule_no_longer_keeps_and_what_has_expired_goes(agent, guests, store):
    guest = guests("web", disks=TWO_DISKS)
    domid = guest.domid
    guest.write_key(1, "then")
    make("short", "--expires", "20s")
    assert re.search(r" short .*, until 2\d{3}-", xensnap("list").stdout)
    make("hand")
    make("w1", "--schedule", "weekly")
    # By number: the oldest of this schedule, and nothing else.
    make("n1", "--schedule", "nightly", "--keep", "1")
    assert "removed      n1\n" in make("n2", "--schedule", "nightly", "--keep", "1").stdout
    assert snapshots(guest) - {"short"} == {"hand", "w1", "n2"}
    # By age, when none has it, and when two have.
    assert "removed" not in make(
        "n3", "--schedule", "nightly", "--keep", "2", "--keep-for", "1h").stdout
    wait_until_older(guest, "n3", 2)
    answer = json.loads(make("n4", "--schedule", "nightly", "--keep-for", "2s", "--json").stdout)
    assert answer["pruned"] == [{"name": name, "state": "done"} for name in ("n2", "n3")]
    # Nobody asks for that.
    store.wait(f"{SNAPSHOTS}/{guest.uuid}/short/name", None)
    assert snapshots(guest) == {"hand", "w1", "n4"}
    agent.log.wait_match(r".*: snapshot short of \S+ has expired: deleting it", LIMIT)
    agent.log.wait_match(r".* ended dom=web .* op=delete name=short result=done .*", LIMIT)
    assert " short " not in xensnap("list").stdout + xensnap("tree").stdout
    assert guest.read_key(1) == {"xvda": "then", "xvdb": "then"}
    assert_invariants(agent, guest, domid=domid)


# --- bounds ------------------------------------------------------------------


@contextlib.contextmanager
def small_file_system(folder):
    """With less room than the agent leaves free."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def picture(agent, guest):
    """All that a refused request could have changed."""
    return (guest.domid, guest.state(), stored_images(guest), guest.open_files(),
            files(guest.folder, STORE), agent.snapshots(guest.uuid))


@pytest.mark.slow
def test_a_bound_that_is_reached_is_told_and_nothing_is_touched(configured, guests, tmp_path):
    agent = configured({"limits": {"max-snapshots": 4, "max-depth": 4, "warn-depth": 3}})
    guest = guests("web", disks=TWO_DISKS)

    def assert_refused(*words, code, says):
        before = picture(agent, guest)
        told = xensnap("create", "web", *words, status=FAILED)
        assert told.stdout == ""
        line, advice = re.search(r"^xensnap: (.*)\nxensnap: (.*)\n", told.stderr, re.M).groups()
        assert line.startswith(f"{code}: ") and re.search(says, line), told.stderr
        assert picture(agent, guest) == before
        guest.wait_tick(more=2)
        return advice

    with small_file_system(tmp_path / "small") as small:
        assert "another --memory-path" in assert_refused(
            "--memory-path", small / "m.save", code="no-space",
            says=rf"the memory file needs about \d+ MiB, 64 MiB are to stay free, .*{small}")
        # xensnap has no option for an overlay's path.
        before = picture(agent, guest)
        reply = agent.request("create", domain="web", memory=0,
                              **{"disks/xvdb/path": small / "over.qcow2"})
        assert reply["error/code"] == "no-space", reply
        assert "64 MiB are to stay free" in reply["error/message"]
        assert picture(agent, guest) == before and not files(small)

    assert make("s1").stderr.count("warning") == 0
    warning, = re.findall(r"^xensnap: warning: (.*)$", make("s2").stderr, re.M)
    assert "is on a chain of 3 images now (limits.warn-depth is 3)" in warning
    assert warning in agent.log.text()
    assert re.search(r"^xvda now on 3 images, .*long \(limits.warn-depth is 3\)",
                     xensnap("tree", "web").stdout, re.M)
    make("s3")
    advice = assert_refused("--no-memory", code="busy", says=(
        r'disk xvd[ab] is on a chain of 4 images, and limits\.max-depth is 4; .*"s1" for one'))
    assert "'xensnap tree web'" in advice
    # One inside the image makes no chain longer, but is one more.
    inside = ("--no-memory", "--internal", "--disk", "xvda", "--name")
    xensnap("create", "web", *inside, "i1")
    assert_refused(*inside, "i2", code="busy", says=(
        r'as many snapshots as limits\.max-snapshots allows, 4; .*"s1" for one'))
    xensnap("delete", "web", "s1")
    make("s4")
    for name in ("s4", "i1"):
        xensnap("delete", "web", name)
    assert_invariants(agent, guest)


# --- metrics, and what waits or is given up ----------------------------------


class Metrics:
    """The file for the node exporter, where its package has it, read as Prometheus
    reads it."""

    path = Path("/var/lib/prometheus/node-exporter/xensnapd.prom")

    def __init__(self):
        self.file = GrowingFile(self.path)

    @staticmethod
    def parse(text):
        """{name: [sample]}; each is explained, and each histogram is one."""
        samples = {}
        for family in text_string_to_metric_families(text):
            assert family.type != "unknown" and family.documentation, family
            for sample in family.samples:
                samples.setdefault(sample.name.removeprefix("xensnapd_"), []).append(sample)
        for name in ("operation_duration_seconds", "downtime_seconds"):
            for count in samples.get(f"{name}_count", []):
                operation = count.labels["operation"]
                row = [sample.value for sample in samples[f"{name}_bucket"]
                       if sample.labels["operation"] == operation]
                assert len(row) == 12 and row == sorted(row) and row[-1] == count.value, row
        return samples

    @staticmethod
    def find(samples, name, labels):
        found = [sample.value for sample in samples.get(name, [])
                 if labels.items() <= sample.labels.items()]
        assert len(found) <= 1, found
        return found[0] if found else None

    def value(self, name, **labels):
        return self.find(self.parse(self.file.text()), name, labels)

    def wait(self, value, name, **labels):
        """It is replaced as a whole, so what is read is never half of it."""
        self.file.wait(lambda text: self.find(self.parse(text), name, labels) == value,
                       LIMIT, f"{name} {labels} {value}")


@pytest.fixture(name="metrics")
def fixture_metrics():
    Metrics.path.parent.mkdir(parents=True, exist_ok=True)
    yield Metrics()
    # Also where the agent was killed.
    Metrics.path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the exporter has files there
        Metrics.path.parent.rmdir()


def test_metrics_of_what_was_done_refused_and_cancelled(configured, metrics, guests, store):
    agent = configured({"metrics": {"interval": "200ms"}})
    guest = guests("web", disks=(Disk("xvda"),))
    domid = guest.domid
    lost = STORE / "memory" / str(uuid.uuid4()) / "lost.save"
    lost.parent.mkdir(parents=True)
    lost.touch()
    agent.restart()
    metrics.wait(1, "leftover_files")
    assert metrics.path.stat().st_mode & 0o777 == 0o644

    # One that takes a while, and one that waits for that and is given up.
    first = xensnap("create", "web", "--name", "s1", "--no-wait").stdout.strip()
    second = xensnap("create", "web", "--name", "s2", "--no-wait").stdout.strip()
    metrics.wait(1, "queue_length")
    assert metrics.value("operations_running") == 1
    rows = xensnap("requests").stdout
    assert re.search(rf"^{first} +dom0 +create +web +running +\S.* %", rows, re.M), rows
    assert re.search(rf"^{second} +dom0 +create +web +queued +", rows, re.M), rows
    xensnap("cancel", second)
    assert store.read(f"{REQUESTS}/{second}/error/code") == "cancelled"
    told = xensnap("cancel", second, status=FAILED).stderr
    assert "request-finished" in told
    # Whoever comes later sees the same end, and leaves it to whoever asked.
    assert re.search(r"^consistency +full$", xensnap("watch", first).stdout, re.M)
    created = store.tree(f"{REQUESTS}/{first}/result")
    metrics.wait(1, "operations_total", operation="create", result="done")
    assert "snapshot-exists" in make("s1", status=FAILED).stderr
    assert "no-such-domain" in xensnap("create", "nobody", status=FAILED).stderr
    reverted = json.loads(xensnap("revert", "web", "s1", "--json").stdout)["result"]
    assert guest.domid == reverted["domid"] != domid
    metrics.wait(1, "operations_total", operation="revert", result="done")

    vm = {"vm": guest.uuid, "domain": "web"}
    memory = int(created["memory-bytes"])
    chain = store.tree(f"/tool/xensnapd/chains/{guest.uuid}/xvda")
    for value, name, labels in (
            (1, "operations_total", {"operation": "create", "result": "cancelled"}),
            (2, "operations_total", {"operation": "create", "result": "failed"}),
            (0, "operations_total", {"operation": "delete", "result": "done"}),
            (1, "errors_total", {"operation": "create", "code": "snapshot-exists"}),
            (1, "errors_total", {"operation": "create", "code": "no-such-domain"}),
            (1, "downtime_seconds_count", {"operation": "create"}),
            (int(created["downtime-ms"]) / 1000, "downtime_seconds_sum", {"operation": "create"}),
            (1, "downtime_seconds_count", {"operation": "revert"}),
            (reverted["downtime-ms"] / 1000, "downtime_seconds_sum", {"operation": "revert"}),
            (1, "operation_duration_seconds_count", {"operation": "revert"}),
            (memory, "memory_written_bytes_total", {}), (memory, "snapshot_memory_bytes", vm),
            (1, "snapshots", vm), (2, "chain_depth", {**vm, "disk": "xvda"}),
            (int(chain["bytes"]), "chain_bytes", {**vm, "disk": "xvda"}),
            (0, "queue_length", {}), (0, "operations_running", {}), (1, "leftover_files", {})):
        assert metrics.value(name, **labels) == value, (name, labels)
    assert 0 < metrics.value("downtime_seconds_sum", operation="revert") <= metrics.value(
        "operation_duration_seconds_sum", operation="revert")
    assert memory > 100 << 20
    assert memory == (STORE / "memory" / guest.uuid / "s1.save").stat().st_size

    lost.unlink()
    agent.stop()
    assert not metrics.path.exists()
