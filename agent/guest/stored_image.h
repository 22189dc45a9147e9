/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which image the stored configuration names for a disk, read without libxl:
 * also where xenstored is dead.
 */
#ifndef XENSNAPD_GUEST_STORED_IMAGE_H
#define XENSNAPD_GUEST_STORED_IMAGE_H

#include <stdint.h>

#include "agent/base/error.h"

/* `*ret_path` is the caller's to free(); NULL: it has no such disk, or names
 * none for it. */
bool stored_image_read(uint32_t domid, const char *uuid, const char *vdev,
                       char **ret_path, struct error *err);

#endif
