# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of live merges begin with."""


def chain(domain):
    return [path for path, _ in domain.chain("xvda")]


def two(world, agent):
    """On an image over its base, with newer data in it."""
    domain = world.add_domain("alice", disks=[("xvda", "qcow2")])
    domain.write("xvda", 0, b"0" * 4096)
    reply = agent.request("create", domain="alice", name="s1", memory=0)
    assert reply["state"] == "done", reply
    for place in (0, 65536):
        domain.write("xvda", place, b"1" * 4096)
    domain.disks["xvda"].front.flush()
    return domain, *chain(domain)
