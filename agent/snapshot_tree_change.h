/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes of a VM's records that follow what has become of an image or of a
 * snapshot.
 *
 * Several records may speak of one image, so each change goes through all of
 * them.  One that fails half way has changed some; the same once more does the
 * rest.  What is given may not be owned by the records.
 */
#ifndef XENSNAPD_SNAPSHOT_TREE_CHANGE_H
#define XENSNAPD_SNAPSHOT_TREE_CHANGE_H

#include "agent/journal/records.h"

/* In the record alone; false: it does not list that one. */
bool tree_drop_overlay(struct record_disk *disk, const char *path);

/*
 * Takes an image out of the overlays that records of this VM list; durable on
 * return.  True also if none lists it.
 */
bool tree_forget_image(struct records *records, const char *vm_uuid,
                       const char *path, struct error *err);

/* The same of an image in that driver domain. */
bool tree_forget_driver_image(struct records *records, const char *vm_uuid,
                              const char *driver, const char *path,
                              struct error *err);

/*
 * Where a record of this VM lists `beside` among a disk's overlays it lists
 * `path` as well, in that place of the order, or last if the domain went on
 * with it.  Durable on return.
 */
bool tree_list_beside(struct records *records, const char *vm_uuid,
                      const char *vdev, const char *beside, const char *path,
                      struct error *err);

/* Every snapshot state that lay in image `from` lies in `to` now, of that
 * format; and whoever says that the domain goes on in the one, says that of the
 * other. */
bool tree_move_states(struct records *records, const char *vm_uuid,
                      const char *from, const char *to, const char *format,
                      struct error *err);

/* The same of an image in that driver domain. */
bool tree_move_driver_states(struct records *records, const char *vm_uuid,
                             const char *driver, const char *from,
                             const char *to, const char *format,
                             struct error *err);

/* A snapshot no longer has that disk. */
bool tree_drop_disk(struct records *records, const char *vm_uuid,
                    const char *name, const char *vdev, struct error *err);

/* The children of a snapshot become its parent's. */
bool tree_adopt_children(struct records *records, const char *vm_uuid,
                         const char *name, struct error *err);

#endif
