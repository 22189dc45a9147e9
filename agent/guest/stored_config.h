/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The adjustments: where Xen remembers which image a disk uses.
 *
 * Three places name it, and what opens a disk anew (a reboot, xl save, a
 * migration, a re-plug) believes them: the stored configuration
 * (userdata-d.<domid>.<uuid>.libxl-json), /libxl/<domid>/device/vbd/<devid>/
 * params and the backend's params.  After the image changed, all three must
 * name the new one.
 *
 * The JSON is rewritten under libxl's own domain-userdata lock, which libxl
 * holds across its own read-modify-write of a hot-plug (libxl_disk.c), to a
 * temporary file that is flushed and renamed; the two xenstore nodes of all
 * disks change in one transaction, but for those that a driver domain can write
 * to (disk_nodes.h).  libxl_userdata_* would take the same lock
 * again, so the file is read and written here (names: libxl_dom.c,
 * userdata_path()).
 */
#ifndef XENSNAPD_GUEST_STORED_CONFIG_H
#define XENSNAPD_GUEST_STORED_CONFIG_H

#include <stddef.h>

#include "agent/guest/guests.h"

struct disk_location {
    char vdev[32];
    const char *path;   /* borrowed until the callback */
    const char *format; /* "qcow2", "raw" */
    bool may_be_gone;   /* then nothing is said of it */
};

struct stored_config_change;

/*
 * Makes all three places name the given images.  The callback comes from the
 * event loop.  ERR_BUSY if libxl's lock was not free within `lock_ms`;
 * ERR_LIBXL if the domain has a configuration pending from `xl config-update`
 * (userdata "xl"), which would override ours at the next reboot.  After a
 * failure nothing has changed.
 */
struct stored_config_change *stored_config_set_disks(
    struct guests *guests, const struct guest *guest,
    const struct disk_location *disks, size_t count, uint32_t lock_ms,
    guest_on_done *on_done, void *arg);

/* Whether a change of that domain's is under way. */
bool stored_config_is_changing(struct guests *guests, const char *uuid);

/* Whether the domain has a configuration pending from `xl config-update`. */
bool stored_config_is_overridden(const struct guest *guest);

/* Gives up waiting for the lock: no callback comes.  Only before the callback
 * has come. */
void stored_config_change_cancel(struct stored_config_change *change);

#endif
