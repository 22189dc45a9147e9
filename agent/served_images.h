/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In a driver domain: which images it serves, as its xenstore tells.
 *
 * A domain's disk stands there before a QEMU is started for it, so whoever
 * looks sees it before anything is opened.  libxl writes a disk in one
 * transaction, but a domain's disks one after the other.
 */
#ifndef XENSNAPD_SERVED_IMAGES_H
#define XENSNAPD_SERVED_IMAGES_H

#include <stddef.h>
#include <stdint.h>
#include <xenstore.h>

#include "agent/base/error.h"

struct served_images;

/*
 * Looks for these images, which are borrowed.
 *
 * `user`: the domain that uses disks of the VM whose images they are; 0: none.
 * A disk that it is connected to counts by what its QEMU has open, which is the
 * caller's to look at.  QEMU opens what a node names before it offers the disk
 * to the guest, and never looks there again; what it has opened since, it was
 * told to by domain 0.  So such a node, which may not have been written when
 * that happened, says nothing of what will be opened.
 */
struct served_images *served_images_new(const char *const paths[], size_t count,
                                        uint32_t user);

void served_images_free(struct served_images *served);

/*
 * False, with ERR_BUSY, if the chain of a domain's disk has one of them; with
 * ERR_STORE if that cannot be told.  The first look is at all domains, each
 * further one at those that the first has not seen, or not with all their
 * disks.
 */
bool served_images_are_free(struct served_images *served, struct xs_handle *xs,
                            struct error *err);

#endif
