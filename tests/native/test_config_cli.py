# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line and the settings file, as an administrator meets them."""

import os
import re
import signal
import subprocess

import pytest

SETTINGS = f"{os.path.dirname(__file__)}/../../conf/agent.yaml"


@pytest.fixture(name="run")
def fixture_run(world, agent_stopped):
    """Runs xensnapd to its end."""
    def run(*arguments, environment=None):
        return subprocess.run(
            [agent_stopped.program, *arguments], check=False, text=True,
            capture_output=True, timeout=20, cwd=world.folder,
            env={**world.environment(), **(environment or {})})
    return run


@pytest.fixture(name="check")
def fixture_check(world, run):
    """Checks a text as settings."""
    def check(text):
        path = f"{world.folder}/test.yaml"
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return run("--config", path, "--check-config")
    return check


def test_help(run):
    for option in ("--help", "-h"):
        result = run(option)
        assert result.returncode == 0
        assert result.stdout.startswith("Usage: xensnapd")
        assert result.stderr == ""
        for word in ("--config", "--foreground", "--check-config",
                     "--version", "HUP"):
            assert word in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80


def test_version(run, world, agent):
    for option in ("--version", "-V"):
        result = run(option)
        assert result.returncode == 0
        assert re.fullmatch(r"xensnapd \d+\.\d+\.\d+\n", result.stdout)
    assert result.stdout.split()[1] == world.store.read(
        "/tool/xensnapd/status/version")
    assert agent.process.poll() is None


@pytest.mark.parametrize("arguments, word", [
    (["--nonsense"], "nonsense"), (["-x"], "x"), (["extra"], "extra"),
    (["--config"], "config"), (["--version=1"], "version")])
def test_a_wrong_command_line_is_explained(run, arguments, word):
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert word in result.stderr
    assert "--help" in result.stderr


def test_the_delivered_settings_are_valid_and_the_defaults(run):
    result = run("--config", SETTINGS, "--check-config")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{SETTINGS}: valid\n"


@pytest.mark.parametrize("text", [
    "", "# nothing\n", "---\n", "log:\n", "log: {level: debug}\n",
    "limits: {per-domain: 1}\nsupervise: never\n"])
def test_settings_that_are_valid(check, text):
    result = check(text)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("text, line, key, words", [
    ("log:\n  level: loud\n", 2, "log.level", ("loud", "debug", "critical")),
    ("\n\nlimits:\n  per-domain: 0\n", 4, "limits.per-domain", ("0", "1")),
    ("limits: {total: 1e3}\n", 1, "limits.total", ("1e3",)),
    ("limits: {total: -1}\n", 1, "limits.total", ("-1",)),
    ("timeouts:\n  lock: 5 parsecs\n", 2, "timeouts.lock", ("parsecs", "30s")),
    ("timeouts:\n  lock: 99h\n", 2, "timeouts.lock", ("99h", "1h")),
    ("store:\n  reserve: 64MB\n", 2, "store.reserve", ("64MB", "MiB")),
    ("store:\n  folder: relative/path\n", 2, "store.folder",
     ("relative/path",)),
    ("store:\n  folder: /a/../b\n", 2, "store.folder", ("/a/../b",)),
    ("xenstore:\n  root: /tool/x y\n", 2, "xenstore.root", ("/tool/x y",)),
    ("xenstore:\n  root: /local/domain/0\n", 2, "xenstore.root",
     ("/local/domain/0", "/tool/xensnapd")),
    ("xenstore:\n  root: /local/domain/7/data\n", 2, "xenstore.root",
     ("/local/domain/7/data",)),
    ("xenstore: {root: /local}\n", 1, "xenstore.root", ("/local",)),
    ("log:\n  colour: red\n", 2, "log.colour", ("no such",)),
    ("logs:\n  level: info\n", 1, "logs", ("no such",)),
    ("log.level: info\n", 1, "log.level", ("no such",)),
    ("log: {level: info}\nlog: {level: info}\n", 2, "log", ("second",)),
    ("log: info\n", 1, "log", ("section",)),
    ("log: [level]\n", 1, "log", ("section",)),
    ("limits: [\n", 1, "limits", ("section",)),
    ("supervise: sometimes\n", 1, "supervise", ("sometimes", "auto")),
])
def test_a_setting_at_fault_is_named_with_its_line(check, world, text, line,
                                                   key, words):
    result = check(text)
    assert result.returncode == 1
    assert result.stdout == ""
    where = f"{world.folder}/test.yaml:{line}: {key}"
    assert where in result.stderr, result.stderr
    for word in words:
        assert word in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("text", [
    "log: {level: info\n", "log:\n\tlevel: info\n", "- a\n- b\n", "text\n",
    "a: &x 1\n", "a: *x\n", b"\xff\xfe\xff", b"log:\n  level: \x01\n",
    "log: {level: info}\n---\nlog: {level: info}\n", "{" * 5000])
def test_text_that_is_no_settings_is_refused_with_its_line(check, world,
                                                           text):
    result = check(text)
    assert result.returncode == 1
    assert re.search(rf"{re.escape(world.folder)}/test.yaml:\d+: ",
                     result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_missing_is_named(run):
    for arguments in (("--check-config",), ("--foreground",)):
        result = run("--config", "/no/such/file.yaml", *arguments)
        assert result.returncode == 1
        assert "/no/such/file.yaml: No such file" in result.stderr


def test_a_file_that_is_too_large_is_refused(check):
    result = check("#" * (2 << 20))
    assert result.returncode == 1
    assert "larger" in result.stderr


def test_a_folder_is_no_file_for_metrics(check, world):
    result = check(f"metrics:\n  file: {world.folder}\n")
    assert result.returncode == 1
    assert f"metrics.file ({world.folder}) is a folder" in result.stderr


def test_a_folder_is_no_settings_file(run, world):
    result = run("--config", world.folder, "--check-config")
    assert result.returncode == 1
    assert world.folder in result.stderr


# -- starting -------------------------------------------------------------

def test_a_second_agent_does_not_start(run, world, agent):
    result = run("--foreground", "--config", f"{world.folder}/agent.yaml")
    assert result.returncode == 1
    assert "another xensnapd" in result.stderr
    # The first one's status still stands.
    assert world.store.read("/tool/xensnapd/status/pid") == str(
        agent.process.pid)
    assert world.store.read("/tool/xensnapd/status/state") == "ready"


def test_checking_the_settings_does_not_disturb_an_agent(run, world, agent):
    result = run("--config", f"{world.folder}/agent.yaml", "--check-config")
    assert result.returncode == 0
    assert world.store.read("/tool/xensnapd/status/state") == "ready"
    assert agent.process.poll() is None


def test_a_folder_that_cannot_be_made_is_named(run, world, agent_stopped):
    blocker = f"{world.folder}/file"
    with open(blocker, "w", encoding="ascii"):
        pass
    path = f"{world.folder}/other.yaml"
    with open(path, "w", encoding="ascii") as file:
        file.write(f"store:\n  folder: {blocker}/records\n"
                   f"  run-folder: {agent_stopped.folder}/run\n")
    result = run("--foreground", "--config", path)
    assert result.returncode == 1
    assert f"{blocker}/records" in result.stderr


def test_it_runs_in_the_background(world, agent_stopped):
    agent = agent_stopped
    agent.start()
    agent.stop()
    result = subprocess.run(
        [agent.program, "--config", f"{world.folder}/agent.yaml"],
        check=False, timeout=20, env={
            **world.environment(), "LD_PRELOAD": " ".join(
                agent._preloads())})  # pylint: disable=protected-access
    assert result.returncode == 0
    world.store.wait("/tool/xensnapd/status/state", "ready")
    pid = int(world.store.read("/tool/xensnapd/status/pid"))
    os.kill(pid, signal.SIGTERM)
    world.store.wait_gone("/tool/xensnapd/status/pid")


def test_another_root_is_used_throughout(world, agent_stopped):
    agent = agent_stopped
    agent.configure("xenstore", root="/tool/other")
    agent.start(ready=False)
    world.store.wait("/tool/other/status/state", "ready")
    world.add_domain("web")
    path = "/tool/other/requests/x"
    world.store.write_all({f"{path}/domain": "web", f"{path}/memory": 0,
                           f"{path}/name": "s1",
                           f"{path}/operation": "create"})
    world.store.wait(f"{path}/state", "done")
    assert world.store.ls("/tool/other/snapshots")
    assert world.store.ls("/tool/xensnapd") == []
