# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that no snapshot tells of: one that a revert was told to keep, and that of a disk
which the snapshot leaves out."""

from pathlib import Path

import pytest

from agent import SNAPSHOTS
from invariants import assert_all_name_the_same_images, chain, files, stored_images
from tool import FAILED, xensnap
from xenhost import Disk


def ask(agent, guest, operation, **keys):
    """By its uuid: also where it is shut down."""
    uuid = keys.pop("uuid", None) or guest.uuid
    reply = agent.request(operation, domain=uuid, **keys)
    assert reply["state"] == "done", reply
    return reply


def create(agent, guest, name, **keys):
    """And then writes go on under that name."""
    ask(agent, guest, "create", name=name, **{"memory": 0, **keys})
    guest.write_key(1, f"since {name}")


@pytest.mark.slow
def test_an_image_that_was_kept_outlasts_the_snapshot_under_it(agent, guests):
    guest = guests("kept", kind="pv")
    uuid = guest.uuid
    create(agent, guest, "s1")
    create(agent, guest, "s2")
    kept = stored_images(guest)["xvda"]
    mark = guest.console.size()
    reply = ask(agent, guest, "revert", name="s1", start="boot", keep_current=1)
    guest.wait_boot(since=mark)
    assert reply["result/disks/xvda/abandoned"] == kept
    assert guest.read_key(1) == {"xvda": ""}

    def refusal(name):
        before = chain(kept), files(guest.folder), agent.snapshots(uuid)
        told = xensnap("delete", uuid, name, status=FAILED).stderr
        assert "xensnap: snapshot-in-use: disk xvda: " in told
        assert before == (chain(kept), files(guest.folder), agent.snapshots(uuid))
        return told

    reverted = stored_images(guest)["xvda"]
    assert f"no snapshot needs {Path(kept).name}: remove that if nobody needs" in refusal("s2")
    assert guest.read_key(1) == {"xvda": ""}
    assert_all_name_the_same_images(guest)
    guest.destroy()
    assert "if it holds what the domain wrote last, start the domain on it" in refusal("s2")

    # It is whole, and once the domain is on it the snapshot can go.
    guest.start_on(xvda=kept)
    assert guest.read_key(1) == {"xvda": "since s2"}
    xensnap("delete", guest.name, "s2")
    kept = stored_images(guest)["xvda"]
    assert f"no snapshot needs {Path(reverted).name}: remove" in refusal("s1")
    Path(reverted).unlink()
    xensnap("delete", guest.name, "s1")
    assert guest.read_key(1) == {"xvda": "since s2"}
    assert files(guest.folder) == {str(guest.image("xvda")), str(guest.config_path)}
    assert_all_name_the_same_images(guest)


@pytest.mark.slow
def test_a_disk_that_is_left_out_stays_where_it_is(agent, guests):
    """Of "only-b" xvda is no part."""
    guest = guests("left", kind="pv", disks=(Disk("xvda"), Disk("xvdb")))
    uuid = guest.uuid
    create(agent, guest, "root")
    create(agent, guest, "only-b", disks="xvdb", memory=1)
    create(agent, guest, "both")

    def revert(text, image, **keys):
        mark = guest.console.size()
        ask(agent, guest, "revert", uuid=uuid, name="only-b", **keys)
        guest.wait_console(r"tick \d+", since=mark)
        assert guest.read_key(1) == {"xvda": text, "xvdb": "since root"}
        assert stored_images(guest)["xvda"] == image
        assert_all_name_the_same_images(guest)
        drawn = xensnap("tree", guest.name).stdout
        for vdev, active in stored_images(guest).items():
            assert f"{vdev} now on {len(chain(active))} images" in drawn, drawn

    def power_off(text):
        guest.write_key(1, text)
        guest.command("poweroff")
        guest.wait_state(None)

    last = stored_images(guest)["xvda"]
    revert("since both", last)
    power_off("once more")
    under = agent.store.read(f"{SNAPSHOTS}/{uuid}/both/disks/xvda/path")
    ask(agent, guest, "delete", uuid=uuid, name="both")
    remains, = {under, last} & files(guest.folder)
    revert("once more", remains, start="boot")
    guest.write_key(1, "at last")
    for name in ("root", "only-b"):
        ask(agent, guest, "delete", name=name)
    assert guest.read_key(1) == {"xvda": "at last", "xvdb": "at last"}
    assert_all_name_the_same_images(guest)
    images = {path for active in stored_images(guest).values() for path in chain(active)}
    assert len(images) == 2
    assert files(guest.folder) == images | {str(guest.config_path)}
