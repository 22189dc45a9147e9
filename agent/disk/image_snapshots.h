/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The internal snapshots of a qcow2 file, looked up without QEMU. */
#ifndef XENSNAPD_DISK_IMAGE_SNAPSHOTS_H
#define XENSNAPD_DISK_IMAGE_SNAPSHOTS_H

#include "agent/base/error.h"

/*
 * ERR_CHAIN_BROKEN if the file cannot be read or its snapshot table is
 * damaged; ERR_NO_SUCH_SNAPSHOT if it holds none of that name.
 */
bool image_holds_snapshot(const char *path, const char *name,
                          struct error *err);

#endif
