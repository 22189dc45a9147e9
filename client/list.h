/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Showing the snapshots that are published.
 *
 * A domain is given by uuid, domid or name; NULL: all. With `json` the same as
 * JSON. EXIT_FAILED, which standard error explains: there is none such.
 */
#ifndef XENSNAP_LIST_H
#define XENSNAP_LIST_H

#include "client/snapshots.h"

/* A line each. */
enum exit_status list_snapshots(struct xs_handle *xs, const char *domain,
                                bool json);

/* What came from what, where the running state hangs, and on how many images
 * its disks are. */
enum exit_status list_tree(struct xs_handle *xs, const char *domain, bool json);

/* All that is known of one; `domain` NULL: of the domain this runs in. */
enum exit_status list_one(struct xs_handle *xs, const char *domain,
                          const char *name, bool json);

/* As JSON; the tree has the same members. */
void list_json(struct xs_handle *xs, const struct vms *vms);

/* False if it is gone by now. */
bool list_json_one(struct xs_handle *xs, const struct vm *vm,
                   const struct snapshot *snapshot);

/* "memory, live" and its like. The caller frees it. */
char *list_kind(const struct snapshot *snapshot);

/* Of those that are no longer whole: what is left to do. */
void list_remainders(const struct vms *vms);

/* "1.2 GiB", or "-". The caller frees it. */
char *list_size(const struct snapshot *snapshot);

/* Loads what was asked for; false if there is no such domain. */
bool list_load(struct xs_handle *xs, const char *domain, struct vms *ret_vms);

#endif
