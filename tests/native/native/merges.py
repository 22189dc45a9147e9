# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of live merges begin with."""

from native.guardians import kill_with_guardian


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


def delete(agent, name):
    return agent.request("delete", domain="alice", name=name)


def kill_at(agent, domain, command, kind, guardian=False):
    """Kills the agent, and with `guardian` what would go on for it."""
    fault = domain.interpose().fault(command, kind)
    request = agent.submit("delete", domain="alice", name="s1")
    fault.wait_reached()
    if guardian:
        kill_with_guardian(agent.world, domain, agent)
    else:
        agent.kill()
    domain.uninterpose()
    return request


def write(domain, byte):
    domain.write("xvda", 0, byte * 4096)
    domain.disks["xvda"].front.flush()


def reboot(world, domain, path=None):
    """As `on_reboot` does it: on what the stored configuration names."""
    path = path or domain.stored_config()["disks"][0]["pdev_path"]
    world.remove_domain(domain)
    return world.add_domain("alice", uuid=domain.uuid,
                            disks=[{"vdev": "xvda", "format": "qcow2", "path": path}])
