# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user sees of xensnap, and what the agent does by itself: on a host where
nothing is played. Each value and each refusal has a test of its own in tests/native."""

import contextlib
import json
import os
import re
import subprocess
import time
import uuid
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent import CHECKOUT, REQUESTS, SNAPSHOTS
from invariants import STORE, assert_invariants, files, stored_images
from tool import (CANCELLED, COMPLETIONS, DONE, ENVIRONMENT, FAILED, NO_AGENT, NOT_PRUNED, PROGRAM,
                  USAGE, Terminal, snapshots, xensnap)
from xenhost import Disk, GrowingFile, xl

# Natively all of it is shown as well.
pytestmark = pytest.mark.slow

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


# --- metrics, and giving up --------------------------------------------------


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


def test_a_ctrl_c_asks_and_the_next_one_cancels(agent, guests):
    # A save takes two seconds.
    guest = guests("web", disks=(Disk("xvda"),), memory=256)
    domid = guest.domid
    with Terminal(PROGRAM, "create", "web", "--name", "s1") as terminal:
        terminal.read_until(r"saving memory")
        terminal.type("\x03")
        terminal.read_until(r"\r\nCancel request \S+\? \[y/N\] ")
        terminal.type("n\n")
        terminal.read_until(r"\] +\d+ %  saving memory")
        terminal.type("\x03")
        terminal.read_until(r"xensnap: cancelled: ")
        assert terminal.wait() == CANCELLED
    assert not snapshots(guest)
    assert_invariants(agent, guest, domid=domid)


# --- looking -----------------------------------------------------------------


def completed(line):
    """What bash makes of a line at whose end a tab is typed, on a terminal."""
    with Terminal("bash", "--norc", "-i", TERM="dumb", INPUTRC="/dev/null") as shell:
        shell.type(f"bind 'set bell-style none'; . {COMPLETIONS}/xensnap.bash; PS1=; "
                   "bind -x '\"\\C-g\": printf \"<%s>\" \"$READLINE_LINE\"'; echo is-${PS1}ready\n")
        shell.read_until("\nis-ready\r\n")
        shell.type(f"{line}\t\a")
        return shell.read_until("<(.*)>")[1]


def offered_by_fish(line):
    found = subprocess.run(
        ["fish", "--no-config", "-c", f"source {COMPLETIONS}/xensnap.fish; complete -C $argv[1]",
         line], check=True, text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
        env={**ENVIRONMENT, "XDG_CONFIG_HOME": "/tmp"}).stdout
    return [match.split("\t")[0] for match in found.splitlines()]


def offered_by_zsh(line):
    script = CHECKOUT / "tests" / "native" / "complete.zsh"
    found = subprocess.run(
        ["zsh", "-f", script, COMPLETIONS, line], check=True, text=True, timeout=LIMIT,
        stdin=subprocess.DEVNULL, capture_output=True, env={**ENVIRONMENT, "HOME": "/tmp"}).stdout
    return found.splitlines()[:-1]


@pytest.fixture(name="watching")
def fixture_watching(tmp_path):
    """xensnap watch, and the file that it writes to."""
    with contextlib.ExitStack() as ends:
        def watching(*words):
            path = tmp_path / f"watch{len(words)}"
            with open(path, "wb") as out:
                process = ends.enter_context(subprocess.Popen(
                    [PROGRAM, "watch", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    env=ENVIRONMENT))
            ends.callback(process.kill)
            file = GrowingFile(path)
            file.wait(lambda text: "ready" in text, LIMIT, "ready")
            return file
        yield watching


def assert_views_agree(guest, names):
    """Of a tree that parts at the first of four, the last of which is current."""
    first, second, third, last = names
    drawn = xensnap("tree", "web").stdout.splitlines()
    assert drawn[0] == f"web  {guest.uuid}  domid {guest.domid}"
    assert [re.match(r"[|` -]*[o@] \S+", line)[0] for line in drawn[1:6]] == [
        f"o {first}", f"|-o {second}", f"| o {third}", f"`-o {last}", "  @ (current"]
    assert all("disks only" in line for line in drawn[1:5]) and drawn[5].endswith("  runs")
    for line, vdev in zip(sorted(drawn[6:]), ("xvda", "xvdb"), strict=True):
        assert re.fullmatch(rf"{vdev} now on 3 images, \S+ \wiB", line)
    rows = xensnap("list", guest.domid).stdout
    assert re.findall(r"^([ *]) +web +(\w+) ", rows, re.M) == [
        (" ", first), (" ", second), (" ", third), ("*", last)]

    # It writes nothing meanwhile.
    xl("pause", guest.domid)
    active = stored_images(guest)
    of_vm, = json.loads(xensnap("list", guest.uuid, "--json").stdout)
    assert [of_vm] == json.loads(xensnap("tree", "--json").stdout)
    assert of_vm["active-bytes"] == sum(
        os.stat(image).st_blocks * 512 for image in active.values())
    xl("unpause", guest.domid)
    assert (of_vm["domid"], of_vm["current"]) == (guest.domid, last)
    assert [one["name"] for one in of_vm["snapshots"]] == names
    assert {vdev: chain["depth"] for vdev, chain in of_vm["chains"].items()} == {
        "xvda": 3, "xvdb": 3}
    shown = xensnap("show", "web", first).stdout
    for row in ("description +two words", "schedule +daily",
                f"children +{second}\n +{last}",
                f"  state in +{guest.image('xvda')} \\(qcow2\\)"):
        assert re.search(rf"^{row}$", shown, re.M), shown
    shown = json.loads(xensnap("show", "web", last, "--json").stdout)
    assert active["xvdb"] in shown["disks"]["xvdb"]["overlays"]


def assert_a_hold_is_shown(agent, guest):
    status = json.loads(xensnap("status", "--json").stdout)
    assert (status["state"], status["pid"], status["holds"]) == ("ready", agent.pid, [])
    xensnap("rescan", "web", "--prepare", "--disk", "xvda", "--hold", "120")
    words = r"held until \d\d:\d\d:\d\d, for a rescan of xvda"
    assert re.search(rf"^web is {words}; ", xensnap("status").stdout, re.M)
    assert re.search(rf"\(current state\) .* {words}$", xensnap("tree").stdout, re.M)
    assert "xensnap: busy: " in make("no", status=FAILED).stderr
    xensnap("rescan", "web", "--abort")
    guest.wait_tick(more=2)
    assert json.loads(xensnap("status", "--json").stdout)["holds"] == []


def assert_shells_know_them(names):
    assert completed("xensnap revert we") == "xensnap revert web "
    assert completed(f"xensnap show web {names[1][:2]}") == f"xensnap show web {names[1]} "
    assert completed("xensnap rescan web --format xvda=q") == \
        "xensnap rescan web --format xvda=qcow2 "
    for offered in (offered_by_fish, offered_by_zsh):
        assert sorted(offered("xensnap delete web ")) == sorted(names)


def assert_what_is_wrong_is_told():
    for code, *words in (("no-such-snapshot", "delete", "web", "nothing"),
                         ("no-such-snapshot", "revert", "web", "nothing"),
                         ("no-memory-state", "revert", "web", "other"),
                         ("no-such-request", "cancel", "nothing")):
        assert f"xensnap: {code}: " in xensnap(*words, status=FAILED).stderr
    xensnap("create", "web", "--name", "a/b", status=USAGE)
    told = json.loads(xensnap("show", "web", "nothing", "--json", status=FAILED).stdout)
    assert (told["error"]["code"], told["exit-status"]) == ("no-such-snapshot", FAILED)


def test_all_views_tell_the_same_of_what_there_is(agent, guests, store, watching):
    guest = guests("web", disks=TWO_DISKS)
    for other in store.ls(REQUESTS):
        store.rm(f"{REQUESTS}/{other}")
    lines, events = watching(), watching("--json")
    assert xensnap("list").stdout.count("\n") == 1
    assert xensnap("requests").stdout == "no requests\n"
    make("base", "--schedule", "daily", "--description", "two words")
    guest.write_key(1, "since")
    make("second")
    make("third")
    mark = guest.console.size()
    told = xensnap("revert", "web", "base", "--start", "boot").stdout
    assert re.search(rf"^new domid +{guest.domid}$", told, re.M), told
    guest.wait_boot(since=mark)
    assert guest.read_key(1) == {"xvda": "", "xvdb": ""}

    # Branches part at the oldest, which has to stay; the new one is made all the same.
    told = make("other", "--schedule", "daily", "--keep", "1", status=NOT_PRUNED)
    assert re.search(r"^name +other$", told.stdout, re.M)
    assert ("xensnap: the old snapshot 'base' could not be removed:\n"
            "xensnap: snapshot-in-use: ") in told.stderr
    names = ["base", "second", "third", "other"]
    assert_views_agree(guest, names)
    assert_a_hold_is_shown(agent, guest)
    assert_shells_know_them(names)
    assert_what_is_wrong_is_told()

    # Whoever watches has seen all of it, in either form.
    agent.stop()
    lines.wait(lambda text: "agent gone" in text, LIMIT, "agent gone")
    events.wait(lambda text: '"gone"' in text, LIMIT, "gone")
    ends = ["done"] * 5 + ["failed", "done", "failed", "done"] + ["failed"] * 3
    told = [json.loads(line).get("state") for line in events.text().splitlines()]
    assert [state for state in told if state in ("done", "failed")] == ends
    assert re.findall(r": (?:\w+ of \S+, )?(done|failed)\b", lines.text()) == ends
    # What is there is shown without an agent, and nothing is asked for.
    for command in (("list",), ("tree", "web"), ("show", "web", "base"), ("requests",)):
        assert "no agent runs" in xensnap(*command).stderr
    for command in (("status",), ("create", "web"), ("delete", "web", "base")):
        assert "xensnap: no-agent: " in xensnap(*command, status=NO_AGENT).stderr
    assert store.ls(REQUESTS) == []
    agent.start()
    for name in ("third", "second", "base", "other"):
        xensnap("delete", "web", name)
    assert_invariants(agent, guest)
