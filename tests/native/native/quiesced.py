# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quiesced snapshots, as the tests of each way to quiesce ask for them."""


def submit(agent, domain, name="s1", quiesce="1", **more):
    return agent.submit("create", domain=domain.name, name=name, quiesce=quiesce,
                        **{"memory": 0, **more})


def create(agent, domain, **more):
    return submit(agent, domain, **more).wait()


def held_switch(agent, domain, **more):
    """A request that is at the switch, its guest frozen; and the fault."""
    switch = domain.interpose().fault("transaction", "hold-before")
    request = submit(agent, domain, **more)
    switch.wait_reached()
    return request, switch


def impatient(agent_stopped, **timeouts):
    agent_stopped.configure("timeouts", **{"freeze": "3s", **timeouts})
    return agent_stopped.start()


def assert_try_goes_without(agent, domain, words):
    reply = create(agent, domain, quiesce="try")
    assert reply["state"] == "done", reply
    assert reply["result/consistency"] == "crash"
    assert words in reply["result/not-quiesced"]
