# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rescan: the chain changed, or is about to, under a running domain."""
