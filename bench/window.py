#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What happens while a guest stands still for a checkpoint, call by call, on an
emulated Xen host: `tests/xen/host run bench/window.py pv-4`.

strace looks on at the agent, its children (libxl's save helper, the guardian) and
the guest's QEMU, which makes every call many times slower: what there is is shown,
and in which order; how long it takes is told by checkpoint.py. While libxl saves,
calls are only counted; from the end of the save on each is shown, but QEMU's, of
which those in between two others are counted.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.append(str(CHECKOUT / "tests" / "xen"))

import xenhost  # noqa: E402  (after the line above)

LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
NAME = re.compile(r"\w+")
UNFINISHED = re.compile(r"(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
THREAD = re.compile(r"parent_tid=\[(\d+)\]")
PATH = re.compile(r"<[^<>]*/([^/<>]*)>")
# What a process only waits with, or does to itself.
NOISE = ("epoll_wait", "poll", "ppoll", "futex", "restart_syscall", "select", "sched_yield",
         "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rseq", "set_robust_list", "mprotect")
SAVED = "step=save-memory done"
GOES_ON = "step=resume-guest done"
# The helper's last words to libxl come this much earlier than the step's end, at most.
HELPER_ENDS_S = 0.06
DISKS = ("xvda", "xvdb", "xvdc", "xvdd")


class Strace:
    """Of running processes, and whatever they start."""

    def __init__(self, *pids):
        self.file = Path(tempfile.mkstemp(prefix="window-")[1])
        wanted = [word for pid in pids for word in ("-p", str(pid))]
        self.process = subprocess.Popen(
            ["strace", "-f", "-ttt", "-T", "-yy", "-s", "100", "-o", self.file, *wanted],
            stderr=subprocess.PIPE, text=True)
        for _ in pids:
            self.process.stderr.readline()  # "Process N attached"

    def end(self):
        self.process.terminate()
        self.process.wait()
        return [LINE.match(line).groups() for line in self.file.read_text().splitlines()
                if LINE.match(line)]


def calls_of(lines, names):
    """(seconds, who, call's name, text) in order; a call that strace tells in two
    parts is put together, and stands where it began."""
    begun = {}
    calls = []
    for pid, when, text in lines:
        again = RESUMED.match(text)
        if again and pid in begun:
            begun.pop(pid)[3] += again.group(1)
            continue
        half = UNFINISHED.match(text)
        name = NAME.match(text)
        if not name or name.group() in NOISE or " EAGAIN " in text:
            continue
        calls.append([float(when), names.get(int(pid), pid), name.group(),
                      half.group(1) if half else text])
        if half:
            begun[pid] = calls[-1]
    return calls


def names_of(lines, agent, qemu):
    """Threads that are there, and processes that come, told by what they execute."""
    names = {int(entry.name): who for pid, who in ((agent, "agent"), (qemu, "qemu"))
             for entry in Path(f"/proc/{pid}/task").iterdir()}
    for pid, _, text in lines:
        thread = THREAD.search(text)
        if thread and int(pid) in names:
            names[int(thread.group(1))] = names[int(pid)]
        if text.startswith("execve("):
            names[int(pid)] = ("helper" if "libxl-save-helper" in text
                               else "guardian" if "/proc/self/exe" in text
                               else text.split('"')[1].split("/")[-1])
    return names


def counted(calls):
    """How many of which, the most frequent first."""
    counts = Counter(name for _, _, name, _ in calls)
    return f"{len(calls)} calls: " + ", ".join(
        f"{count} {name}" for name, count in counts.most_common(6))


def time_of(calls, words):
    return max(when for when, _, _, text in calls if words in text)


def show(calls, downtime_ms):
    """Calls by what they come after: the guest's suspend, and the end of the save."""
    end = time_of(calls, GOES_ON)
    begin = end - downtime_ms / 1000
    saved = time_of(calls, SAVED) - HELPER_ENDS_S
    print(f"from {0:.1f} to {(saved - begin) * 1000:.1f} ms, while libxl saves")
    for who in ("helper", "agent", "guardian", "qemu"):
        print(f"{'':9} {who:9} " + counted([one for one in calls if one[1] == who
                                            and begin <= one[0] < saved]))
    quiet = []
    for one in calls:
        when, who, _, text = one
        if not saved <= when <= end:
            continue
        if who == "qemu":
            quiet.append(one)
            continue
        show_quiet(quiet, begin)
        quiet = []
        short = PATH.sub(r"<\1>", text)[:110]
        print(f"{(when - begin) * 1000:9.1f} {who:9} {short}")
    show_quiet(quiet, begin)


def show_quiet(calls, begin):
    if calls:
        print(f"{(calls[0][0] - begin) * 1000:9.1f} {'qemu':9} {counted(calls)}")


def watch(agent, guests, kind, disks):
    guest = guests(f"window-{kind}-{disks}", kind=kind,
                   disks=[xenhost.Disk(vdev) for vdev in DISKS[:disks]])
    guest.wait_tick(more=2)
    qemu = guest.qemu_pid
    strace = Strace(agent.pid, qemu)
    time.sleep(1)
    reply = agent.request("create", domain=guest.name, name="s1")
    lines = strace.end()
    assert reply["state"] == "done", reply
    print(f"\n{kind}, {disks} disk(s), live {reply['result/live']}; 0 is when the agent "
          f"saw the guest suspended, {reply['result/downtime-ms']} ms when it had resumed it\n")
    show(calls_of(lines, names_of(lines, agent.pid, qemu)), int(reply["result/downtime-ms"]))
    guest.destroy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("guests", nargs="*", default=["pv-1", "pv-4", "pvh-1"],
                        help="kind and number of disks, as pvh-4 (default: pv-1 pv-4 pvh-1)")
    options = parser.parse_args()
    agent = xenhost.Agent().start()
    guests = xenhost.Guests()
    try:
        for which in options.guests:
            kind, disks = which.split("-")
            watch(agent, guests, kind, int(disks))
    except BaseException:
        print(agent.log.tail(40), file=sys.stderr)
        raise
    finally:
        guests.close()
        agent.close()


main()
