/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of virtual disks: "xvda", "hdb", "sdc1", "d0p2" (Xen's
 * xen-vbd-interface(7)).  Pure.
 */
#ifndef XENSNAPD_DISK_VDEV_H
#define XENSNAPD_DISK_VDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vdev_kind { VDEV_XVD, VDEV_HD, VDEV_SD };

struct vdev {
    enum vdev_kind kind; /* "d0p2" is another way to write "xvda2" */
    uint32_t disk;
    uint32_t partition; /* 0: the whole disk */
};

/* Takes QEMU's way of writing too: "xvda0" is the whole disk. */
bool vdev_parse(const char *name, struct vdev *ret_vdev);

/* As libxl writes it: "xvda" for the whole disk. */
void vdev_format(const struct vdev *vdev, char *buffer, size_t size);

/*
 * The disk behind QEMU's drive id, for the ids that libxl gives emulated disks
 * (libxl_dm.c): "ide0-hd1", "scsi0-hd3", "ahcidisk-2".
 */
bool vdev_from_drive_id(const char *id, struct vdev *ret_vdev);

bool vdev_equal(const struct vdev *a, const struct vdev *b);

/* Whether libxl emulates disk `vdev` as `emulated`: "sd" disks as SCSI, all
 * others by their number as IDE or AHCI. */
bool vdev_is_emulated_as(const struct vdev *vdev, const struct vdev *emulated);

#endif
