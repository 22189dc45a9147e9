# SPDX-License-Identifier: LGPL-2.1-or-later
"""The demonstration, as it runs in the emulated host's dom0: a guest, checkpoints,
a reboot that keeps its data, an image that moves, and the way back."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from agent import BUILD
from xenhost import Agent, Disk, Guests

# dom0's output is no terminal: whether it ends on one, tests/xen/demo knows.
TERMINAL = "XENSNAP_DEMO_TERMINAL" in os.environ
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if TERMINAL else ("", "", "")
ROWS, COLUMNS = 40, 92
MOVED = "/run/other-storage"


def say(text):
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


def tell(text):
    print(f"{DIM}({text}){PLAIN}", flush=True)


def show(command):
    """Run a command as a reader would type it, and show what it prints."""
    print(f"$ {command}", flush=True)
    environment = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}",
                   "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    run = on_terminal if TERMINAL else without_terminal
    status = run(["sh", "-c", command], environment)
    if status != 0:
        sys.exit(f"'{command}' failed with status {status}")


def without_terminal(command, environment):
    return subprocess.run(command, check=False, env=environment,
                          stderr=subprocess.STDOUT).returncode


def on_terminal(command, environment):
    """With a terminal of its own, so that colours and progress are as for a user."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    child = subprocess.Popen(command, env=environment, stdin=its, stdout=its, stderr=its,
                             start_new_session=True)
    os.close(its)
    try:
        while data := os.read(ours, 4096):
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
    except OSError:
        pass  # EIO: nobody holds the other end any more
    os.close(ours)
    return child.wait()


def counter(guest):
    tell(f"alice's console: tick {guest.wait_tick(more=3)}")


def scenes(guests, agent):
    say("xensnapd runs in domain 0.")
    agent.start()
    show("xensnap status")

    say("A guest with a qcow2 and a raw disk. It counts: on its console, and on both.")
    alice = guests("alice", kind="pv", disks=(Disk("xvda"), Disk("xvdb", "raw")))
    counter(alice)

    say("A checkpoint: memory and both disks, of one instant.")
    show("xensnap create alice --name before-upgrade")

    say("The guest goes on. Later, a snapshot of the disks alone: no pause.")
    alice.write_key(1, "written-after-the-checkpoint")
    counter(alice)
    show("xensnap create alice --name upgraded --no-memory")
    show("xensnap tree alice")

    say("Its writes go to overlays. Xen knows: a reboot finds them, and loses nothing.")
    print("$ reboot   (typed into the guest)", flush=True)
    mark = alice.console.size()
    alice.command("reboot")
    found = alice.wait_boot(since=mark)
    tell(f"after the reboot, xvda holds tick {found['xvda']}, and the text "
         f"\"{alice.read_key(1)['xvda']}\"")

    say("A toolstack moves an image to another storage, under the running guest.")
    os.mkdir(MOVED)
    show("xensnap rescan alice --prepare --disk xvda")
    show(f"mv /var/lib/xen/images/alice/xvda.upgraded.qcow2 {MOVED}/xvda.qcow2")
    show(f"xensnap rescan alice --complete --disk xvda={MOVED}/xvda.qcow2")
    counter(alice)

    say("And back: memory and disks as they were. The counter jumps back.")
    counter(alice)
    show("xensnap revert alice before-upgrade")
    counter(alice)
    tell("the text that was written since: "
         f"{alice.read_key(1).get('xvda') or 'nothing there'}")
    show("xensnap tree alice")

    say("A snapshot that is not needed any more is merged away while the guest runs.")
    show("xensnap delete alice upgraded")
    show("xl list")
    say("That is all. Nothing of this was simulated but the processor.")


def main():
    guests, agent = Guests(), Agent()
    try:
        scenes(guests, agent)
    finally:
        guests.close()
        agent.close()


if __name__ == "__main__":
    main()
