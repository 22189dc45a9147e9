# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that a scenario needs, in one import."""

from agent import FINAL, REQUESTS, SNAPSHOTS, STATUS, Agent, Request
from driver import Driver
from guest import CONSOLES, IMAGES, Disk, Guest, Guests, xl
from stoppable import StoppableAgent
from waiting import Deadline, GrowingFile, WaitFailed
from xenstore import Store, StoreError

__all__ = [
    "Agent", "CONSOLES", "Deadline", "Disk", "Driver", "FINAL", "GrowingFile", "Guest", "Guests",
    "IMAGES", "REQUESTS", "Request", "SNAPSHOTS", "STATUS", "StoppableAgent",
    "Store", "StoreError", "WaitFailed", "xl",
]
