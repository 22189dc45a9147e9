/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/backend_offline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backend.h"
#include "agent/backend_answer.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/open_files.h"
#include "agent/served_images.h"

/* A QEMU takes longer before it opens anything. */
#define LOOK_MS    20u
#define TELL_EVERY 12u /* looks */

struct backend_offline {
    struct snapshot *snapshot;
    const char *const *paths;
    size_t count;
    child_on_exit *on_exit;
    struct served_images *served;
    struct event *timer;
    unsigned int looks;
    bool met; /* a domain came, so the program was killed */
    struct error why;
};

static struct xs_handle *store_of(const struct snapshot *snapshot)
{
    return backend_xs(snapshot->agent->backend);
}

static bool are_unopened(const char *const paths[], size_t count,
                         struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (file_is_in_use(paths[i])) {
            return error_set(err, ERR_SNAPSHOT_IN_USE,
                             "%.300s is open in another program", paths[i]);
        }
    }
    return true;
}

bool backend_offline_is_free(const struct snapshot *snapshot,
                             const char *const paths[], size_t count,
                             struct error *err)
{
    struct served_images *served =
        served_images_new(paths, count, snapshot->guest.domid);
    bool ok = served_images_are_free(served, store_of(snapshot), err) &&
              are_unopened(paths, count, err);

    served_images_free(served);
    return ok;
}

/* ---- while it runs ---- */

/* What it has read and written so far; 0 if that cannot be told. */
static uint64_t bytes_of(const struct child *child)
{
    char path[40], line[80];
    uint64_t sum = 0, bytes;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/io", (int)child_pid(child));
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "rchar: %" SCNu64, &bytes) == 1 ||
            sscanf(line, "wchar: %" SCNu64, &bytes) == 1) {
            sum += bytes;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return sum;
}

static void look_again(struct backend_offline *work)
{
    struct timeval later = clock_timeval(LOOK_MS);

    if (++work->looks % TELL_EVERY == 0) {
        backend_tell_progress(store_of(work->snapshot), work->snapshot,
                              work->snapshot->patience++,
                              bytes_of(work->snapshot->merge_child), 0);
    }
    event_add(work->timer, &later);
}

static void on_time_to_look(evutil_socket_t fd, short events, void *arg)
{
    struct backend_offline *work = arg;

    (void)fd;
    (void)events;
    if (served_images_are_free(work->served, store_of(work->snapshot),
                               &work->why) ||
        work->why.code != ERR_BUSY) {
        look_again(work);
        return;
    }
    LOG_WARN("%s %s: qemu-img is killed", work->snapshot->label,
             work->why.message);
    work->met = true;
    child_kill(work->snapshot->merge_child);
}

/* ---- its end ---- */

static void work_free(struct backend_offline *work)
{
    work->snapshot->offline = NULL;
    work->snapshot->merge_child = NULL;
    served_images_free(work->served);
    event_free(work->timer);
    free(work);
}

static void on_ended(const struct error *err, void *arg)
{
    struct backend_offline *work = arg;
    struct snapshot *snapshot = work->snapshot;
    child_on_exit *on_exit = work->on_exit;
    struct error own = work->why;
    /* It may have come since the last look. */
    bool met = work->met || !backend_offline_is_free(snapshot, work->paths,
                                                     work->count, &own);

    work_free(work);
    on_exit(met ? &own : err, snapshot);
}

/* As one that could not be started: from the loop. */
static void on_refused(evutil_socket_t fd, short events, void *arg)
{
    struct backend_offline *work = arg;

    (void)fd;
    (void)events;
    work->met = true;
    on_ended(NULL, work);
}

void backend_offline_run(struct snapshot *snapshot, const char *const paths[],
                         size_t count, const char *const argv[],
                         child_on_exit *on_exit)
{
    struct backend_offline *work = xcalloc(1, sizeof(*work));
    struct event_base *loop = snapshot->agent->loop;
    struct timeval at_once = {0};

    snapshot->offline = work;
    *work = (struct backend_offline){
        .snapshot = snapshot,
        .paths = paths,
        .count = count,
        .on_exit = on_exit,
        .served = served_images_new(paths, count, snapshot->guest.domid),
    };
    if (!served_images_are_free(work->served, store_of(snapshot), &work->why) ||
        !are_unopened(paths, count, &work->why)) {
        work->timer = evtimer_new(loop, on_refused, work);
        event_add(work->timer, &at_once);
        return;
    }
    work->timer = evtimer_new(loop, on_time_to_look, work);
    snapshot->merge_child = child_start(loop, argv, on_ended, work);
    look_again(work);
}

void backend_offline_kill(struct snapshot *snapshot)
{
    if (snapshot->merge_child != NULL) {
        child_kill(snapshot->merge_child);
    }
}

void backend_offline_abandon(struct snapshot *snapshot)
{
    if (snapshot->merge_child != NULL) {
        child_abandon(snapshot->merge_child);
    }
    if (snapshot->offline != NULL) {
        work_free(snapshot->offline);
    }
}
