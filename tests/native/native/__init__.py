# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Xen host of files: see tests/native/README.md."""
