# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds once a request is over, whoever died meanwhile: ARCHITECTURE.md has
the list (I1 to I6)."""

import json
import os
import re
import select
import subprocess
from pathlib import Path

from agent import FINAL
from guest import xl

STORE = Path("/var/lib/xensnapd")
HELD = Path("/run/xensnapd/held")
LIMIT = 120
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def assert_invariants(agent, guest, request=None, domid=None):
    """`domid`: that of before, where nobody may have ended the domain. Gives the
    request's final answer."""
    reply = request.wait() if request else None
    _assert_it_runs(guest, domid)
    _assert_all_is_said_truly(agent, guest)
    _assert_it_goes_on(agent, guest)
    _assert_it_runs(guest, domid)
    _assert_all_is_said_truly(agent, guest)
    if request:
        _assert_one_final_state(request, reply)
    return reply


def _assert_all_is_said_truly(agent, guest):
    _assert_no_write_is_lost(guest)
    assert_all_name_the_same_images(guest)
    _assert_files_are_explained(agent, guest)
    wait_nobody_at_work()


def _assert_one_final_state(request, reply):
    """I5. Other requests have ended since: it stays."""
    assert reply["state"] in FINAL, reply
    assert TIME.fullmatch(reply["finished-at"]), reply
    assert ("error/code" in reply) == (reply["state"] != "done"), reply
    assert request.output() == reply


def _assert_it_runs(guest, domid):
    """I1."""
    guest.wait_tick(more=2)
    assert guest.state() == "running"
    assert domid in (None, guest.domid), f"it is domain {guest.domid} now, not {domid}"


def _assert_no_write_is_lost(guest):
    """An unbroken row of ticks, from the very first on."""
    before = guest.ticks()
    rows = guest.complete_records()
    assert rows, "the guest has no disks"
    for vdev, (first, last) in rows.items():
        assert first == 1 and last >= before, (vdev, first, last, before)


# --- images ------------------------------------------------------------------


def stored_images(guest):
    """{vdev: image} of the stored configuration."""
    config = json.loads(xl("list", "-l", guest.name))[0]["config"]
    return {disk["vdev"]: disk["pdev_path"] for disk in config["disks"]}


def _named_in_xenstore(guest):
    """{vdev: [image]} of the two places."""
    backend = f"/local/domain/0/backend/qdisk/{guest.domid}"
    own = f"/libxl/{guest.domid}/device/vbd"
    return {guest.store.read(f"{backend}/{devid}/dev"):
            [guest.store.read(f"{folder}/{devid}/params").split(":", 1)[1]
             for folder in (backend, own)]
            for devid in guest.store.ls(backend)}


def chain(image):
    """The image and all that lie under it, by their headers."""
    listed = subprocess.run(
        ["qemu-img", "info", "-U", "--backing-chain", "--output=json", image],
        check=True, stdout=subprocess.PIPE).stdout
    return [one["filename"] for one in json.loads(listed)]


def assert_all_name_the_same_images(guest):
    """I3: configuration, xenstore, and what QEMU has open."""
    stored = stored_images(guest)
    assert _named_in_xenstore(guest) == {vdev: [image, image]
                                         for vdev, image in stored.items()}
    chains = {path for image in stored.values() for path in chain(image)}
    assert guest.open_files() == chains


# --- files -------------------------------------------------------------------


def files(*folders):
    return {str(path) for folder in folders for path in Path(folder).rglob("*")
            if path.is_file()}


def _assert_files_are_explained(agent, guest):
    """I2, I6: by the disks in use or by a record; and no note is left."""
    published = agent.snapshots(guest.uuid)
    explained = {value for value in published.values() if value.startswith("/")}
    explained |= {path for image in stored_images(guest).values()
                  for path in chain(image)}
    explained.add(str(guest.config_path))
    found = files(guest.folder, STORE / "memory", STORE / "disks")
    assert found <= explained, found - explained
    records = {path.name for path in (STORE / "snapshots").rglob("*")
               if path.is_file() and not path.is_symlink()}
    names = {key.split("/")[0] for key in published if "/" in key}
    assert records == {f"{name}.yaml" for name in names}
    assert not files(STORE / "journal")
    assert not files(HELD)


# --- processes ---------------------------------------------------------------


def processes(name):
    """A pidfd of each process whose name begins so."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith(name):
                found.append(os.pidfd_open(int(comm.parent.name)))
        except OSError:
            continue  # it has ended meanwhile
    return found


def wait_nobody_at_work():
    """Neither a guardian nor what libxl writes memory with outlives its job."""
    for name in ("xensnap-guard", "libxl-save"):
        for fd in processes(name):
            ended = select.select([fd], [], [], LIMIT)[0]
            os.close(fd)
            assert ended, f"{name} outlives its job"


# --- and afterwards ----------------------------------------------------------


def _assert_it_goes_on(agent, guest):
    """Nothing is held by what is over."""
    for operation in ("create", "delete"):
        reply = agent.request(operation, domain=guest.name, name="afterwards",
                              **({"memory": 0} if operation == "create" else {}))
        assert reply["state"] == "done", reply
