/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl's own folders of a domain's disks in xenstore, below
 * /libxl/DOMID/device/vbd, which hold a copy of what each backend was given:
 * unlike that, no driver domain can have altered it.
 */
#ifndef XENSNAPD_GUEST_DISK_FOLDERS_H
#define XENSNAPD_GUEST_DISK_FOLDERS_H

#include <stdint.h>

#include "agent/store/lookahead.h"

struct disk_folders {
    char **paths;
    unsigned int count;
};

/* Lists them, and fetches what tells about each disk: `dev`, `backend`, `type`
 * and `params`.  To be disposed. */
void disk_folders_list(struct lookahead *ahead, uint32_t domid,
                       struct disk_folders *ret_folders);
void disk_folders_dispose(struct disk_folders *folders);

/* That of a disk, or NULL. */
const char *disk_folders_find(struct lookahead *ahead,
                              const struct disk_folders *folders,
                              const char *vdev);

#endif
