/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request under way: what the steps of a recipe hand on to each other.
 *
 * dispatch_*.c make it and own it; the step bodies in agent/disk/ and
 * agent/guest/ fill it in; result.c reads it.  Strings are owned by it unless
 * said otherwise and freed by snapshot_free().
 */
#ifndef XENSNAPD_SNAPSHOT_H
#define XENSNAPD_SNAPSHOT_H

#include <libxl.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/agent.h"
#include "agent/base/beneath.h"
#include "agent/base/clock.h"
#include "agent/base/container_of.h"
#include "agent/base/policy.h"
#include "agent/disk/block_graph.h"
#include "agent/disk/block_job.h"
#include "agent/disk/delete_plan.h"
#include "agent/disk/format_table.h"
#include "agent/disk/image.h"
#include "agent/disk/image_mark.h"
#include "agent/domain_queue.h"
#include "agent/operation.h"
#include "agent/request.h"

struct backend_job;
struct backend_offline;
struct backends;
struct chains_question;
struct child;
struct guard;
struct guest_call;
struct hold;
struct internal_work;
struct loop_limit;
struct merge_guard;
struct quiesce;
struct stored_config_change;
struct disk_location;

struct snapshot_disk {
    /* from the domain's configuration */
    char vdev[32];
    char *path;          /* the active image before the snapshot */
    char *format;        /* its format */
    const char *backend; /* "qdisk", "phy", "tap"; static */
    uint32_t backend_domid;
    char *driver; /* the driver domain that takes its part, by name; NULL: none:
                     the disk is here.  Its paths are of that domain */
    char *driver_uuid; /* of the same; NULL as well */
    bool writable;
    bool cdrom;

    /* what is to be done with it */
    char *skipped; /* why it is left out; NULL: it is taken */
    bool external;
    const struct format_rule *rule; /* where it is taken */
    char *wanted_path;              /* NULL: default */
    char *stem;          /* in a driver domain: what overlays are called after;
                            NULL: the image */
    char *internal_name; /* NULL where external */

    /* what QEMU says */
    char *node; /* the device's root node before the snapshot */
    uint64_t virtual_bytes;
    size_t depth; /* of the active chain */

    /* what was made */
    char *overlay; /* NULL where internal */
    char overlay_node[32];
    char *restore_overlay; /* NULL: none */
    bool overlay_made;
    bool restore_overlay_made;

    /* delete */
    enum merge_kind merge;
    char plug_node[32]; /* see plug_node.h */
    char *over;         /* the image over `path`: one goes into the other */
    bool stream_again;  /* an earlier stream may have been cut short */

    /* undoing a create, noted: the image under the overlay holds all of it, on
     * disk, and a domain may have gone on with either; it goes on with that
     * image */
    bool copied;
    bool merged;

    /* revert: where the disk was before, NULL if not known; it stays if
     * something still needs it */
    char *abandoned;
    bool abandoned_stays;
    uint64_t abandoned_ns;  /* its last change, where that is noted: flushed */
    bool abandoned_removed; /* in a driver domain: it is gone */

    /* of an internal snapshot: it may have been applied, and was not put back;
     * what the disk held before stays (kept_disks.h) */
    bool applied;
    bool kept_stays;

    /* merging in a driver domain: the image that `over` is merged into, with
     * its format; all that the records know; whether the guest uses `over`
     * itself, and whether what the domain was to do is done */
    char *state;
    char *state_format;
    struct known_image *known;
    size_t known_count;
    bool over_is_active;
    bool settled;
    bool over_goes;
    const char *written[2];     /* what a program is at work on */
    enum image_verdict verdict; /* where `over` may have been merged before */
    uint64_t written_ns; /* in a driver domain: when the state's image was last
                            written to; 0: not known */

    /* an internal snapshot's image is as a revert left it (left_image.h) */
    bool is_left;

    /* of the delete itself: something is merged there; without a QEMU; or is
     * already, and only has to be carried to its end */
    bool merges_there;
    bool offline_there;
    bool finishes_there;

    /* rescan */
    char *target;        /* the image that is active afterwards */
    char *target_format; /* its format, by libxl's name */
    char *held_path;     /* what the hold would have opened before */
    char *held_format;
    struct image_chain chain; /* read anew */
    bool changed;             /* it is not what QEMU had open */
    bool left_alone;          /* its driver domain has nothing to do for it */

    /* After a failed undo: QEMU still has the overlay open, or may have; it
     * holds data and must stay, and be named by the configuration (noted of
     * driver domains' disks, which cannot be asked again) ... */
    bool overlay_stays;
    bool names_stay; /* ... or whatever that names now */

    /* After an undo: QEMU has been seen to have another image open */
    bool overlay_left;
    bool removal_failed; /* of the overlay, which stays for that reason */
};

/* What a driver domain does in a rescan. */
enum rescan_act {
    RESCAN_INSPECT, /* what has QEMU open? */
    RESCAN_READ,    /* what do the files say? */
    RESCAN_CLOSE,   /* QEMU closes them: the guest stands still */
    RESCAN_OPEN,    /* and opens others */

    /* of a merge, see merge_there.h */
    RESCAN_LOOK,    /* what do the known images lie over? */
    RESCAN_MERGE,   /* copies one into another */
    RESCAN_OFFLINE, /* the same, where no QEMU has them open */
    RESCAN_STOP,    /* gives up what QEMU copies */
    RESCAN_END /* what lay over the one that goes lies over the other: it goes
                */
};

/* An image that the records name, and what is under it, in words of the job:
 * a path, or why there is none. */
struct known_image {
    char *path;
    char *under;
    uint64_t written_ns; /* 0: not known, or of no interest */
};

/* Its file is not there, and nothing else in its folder either. */
static inline bool known_image_is_away(const struct known_image *image)
{
    return strcmp(image->under, "away") == 0;
}

/* Its file is not there. */
static inline bool known_image_is_gone(const struct known_image *image)
{
    return known_image_is_away(image) || strcmp(image->under, "gone") == 0;
}

struct snapshot;

typedef void snapshot_then(struct snapshot *snapshot, const struct error *err);
typedef void snapshot_act(struct snapshot *snapshot);

struct snapshot {
    struct agent *agent;
    struct request request;
    struct operation operation;
    struct queue_job job;

    /* the request's life, see dispatcher.h */
    TAILQ_ENTRY(snapshot) link;
    bool orphaned; /* its folder is gone: nothing is written any more */
    char id[REQUEST_KEY_MAX + 1]; /* its key, see store/paths.h */
    uint32_t requester;
    struct guest asker;             /* who that is; all zero: domain 0 */
    struct policy *policy;          /* held for the sake of `rule` */
    const struct policy_rule *rule; /* permission.h; NULL: nothing binds it */
    char label[384]; /* for log lines: "dom=alice req=ab12 op=create" */
    struct event *timer;
    struct event *deferred;
    struct event *teller;
    bool goes_on; /* `deferred` comes as soon as the loop can */
    bool told_running;
    bool told_queued;         /* `queued_at` stands in its folder */
    unsigned int old_outputs; /* that lie there, and go with what is written
                                 first: request_key.h */
    char queued_at[CLOCK_UTC_LENGTH + 1];
    char started_at[CLOCK_UTC_LENGTH + 1];
    uint64_t started_ms;  /* monotonic; 0: it has not */
    uint64_t deadline_ms; /* monotonic; 0: none */
    uint64_t allowed_ms;  /* how long it was from there back to the start */

    /* recovery.c */
    bool noted;       /* there is a note that must go in the end */
    bool noted_by_id; /* as earlier versions named it */
    char *noted_boot; /* of which its domids are; NULL: not known */
    bool recovered;   /* from a note of an agent that ended under way */
    char noted_step[OPERATION_STEP_MAX + 1]; /* how far that had come */
    uint32_t noted_domid;                    /* the domain's then */
    bool complained;   /* told that nobody can tell where the domain is */
    bool gone;         /* recovered, and the domain no longer exists */
    bool cancel_seen;  /* a cancel was seen before it was taken up */
    bool too_late;     /* to call it off: it had been committed */
    bool note_stays;   /* in the end it is set aside; see kept_note.h */
    bool note_refused; /* told that it can neither go nor be set aside */

    /* dispatch_run.c, once it is over */
    bool ended;
    uint32_t end_wait_ms;  /* what is left to write is tried again after it */
    bool told;             /* the result is written */
    bool unpublished;      /* what has changed is shown with it */
    uint64_t records_then; /* records_changes() when it began */
    struct error outcome;

    const char *told_step; /* what was last written to `step` */
    unsigned int told_progress;
    bool told_bytes;
    uint64_t told_bytes_done;
    uint64_t told_ms; /* when that was; monotonic */

    struct backend_job *backend_job; /* in a driver domain; else NULL */
    struct snapshot *outer; /* of an inner operation (inner.h); else NULL */
    struct snapshot *inner; /* that is at work for this one; else NULL */
    void (*inner_then)(struct snapshot *outer, struct snapshot *inner,
                       const struct error *err);
    struct backends *backends;  /* for a driver domain's disks; else NULL */
    char *job_id;               /* of the jobs that they are given */
    enum rescan_act rescan_act; /* what those of a rescan do */
    uint64_t answer_ms;         /* UINT64_MAX, or they are waited for no longer
                                   than that */

    /* Of what is under way; total 0: nothing whose bytes are counted. */
    uint64_t bytes_done;
    uint64_t bytes_total;

    struct beneath folders; /* of the files that it makes and removes */

    /* the domain */
    bool running;   /* it exists; else only `guest.uuid` and `name` are known */
    bool just_seen; /* no time has passed since it was looked up */
    struct guest guest;
    uint32_t found_domid; /* when its first step looked; 0: that does not */
    libxl_domain_config *config; /* NULL until read */
    char *config_json;           /* the same, as text */

    /* the snapshot */
    char name[SNAPSHOT_NAME_MAX + 1];
    char created_at[CLOCK_UTC_LENGTH + 1];
    struct snapshot_disk *disks;
    size_t disk_count;
    size_t disk_index;       /* of the disk at work */
    const char *consistency; /* "full", "quiesced", "crash"; static */
    bool adjust_failed;      /* the configuration is as it was */
    bool other_save_seen;    /* which may name what that named meanwhile */
    bool of_libvirt;         /* libvirt ran the domain when this create began */

    /* quiesce */
    bool freezes;            /* it is asked for, so the guest may be frozen */
    bool taken_back;         /* what an agent that has ended asked for */
    struct quiesce *quiesce; /* the guest is frozen, or may be; else NULL */
    char *not_quiesced;      /* why it was not; NULL: it was, or not asked */

    /* memory */
    bool live;
    char *memory_path;
    char *memory_temporary; /* what is written until it is complete */
    bool memory_made;       /* the temporary file is ours */
    bool memory_linked;     /* it has its own name, or gets it now */
    int memory_fd;          /* -1: not open */
    struct child *flush;    /* of large files; NULL: none is under way */
    uint64_t memory_expected_bytes;
    uint64_t memory_bytes;
    uint64_t suspended_ns; /* monotonic; 0: not seen suspended */
    uint64_t downtime_ms;
    bool supervision_held;

    /* the bound of the pause, see pause_steps.c */
    struct guard *guard;
    struct event *pause_limit;
    uint32_t max_pause_ms; /* 0: none */
    unsigned int guards_lost;
    struct guest_call *release;  /* the guest is being let go over its head */
    operation_act *release_then; /* what waits for that; NULL: nothing */

    /* delete */
    bool expired;                /* nobody asked: the snapshot's time is over */
    struct block_job *merge_job; /* under way, of an undo as well */
    char merge_job_id[BLOCK_JOB_ID_SIZE]; /* by which QEMU knows it */
    struct merge_guard *merge_guard;      /* of a merge of the active image */
    struct child *merge_child;       /* offline_work.h: of a revert as well */
    struct backend_offline *offline; /* the same in a driver domain */
    bool merge_stop;                 /* cancelled */
    bool was_marked;                 /* an earlier delete had begun */
    bool merge_begun;                /* the state may no longer be whole */
    bool merge_streams;              /* the job does, whichever was planned */
    bool merge_done;          /* an undo's has ended well: QEMU's own word */
    bool job_found;           /* QEMU has that of an earlier try */
    bool job_lost;            /* it may be at work still, and write */
    struct error merge_error; /* of the disk at work: its job's */

    /* revert */
    off_t stream_offset; /* where libxl's stream begins in the memory file */
    char *rescue_path;   /* the running state, kept until the revert is over */
    bool rescued;        /* that file is complete */
    bool rescue_stays;   /* also afterwards: its state runs nowhere */
    char *unrescued;     /* why it is not kept; NULL: it is, or not known */
    bool internal_applied; /* one may be, and was not put back */
    char *kept_name; /* kept_disks.h; NULL: none has an internal snapshot, or
                        nothing is kept */
    const struct internal_work *work; /* internal_work.h: under way ... */
    snapshot_then *work_then;         /* ... what follows it ... */
    struct error work_error;          /* ... and what failed first */
    uint64_t drop_until_ms; /* kept_drop.c: until when QEMU is asked */
    bool kept_stay; /* what the disks held is somebody's to decide about */
    unsigned int attempt; /* which source is being tried, see restore_steps.c */
    unsigned int patience;
    int restore_fd;                      /* -1: not open */
    libxl_domain_config *restore_config; /* of the attempt under way */
    struct loop_limit *restore_limit;    /* of libxl's call; NULL: none */
    off_t restore_at;         /* how far its memory file has been read */
    struct error called_off;  /* why it is given up; ERR_NONE: it is not */
    bool restore_cancelled;   /* and that was heard */
    bool rescue_failed;       /* the running state, once */
    uint32_t new_domid;       /* 0: not yet */
    const char *brought_back; /* what runs instead; static; NULL: as asked */

    /* rescan */
    struct hold *hold;     /* of the domain; owned by the agent's holds */
    bool hold_is_ours;     /* begun by this request */
    bool hold_had_expired; /* of a delete: the one before, to be remembered */
    bool let_go;           /* nobody asked: the hold's time is over */
    bool interrupted;  /* a rescan that an earlier agent left with its domain
                          held: answered, with `failure`, once that is let go */
    bool opened_there; /* a driver domain may have opened what it was told to,
                          and has not closed it again: the configuration must go
                          on naming that */
    char hold_until[CLOCK_UTC_LENGTH + 1];
    size_t try_disk;

    char warning[512]; /* what the result tells besides; "": nothing */

    /* What makes the request a failed one though the recipe went on. */
    struct error failure;

    /* under way */
    struct chains_question *question; /* to QEMU, not answered yet */
    struct qmp *qmp;
    struct block_graph *graph;
    struct guest_call *call;
    struct stored_config_change *change;
    struct disk_location *locations; /* what the change is given */
    bool switch_sent;    /* the transaction went out: its effect counts */
    bool switch_refused; /* QEMU has said that it had none, and no other domain
                            has come since */
    uint64_t looked_ms;  /* monotonic: when an undo last asked QEMU what it has
                            open; 0: none has */
    struct error undo_error;  /* of the undo under way */
    snapshot_then *then;      /* what follows the part under way ... */
    snapshot_then *look_then; /* ... merge_look() ... */
    snapshot_then *undo_then; /* ... disks_bring_back(), or that of kept disks
                                 as a whole ... */
    snapshot_then *back_then; /* ... kept_disks_put_back() ... */
    snapshot_then *drop_then; /* ... and kept_disks_drop() */
    unsigned int undo_tries;  /* that the disk at work has left */
    snapshot_act *later;      /* what snapshot_later() puts off */
    struct event *meter;      /* watches the memory file grow, or what a step
                                 waits for */
};

static inline struct snapshot *snapshot_of(struct operation *operation)
{
    return container_of(operation, struct snapshot, operation);
}

/* Does that in `ms` milliseconds, from the loop, by `meter`, which is free.
 * Never, if the snapshot is freed before. */
void snapshot_later(struct snapshot *snapshot, uint32_t ms, snapshot_act *act);

/* All zero, but for descriptors, which are not open; for snapshot_free(). */
struct snapshot *snapshot_new(void);
void snapshot_free(struct snapshot *snapshot);

/* Ends the QMP session that a step may have left open; safe where none is, and
 * from any of its callbacks. */
void snapshot_close_qmp(struct snapshot *snapshot);

/* Ends what is being asked of QEMU, and the session: with it goes libxl's lock,
 * for which other toolstacks and the next request may wait. */
void snapshot_leave_qemu(struct snapshot *snapshot);

/* Forgets the disks, to find out about them anew. */
void snapshot_free_disks(struct snapshot *snapshot);

/* Disposes, frees and forgets a configuration; NULL is fine. */
void snapshot_free_config(libxl_domain_config **config);

/* Whether a disk takes part. */
static inline bool snapshot_takes(const struct snapshot_disk *disk)
{
    return disk->skipped == NULL;
}

/* Whether it does, and is served by a QEMU here. */
static inline bool snapshot_takes_here(const struct snapshot_disk *disk)
{
    return snapshot_takes(disk) && disk->driver == NULL;
}

/* Of a revert that has made a domain: whether that is on the fresh overlays.
 * Where an internal snapshot was applied and could not be put back, so it is
 * whatever it is made from: see restore_open_source(). */
static inline bool snapshot_is_on_overlays(const struct snapshot *snapshot)
{
    return snapshot->brought_back == NULL || snapshot->internal_applied;
}

/* The QEMU that serves the domain's disks; 0 if it is not known. */
pid_t snapshot_qemu(const struct snapshot *snapshot);

/* Where the domain's block jobs run. */
struct block_job_where snapshot_job_place(const struct snapshot *snapshot);

bool snapshot_takes_any_here(const struct snapshot *snapshot);

/* Removes a file that a step made or a record names; one that is not there is
 * no error. */
bool snapshot_remove_file(struct snapshot *snapshot, const char *path,
                          struct error *err);

#endif
