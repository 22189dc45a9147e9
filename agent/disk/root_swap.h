/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting another block node into the place of a disk's root, in a running
 * QEMU: the one mechanism of rescan.
 *
 * A mirror job without any copying (sync=none), completed at once, replaces the
 * root inside the disk's iothread.  Nobody may use the disk meanwhile: what
 * would be written to the old root is not in the new one.
 *
 * A node made by blockdev-add is the monitor's: it stays open after the disk is
 * unplugged, unless it has the name that xen-block gave the node it made
 * itself and deletes then, "<vdev>-<format>".  So nodes of images get just that
 * name, once the old one is gone; nothing is left to clean up afterwards.
 */
#ifndef XENSNAPD_DISK_ROOT_SWAP_H
#define XENSNAPD_DISK_ROOT_SWAP_H

#include <json-c/json_object.h>

#include "agent/disk/block_job.h"

#define NODE_NAME_SIZE 32 /* QEMU's limit, with the terminator */

struct root_swap_disk {
    char vdev[32];
    char node[NODE_NAME_SIZE];    /* the new root's name */
    struct json_object *make;     /* arguments of blockdev-add for it, ours */
    char drop[2][NODE_NAME_SIZE]; /* nodes to be deleted too; "": none */
    char only[NODE_NAME_SIZE]; /* only if this is the root; "": whatever is */
};

/*
 * Does it for all disks in turn, in one QMP session; `disks` (and `make`) are
 * taken over.  A disk that has the new root already, or that has gone, is
 * passed over, so that it can be repeated after any failure.  Every node that
 * was named in the old chain is deleted, and with it everything below it is
 * closed.  The callback comes from the loop.
 */
void root_swap_start(const struct block_job_where *where,
                     struct root_swap_disk *disks, size_t count,
                     uint32_t limit_ms, block_job_on_done *on_done, void *arg);

/*
 * A node that no image is behind: it has the disk's size, and refuses whatever
 * is asked of it, so that a guest that should not run fails instead of losing
 * what it writes.
 */
struct json_object *root_swap_placeholder(const char *node,
                                          uint64_t virtual_bytes);

struct image_node {
    const char *path;
    const char *format; /* QEMU's name */
    bool discard;       /* the guest's discards reach the file */
    bool direct;        /* without the host's page cache */
    bool only_look;     /* read-only, whoever else has it open */
};

/* An image as xen-block opens it; the images under it are those of its
 * header. */
struct json_object *root_swap_image(const char *node,
                                    const struct image_node *image);

#endif
