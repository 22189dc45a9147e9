# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are, all relative to this file: nothing depends on where the
checkout stands."""

from pathlib import Path

XEN_TESTS = Path(__file__).resolve().parent.parent
CHECKOUT = XEN_TESTS.parent.parent
NATIVE_TESTS = CHECKOUT / "tests" / "native"
WORK = CHECKOUT / "build" / "xen"

KERNEL = WORK / "kernel"
VMLINUX = KERNEL / "vmlinux"
VMLINUZ = KERNEL / "vmlinuz"
MODULES = KERNEL / "lib" / "modules"
HYPERVISOR = WORK / "xen.elf"
DOM0_INITRD = WORK / "dom0-initrd.cpio"
GUEST_INITRD = WORK / "guest-initrd.cpio"
DRIVER_INITRD = WORK / "driver-initrd.cpio"
FAULT_SHIM = WORK / "fault_shim.so"
OPENRC = WORK / "openrc"
OUT = WORK / "out"
