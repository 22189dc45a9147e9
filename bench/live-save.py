#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""live-save.py DOMID FILE: libxl's live save, and the domain goes on.

What `xl save -c` would be if xl could save live: libxl_domain_suspend() and
libxl_domain_resume(), nothing between. Without xl's head, so not for xl restore.
"""

import ctypes
import ctypes.util
import os
import sys

LIBXL_VERSION = 0
LIBXL_SUSPEND_LIVE = 2
XTL_WARN = 7


def library(name):
    return ctypes.CDLL(ctypes.util.find_library(name))


def context():
    libxl = library("xenlight")
    toollog = library("xentoollog")
    stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
    new_logger = toollog.xtl_createlogger_stdiostream
    new_logger.restype = ctypes.c_void_p
    logger = ctypes.c_void_p(new_logger(stderr, XTL_WARN, 0))
    ctx = ctypes.c_void_p()
    if libxl.libxl_ctx_alloc(ctypes.byref(ctx), LIBXL_VERSION, 0, logger):
        sys.exit("no libxl context")
    return libxl, ctx


def main():
    domid, path = int(sys.argv[1]), sys.argv[2]
    libxl, ctx = context()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    rc = (libxl.libxl_domain_suspend(ctx, domid, fd, LIBXL_SUSPEND_LIVE, None)
          or libxl.libxl_domain_resume(ctx, domid, 1, None))
    if rc:
        sys.exit(f"libxl: {rc}")


main()
