/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The xenstore nodes that name a disk's image: `params` of the backend, which
 * QEMU reads when it opens the disk, and libxl's copy of it, which xl believes
 * (libxl_disk.c, device_disk_add()).  Nothing else there depends on the image.
 */
#ifndef XENSNAPD_GUEST_DISK_NODES_H
#define XENSNAPD_GUEST_DISK_NODES_H

#include <stddef.h>
#include <stdint.h>

#include "agent/guest/stored_config.h"
#include "agent/store/wire.h"

struct disk_node {
    char *path;
    char *before; /* what it says now */
    char *after;  /* what it is to say */
    bool shared;  /* a driver domain can write to it as well */
};

struct disk_nodes {
    struct disk_node *items;
    size_t count;
};

enum disk_nodes_side { DISK_NODES_AFTER, DISK_NODES_BEFORE };

/*
 * The value that libxl writes for an image served by QEMU: "qcow2:/path",
 * "aio:/path" for a raw one.  NULL where libxl knows no such format; else the
 * caller's to free().  Pure.
 */
char *disk_nodes_params(const char *format, const char *path);

/*
 * Finds the nodes of the given disks of a domain and what they say now.
 * ERR_NO_SUCH_DISK if one is not plugged in, ERR_UNSUPPORTED_DISK if one is
 * not served by QEMU or of a format that libxl cannot name.  None, and no
 * error, where xenstored has lost the whole domain.  To be disposed in any
 * case.
 */
bool disk_nodes_find(const struct wire *wire, uint32_t domid,
                     const struct disk_location *disks, size_t count,
                     struct disk_nodes *ret_nodes, struct error *err);
void disk_nodes_dispose(struct disk_nodes *nodes);

/*
 * Writes that side of all nodes, or of none; none too if one is gone.  Those
 * that a driver domain shares do not count: it could keep the others from being
 * written.  They follow if they can, and the guest's next start goes by the
 * rest.
 */
bool disk_nodes_write(const struct wire *wire, const struct disk_nodes *nodes,
                      enum disk_nodes_side side, struct error *err);

#endif
