# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the installed Xen programs are."""

import glob


def xen_tool(name):
    """A program of the installed xen-utils, without Debian's wrapper that
    asks for a hypervisor first."""
    found = sorted(glob.glob(f"/usr/lib/xen-*/bin/{name}"))
    if not found:
        raise FileNotFoundError(f"no {name} in /usr/lib/xen-*/bin")
    return found[-1]
