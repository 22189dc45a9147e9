# SPDX-License-Identifier: LGPL-2.1-or-later
"""TERM, INT and HUP."""

import os
import signal
import threading
import time

import pytest

from native.agent import ROOT
from native.expect import (Picture, assert_disk_is_on, assert_failed,
                           rewrite_settings)


def submit(agent, name):
    return agent.submit("create", domain="web", name=name, memory=0)


@pytest.fixture(name="busy")
def fixture_busy(world, agent):
    """An agent with an operation held before the switch."""
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent, "s1")
    fault.wait_reached()
    yield domain, request, fault, picture
    fault.release()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_agent_ends_at_once(world, agent, number):
    world.add_domain("web")
    assert submit(agent, "s1").wait()["state"] == "done"
    begun = time.monotonic()
    agent.process.send_signal(number)
    assert agent.wait_exit() == 0
    assert time.monotonic() - begun < 5


def test_what_runs_is_carried_to_its_end(world, agent, busy):
    domain, request, fault, _ = busy
    agent.process.terminate()
    world.store.wait(f"{ROOT}/status/state", "draining")
    late = submit(agent, "late")
    fault.release()
    assert agent.wait_exit() == 0
    reply = request.output()
    assert reply["state"] == "done"
    assert_disk_is_on(domain, "xvda", reply["result/disks/xvda/path"])
    assert late.state() is None
    agent.start()
    assert late.wait()["state"] == "done"
    assert len(domain.chain("xvda")) == 3


def test_a_second_signal_rolls_back(world, agent, busy):
    _, request, fault, picture = busy
    agent.process.terminate()
    world.store.wait(f"{ROOT}/status/state", "draining")
    agent.process.terminate()
    threading.Timer(0.5, fault.release).start()
    assert agent.wait_exit() == 0
    assert_failed(request.output(), "interrupted", "rolled back")
    picture.assert_same()
    agent.start()
    assert_failed(request.output(), "interrupted")


def test_draining_has_a_limit(world, agent_stopped):
    agent = agent_stopped
    agent.configure("timeouts", drain="500ms")
    agent.start()
    domain = world.add_domain("web")
    picture = Picture(agent, domain)
    fault = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent, "s1")
    fault.wait_reached()
    agent.process.terminate()
    agent.wait_log("rolling them back")
    fault.release()
    assert agent.wait_exit() == 0
    assert_failed(request.output(), "interrupted")
    picture.assert_same()


def test_a_request_that_comes_with_the_signal_is_not_lost(world, agent):
    """Both are there when the agent looks: either it is carried out, or it
    waits for the next agent."""
    domain = world.add_domain("web")
    for index in range(5):
        os.kill(agent.process.pid, signal.SIGSTOP)
        request = submit(agent, f"s{index}")
        agent.process.terminate()
        os.kill(agent.process.pid, signal.SIGCONT)
        assert agent.wait_exit() == 0
        assert request.state() in (None, "queued", "done")
        agent.start()
        assert request.wait()["state"] == "done"
    assert len(domain.chain("xvda")) == 6


def test_signals_that_mean_nothing_harm_nothing(world, agent, busy):
    _, request, fault, _ = busy
    for _ in range(3):
        agent.process.send_signal(signal.SIGPIPE)
        agent.process.send_signal(signal.SIGCHLD)
        agent.process.send_signal(signal.SIGHUP)
    fault.release()
    assert request.wait()["state"] == "done"


# -- the settings read again ----------------------------------------------

def reload(agent, text="settings read again"):
    rewrite_settings(agent)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log(text)


def test_new_settings_hold_from_then_on(world, agent):
    world.add_domain("web")
    agent.configure("xenstore", keep_finished="500ms")
    reload(agent)
    request = submit(agent, "s1")
    world.store.wait_for(f"{ROOT}/snapshots",
                         lambda: world.store.ls(f"{ROOT}/snapshots"))
    world.store.wait_gone(f"{request.path}/state")


def test_new_time_limits_hold_from_then_on(world, agent):
    domain = world.add_domain("web")
    agent.configure("timeouts", qmp_greeting="300ms")
    reload(agent)
    domain.interpose().no_greeting = True
    assert_failed(submit(agent, "s1").wait(), "qmp-error", "300 ms")


@pytest.mark.parametrize("section, values, words", [
    ("limits", {"per_domain": "many"}, "limits.per-domain"),
    ("nonsense", {"x": "y"}, "nonsense"),
])
def test_settings_that_are_wrong_change_nothing(world, agent, section, values,
                                                words):
    domain = world.add_domain("web")
    good = {name: dict(content) for name, content in agent.settings.items()}
    agent.configure(section, **values)
    agent.configure("xenstore", keep_finished="100ms")
    reload(agent, "the settings stay as they are")
    assert words in agent.log_text()
    request = submit(agent, "s1")
    assert request.wait()["state"] == "done"
    time.sleep(0.3)
    assert request.state() == "done"
    agent.settings = good
    reload(agent)
    assert len(domain.chain("xvda")) == 2


def test_a_settings_file_that_is_gone_changes_nothing(world, agent):
    world.add_domain("web")
    os.unlink(rewrite_settings(agent))
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log("the settings stay as they are")
    assert submit(agent, "s1").wait()["state"] == "done"


def test_folders_change_only_with_a_restart(world, agent):
    domain = world.add_domain("web")
    folder = agent.settings["store"]["folder"]
    agent.configure("store", folder=f"{agent.folder}/elsewhere")
    reload(agent, "only with a restart")
    assert submit(agent, "s1").wait()["state"] == "done"
    assert os.listdir(f"{folder}/snapshots") == [domain.uuid]
