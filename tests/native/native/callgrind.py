# SPDX-License-Identifier: LGPL-2.1-or-later
"""The instructions that an agent takes, counted by valgrind."""

import os
import re

LIBRARY = "/usr/libexec/valgrind"
TOOL = f"{LIBRARY}/callgrind-amd64-linux"


class Callgrind:
    """Runs an agent under callgrind, from its start to its end."""

    def __init__(self, agent):
        self.agent = agent
        self.path = f"{agent.world.folder}/callgrind.out"
        # The tool itself and not the launcher, which would load the shims, too.
        agent.under = (TOOL, "--tool=callgrind",
                       f"--callgrind-out-file={self.path}")
        agent.world.variables.update(VALGRIND_LIB=LIBRARY,
                                     VALGRIND_LAUNCHER="/usr/bin/valgrind")

    def count(self, work=None):
        """Of a start, what work() asks for, and the end."""
        self.agent.start()
        if work:
            work()
        assert self.agent.stop() == 0
        with open(self.path, encoding="ascii", errors="replace") as file:
            total = re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M)
        os.unlink(self.path)
        return int(total[1])
