# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many of everything, made cheaply: domains without a QEMU, records that were
copied, requests that are over or wait."""

import os
import re
import uuid as uuid_module
import zlib

from native.agent import ROOT


class Idle:
    """A domain of which nothing is there but what a look at it finds."""

    def __init__(self, domid, name, uuid):
        self.domid, self.name, self.uuid = domid, name, uuid

    @property
    def path(self):
        return f"/local/domain/{self.domid}"


def add_idle_domains(world, count, first=1000):
    """Domains that run and do nothing."""
    def add(domid):
        domain = Idle(domid, f"idle{domid}", str(uuid_module.uuid4()))
        world.xen.add(domid, domain.uuid, "pv")
        world.store.write(f"{domain.path}/name", domain.name)
        world.store.write(f"{domain.path}/vm", f"/vm/{domain.uuid}")
        world.store.write(f"/libxl/{domid}/type", "pv")
        return domain

    return [add(domid) for domid in range(first, first + count)]


def add_finished_requests(world, count):
    """Requests that ended, and that nobody has removed."""
    for number in range(count):
        folder = f"{ROOT}/requests/over-{number}"
        world.store.write(f"{folder}/state", "done")
        world.store.write(f"{folder}/operation", "create")


def _model_record(agent):
    """The text of the one record that there is, and where it stands."""
    base = agent.settings["store"]["folder"]
    path, = (f"{base}/{name}" for name in agent.records()
             if name.startswith("snapshots/") and name.endswith(".yaml"))
    with open(path, encoding="utf-8") as file:
        return file.read().split("\n# crc32", 1)[0]


def _write_sealed(path, text):
    data = text.encode()
    with open(path, "wb") as file:
        file.write(data + b"\n# crc32 %08x\n" % zlib.crc32(data))


def add_records(agent, vms, each):
    """Records of `vms` VMs that do not run, made from the one that there is;
    gives the uuids. The agent reads them when it starts."""
    folder = f"{agent.settings['store']['folder']}/snapshots"
    model = _model_record(agent)
    values = dict(re.findall(r'^([a-z-]+): "(.*)"$', model, re.M))
    model = model.replace(f'domain-name: "{values["domain-name"]}"',
                          'domain-name: "away"')
    uuids = [str(uuid_module.uuid4()) for _ in range(vms)]
    for uuid in uuids:
        os.mkdir(f"{folder}/{uuid}")
        parent = ""
        for number in range(each):
            text = model.replace(values["vm-uuid"], uuid).replace(
                f'\nname: "{values["name"]}"',
                f'\nname: "s{number}"{parent}', 1)
            _write_sealed(f"{folder}/{uuid}/s{number}.yaml", text)
            parent = f'\nparent: "s{number}"'
        os.symlink(f"s{each - 1}.yaml", f"{folder}/{uuid}/current")
    return uuids
