/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains whose disks are held: paused, their QEMU without a single image open
 * (rescan, agent/snapshot_ops.c).
 *
 * A hold outlives the request that began it and the agent: its note stands in
 * the run folder, <run_folder>/held/<uuid>.json (its form: hold_note.h), and
 * ends with the boot, like the domain.  Times are those of the monotonic clock,
 * which all processes of one boot share.
 *
 *   taking --prepared--> held --complete, abort--> releasing --> gone
 *      |                   |                           ^
 *      +-- failure --------+-- deadline ---------------+--> expired
 *
 * `taking` and `releasing` belong to the operation under way.  Where there is
 * none, because the agent was killed in its middle or because the images could
 * not be opened, letting go is tried again every few seconds: a guest is never
 * let run on a disk that is not whole.  `expired` only remembers, for whoever
 * comes too late to complete it.
 */
#ifndef XENSNAPD_HOLD_H
#define XENSNAPD_HOLD_H

#include <sys/queue.h>
#include <sys/types.h>

#include "agent/agent.h"
#include "agent/base/clock.h"
#include "agent/disk/root_swap.h"

enum hold_state { HOLD_TAKING, HOLD_HELD, HOLD_RELEASING, HOLD_EXPIRED };

/* An image as it was when it was taken from QEMU. */
struct hold_image {
    char *path;
    char *format;    /* QEMU's name */
    uint64_t device; /* which file it was: st_dev, st_ino */
    uint64_t inode;
    int64_t written_ns; /* when it was last written to */

    /* In a driver domain, as its agent told when it read the chain anew; not
     * noted. */
    bool gone;
    bool written_to; /* since then */
};

struct hold_disk {
    char vdev[32];
    char *path; /* what is opened when it is let go, and its format by libxl's
                   name */
    char *format;
    char *driver; /* the driver domain that has the images, NULL: none; and its
                     uuid */
    char *driver_uuid;
    char image_node[NODE_NAME_SIZE]; /* see root_swap.h */
    char empty_node[NODE_NAME_SIZE]; /* the placeholder */
    uint64_t virtual_bytes;
    bool discard;
    bool direct;
    struct hold_image *chain; /* [0] = the active one */
    size_t depth;
};

struct hold {
    LIST_ENTRY(hold) link;
    struct holds *holds;
    char uuid[GUEST_UUID_LENGTH + 1];
    uint32_t domid;
    enum hold_state state;
    bool paused;     /* by us: once, to be undone once */
    bool was_paused; /* by somebody else before */
    bool of_delete;  /* it is for the end of a merge, and nobody else's */
    char
        boot[CLOCK_BOOT_LENGTH + 1]; /* of which its times are; "": not known */
    uint64_t began_ms;               /* when the domain stopped, monotonic */
    uint64_t deadline_ms;            /* monotonic */
    uint64_t waits_ms; /* since when the guest stands still for driver domains
                          alone, monotonic; 0: it does not */
    struct hold_disk *disks;
    size_t disk_count;
    bool in_use;    /* an operation is at work on it */
    bool published; /* hold_publish.h: something stands in xenstore */
    struct event *timer;
};

struct holds;

/* Takes up the notes of an earlier agent. */
struct holds *holds_open(struct agent *agent, struct error *err);
/* The notes stay.  NULL is allowed. */
void holds_close(struct holds *holds);

/* NULL if there is none; one that has expired is one. */
struct hold *holds_find(const struct holds *holds, const char *vm_uuid);

/* Whether one of them took that image from QEMU, or is to open it. */
bool holds_name(const struct holds *holds, const char *path);

/* ERR_BUSY if the domain is held and this is no request that deals with it. */
bool holds_permit(const struct holds *holds, const struct request *request,
                  const char *vm_uuid, struct error *err);

/* All of them, into an xenstore where nothing stands of them. */
void holds_publish(struct holds *holds);

/* Some domain went away: so did its hold. */
void holds_look_at_domains(struct holds *holds);

/* A new one, `taking`, in memory only. */
struct hold *hold_new(struct holds *holds, const struct guest *guest);

/* In a driver domain, where domain 0 has the hold: only what a job tells of it,
 * never noted. */
struct hold *hold_of_job(void);
void hold_free(struct hold *hold);

/* Whether a driver domain has images of its disks. */
bool hold_has_drivers(const struct hold *hold);

/* How long the guest may still stand still for the sake of driver domains; 0:
 * no longer.  UINT64_MAX where nothing bounds it. */
uint64_t hold_patience_ms(const struct hold *hold);

/* Nobody waits for them for longer than timeouts.max-pause from now on. */
void hold_count_pause(struct hold *hold);
struct hold_disk *hold_add_disk(struct hold *hold, const char *vdev);
struct hold_disk *hold_disk_find(const struct hold *hold, const char *vdev);
void hold_set_target(struct hold_disk *disk, const char *path,
                     const char *format);
/* `driver` NULL: domain 0 serves it. */
void hold_set_driver(struct hold_disk *disk, const char *driver,
                     const char *driver_uuid);

/* The node by which QEMU looks at a chain before the disk is taken. */
void hold_trial_node(const struct hold_disk *disk, char name[NODE_NAME_SIZE]);

/* Writes it down, durable as long as the boot. */
bool hold_write(struct hold *hold, struct error *err);

/* It is to be let go in that time: at its deadline, or at the next attempt. */
void hold_arm(struct hold *hold, uint64_t ms);
#define HOLD_RETRY_MS 10000u

/* Now, in the domain's turn; what does not work out is tried again. */
void hold_let_go(struct hold *hold);

/* The operation is over and the hold stays: on with its deadline. */
void hold_leave(struct hold *hold);

/* With its note; if that cannot be removed now, it is tried again. */
void hold_forget(struct hold *hold);

#endif
