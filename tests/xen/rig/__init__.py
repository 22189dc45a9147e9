# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots a real Xen host under QEMU's software emulation and runs jobs in it."""
