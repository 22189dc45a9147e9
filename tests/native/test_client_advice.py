# SPDX-License-Identifier: LGPL-2.1-or-later
"""What xensnap advises, by what the agent really answers."""

import pytest

from native.agent import ROOT

DONE, FAILED = 0, 1


def told(run, *arguments):
    result = run(*arguments, "-q")
    assert result.returncode == FAILED
    return result.stderr


def test_a_guest_that_cannot_freeze(world, agent, run):
    world.add_domain("web")
    text = told(run, "create", "web", "--no-memory", "--quiesce")
    assert "guest-unresponsive: " in text
    assert "Run xensnap-guest in the guest, or use --quiesce=try." in text


def test_names_are_told_as_they_are(world, agent, run):
    world.add_domain("web")
    text = told(run, "rescan", "web", "--disk", "xvda=/srv/\u00fcmlaut.qcow2")
    assert "/srv/\u00fcmlaut.qcow2" in text
    result = run("create", "web", "--name", "\u00fcmlaut")
    assert '"\u00fcmlaut"' in result.stderr


@pytest.fixture(name="one")
def fixture_one(world, agent, run):
    world.add_domain("web")
    assert run("create", "web", "--no-memory", "--name",
               "s1").returncode == DONE


def test_a_domain_that_is_held(one, run):
    assert run("rescan", "web", "--prepare").returncode == DONE
    for arguments in (["create", "web"], ["delete", "web", "s1"],
                      ["rescan", "web", "--prepare"]):
        text = told(run, *arguments)
        assert "busy: " in text
        assert "End the hold: 'xensnap rescan web --complete'" in text
        assert "phase=abort is --abort" in text
    assert run("rescan", "web", "--abort").returncode == DONE


def test_a_hold_that_is_over(one, world, run):
    assert run("rescan", "web", "--prepare", "--hold", "1").returncode == DONE
    # A complete before the end would end it as well.
    holds = f"{ROOT}/holds"
    world.store.wait_for(holds, lambda: not world.store.ls(holds))
    text = told(run, "rescan", "web", "--complete")
    assert "timeout: the hold's time was over" in text
    assert "--hold SECONDS" in text and "--timeout" not in text


def test_an_image_that_is_not_there(one, run):
    text = told(run, "rescan", "web", "--disk", "xvda=/typo")
    assert "--disk VDEV=PATH" in text and "Do not restart" not in text
    text = told(run, "rescan", "web", "--complete")
    assert "phase=prepare is --prepare" in text
