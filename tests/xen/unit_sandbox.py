#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts a program as systemd starts the service: with the capabilities, seccomp
filters and locks that install/xensnapd.service.in leaves it.

    unit_sandbox.py UNIT PROGRAM [ARGUMENT...]

dom0 has no systemd. A setting that this does not know ends it: the tests would
show less than they say."""

import ctypes
import errno
import os
import re
import resource
import socket
import stat
import subprocess
import sys

import seccomp
from seccomp import EQ, GE, MASKED_EQ, NE, Arg

# What says nothing of what the process may do.
PLAIN = {"Type", "ExecStartPre", "ExecStart", "ExecReload", "Restart", "RestartSec",
         "TimeoutStopSec", "KillMode", "TasksMax"}
NAMESPACES = {"mnt": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000,
              "ipc": 0x08000000, "user": 0x10000000, "pid": 0x20000000,
              "net": 0x40000000, "time": 0x00000080}
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
EPERM = seccomp.ERRNO(errno.EPERM)
_libc = ctypes.CDLL(None, use_errno=True)


def settings_of(unit):
    """{name: value} of the section of the service."""
    with open(unit, encoding="utf-8") as file:
        section = re.search(r"^\[Service\]$(.*?)^\[", file.read(), re.M | re.S)[1]
    return dict(re.findall(r"^(\w+)=(.*)$", section, re.M))


def prctl(*arguments):
    if _libc.prctl(*arguments, *(0,) * (5 - len(arguments))):
        raise OSError(ctypes.get_errno(), f"prctl {arguments}")


# ---- privileges ----

def drop_capabilities(value):
    numbers = {}
    with open("/usr/include/linux/capability.h", encoding="ascii") as file:
        for name, number in re.findall(r"^#define (CAP_\w+)\s+(\d+)$", file.read(), re.M):
            numbers[name] = int(number)
    assert value.startswith("~")
    for name in value[1:].split():
        prctl(PR_CAPBSET_DROP, numbers[name])


def limit_files(value):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))


# ---- system calls ----

def calls_of(group):
    """The names in a group, and in the groups that it contains."""
    if not group.startswith("@"):
        return {group}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True,
                           stdout=subprocess.PIPE, text=True).stdout
    names = re.findall(r"^    (?!#)(\S+)$", shown, re.M)
    assert names, f"systemd knows no system calls of {group}"
    return set().union(*(calls_of(name) for name in names))


def forbid(rules, name, *conditions):
    """Of calls that this architecture does not have there is nothing to forbid."""
    try:
        rules.add_rule(EPERM, name, *conditions)
    except RuntimeError:
        if conditions:
            raise


def filter_calls(rules, value):
    assert value.startswith("~")
    for group in value[1:].split():
        for name in calls_of(group):
            forbid(rules, name)


def filter_families(rules, value):
    allowed = {getattr(socket, name) for name in value.split()}
    for family in range(socket.AF_ALG + 16):
        if family not in allowed:
            rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket",
                           Arg(0, EQ, family))
    rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket",
                   Arg(0, GE, socket.AF_ALG + 16))


def filter_namespaces(rules, value):
    allowed = set(value.split())
    # Its flags are in memory, where a filter does not look: libc falls back to clone.
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(EPERM, "setns", Arg(1, EQ, 0))
    for name, flag in NAMESPACES.items():
        if name not in allowed:
            for call, position in (("clone", 0), ("unshare", 0), ("setns", 1)):
                rules.add_rule(EPERM, call, Arg(position, MASKED_EQ, flag, flag))


def filter_suid(rules, _):
    for bit in (stat.S_ISUID, stat.S_ISGID):
        for call, position in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1),
                               ("mkdirat", 2), ("mknod", 1), ("mknodat", 2), ("creat", 1)):
            rules.add_rule(EPERM, call, Arg(position, MASKED_EQ, bit, bit))
        for call, position in (("open", 1), ("openat", 2)):
            rules.add_rule(EPERM, call, Arg(position, MASKED_EQ, os.O_CREAT, os.O_CREAT),
                           Arg(position + 1, MASKED_EQ, bit, bit))


def filter_personality(rules, _):
    rules.add_rule(EPERM, "personality", Arg(0, NE, 0))


def filter_realtime(rules, _):
    for policy in (os.SCHED_FIFO, os.SCHED_RR, 6):  # SCHED_DEADLINE
        rules.add_rule(EPERM, "sched_setscheduler", Arg(1, EQ, policy))


def filter_architectures(_, value):
    """A new filter of libseccomp's is for the native one, and kills others."""
    assert value == "native"


FILTERS = {"SystemCallFilter": filter_calls, "RestrictAddressFamilies": filter_families,
           "RestrictNamespaces": filter_namespaces, "RestrictSUIDSGID": filter_suid,
           "LockPersonality": filter_personality, "RestrictRealtime": filter_realtime,
           "SystemCallArchitectures": filter_architectures}


def confine(settings):
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name, value in settings.items():
        if name in FILTERS:
            FILTERS[name](rules, value)
        elif name == "CapabilityBoundingSet":
            drop_capabilities(value)
        elif name == "LimitNOFILE":
            limit_files(value)
        elif name not in PLAIN:
            assert (name, value) in {("NoNewPrivileges", "yes"),
                                     ("SystemCallErrorNumber", "EPERM")}, name
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    rules.load()


if __name__ == "__main__":
    confine(settings_of(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
