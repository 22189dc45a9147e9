/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of all driver domains, waiting for them, and the way forward. */
#include "agent/backends.h"

#include <stdlib.h>

#include "agent/backend_part_rescan.h"
#include "agent/backends_private.h"
#include "agent/base/alloc.h"
#include "agent/store/socket.h"

bool backends_has_living(const struct backends *backends,
                         const struct backend_part *part)
{
    return guest_glance(backends->snapshot->agent->guests, part->domid,
                        part->uuid) != GUEST_IS_GONE;
}

/* ---- the parts ---- */

static void add_part(struct backends *backends,
                     const struct snapshot_disk *disk, uint32_t domid)
{
    backends->parts = xrealloc(backends->parts, backends->count + 1,
                               sizeof(*backends->parts));
    backend_part_init(&backends->parts[backends->count++], backends->snapshot,
                      disk, domid);
}

static bool has_part(const struct backends *backends,
                     const struct snapshot_disk *disk)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (backend_part_serves(&backends->parts[i], disk)) {
            return true;
        }
    }
    return false;
}

/* A driver domain is known by its uuid, which a domid can survive; one that is
 * gone gets none, and counts as dead. */
static uint32_t domid_of(const struct snapshot *snapshot, const char *uuid)
{
    struct guest server;
    struct error err;

    return guests_find(snapshot->agent->guests, uuid, &server, &err)
               ? server.domid
               : 0;
}

static void find_parts(struct backends *backends)
{
    const struct snapshot *snapshot = backends->snapshot;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (snapshot_takes(disk) && disk->driver != NULL && !disk->left_alone &&
            !has_part(backends, disk)) {
            add_part(backends, disk, domid_of(snapshot, disk->driver_uuid));
        }
    }
}

static void look_at_all(struct backends *backends);

static void on_changed(evutil_socket_t fd, short events, void *arg)
{
    struct backends *backends = arg;
    char **event;

    (void)fd;
    (void)events;
    while ((event = xs_check_watch(backends->xs)) != NULL) {
        free(event);
    }
    look_at_all(backends);
}

static void on_limit(evutil_socket_t fd, short events, void *arg);

static void listen_to_all(struct backends *backends)
{
    struct event_base *loop = backends->snapshot->agent->loop;

    backends->limit = evtimer_new(loop, on_limit, backends);
    backends->xs = store_socket_open();
    if (backends->xs == NULL) {
        return;
    }
    backends->changed = event_new(loop, xs_fileno(backends->xs),
                                  EV_READ | EV_PERSIST, on_changed, backends);
    event_add(backends->changed, NULL);
    for (size_t i = 0; i < backends->count; i++) {
        if (!backend_part_watch(backends->xs, &backends->parts[i])) {
            backends->deaf = true;
        }
    }
    if (!xs_watch(backends->xs, "@releaseDomain", "domains")) {
        backends->deaf = true;
    }
}

struct backends *backends_open(struct snapshot *snapshot)
{
    struct backends *backends = xcalloc(1, sizeof(*backends));

    backends->snapshot = snapshot;
    find_parts(backends);
    if (backends->count > 0) {
        listen_to_all(backends);
    }
    return backends;
}

struct backends *backends_recall(struct snapshot *snapshot)
{
    struct backends *backends = backends_open(snapshot);

    for (size_t i = 0; i < backends->count; i++) {
        backend_part_recall(backends->xs, &backends->parts[i]);
    }
    return backends;
}

void backends_free(struct backends *backends)
{
    if (backends == NULL) {
        return;
    }
    for (size_t i = 0; i < backends->count; i++) {
        backend_part_dispose(&backends->parts[i]);
    }
    if (backends->changed != NULL) {
        event_free(backends->changed);
    }
    if (backends->limit != NULL) {
        event_free(backends->limit);
    }
    if (backends->xs != NULL) {
        xs_close(backends->xs);
    }
    free(backends->parts);
    free(backends);
}

struct snapshot *backends_snapshot(const struct backends *backends)
{
    return backends->snapshot;
}

struct backends *backends_of(struct snapshot *snapshot)
{
    struct backends *backends = snapshot->backends;

    if (backends == NULL && snapshot->recovered) {
        backends = snapshot->backends = backends_recall(snapshot);
    }
    return backends != NULL && backends->count > 0 ? backends : NULL;
}

bool backends_may_have_switched(const struct backends *backends)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (backends->parts[i].told_to_switch) {
            return true;
        }
    }
    return false;
}

bool backends_take_files(struct backends *backends, struct error *err)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (!backend_part_take_files(backends->xs, &backends->parts[i],
                                     backends->snapshot, err)) {
            return false;
        }
    }
    return true;
}

void backends_take_written(struct backends *backends)
{
    for (size_t i = 0; i < backends->count; i++) {
        backend_part_take_written(backends->xs, &backends->parts[i],
                                  backends->snapshot);
    }
}

bool backends_take_chains(struct backends *backends, struct error *err)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (!backend_part_take_chain(backends->xs, &backends->parts[i],
                                     backends->snapshot, err)) {
            return false;
        }
    }
    return true;
}

void backends_withdraw(struct backends *backends)
{
    for (size_t i = 0; i < backends->count; i++) {
        backend_part_withdraw(backends->xs, &backends->parts[i]);
    }
}

/* ---- waiting for them ---- */

void backends_end_waiting(struct backends *backends, const struct error *err)
{
    backends_then *then = backends->then;
    struct error own = *err;

    backends->then = NULL;
    event_del(backends->limit);
    then(backends, &own);
}

/* A rescan's pause may be over before. */
static uint64_t limit_ms(const struct snapshot *snapshot)
{
    uint64_t limit = snapshot->agent->config.timeouts.backend_ms;

    return snapshot->request.operation == REQUEST_RESCAN &&
                   snapshot->answer_ms < limit
               ? snapshot->answer_ms
               : limit;
}

void backends_begin_waiting(struct backends *backends, enum backend_phase told,
                            backends_then *then)
{
    struct timeval limit = clock_timeval(limit_ms(backends->snapshot));

    backends->then = then;
    backends->told = told;
    event_add(backends->limit, &limit);
}

void backends_give_up(struct backends *backends)
{
    struct error err;

    if (backends->then != NULL) {
        error_set(&err, ERR_CANCELLED,
                  "given up while waiting for driver domains");
        backends_end_waiting(backends, &err);
    }
}

static bool is_going_back(const struct backends *backends)
{
    return backends->told >= BACKEND_PUT_BACK;
}

/* The answer to each word. */
static enum part_state answer_to(enum backend_phase told)
{
    static const enum part_state answers[] = {
        [BACKEND_PREPARE] = PART_PREPARED, [BACKEND_SWITCH] = PART_SWITCHED,
        [BACKEND_COMMIT] = PART_COMMITTED, [BACKEND_PUT_BACK] = PART_PUT_BACK,
        [BACKEND_UNDO] = PART_UNDONE,
    };

    return answers[told];
}

/* What may stand there still of the word before: a revert has none between
 * `prepare` and `commit`.  One that was restarted after it had switched says
 * `failed`, and commits all the same. */
static bool is_answer_before(enum backend_phase told, enum part_state state)
{
    switch (told) {
    case BACKEND_PREPARE:
        return false;
    case BACKEND_SWITCH:
        return state == PART_PREPARED;
    case BACKEND_COMMIT:
        return state == PART_PREPARED || state == PART_SWITCHED ||
               state == PART_FAILED;
    case BACKEND_PUT_BACK:
    case BACKEND_UNDO:
        break; /* any */
    }
    return true;
}

/* ---- forward ---- */

static void explain(const struct backends *backends,
                    const struct backend_part *part, struct error *err)
{
    if (!backend_part_error(backends->xs, part, err)) {
        error_set(err, ERR_INTERNAL,
                  "driver domain \"%s\" answers to \"%s\" with what is no "
                  "answer to it; look at its agent",
                  part->name, backend_phase_name(backends->told));
    }
}

/* True once it has answered, with `err` set where that is a failure. */
static bool has_answered(const struct backends *backends,
                         const struct backend_part *part, struct error *err)
{
    enum part_state state = backend_part_look(backends->xs, part);

    if (state == answer_to(backends->told)) {
        return true;
    }
    if (!backends_has_living(backends, part)) {
        error_set(err, ERR_DOMAIN_INACTIVE,
                  "driver domain \"%s\" has gone under way", part->name);
        return true;
    }
    if (state == PART_SILENT || is_answer_before(backends->told, state)) {
        return false;
    }
    explain(backends, part, err);
    return true;
}

static void look_forward(struct backends *backends)
{
    struct error err = {0};
    size_t answered = 0;

    for (size_t i = 0; i < backends->count && err.code == ERR_NONE; i++) {
        answered += has_answered(backends, &backends->parts[i], &err) ? 1 : 0;
    }
    if (err.code != ERR_NONE || answered == backends->count) {
        backends_end_waiting(backends, &err);
    }
}

/* The first that has failed, or has not answered: not every end is an event.
 * None, where all have answered after all. */
static void complain(const struct backends *backends, struct error *err)
{
    const struct snapshot *snapshot = backends->snapshot;

    for (size_t i = 0; i < backends->count && err->code == ERR_NONE; i++) {
        const struct backend_part *part = &backends->parts[i];

        if (!has_answered(backends, part, err)) {
            error_set(err, ERR_TIMEOUT,
                      "driver domain \"%s\" has not answered to \"%s\" within "
                      "%s (%g s); look whether its agent runs",
                      part->name, backend_phase_name(backends->told),
                      limit_ms(snapshot) <
                              snapshot->agent->config.timeouts.backend_ms
                          ? "what was left of timeouts.max-pause"
                          : "timeouts.backend",
                      (double)limit_ms(snapshot) / 1000.0);
        }
    }
}

static bool give_all(struct backends *backends, struct error *err)
{
    if (backends->xs == NULL) {
        return error_set(err, ERR_STORE, "cannot connect to xenstored");
    }
    if (backends->deaf) {
        return error_set(err, ERR_STORE,
                         "cannot watch in xenstore what driver domains answer");
    }
    for (size_t i = 0; i < backends->count; i++) {
        if (!backend_part_give(backends->xs, &backends->parts[i],
                               backends->snapshot, err)) {
            return false;
        }
    }
    return true;
}

static bool say_to_all(struct backends *backends, enum backend_phase phase,
                       struct error *err)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (!backend_part_say(backends->xs, &backends->parts[i], phase, err)) {
            return false;
        }
    }
    return true;
}

static void go_forward(struct backends *backends, bool told,
                       const struct error *err)
{
    if (told) {
        look_forward(backends);
    } else {
        backends_end_waiting(backends, err);
    }
}

void backends_give(struct backends *backends, backends_then *then)
{
    struct error err = {0};

    backends_begin_waiting(backends, BACKEND_PREPARE, then);
    go_forward(backends, give_all(backends, &err), &err);
}

bool backends_are_prepared(struct backends *backends, struct error *err)
{
    backends->told = BACKEND_PREPARE;
    for (size_t i = 0; i < backends->count; i++) {
        const struct backend_part *part = &backends->parts[i];

        if (!has_answered(backends, part, err)) {
            return error_set(err, ERR_INTERRUPTED,
                             "driver domain \"%s\" does not say any more that "
                             "it is prepared; look at its agent",
                             part->name);
        }
        if (err->code != ERR_NONE) {
            return false;
        }
    }
    return true;
}

bool backends_name_left(struct backends *backends, struct error *err)
{
    for (size_t i = 0; i < backends->count; i++) {
        if (!backend_part_name_left(backends->xs, &backends->parts[i],
                                    backends->snapshot, err)) {
            return false;
        }
    }
    return true;
}

void backends_take_removed(struct backends *backends)
{
    for (size_t i = 0; i < backends->count; i++) {
        backend_part_take_removed(backends->xs, &backends->parts[i],
                                  backends->snapshot);
    }
}

/* The save took its time: one that is not ready any more is found before any of
 * them is told to switch. */
static bool are_ready(const struct backends *backends, struct error *err)
{
    for (size_t i = 0; i < backends->count && err->code == ERR_NONE; i++) {
        has_answered(backends, &backends->parts[i], err);
    }
    return err->code == ERR_NONE;
}

void backends_say(struct backends *backends, enum backend_phase phase,
                  backends_then *then)
{
    struct error err = {0};

    backends_begin_waiting(backends, phase, then);
    go_forward(backends,
               (phase != BACKEND_SWITCH || are_ready(backends, &err)) &&
                   say_to_all(backends, phase, &err),
               &err);
}

/* ---- what wakes it ---- */

static void look_at_all(struct backends *backends)
{
    if (backends->then == NULL) {
        return;
    }
    if (is_going_back(backends)) {
        backends_look_back(backends);
    } else {
        look_forward(backends);
    }
}

/* Copying takes its time: whoever tells of progress is waited for. */
static bool get_on(struct backends *backends)
{
    struct error err = {0};

    if (backends->snapshot->request.operation != REQUEST_RESCAN ||
        !rescan_act_copies(backends->snapshot->rescan_act)) {
        return false;
    }
    for (size_t i = 0; i < backends->count; i++) {
        struct backend_part *part = &backends->parts[i];

        if (!has_answered(backends, part, &err) &&
            !backend_part_gets_on(backends->xs, part)) {
            return false;
        }
    }
    return err.code == ERR_NONE;
}

static void wait_on(struct backends *backends)
{
    struct timeval limit = clock_timeval(limit_ms(backends->snapshot));

    event_add(backends->limit, &limit);
}

static void on_limit(evutil_socket_t fd, short events, void *arg)
{
    struct backends *backends = arg;
    struct error err = {0};

    (void)fd;
    (void)events;
    if (is_going_back(backends)) {
        backends_leave_late(backends);
    } else if (get_on(backends)) {
        wait_on(backends);
    } else {
        complain(backends, &err);
        backends_end_waiting(backends, &err);
    }
}
