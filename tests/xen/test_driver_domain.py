# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that a driver domain serves."""

import pytest

from xenhost import Disk, Driver


@pytest.fixture
def driver(request):
    """A driver domain, whose QEMUs have a QMP socket."""
    made = Driver("driver")
    request.node.reporters = [*getattr(request.node, "reporters", []), made.report]
    yield made
    made.close()


def images(blocks):
    """{image: format} of what `query-block` tells; empty drives are there, too."""
    return {block["inserted"]["file"]: block["inserted"]["drv"]
            for block in blocks if "inserted" in block}


def test_guest_has_a_disk_from_dom0_and_one_from_a_driver_domain(driver, guests):
    guest = guests("both", disks=(Disk("xvda"), Disk("xvdb", "raw"),
                                  Disk("xvdc", driver=driver),
                                  Disk("xvdd", "raw", driver=driver)))
    guest.write_key(1, "everywhere")
    assert set(guest.read_key(1)) == {"xvda", "xvdb", "xvdc", "xvdd"}
    # dom0's QEMU has the one half, and the driver domain's, by the socket that our
    # wrapper gave it, tells of the other.
    assert guest.open_files() == {str(guest.image("xvda")), str(guest.image("xvdb"))}
    assert images(driver.qmp(guest, "query-block")) == {
        str(guest.image("xvdc")): "qcow2", str(guest.image("xvdd")): "raw"}
    assert "everywhere" in driver.run(f"strings {guest.image('xvdd')}")
