/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who else looks after a domain: an xl that waits for its end, libvirt, xapi.
 *
 * None of them announces it, so each is known by its traces:
 * - xl: a process whose stdout is a log in /var/log/xen, in which it says which
 *   domid it waits for (xl_vmcontrol.c, create_domain(); the file's name alone
 *   is wrong after a rename, a migration or a rotation).  `xl create -F` has
 *   no such log, and nothing tells whose it is: then it may be.
 * - libvirt: its state file of the domain, and its daemon living
 *   (libxl_driver.c, libxlStateInitialize()).
 * - xapi: its private folder of the domain in xenstore (xenopsd,
 *   device_common.ml).
 */
#ifndef XENSNAPD_SUPERVISE_WATCHER_H
#define XENSNAPD_SUPERVISE_WATCHER_H

#include "agent/guest/guests.h"

enum watcher {
    WATCHER_NONE,
    WATCHER_XL,
    WATCHER_MAYBE_XL, /* an xl in the foreground, waiting for some domain */
    WATCHER_LIBVIRT,
    WATCHER_XAPI
};

/* Where the traces are looked for. */
struct watcher_view {
    const char *proc_folder;
    const char *xl_log_folder;
    const char *libvirt_folder;
};

extern const struct watcher_view watcher_host_view;

/* A few hundred file operations on a busy host. */
enum watcher watcher_find(const struct watcher_view *view,
                          const struct guest *guest);

/* "xl", "libvirt": for people. */
const char *watcher_name(enum watcher watcher);

/*
 * Takes from an xl log the domid that the process `pid` last said it waits
 * for.  False if it said nothing such.  Pure.
 */
bool watcher_read_xl_log(const char *text, int pid, uint32_t *ret_domid);

#endif
