# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is not where it was: an image whose storage is not mounted, and a domain that has got
another name."""

import pytest

from guest import xl
from invariants import assert_all_name_the_same_images, files, stored_images


def ask(agent, domain, operation, **keys):
    reply = agent.request(operation, domain=domain, **keys)
    assert reply["state"] == "done", reply
    return reply


@pytest.mark.slow
def test_what_lies_under_an_image_that_is_not_there_stays(agent, guests):
    guest = guests("away", kind="pv")
    uuid, images = guest.uuid, []
    for name in ("s1", "s2", "s3"):
        ask(agent, guest.name, "create", name=name, memory=0)
        guest.write_key(1, f"since {name}")
        images.append(stored_images(guest)["xvda"])
    xl("rename", guest.name, "elsewhere")
    ask(agent, guest.name, "rescan")
    xl("rename", "elsewhere", guest.name)
    guest.destroy()
    present = files(guest.folder)
    for away, named in ((images[1:], images[1]), (images[2:], images[2])):
        for path in away:
            guest.folder.joinpath(path).rename(f"{path}.away")
        reply = agent.request("delete", domain=uuid, name="s1")
        for path in away:
            guest.folder.joinpath(f"{path}.away").rename(path)
        assert reply["state"] == "failed" and reply["error/code"] == "chain-broken", reply
        assert named in reply["error/message"] and '"s3"' in reply["error/message"]
        assert files(guest.folder) == present
    guest.start_on(xvda=images[2])
    assert guest.read_key(1) == {"xvda": "since s3"}
    for name in ("s1", "s3", "s2"):
        ask(agent, uuid, "delete", name=name)
    assert guest.read_key(1) == {"xvda": "since s3"}
    assert_all_name_the_same_images(guest)
    assert len(files(guest.folder)) == 2
