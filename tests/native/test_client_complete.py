# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion, as each shell does it."""

import os
import shlex
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
INSTALL = f"{HERE}/../../install"


def bash(words):
    line = " ".join(map(shlex.quote, words))
    return ["bash", "--norc", "-c",
            f"source {INSTALL}/xensnap.bash; COMP_WORDS=({line}); "
            f"COMP_CWORD={len(words) - 1}; _xensnap; "
            "printf '%s\\n' \"${COMPREPLY[@]}\""]


def zsh(words):
    return ["zsh", "-f", f"{HERE}/complete.zsh", INSTALL, " ".join(words)]


def fish(words):
    return ["fish", "--no-config", "-c",
            f"source {INSTALL}/xensnap.fish; complete -C '{' '.join(words)}'"]


@pytest.fixture(name="offered", params=[bash, zsh, fish])
def fixture_offered(world, xensnap, request):
    """What a shell offers behind a command line, sorted."""
    environment = world.environment()
    environment["PATH"] = f"{os.path.dirname(xensnap)}:{environment['PATH']}"
    environment["HOME"] = environment["XDG_CONFIG_HOME"] = str(world.folder)

    def offered(*words):
        result = subprocess.run(
            request.param(["xensnap", *words]), check=False, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            env=environment)
        assert result.stderr == ""
        return sorted(word for word in result.stdout.splitlines() if word)
    return offered


def test_commands_options_and_values(offered):
    assert offered("re") == ["requests", "rescan", "revert"]
    assert "create" in offered("") and "--version" in offered("--")
    assert offered("create", "web", "--no-") == ["--no-live", "--no-memory",
                                                 "--no-wait"]
    assert offered("create", "web", "--quie") == ["--quiesce", "--quiesce=try",
                                                  "--quiet"]
    assert offered("list", "--no-") == []
    assert offered("revert", "web", "s1", "--start", "") == [
        "as-saved", "boot", "paused", "running"]
    assert offered("nonsense", "") == []


def test_domains_snapshots_disks_and_requests(world, agent, offered):
    web = world.add_domain("web", disks=[("xvda", "qcow2"),
                                         ("xvdb", "qcow2")])
    world.add_domain("wiki")
    for name in ("v1.0", "v1.1", "x"):
        assert agent.request("create", domain="web", name=name, memory=0,
                             id=f"r-{name[0]}-{name[-1]}")["state"] == "done"
    assert offered("create", "w") == ["web", "wiki"]
    assert offered("revert", "") == ["web"]
    assert offered("delete", "web", "v") == ["v1.0", "v1.1"]
    assert offered("show", "--json", web.uuid, "") == ["v1.0", "v1.1", "x"]
    assert offered("delete", "wiki", "") == []
    assert offered("delete", "nobody", "") == []
    assert offered("delete", "web", "x", "") == []
    assert offered("rescan", "web", "--disk", "") == ["xvda", "xvdb"]
    assert offered("rescan", "web", "--format", "xvdb=") == [
        "xvdb=qcow2", "xvdb=raw", "xvdb=vhd"]
    assert offered("cancel", "r-v") == ["r-v-0", "r-v-1"]


def test_memory_path_is_a_file(tmp_path, offered):
    (tmp_path / "one.save").touch()
    (found,) = offered("create", "web", "--memory-path", f"{tmp_path}/o")
    # zsh tells the part of a path that it would insert.
    assert found in ("one.save", f"{tmp_path}/one.save")
