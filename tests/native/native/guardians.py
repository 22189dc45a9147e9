# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guardians of a domain: of a suspended guest, or of a live merge."""

import contextlib
import os
import signal


def guardians(domain):
    """Their pids."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
            if words[0] == b"xensnap-guard" and domain.uuid.encode() in words:
                found.add(int(name))
    return found


def wait_no_guardian(world, domain):
    world.eventually(lambda: not guardians(domain), 20, "the guardian ends")


def kill_guardian(world, domain, agent, count):
    """Kills the guardian; waits for the next, the `count`th one."""
    pid, = guardians(domain)
    os.kill(pid, signal.SIGKILL)
    world.eventually(lambda: guardians(domain) - {pid}, 20, "another guardian")
    world.eventually(lambda: agent.log_text().count("has a new guardian") == count, 20,
                     "it is ready")


@contextlib.contextmanager
def stopped(domain):
    """The guardian does nothing meanwhile. (That of the disk before may be ending.)"""
    domain.world.eventually(lambda: len(guardians(domain)) == 1, 20, "one guardian")
    pid, = guardians(domain)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_with_guardian(world, domain, agent, *others):
    """The agent, and before it can act its guardian, and those of other domains."""
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(stopped(one)) for one in (domain, *others)]
        agent.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    for one in (domain, *others):
        wait_no_guardian(world, one)
