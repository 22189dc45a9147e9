# SPDX-License-Identifier: LGPL-2.1-or-later
"""The wrapper that takes QEMU's place in a driver domain."""

import os
import subprocess

import pytest

WRAPPER = os.path.join(os.path.dirname(__file__), "../../install/qemu-devd")
# As `xl devd` of Xen 4.17 starts it.
DEVD = ["-xen-domid", "7", "-xen-attach", "-name", "domain 7", "-nographic",
        "-M", "xenpv", "-monitor", "/dev/null", "-serial", "/dev/null",
        "-parallel", "/dev/null"]
SOCKET = ["-chardev",
          "socket,id=xensnapd,path=/run/xen/qmp-devd-7,server=on,wait=off",
          "-mon", "chardev=xensnapd,mode=control"]


@pytest.fixture(name="qemu")
def fixture_qemu(tmp_path):
    """Runs the wrapper where QEMU was, by a link to it; gives the arguments that
    the real one, kept beside it, is started with."""
    (tmp_path / "qemu").symlink_to(os.path.realpath(WRAPPER))
    real = tmp_path / "qemu.distrib"
    real.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 3\n")
    real.chmod(0o755)

    def run(*arguments):
        done = subprocess.run([tmp_path / "qemu", *arguments], check=False,
                              stdout=subprocess.PIPE, text=True)
        assert done.returncode == 3
        return done.stdout.split("\n")[:-1]

    return run


def test_what_devd_starts_gets_a_socket(qemu):
    assert qemu(*DEVD) == DEVD + SOCKET


@pytest.mark.parametrize("arguments", [
    ["-version"],
    [*DEVD, "-chardev", "socket,id=libxl-cmd,path=/x,server=on,wait=off",
     "-mon", "chardev=libxl-cmd,mode=control"],
    [*DEVD, "-qmp", "unix:/x,server"],
])
def test_what_has_a_monitor_or_no_domain_is_left_alone(qemu, arguments):
    assert qemu(*arguments) == arguments
