/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains that are held: which, until when, and their notes. */
#include "agent/hold.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"
#include "agent/base/clock.h"
#include "agent/base/folder.h"
#include "agent/base/log.h"
#include "agent/base/watchdog.h"
#include "agent/dispatch.h"
#include "agent/guest/whole_file.h"
#include "agent/hold_note.h"
#include "agent/hold_publish.h"
#include "agent/request.h"
#include "agent/sealed_file.h"

/* Until xenstored is there. */
#define CONNECT_MS 200u

/* Its guest stands still, and nobody has to be waited for any more. */
#define PAUSED_RETRY_MS 1000u

#define REMOVE_AGAIN_MS 1000u

#define SUFFIX   ".json"
#define NOTE_MAX ((size_t)4 << 20)

struct holds {
    struct agent *agent;
    char *folder;
    LIST_HEAD(, hold) all;
    struct watchdog *watchdog; /* on while a guest stands still for one */
};

/* No guardian lets such a guest go: it would meet a disk that fails.  What
 * helps it is an agent that works. */
static void mind_pauses(const struct holds *holds)
{
    const struct hold *hold;
    bool paused = false;

    LIST_FOREACH(hold, &holds->all, link)
    {
        paused = paused || hold->paused;
    }
    watchdog_want(holds->watchdog, paused);
}

/* ---- one hold ---- */

static void dispose_disk(struct hold_disk *disk)
{
    for (size_t i = 0; i < disk->depth; i++) {
        free(disk->chain[i].path);
        free(disk->chain[i].format);
    }
    free(disk->chain);
    free(disk->path);
    free(disk->format);
    free(disk->driver);
    free(disk->driver_uuid);
}

void hold_free(struct hold *hold)
{
    if (hold == NULL) {
        return;
    }
    for (size_t i = 0; i < hold->disk_count; i++) {
        dispose_disk(&hold->disks[i]);
    }
    free(hold->disks);
    if (hold->timer != NULL) {
        event_free(hold->timer);
    }
    free(hold);
}

static char *note_path(const struct holds *holds, const char *uuid)
{
    return xasprintf("%s/%s" SUFFIX, holds->folder, uuid);
}

bool hold_write(struct hold *hold, struct error *err)
{
    char *path, *text;
    bool ok;

    if (hold->holds == NULL) {
        return true;
    }
    mind_pauses(hold->holds);
    path = note_path(hold->holds, hold->uuid);
    text = hold_note_encode(hold);
    ok = sealed_file_replace(path, text, err);
    free(text);
    free(path);
    return ok;
}

/* ---- its end ---- */

struct stale_note {
    struct holds *holds;
    char uuid[GUEST_UUID_LENGTH + 1];
    struct event *timer;
};

static bool remove_note(struct holds *holds, const char *uuid)
{
    char *path = note_path(holds, uuid);
    bool ok = beneath_remove(NULL, path) == 0 || errno == ENOENT;

    if (!ok) {
        LOG_WARN("cannot remove %s: %s", path, strerror(errno));
    }
    free(path);
    return ok;
}

/* Unless the domain is held anew, and the note is that one's. */
static void on_time_to_remove(evutil_socket_t fd, short events, void *arg)
{
    struct stale_note *note = arg;
    struct timeval later = clock_timeval(REMOVE_AGAIN_MS);

    (void)fd;
    (void)events;
    if (holds_find(note->holds, note->uuid) == NULL &&
        !remove_note(note->holds, note->uuid)) {
        event_add(note->timer, &later);
        return;
    }
    event_free(note->timer);
    free(note);
}

/* The next agent would take the domain for one that is held. */
static void remove_later(struct holds *holds, const char *uuid)
{
    struct stale_note *note = xcalloc(1, sizeof(*note));
    struct timeval later = clock_timeval(REMOVE_AGAIN_MS);

    note->holds = holds;
    snprintf(note->uuid, sizeof(note->uuid), "%s", uuid);
    note->timer = evtimer_new(holds->agent->loop, on_time_to_remove, note);
    event_add(note->timer, &later);
}

void hold_forget(struct hold *hold)
{
    LIST_REMOVE(hold, link);
    mind_pauses(hold->holds);
    if (!remove_note(hold->holds, hold->uuid)) {
        remove_later(hold->holds, hold->uuid);
    }
    hold_publish(hold->holds->agent, hold, true);
    hold_free(hold);
}

/* ---- its disks ---- */

struct hold_disk *hold_add_disk(struct hold *hold, const char *vdev)
{
    struct hold_disk *disk;

    hold->disks =
        xrealloc(hold->disks, hold->disk_count + 1, sizeof(*hold->disks));
    disk = &hold->disks[hold->disk_count++];
    memset(disk, 0, sizeof(*disk));
    snprintf(disk->vdev, sizeof(disk->vdev), "%s", vdev);
    snprintf(disk->empty_node, sizeof(disk->empty_node), "%.16s-held", vdev);
    return disk;
}

void hold_trial_node(const struct hold_disk *disk, char name[NODE_NAME_SIZE])
{
    snprintf(name, NODE_NAME_SIZE, "%.16s-look", disk->vdev);
}

struct hold_disk *hold_disk_find(const struct hold *hold, const char *vdev)
{
    for (size_t i = 0; i < hold->disk_count; i++) {
        if (strcmp(hold->disks[i].vdev, vdev) == 0) {
            return &hold->disks[i];
        }
    }
    return NULL;
}

void hold_set_target(struct hold_disk *disk, const char *path,
                     const char *format)
{
    char *old_path = disk->path, *old_format = disk->format;

    disk->path = xstrdup(path);
    disk->format = xstrdup(format);
    free(old_path);
    free(old_format);
}

void hold_set_driver(struct hold_disk *disk, const char *driver,
                     const char *driver_uuid)
{
    disk->driver = driver == NULL ? NULL : xstrdup(driver);
    disk->driver_uuid = driver == NULL ? NULL : xstrdup(driver_uuid);
}

/* ---- letting go when the time is over ---- */

static bool is_there(const struct hold *hold)
{
    struct guest guest;
    struct error err;

    if (guests_find_domid(hold->holds->agent->guests, hold->domid, &guest,
                          &err)) {
        return !guest.dying && strcmp(guest.uuid, hold->uuid) == 0;
    }
    return err.code != ERR_NO_SUCH_DOMAIN;
}

static void forget_with_domain(struct hold *hold)
{
    LOG_NOTICE("domain %u (%s) is gone, and its hold with it", hold->domid,
               hold->uuid);
    hold_forget(hold);
}

void hold_arm(struct hold *hold, uint64_t ms)
{
    struct timeval wait = clock_timeval(ms);

    event_add(hold->timer, &wait);
}

void hold_let_go(struct hold *hold)
{
    struct error err;

    if (watch_xs(hold->holds->agent->watch) == NULL) {
        hold_arm(hold, CONNECT_MS);
        return;
    }
    hold_arm(hold, HOLD_RETRY_MS); /* in case it does not work out */
    if (hold->in_use) {
        return;
    }
    LOG_NOTICE("domain %u (%s): the time of its hold is over, letting go",
               hold->domid, hold->uuid);
    if (!dispatch_let_go(hold->holds->agent, hold->uuid, &err)) {
        LOG_WARN("domain %u (%s) cannot be let go yet: %s", hold->domid,
                 hold->uuid, err.message);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct hold *hold = arg;

    (void)fd;
    (void)events;
    if (hold->in_use || is_there(hold)) {
        hold_let_go(hold);
    } else {
        forget_with_domain(hold);
    }
}

/* As soon as driver domains need not be waited for any more; where that was of
 * no use, not at once again. */
static uint64_t retry_ms(const struct hold *hold)
{
    uint64_t patience = hold->paused ? hold_patience_ms(hold) : UINT64_MAX;

    if (patience == 0) {
        return PAUSED_RETRY_MS;
    }
    return patience < HOLD_RETRY_MS ? patience : HOLD_RETRY_MS;
}

void hold_leave(struct hold *hold)
{
    uint64_t now = clock_monotonic_ms();

    hold->in_use = false;
    hold_publish(hold->holds->agent, hold, false);
    if (!is_there(hold)) { /* it went while an operation was at work here */
        hold_arm(hold, 0);
        return;
    }
    if (hold->state == HOLD_EXPIRED) {
        event_del(hold->timer);
        return;
    }
    if (hold->state == HOLD_HELD && hold->deadline_ms > now) {
        hold->waits_ms = 0; /* it is who asked that the guest waits for */
        hold_arm(hold, hold->deadline_ms - now);
    } else {
        hold_arm(hold, retry_ms(hold));
    }
}

/* ---- how long driver domains are waited for ---- */

bool hold_has_drivers(const struct hold *hold)
{
    for (size_t i = 0; i < hold->disk_count; i++) {
        if (hold->disks[i].driver != NULL) {
            return true;
        }
    }
    return false;
}

uint64_t hold_patience_ms(const struct hold *hold)
{
    uint64_t limit = hold->holds->agent->config.timeouts.max_pause_ms;
    uint64_t gone = clock_monotonic_ms() - hold->waits_ms;

    if (limit == 0 || hold->waits_ms == 0 || !hold_has_drivers(hold)) {
        return UINT64_MAX;
    }
    return gone < limit ? limit - gone : 0;
}

void hold_count_pause(struct hold *hold)
{
    if (hold->waits_ms == 0) {
        hold->waits_ms = clock_monotonic_ms();
    }
}

/* ---- all of them ---- */

static struct hold *add(struct holds *holds, struct hold *hold)
{
    hold->holds = holds;
    hold->timer = evtimer_new(holds->agent->loop, on_timer, hold);
    LIST_INSERT_HEAD(&holds->all, hold, link);
    return hold;
}

struct hold *hold_new(struct holds *holds, const struct guest *guest)
{
    struct hold *hold = xcalloc(1, sizeof(*hold));

    snprintf(hold->uuid, sizeof(hold->uuid), "%s", guest->uuid);
    hold->domid = guest->domid;
    hold->was_paused = guest->paused;
    hold->state = HOLD_TAKING;
    clock_boot(hold->boot);
    return add(holds, hold);
}

struct hold *hold_of_job(void)
{
    return xcalloc(1, sizeof(struct hold));
}

struct hold *holds_find(const struct holds *holds, const char *vm_uuid)
{
    struct hold *hold;

    LIST_FOREACH(hold, &holds->all, link)
    {
        if (strcmp(hold->uuid, vm_uuid) == 0) {
            return hold;
        }
    }
    return NULL;
}

static bool disk_names(const struct hold_disk *disk, const char *path)
{
    if (disk->driver != NULL) {
        return false; /* its paths are of another domain */
    }
    for (size_t i = 0; i < disk->depth; i++) {
        if (strcmp(disk->chain[i].path, path) == 0) {
            return true;
        }
    }
    return disk->path != NULL && strcmp(disk->path, path) == 0;
}

bool holds_name(const struct holds *holds, const char *path)
{
    const struct hold *hold;

    LIST_FOREACH(hold, &holds->all, link)
    {
        for (size_t i = 0; i < hold->disk_count; i++) {
            if (disk_names(&hold->disks[i], path)) {
                return true;
            }
        }
    }
    return false;
}

bool holds_permit(const struct holds *holds, const struct request *request,
                  const char *vm_uuid, struct error *err)
{
    const struct hold *hold = holds_find(holds, vm_uuid);

    if (hold == NULL || hold->state == HOLD_EXPIRED ||
        request->operation == REQUEST_RESCAN) {
        return true;
    }
    return error_set(err, ERR_BUSY,
                     "the domain's disks are held for a rescan; ask for rescan "
                     "with phase=complete or phase=abort first");
}

void holds_publish(struct holds *holds)
{
    struct hold *hold;

    LIST_FOREACH(hold, &holds->all, link)
    {
        hold->published = false;
        if (hold->state != HOLD_TAKING) {
            hold_publish(holds->agent, hold, false);
        }
    }
}

void holds_look_at_domains(struct holds *holds)
{
    struct hold *hold, *next;

    for (hold = LIST_FIRST(&holds->all); hold != NULL; hold = next) {
        next = LIST_NEXT(hold, link);
        if (!hold->in_use && !is_there(hold)) {
            forget_with_domain(hold);
        }
    }
}

/* ---- what an earlier agent left ---- */

static bool read_note(const char *path, struct hold *hold, struct error *err)
{
    char *text;
    bool ok;

    if (!sealed_file_read(path, NOTE_MAX, &text, err)) {
        return false;
    }
    ok = hold_note_decode(text, hold);
    free(text);
    return ok ||
           error_set(err, ERR_STORE,
                     "%s is damaged, or of another version of xensnapd", path);
}

/* Where the run folder outlives the boot: the domain that was held is gone, its
 * domid may be another's, and its deadline means nothing. */
static bool is_of_another_boot(const struct hold *hold)
{
    char boot[CLOCK_BOOT_LENGTH + 1];

    clock_boot(boot);
    return hold->boot[0] != '\0' && boot[0] != '\0' &&
           strcmp(hold->boot, boot) != 0;
}

static void take_up(struct holds *holds, const char *path)
{
    struct hold *hold = xcalloc(1, sizeof(*hold));
    uint64_t now = clock_monotonic_ms();
    struct error err;
    bool wait;

    if (!read_note(path, hold, &err)) {
        hold_free(hold);
        sealed_file_set_aside(
            path, &err,
            "if that domain is still paused, its QEMU has no image open and "
            "nothing is known of how to open them again: destroy it and start "
            "it anew, its stored configuration names the right images");
        return;
    }
    wait = hold->state == HOLD_HELD && hold->deadline_ms > now;
    add(holds, hold);
    if (is_of_another_boot(hold)) {
        LOG_NOTICE("domain %u (%s) was held before the host was started anew: "
                   "that is over",
                   hold->domid, hold->uuid);
        hold_forget(hold);
        return;
    }
    if (hold->state != HOLD_EXPIRED) {
        LOG_NOTICE("domain %u (%s) is held: it is let go %s", hold->domid,
                   hold->uuid, wait ? "at its deadline" : "now");
        hold_arm(hold, wait ? hold->deadline_ms - now : 0);
    }
}

static bool is_note(const char *name)
{
    size_t length = strlen(name);

    return length > strlen(SUFFIX) &&
           strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static void take_up_all(struct holds *holds)
{
    DIR *folder;
    const struct dirent *entry;

    whole_file_sweep(holds->folder);
    folder = opendir(holds->folder);
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (is_note(entry->d_name)) {
            char *path = xasprintf("%s/%s", holds->folder, entry->d_name);

            take_up(holds, path);
            free(path);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

struct holds *holds_open(struct agent *agent, struct error *err)
{
    struct holds *holds = xcalloc(1, sizeof(*holds));

    holds->agent = agent;
    holds->folder = xasprintf("%s/held", agent->config.store.run_folder);
    LIST_INIT(&holds->all);
    if (!folder_make(holds->folder, 0700, NULL, err)) {
        free(holds->folder);
        free(holds);
        return NULL;
    }
    holds->watchdog = watchdog_new(agent->loop);
    take_up_all(holds);
    mind_pauses(holds);
    return holds;
}

void holds_close(struct holds *holds)
{
    if (holds == NULL) {
        return;
    }
    while (!LIST_EMPTY(&holds->all)) {
        struct hold *hold = LIST_FIRST(&holds->all);

        LIST_REMOVE(hold, link);
        hold_free(hold);
    }
    watchdog_free(holds->watchdog);
    free(holds->folder);
    free(holds);
}
