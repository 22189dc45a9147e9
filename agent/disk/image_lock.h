/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether somebody writes to an image, by the locks that QEMU's tools take. */
#ifndef XENSNAPD_DISK_IMAGE_LOCK_H
#define XENSNAPD_DISK_IMAGE_LOCK_H

#include "agent/base/error.h"

/*
 * False with ERR_SNAPSHOT_IN_USE if some QEMU or qemu-img has the image open
 * for writing.  Who opens it with locking off, as xen-block does its active
 * image, is not seen; nor is an image that cannot be opened here.
 */
bool image_is_quiet(const char *path, struct error *err);

#endif
