# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion in bash."""

import os
import subprocess

import pytest

SCRIPT = os.path.join(os.path.dirname(__file__), "../../install/xensnap.bash")


@pytest.fixture(name="offered")
def fixture_offered(world, xensnap):
    """What bash offers behind a command line."""
    def offered(*words):
        line = " ".join(f"'{word}'" for word in ("xensnap", *words))
        script = (f"PATH={os.path.dirname(xensnap)}:$PATH; source {SCRIPT}; "
                  f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
                  "_xensnap; printf '%s\\n' \"${COMPREPLY[@]}\"")
        result = subprocess.run(
            ["bash", "--norc", "-c", script], check=True, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30,
            env=world.environment())
        assert result.stderr == ""
        return [word for word in result.stdout.splitlines() if word]
    return offered


def test_commands_options_and_values(offered):
    assert offered("re") == ["revert", "rescan", "requests"]
    assert "create" in offered("") and "--version" in offered("--")
    assert offered("create", "web", "--no-") == ["--no-memory", "--no-live",
                                                 "--no-wait"]
    assert offered("list", "--no-") == []
    assert offered("revert", "web", "s1", "--start", "") == [
        "as-saved", "running", "paused", "boot"]
    assert offered("nonsense", "") == []


def test_domains_snapshots_disks_and_requests(world, agent, offered):
    web = world.add_domain("web", disks=[("xvda", "qcow2"),
                                         ("xvdb", "qcow2")])
    world.add_domain("wiki")
    for name in ("v1.0", "v1.1", "x"):
        assert agent.request("create", domain="web", name=name, memory=0,
                             id=f"r-{name[0]}-{name[-1]}")["state"] == "done"
    assert sorted(offered("create", "w")) == ["web", "wiki"]
    assert offered("revert", "") == ["web"]
    assert offered("delete", "web", "v") == ["v1.0", "v1.1"]
    assert offered("show", "--json", web.uuid, "") == ["v1.0", "v1.1", "x"]
    assert offered("delete", "wiki", "") == []
    assert offered("delete", "nobody", "") == []
    assert offered("delete", "web", "x", "") == []
    assert sorted(offered("rescan", "web", "--disk", "")) == ["xvda", "xvdb"]
    assert sorted(offered("rescan", "web", "--format", "xvdb=")) == [
        "xvdb=qcow2", "xvdb=raw", "xvdb=vhd"]
    assert sorted(offered("cancel", "r-v")) == ["r-v-0", "r-v-1"]


def test_memory_path_is_a_file(tmp_path, offered):
    (tmp_path / "one.save").touch()
    assert offered("create", "web", "--memory-path", f"{tmp_path}/o") == [
        f"{tmp_path}/one.save"]
