# SPDX-License-Identifier: LGPL-2.1-or-later
"""The save helper that libxl starts for a checkpoint, played: `save_helper`;
and that of another toolstack."""

import contextlib
import os
import signal
import subprocess

HELPER = os.path.join(os.path.dirname(__file__), "save_helper")


class Save:
    """Of each checkpoint from now on; while it is held, the guest stays suspended."""

    def __init__(self, folder, monkeypatch):
        self.path = f"{folder}/hold"
        monkeypatch.setenv("LIBXL_SAVE_HELPER", HELPER)
        monkeypatch.setenv("SAVE_HELPER_HOLD", self.path)

    def hold(self, deaf=False):
        """`deaf`: also to what would end it."""
        for name in [self.path] + [f"{self.path}.deaf"] * deaf:
            with open(name, "wb"):
                pass

    def release(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def cmdline(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")


@contextlib.contextmanager
def saved_by_another(domain):
    """Another toolstack saves or migrates it; gives its helper's process."""
    command = f"'{domain.world.shims}/other_save' --save-domain 7 8 {domain.domid} 0"
    with subprocess.Popen(["sh", "-c", f"{command} & echo $!; wait"], text=True,
                          stdout=subprocess.PIPE) as toolstack:
        helper = int(toolstack.stdout.readline())
        domain.world.eventually(lambda: b"--save-domain" in cmdline(helper))
        try:
            yield helper
        finally:
            os.kill(helper, signal.SIGKILL)
