# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds what a host boots from, under build/xen/, and only what is out of date:
the hypervisor, a kernel with its modules, and the initial ramdisks; and what stops
the agent at a certain point."""

import contextlib
import fcntl
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from . import paths

DOM0_MODULES = ["virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay"]
GUEST_MODULES = ["xen-blkfront"]
DRIVER_MODULES = ["9p", "9pnet_xen", "overlay"]
OPENRC_PACKAGES = ["openrc", "librc1", "libeinfo1"]
BUSYBOX = Path("/bin/busybox")


def build():
    """Make every artifact that is missing or older than what it is made from.
    Several hosts may be started at once: the first one builds, the others wait."""
    paths.WORK.mkdir(parents=True, exist_ok=True)
    with open(paths.WORK / "build.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _build_hypervisor()
        _build_kernel()
        _build_root_initrd(paths.DOM0_INITRD, "dom0", DOM0_MODULES)
        _build_root_initrd(paths.DRIVER_INITRD, "driver", DRIVER_MODULES)
        _build_guest_initrd()
        _build_fault_shim()
        _fetch_openrc()


def kernel_version():
    versions = [entry.name for entry in paths.MODULES.iterdir()]
    if len(versions) != 1:
        raise RuntimeError(f"{paths.MODULES} should hold one kernel, has {versions}")
    return versions[0]


# --- staleness ---------------------------------------------------------------


@contextlib.contextmanager
def _if_stale(target, inputs):
    """Yields True when `target` has to be made again. The stamp beside it holds
    a hash of the inputs (files by content, strings as they are), and is written
    only when the body ends well."""
    digest = hashlib.sha256()
    for item in inputs:
        digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
        digest.update(b"\0")
    stamp = target.parent / f".{target.name}.stamp"
    wanted = digest.hexdigest()
    stale = not (target.exists() and stamp.exists() and stamp.read_text() == wanted)
    if stale:
        stamp.unlink(missing_ok=True)
    yield stale
    if stale:
        stamp.write_text(wanted)


def _replace(target, data):
    """A host that is running still reads the old file: never change it in place."""
    new = target.with_name(target.name + ".new")
    new.write_bytes(data)
    new.rename(target)


# --- hypervisor and kernel ---------------------------------------------------


def _build_hypervisor():
    found = sorted(Path("/boot").glob("xen-4.*-amd64.gz"))
    if not found:
        raise RuntimeError("no /boot/xen-4.*-amd64.gz: run tests/install-deps.sh")
    with _if_stale(paths.HYPERVISOR, [found[-1]]) as stale:
        if stale:
            # QEMU's multiboot loader takes only an uncompressed ELF.
            elf = subprocess.run(["zcat", found[-1]], check=True, stdout=subprocess.PIPE)
            _replace(paths.HYPERVISOR, elf.stdout)


def _build_kernel():
    """The kernel package is unpacked, not installed: this machine may have no
    boot loader, and nothing outside build/xen/ has to change. It is fetched once
    and then kept, for a newer kernel is of no use to the tests."""
    if (paths.KERNEL / "complete").exists():
        return
    shutil.rmtree(paths.KERNEL, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=paths.WORK) as scratch:
        scratch = Path(scratch)
        package = _kernel_package()
        _quiet(["apt-get", "download", package], cwd=scratch)
        _quiet(["dpkg", "-x", next(scratch.glob("*.deb")), scratch / "root"])
        version = next((scratch / "root/lib/modules").iterdir()).name
        _quiet(["depmod", "-b", scratch / "root", version])
        paths.KERNEL.mkdir()
        bzimage = (scratch / f"root/boot/vmlinuz-{version}").read_bytes()
        paths.VMLINUZ.write_bytes(bzimage)
        paths.VMLINUX.write_bytes(_unpack_kernel(bzimage))
        (paths.KERNEL / "lib").mkdir()
        shutil.move(scratch / "root/lib/modules", paths.MODULES)
    (paths.KERNEL / "complete").touch()


def _kernel_package():
    depends = subprocess.run(["apt-cache", "depends", "linux-image-amd64"],
                             check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if not found:
        raise RuntimeError("apt knows no linux-image-amd64: run apt-get update")
    return found.group(1)


def _unpack_kernel(bzimage):
    """The ELF inside a bzImage. Unpacking it here, once, saves doing it under
    emulation at each start of dom0 and of each PV or PVH guest. The offsets are
    those of the x86 boot protocol's setup header."""
    setup_sectors = bzimage[0x1F1]
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    elf = lzma.LZMADecompressor().decompress(bzimage[start:start + length])
    if not elf.startswith(b"\x7fELF"):
        raise RuntimeError("the kernel's payload is not an ELF file")
    return elf


# --- initial ramdisks --------------------------------------------------------


def _build_root_initrd(target, folder, modules):
    """One that does no more than find a root elsewhere."""
    init = paths.XEN_TESTS / folder / "init"
    inputs = [init, BUSYBOX, kernel_version(), " ".join(modules)]
    with _if_stale(target, inputs) as stale:
        if stale:
            _pack_initrd(target, init, modules)


def _build_guest_initrd():
    folder = paths.XEN_TESTS / "guest"
    sources = sorted(folder.glob("*.c"))
    inputs = [folder / "init", *sources, *sorted(folder.glob("*.h")), BUSYBOX,
              kernel_version(), " ".join(GUEST_MODULES)]
    with _if_stale(paths.GUEST_INITRD, inputs) as stale:
        if stale:
            tick = paths.WORK / "tick"
            _quiet(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-s", "-o", tick, *sources])
            _pack_initrd(paths.GUEST_INITRD, folder / "init", GUEST_MODULES, tick)


def _build_fault_shim():
    folder = paths.NATIVE_TESTS / "shim"
    sources = sorted(folder.glob("fault_*.c"))
    with _if_stale(paths.FAULT_SHIM, [*sources, folder / "fault_points.h"]) as stale:
        if stale:
            made = paths.WORK / "fault_shim.new"
            _quiet(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-U_FORTIFY_SOURCE", "-O1",
                    "-fPIC", "-shared", "-o", made, *sources])
            made.rename(paths.FAULT_SHIM)


def _pack_initrd(target, init, modules, tick=None):
    """An initramfs of busybox, `init`, the modules with a `modules.order` that
    lists them so that each comes after those it needs. `tick` is the guest's main
    program, and what the kernel runs to switch off or to restart."""
    with tempfile.TemporaryDirectory(dir=paths.WORK) as root:
        root = Path(root)
        root.chmod(0o755)
        for folder in ("bin", "sbin", "dev", "proc", "sys", "modules", "root"):
            (root / folder).mkdir()
        shutil.copy(BUSYBOX, root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")
        shutil.copy(init, root / "init")
        (root / "init").chmod(0o755)
        if tick:
            shutil.copy(tick, root / "sbin/tick")
            (root / "sbin/poweroff").symlink_to("tick")
            (root / "sbin/reboot").symlink_to("tick")
        order = _with_dependencies(modules)
        for module in order:
            shutil.copy(module, root / "modules" / module.name)
        (root / "modules/modules.order").write_text(
            "".join(f"{module.name}\n" for module in order))
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*"))
        archive = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, check=True,
            input="\n".join(names).encode(), stdout=subprocess.PIPE).stdout
    _replace(target, archive)


def _with_dependencies(modules):
    order = []
    for name in modules:
        lines = subprocess.run(
            ["modprobe", "-d", paths.KERNEL, "-S", kernel_version(), "--show-depends", name],
            check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "insmod" and Path(rest.split()[0]) not in order:
                order.append(Path(rest.split()[0]))
    return order


def _fetch_openrc():
    """Its packages, to be unpacked in dom0: installed here, it would take part in what
    becomes of this machine's services. Where it cannot be fetched, only what needs
    it fails."""
    if paths.OPENRC.exists():
        return
    with tempfile.TemporaryDirectory(dir=paths.WORK) as scratch:
        fetched = Path(scratch) / "openrc"
        fetched.mkdir()
        try:
            _quiet(["apt-get", "download", *OPENRC_PACKAGES], cwd=fetched)
        except RuntimeError as failed:
            print(f"xen host: no OpenRC: {failed}", file=sys.stderr)
            return
        fetched.rename(paths.OPENRC)


def _quiet(command, cwd=None):
    done = subprocess.run(command, cwd=cwd, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "LC_ALL": "C"})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
