# SPDX-License-Identifier: LGPL-2.1-or-later
"""One emulated machine: QEMU's command line, and the two channels to its dom0."""

import ctypes
import signal
import socket
import subprocess

from . import paths

# What QEMU 7.2 emulates in a way that Xen cannot live with: with SMAP a PV dom0
# crashes at once; with RDTSCP hardware-assisted guests die of "SVM Insn len
# emulation failed"; with XSAVE the vector registers of a process get lost when Xen
# switches between domains, and then programs in dom0 crash at random. AVX and
# protection keys need XSAVE.
CPU = ("max,-smap,-smep,-la57,-rdtscp,-rdpid,"
       "-xsave,-xsaveopt,-avx,-avx2,-f16c,-fma,-vaes,-vpclmulqdq,-pku")
# Scrubbing free memory would touch, and so take from this machine, all of it.
XEN_OPTIONS = "com1=115200 console=com1 bootscrub=0"
KERNEL_OPTIONS = "console=hvc0 quiet mitigations=off print-fatal-signals=1"
PR_SET_PDEATHSIG = 1


class Emulator:
    """QEMU, started for a run folder. `output` carries what the job prints,
    `control` the words between the runner and dom0's start script. Both are
    socket pairs, so that hosts side by side share no name and no port."""

    def __init__(self, run, options):
        self.output, output_end = socket.socketpair()
        self.control, control_end = socket.socketpair()
        ends = (output_end.fileno(), control_end.fileno())
        self.process = subprocess.Popen(
            _command(run, options, *ends), pass_fds=ends, stdin=subprocess.DEVNULL,
            stdout=open(run / "emulator.log", "wb"), stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent)
        output_end.close()
        control_end.close()

    def kill(self):
        self.process.kill()
        self.process.wait()


def _die_with_parent():
    """Even a runner that is killed outright leaves no emulator behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A Ctrl-C in the terminal is the runner's to handle: it still wants the logs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _command(run, options, output_fd, control_fd):
    dom0_memory = f"{options.dom0_memory}M"
    xen = f"dom0_mem={dom0_memory},max:{dom0_memory} {XEN_OPTIONS} {options.xen}"
    kernel = f"{paths.VMLINUX} {KERNEL_OPTIONS} {options.kernel}"
    return [
        options.qemu, *options.accel.split(), "-cpu", options.cpu,
        "-smp", str(options.cpus), "-m", str(options.memory),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", f"file:{run / 'console.log'}",
        "-kernel", str(paths.HYPERVISOR), "-append", xen,
        "-initrd", f"{kernel},{paths.DOM0_INITRD}",
        "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
        "-virtfs", f"local,path={run},mount_tag=host,security_model=none,multidevs=remap",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=output,fd={output_fd}",
        "-device", "virtserialport,chardev=output,name=output",
        "-chardev", f"socket,id=control,fd={control_fd}",
        "-device", "virtserialport,chardev=control,name=control",
    ]
