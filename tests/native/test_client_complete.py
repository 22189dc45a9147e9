# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion, as each shell does it."""

import os
import pty
import shlex
import subprocess
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
INSTALL = f"{HERE}/../../install"

# Behind the tab comes ^G, which tells what has become of the line.
BASH_RC = """
source {install}/xensnap.bash
PS1= PS2=
told() {{ _xensnap "$@"; printf '%s\\n' "${{COMPREPLY[@]}}" >{folder}/matches; }}
complete -F told xensnap
tell_line() {{ printf '%s' "$READLINE_LINE" >{folder}/new; mv {folder}/new {folder}/line; }}
bind -x '"\\C-g": tell_line'
bind 'set bell-style none'
: >{folder}/ready
"""
FISH_RC = """
function fish_prompt; end
source {install}/xensnap.fish
function tell_line; commandline >{folder}/new; mv {folder}/new {folder}/line; end
bind \\cg tell_line
function told --on-event fish_prompt; true >{folder}/ready; end
"""


def wait_for_file(path):
    deadline = time.monotonic() + 20
    while not os.path.exists(path):
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    with open(path, encoding="utf-8") as file:
        return file.read()


def typed_at(command, line, environment, folder):
    """What becomes of a line in a shell on a terminal, with a tab behind it."""
    terminal, other = pty.openpty()
    # Fish does not start on a terminal that is not its own.
    with subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=other, stdout=other, stderr=other,
            env={**environment, "TERM": "dumb", "INPUTRC": "/dev/null"}) as shell:
        os.close(other)
        wait_for_file(folder / "ready")
        os.write(terminal, f"{line}\t\a".encode())
        became = wait_for_file(folder / "line")
        shell.kill()
    os.close(terminal)
    return became


def emptied(folder):
    folder.mkdir(exist_ok=True)
    for name in ("ready", "line", "matches"):
        (folder / name).unlink(missing_ok=True)
    return folder


def bash(line, environment, folder):
    """A real one, that is typed at. What it offers, and the line then."""
    emptied(folder)
    (folder / "rc").write_text(BASH_RC.format(install=INSTALL, folder=folder))
    became = typed_at(["bash", "--noprofile", "--rcfile", str(folder / "rc"), "-i"],
                      line, environment, folder)
    matches = folder / "matches"
    return matches.read_text().splitlines() if matches.exists() else [], became


def zsh(line, environment, folder):
    result = subprocess.run(
        ["zsh", "-f", f"{HERE}/complete.zsh", INSTALL, line], check=False,
        text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        env={**environment, "HOME": str(folder.parent)})
    assert result.stderr == ""
    *matches, became = result.stdout.splitlines()
    return matches, became.removeprefix("LINE-").removesuffix("-END")


def fish(line, environment, folder):
    """It tells by itself what it offers."""
    result = subprocess.run(
        ["fish", "--no-config", "-c",
         f"source {INSTALL}/xensnap.fish; complete -C $argv[1]", line],
        check=False, text=True, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, env={**environment, "XDG_CONFIG_HOME": str(folder.parent)})
    assert result.stderr == ""
    return [match.split("\t")[0] for match in result.stdout.splitlines()], None


def fish_typed_at(line, environment, folder):
    emptied(folder)
    became = typed_at(
        ["fish", "--no-config", "-i", "-C",
         FISH_RC.format(install=INSTALL, folder=folder)],
        line, {**environment, "HOME": str(folder.parent),
               "XDG_CONFIG_HOME": str(folder.parent)}, folder)
    return None, became.removesuffix("\n")


def second_word(line, shell):
    """Of a command line, as the shell understands it."""
    script = f"set -- {line}\nprintf %s \"$2\""
    if shell == "fish":
        script = f"set words {line}\nprintf %s \"$words[2]\""
    return subprocess.run([shell, "-c", script], check=False, text=True,
                          capture_output=True).stdout


@pytest.fixture(name="environment")
def fixture_environment(world, xensnap):
    environment = world.environment()
    environment["PATH"] = f"{os.path.dirname(xensnap)}:{environment['PATH']}"
    return environment


@pytest.fixture(name="offered", params=[bash, zsh, fish])
def fixture_offered(environment, request, tmp_path):
    """What a shell offers behind a command line, sorted. Of a word with "=" only
    what comes behind that: bash has no more to insert."""
    def offered(line):
        matches, _ = request.param(f"xensnap {line}", environment,
                                   tmp_path / "shell")
        if "=" in line.split(" ")[-1]:
            matches = [match.rpartition("=")[2] for match in matches]
        return sorted(filter(None, matches))
    return offered


COMPLETED = {"bash": bash, "zsh": zsh, "fish": fish_typed_at}


@pytest.fixture(name="completed", params=COMPLETED)
def fixture_completed(environment, request, tmp_path):
    """What becomes of a line with a tab behind it."""
    def completed(line):
        _, became = COMPLETED[request.param](f"xensnap {line}", environment,
                                             tmp_path / "shell")
        return became.removeprefix("xensnap ")
    completed.shell = request.param
    return completed


def test_commands_options_and_values(offered):
    assert offered("re") == ["requests", "rescan", "revert"]
    assert "create" in offered("") and "--version" in offered("--")
    assert offered("create web --no-") == ["--no-live", "--no-memory",
                                           "--no-wait"]
    assert offered("create web --quie") == ["--quiesce", "--quiesce=try",
                                            "--quiet"]
    assert offered("list --no-") == []
    for start in ("--start ", "--start="):
        assert offered(f"revert web s1 {start}") == [
            "as-saved", "boot", "paused", "running"]
    assert offered("revert web s1 --start=as") == ["as-saved"]
    assert offered("create web --quiesce=") == ["try"]
    assert offered("nonsense ") == []


def test_domains_snapshots_disks_and_requests(world, agent, offered):
    web = world.add_domain("web", disks=[("xvda", "qcow2"),
                                         ("xvdb", "qcow2")])
    world.add_domain("wiki")
    for name in ("v1.0", "v1.1", "x"):
        assert agent.request("create", domain="web", name=name, memory=0,
                             id=f"r-{name[0]}-{name[-1]}")["state"] == "done"
    assert offered("create w") == ["web", "wiki"]
    assert offered("create --name=foo w") == ["web", "wiki"]
    assert offered("revert ") == ["web"]
    assert offered("delete web v") == ["v1.0", "v1.1"]
    assert offered(f"show --json {web.uuid} ") == ["v1.0", "v1.1", "x"]
    assert offered("delete wiki ") == []
    assert offered("delete nobody ") == []
    assert offered("delete web x ") == []
    for equals in (" ", "="):
        assert offered(f"rescan web --disk{equals}") == ["xvda", "xvdb"]
        assert offered(f"rescan web --format{equals}xvdb=") == [
            "qcow2", "raw", "vhd"]
    assert offered("rescan web --format xvdb=q") == ["qcow2"]
    assert offered("cancel r-v") == ["r-v-0", "r-v-1"]
    for equals in (" ", "="):
        assert offered(f"cancel --root{equals}/x r") == []
    assert offered("status --ro") == ["--root"]
    for equals in (" ", "="):
        root = f"--root{equals}/tool/xensnapd"
        assert offered(f"{root} re") == ["requests", "rescan", "revert"]
        assert offered(f"{root} delete web v") == ["v1.0", "v1.1"]
        assert offered(f"--root{equals}/x {root} cancel r-v") == ["r-v-0", "r-v-1"]
        assert offered(f"{root} --root{equals}/x cancel r") == []
    assert offered("--ro") == ["--root"]
    assert offered("--root ") == []


def test_what_is_inserted(world, agent, completed):
    web = world.add_domain("web")
    world.store.write(f"{web.path}/snapshot/requests/mine/operation", "create")
    assert completed(f"watch {web.domid}:m") == f"watch {web.domid}:mine "
    assert completed("create --name=foo w") == "create --name=foo web "
    assert completed("revert web s1 --start=b") == "revert web s1 --start=boot "
    assert completed("rescan web --format xv") == "rescan web --format xvda="
    assert completed("rescan web --format xvda=q") == \
        "rescan web --format xvda=qcow2 "
    assert completed("rescan web --format=xvda=q") == \
        "rescan web --format=xvda=qcow2 "


def rename(world, domain, name):
    world.store.write(f"/local/domain/{domain.domid}/name", name)


def test_names_with_spaces_are_inserted_quoted(world, completed):
    rename(world, world.add_domain("web"), "two words")
    assert completed("create tw") == r"create two\ words "
    assert completed(r"create two\ w") == r"create two\ words "
    assert completed("create 'tw") == "create 'two words' "
    assert completed('create "tw') == 'create "two words" '


def test_quoted_names_are_understood(world, agent, offered):
    domain = world.add_domain("web")
    assert agent.request("create", domain="web", name="s1",
                         memory=0)["state"] == "done"
    rename(world, domain, "two words")
    for name in (r"two\ words", "'two words'", '"two words"'):
        assert offered(f"show {name} ") == ["s1"]


@pytest.mark.parametrize("typed", ["tw", r"two\ w", "'tw", '"tw'])
def test_half_of_a_quoted_name_is_understood(world, offered, typed):
    rename(world, world.add_domain("web"), "two words")
    word, = offered(f"create {typed}")
    assert word.replace("\\", "") == "two words"


def test_a_name_runs_nothing(world, completed, tmp_path):
    """A guest's administrator may choose it."""
    proof = tmp_path / "proof"
    name = f"z$(touch {proof})`touch {proof}`'\";&"
    rename(world, world.add_domain("web"), name)
    for start in ("create z", "create 'z", 'create "z'):
        assert second_word(completed(start), completed.shell) == name
    completed(f"show {shlex.quote(name)} ")
    assert not proof.exists()


@pytest.mark.parametrize("option", [
    "create web --memory-path ", "create web --memory-path=",
    "rescan web --disk xvda=", "rescan web --disk=xvda="])
def test_paths(tmp_path, completed, option):
    (tmp_path / "files" / "folder").mkdir(parents=True)
    (tmp_path / "files" / "one file").touch()
    path = f"{option}{tmp_path}/files"
    assert completed(f"{path}/fo") == f"{path}/folder/"
    assert completed(f"{path}/on") == fr"{path}/one\ file "


@pytest.mark.parametrize("option", [
    "create web --memory-path ", "create web --memory-path=",
    "rescan web --disk xvda=", "rescan web --disk=xvda="])
def test_paths_are_offered(tmp_path, offered, option):
    (tmp_path / "one.save").touch()
    (found,) = offered(f"{option}{tmp_path}/o")
    # zsh tells the part of a path that it would insert.
    assert found in ("one.save", f"{tmp_path}/one.save")
