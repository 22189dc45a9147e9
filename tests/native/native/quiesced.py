# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quiesced snapshots, as the tests of each way to quiesce ask for them."""


def submit(agent, domain, name="s1", quiesce="1", **more):
    return agent.submit("create", domain=domain.name, name=name, quiesce=quiesce,
                        **{"memory": 0, **more})


def create(agent, domain, **more):
    return submit(agent, domain, **more).wait()
