# SPDX-License-Identifier: LGPL-2.1-or-later
"""The save helper that libxl starts for a checkpoint, played: `save_helper`."""

import contextlib
import os

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
