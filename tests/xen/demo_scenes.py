# SPDX-License-Identifier: LGPL-2.1-or-later
"""The demonstration, as it runs in the emulated host's dom0: a guest, a checkpoint
asked for with xenstore-write, a reboot that keeps its data, and the way back."""

import subprocess
import sys

from xenhost import FINAL, REQUESTS, Agent, Disk, Guests

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def say(text):
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


def show(command):
    """Run a command as a reader would type it, and show what it prints."""
    print(f"$ {command}", flush=True)
    printed = subprocess.run(command, shell=True, check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    print("".join(f"  {DIM}{line}{PLAIN}\n" for line in printed.splitlines()),
          end="", flush=True)


def follow(agent, request):
    """Show state, step and progress as they move, until the request is final."""
    told = set()

    def moved(_):
        keys = agent.store.tree(request)
        line = f"{keys.get('state', '-'):8} {keys.get('progress', '0'):>3} %  " \
               f"{keys.get('step', '')}"
        if line not in told:
            told.add(line)
            print(f"  {DIM}{line}{PLAIN}", flush=True)
        return keys.get("state") in FINAL

    agent.store.wait(request, moved, 300)
    show(f"xenstore-ls {request} | grep -v '^step'")
    if agent.store.read(f"{request}/state") != "done":
        sys.exit("the request failed")


def ask(agent, name, *keys):
    request = f"{REQUESTS}/{name}"
    show(f"xenstore-write {' '.join(f'{request}/{key}' for key in keys)}")
    follow(agent, request)


def main():
    guests, agent = Guests(), Agent()
    try:
        say("xensnapd runs in dom0 and watches /tool/xensnapd/requests.")
        print("$ build/xensnapd --foreground --config conf/agent.yaml &", flush=True)
        agent.start()
        show("xenstore-ls /tool/xensnapd/status")

        say("A guest with a qcow2 and a raw disk. It counts, on its console and on both.")
        alice = guests("alice", kind="pv", disks=(Disk("xvda"), Disk("xvdb", "raw")))
        alice.wait_tick(more=3)
        show("xl list")
        print(f"  {DIM}alice's console: tick {alice.ticks()}{PLAIN}")

        say("A checkpoint of memory and both disks, at one instant. `operation` comes last.")
        ask(agent, "one", "domain alice", "name before-upgrade", "operation create")

        say("The guest goes on. Its writes go to overlays; Xen is told so that a reboot "
            "finds them.")
        alice.write_key(1, "written-after-the-checkpoint")
        counted = alice.wait_tick(more=3)
        print(f"  {DIM}alice's console: tick {counted}{PLAIN}")
        show("xl list -l alice | grep pdev_path")
        print("$ reboot   (typed into the guest)", flush=True)
        mark = alice.console.size()
        alice.command("reboot")
        found = alice.wait_boot(since=mark)
        print(f"  {DIM}after the reboot its disks hold tick {found}, and: "
              f"{alice.read_key(1)}{PLAIN}")

        say("And back: memory and disks as they were. The counter jumps back.")
        counted = alice.wait_tick(more=3)
        ask(agent, "two", "domain alice", "name before-upgrade", "operation revert")
        alice.wait_tick(more=3)
        print(f"  {DIM}alice's console: it was at tick {counted}, now tick {alice.ticks()}"
              f"; what was written since is gone: {alice.read_key(1) or 'nothing there'}"
              f"{PLAIN}")
        show("xl list")
        say("That is all. Nothing of this was simulated but the processor.")
    finally:
        guests.close()
        agent.close()


if __name__ == "__main__":
    main()
