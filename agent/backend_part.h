/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One driver domain's part of a snapshot, as domain 0 sees it: the job that it
 * writes for the agent there (backend_job.h), and what that answers.
 *
 * An answer is another domain's word.  It names files of that domain, is never
 * used as a path here, and is not taken if it is none that was asked for.
 */
#ifndef XENSNAPD_BACKEND_PART_H
#define XENSNAPD_BACKEND_PART_H

#include <xenstore.h>

#include "agent/backend_job.h"
#include "agent/snapshot.h"

struct backend_part {
    uint32_t domid;      /* of the driver domain */
    const char *name;    /* the disks' */
    const char *uuid;    /* likewise */
    char *job;           /* ours: <root>/backends/<domid>/<id> */
    char *answers;       /* theirs */
    bool given;          /* there may be a job */
    bool told_to_switch; /* or may have been */
    bool over;           /* nothing is to be said any more */
    /* of a merge: what it told when it was last waited for in vain */
    char *progress;
    uint64_t copied;      /* then, or when that last was worth a word, */
    unsigned int stalled; /* so often since that it was not, */
    unsigned int resets;  /* and so often it had fallen */
};

/* What it says, told from what it may say. */
enum part_state {
    PART_SILENT,
    PART_PREPARED,
    PART_SWITCHED,
    PART_COMMITTED,
    PART_FAILED, /* but it keeps the overlays until it is told */
    PART_PUT_BACK,
    PART_UNDONE,
    PART_NONSENSE
};

/* Of one that has not answered: whether it has told of progress since this was
 * asked last.  A megabyte more is some; that it works on the same ones is some
 * for a while only. */
bool backend_part_gets_on(struct xs_handle *xs, struct backend_part *part);

/* Whether an agent of this protocol says that it is there. */
bool backend_part_is_offered(struct xs_handle *xs, uint32_t domid);

/* `disk` is one of those that it serves. */
void backend_part_init(struct backend_part *part,
                       const struct snapshot *snapshot,
                       const struct snapshot_disk *disk, uint32_t domid);
void backend_part_dispose(struct backend_part *part);

bool backend_part_serves(const struct backend_part *part,
                         const struct snapshot_disk *disk);

/* Its answers are heard of by that. */
bool backend_part_watch(struct xs_handle *xs, const struct backend_part *part);

/* Writes the job, in phase `prepare`. */
bool backend_part_give(struct xs_handle *xs, struct backend_part *part,
                       const struct snapshot *snapshot, struct error *err);

/* Whatever may have been said of an earlier agent's, was. */
void backend_part_recall(struct xs_handle *xs, struct backend_part *part);

bool backend_part_say(struct xs_handle *xs, struct backend_part *part,
                      enum backend_phase phase, struct error *err);

enum part_state backend_part_look(struct xs_handle *xs,
                                  const struct backend_part *part);

/* Of a part that is prepared: its disks' overlays, sizes and chains. */
bool backend_part_take_files(struct xs_handle *xs,
                             const struct backend_part *part,
                             struct snapshot *snapshot, struct error *err);

/* Of one that has switched: since when nobody writes to the images that its
 * disks were on, where it tells. */
void backend_part_take_written(struct xs_handle *xs,
                               const struct backend_part *part,
                               struct snapshot *snapshot);

/* Of one that is put back: the disks that are not. */
void backend_part_take_stays(struct xs_handle *xs,
                             const struct backend_part *part,
                             struct snapshot *snapshot);

/* A revert: which images its disks have left, and are not to stay; and, of one
 * that has committed, which of them are removed. */
bool backend_part_name_left(struct xs_handle *xs,
                            const struct backend_part *part,
                            const struct snapshot *snapshot, struct error *err);
void backend_part_take_removed(struct xs_handle *xs,
                               const struct backend_part *part,
                               struct snapshot *snapshot);

/* Why it failed, in its words; false if it did not. */
bool backend_part_error(struct xs_handle *xs, const struct backend_part *part,
                        struct error *err);

/* Takes the job away: whatever the agent there has made stays as it is. */
void backend_part_withdraw(struct xs_handle *xs, struct backend_part *part);

#endif
