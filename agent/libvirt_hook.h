/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program behind install/libvirt-hook, which libvirt's Xen driver starts
 * whenever it is about to start a domain, and when it has ended
 * (https://libvirt.org/hooks.html):
 *
 *   xensnapd --libvirt-hook NAME OPERATION SUBOPERATION EXTRA <XML
 *
 * Says no to a start from a definition that names an image which is a
 * snapshot's, or while an operation is under way that changes which are.  It
 * needs no running agent: libvirt may be the first at the boot of a host.
 */
#ifndef XENSNAPD_LIBVIRT_HOOK_H
#define XENSNAPD_LIBVIRT_HOOK_H

#include <stdbool.h>

/* Whether libvirt may go on.  Where not, says on standard error why: libvirt
 * shows that to whoever wanted the start. */
bool libvirt_hook_run(const char *config_path, char *const *arguments,
                      int count);

#endif
