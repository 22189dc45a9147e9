# SPDX-License-Identifier: LGPL-2.1-or-later
"""An agent that stands still just before it does a certain thing, so that a
scenario can choose who dies at that instant: the agent, QEMU, xenstored."""

import os
import signal
import sys

from agent import CHECKOUT, LIMIT, Agent
from guest import ARTIFACTS
from waiting import GrowingFile

sys.path.append(str(CHECKOUT / "tests" / "native"))

from native.faults import STOP_BEFORE, Faults  # noqa: E402  (after the line above)


class StoppableAgent(Agent):
    """What it does is counted by tests/native/shim/fault_points.c, which also says
    what the points are called: "qmp end of transaction" (all but that QEMU
    has read before), "libxl libxl_domain_resume"."""

    def __init__(self, folder, config=None):
        self.faults = Faults(folder)
        self.points = GrowingFile(f"{self.faults.path}.names")
        super().__init__(config, {"LD_PRELOAD": str(ARTIFACTS / "fault_shim.so"),
                                  "FAULT_POINTS": self.faults.path})

    def stop_before(self, point, operation, number=1, limit=LIMIT, **keys):
        """Submit a request and wait until the agent stands before the point of
        that name that comes as the `number`-th."""
        self.faults.arm(STOP_BEFORE, number, point)
        request = self.submit(operation, **keys)
        self._wait_stopped(limit)
        return request

    def stop_again_before(self, point, number=1, limit=LIMIT):
        """Of one that stands still."""
        self.faults.arm(STOP_BEFORE, number, point)
        self.go_on()
        self._wait_stopped(limit)

    def _wait_stopped(self, limit):
        self.points.wait_match("stopped", limit)
        # That was told just before.
        ended = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert ended.si_code == os.CLD_STOPPED, self.log.tail()
        self.faults.disarm()

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.running():
            self.go_on()
        super().close()
        self.faults.close()
