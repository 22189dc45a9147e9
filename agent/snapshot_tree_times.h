/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the images that hold a VM's states were last written to, as its records
 * note it (record.h).  As in snapshot_tree_change.h, all records that speak of
 * an image are changed, and what fails half way is ended by the same once more.
 */
#ifndef XENSNAPD_SNAPSHOT_TREE_TIMES_H
#define XENSNAPD_SNAPSHOT_TREE_TIMES_H

#include "agent/journal/records.h"

/*
 * A toolstack that told of it has written to that image: what is noted of the
 * states in it is the time of that, see record.h.  With `headers` also of those
 * in images over it, whose headers it may have changed, but for those that are
 * known as written to by somebody else.
 */
bool tree_note_written(struct records *records, const char *vm_uuid,
                       const char *path, bool headers, struct error *err);

/* Which of the VM's states somebody else has written to stays known, whoever
 * changes their images' headers from now on. */
bool tree_keep_strays(struct records *records, const char *vm_uuid,
                      struct error *err);

/*
 * We are about to write to that image: of the states in it no time is noted any
 * more; durable on return.  A state that somebody else has written to stays
 * known as that, unless whoever runs the domain has `decided` that it does not
 * count.
 *
 * In between, and if the agent dies, nobody else's writes are seen.  So it is
 * for the time alone in which we do write.
 */
bool tree_begin_write(struct records *records, const char *vm_uuid,
                      const char *path, bool decided, struct error *err);

/* That is over, whichever way it ended: their time is noted again, and that of
 * such states in images over it, whose headers may have been changed. */
bool tree_end_write(struct records *records, const char *vm_uuid,
                    const char *path, struct error *err);

/* Somebody else may have written to that image, and of the states in it no time
 * is noted: that is known from now on. */
bool tree_note_stray(struct records *records, const char *vm_uuid,
                     const char *path, struct error *err);

/* Both of an image in a driver domain, which is known by what its agent there
 * told: when it was last written to, 0 if that is not known. */
bool tree_begin_driver_write(struct records *records, const char *vm_uuid,
                             const char *driver, const char *path,
                             uint64_t written_ns, bool decided,
                             struct error *err);
bool tree_end_driver_write(struct records *records, const char *vm_uuid,
                           const char *driver, const char *path,
                           uint64_t written_ns, struct error *err);

/* The same as tree_note_stray(). */
bool tree_note_driver_stray(struct records *records, const char *vm_uuid,
                            const char *driver, const char *path,
                            struct error *err);

/* The states of a disk that a driver domain serves may have been written to by
 * somebody who has told of it: when they were last is not known any more. */
bool tree_forget_driver_times(struct records *records, const char *vm_uuid,
                              const char *vdev, struct error *err);

/* The domain has left that image, in which there may be internal snapshots: of
 * those it is noted that it was last written to then; 0: that is not known, and
 * it is not to go with them. */
bool tree_note_left(struct records *records, const char *vm_uuid,
                    const char *path, uint64_t written_ns, struct error *err);

#endif
