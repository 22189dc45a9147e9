/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/left_suspended.h"

#include <dirent.h>
#include <libxl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/folder.h"
#include "agent/base/log.h"
#include "agent/dispatcher.h"
#include "agent/guest/guests.h"
#include "agent/guest/other_saves.h"
#include "agent/guest/save_helper.h"

/* At the end of a migration the helper has ended, and the domain stays
 * suspended until the other side has told that it runs there. */
#define LOOK_AGAIN_MS     3000u
#define LOOK_AGAIN_MAX_MS (10u * 60u * 1000u)

struct suspect {
    TAILQ_ENTRY(suspect) link;
    struct agent *agent;
    char uuid[GUEST_UUID_LENGTH + 1];
    char name[sizeof(((struct guest *)NULL)->name)];
    uint32_t domid;
    uint32_t wait_ms;
    struct event *timer;
};

static char *marks_folder(const struct agent *agent)
{
    return xjoin(agent->config.store.run_folder, "suspended");
}

void left_suspended_mark(const struct agent *agent, const char *uuid)
{
    char *folder = marks_folder(agent);
    struct error err;

    if (!folder_mark(folder, 0700, uuid, &err)) {
        LOG_WARN("only this agent knows that domain %s is suspended: %s", uuid,
                 err.message);
    }
    free(folder);
}

void left_suspended_unmark(const struct agent *agent, const char *uuid)
{
    char *folder = marks_folder(agent);
    char *path = xjoin(folder, uuid);

    unlink(path);
    free(path);
    free(folder);
}

static void look_later(struct suspect *suspect)
{
    struct timeval later = clock_timeval(suspect->wait_ms);

    event_add(suspect->timer, &later);
}

static void dispose(struct suspect *suspect)
{
    event_free(suspect->timer);
    free(suspect);
}

static void forget(struct suspect *suspect)
{
    TAILQ_REMOVE(&suspect->agent->dispatcher->left_suspended, suspect, link);
    left_suspended_unmark(suspect->agent, suspect->uuid);
    dispose(suspect);
}

void left_suspended_forget(struct dispatcher *dispatcher)
{
    struct suspect *suspect, *next;

    for (suspect = TAILQ_FIRST(&dispatcher->left_suspended); suspect != NULL;
         suspect = next) {
        next = TAILQ_NEXT(suspect, link);
        dispose(suspect);
    }
    TAILQ_INIT(&dispatcher->left_suspended);
}

/* Told of once; tried until it goes on, or has ended. */
static void on_resumed(const struct error *err, void *arg)
{
    struct suspect *suspect = arg;

    if (err == NULL) {
        LOG_NOTICE("domain \"%s\" was left suspended; it goes on",
                   suspect->name);
        forget(suspect);
        return;
    }
    if (suspect->wait_ms == LOOK_AGAIN_MS) {
        LOG_ERROR("domain \"%s\" was left suspended and cannot be resumed: "
                  "%s; this is tried again",
                  suspect->name, err->message);
    }
    suspect->wait_ms = 2 * suspect->wait_ms < LOOK_AGAIN_MAX_MS
                           ? 2 * suspect->wait_ms
                           : LOOK_AGAIN_MAX_MS;
    look_later(suspect);
}

static bool is_left(struct agent *agent, const struct guest *guest)
{
    return guest->shutdown &&
           guest->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND &&
           other_saves_find(agent->other_saves, guest->domid) == 0;
}

static bool find_left(struct agent *agent, const char *uuid,
                      struct guest *ret_guest)
{
    struct error err;

    if (guests_find(agent->guests, uuid, ret_guest, &err)) {
        return is_left(agent, ret_guest);
    }
    if (err.code != ERR_NO_SUCH_DOMAIN) {
        LOG_ERROR("whether domain %s was left suspended is not known: %s", uuid,
                  err.message);
    }
    return false;
}

/* What is suspended then may be so for us. */
static bool is_at_work(const struct agent *agent, const char *uuid)
{
    const struct snapshot *snapshot;

    TAILQ_FOREACH(snapshot, &agent->dispatcher->all, link)
    {
        if (!snapshot->ended && strcmp(snapshot->guest.uuid, uuid) == 0) {
            return true;
        }
    }
    return false;
}

static void on_second_look(evutil_socket_t fd, short events, void *arg)
{
    struct suspect *suspect = arg;
    struct agent *agent = suspect->agent;
    struct guest guest;

    (void)fd;
    (void)events;
    if (dispatcher_is_draining(agent->dispatcher) ||
        is_at_work(agent, suspect->uuid)) {
        look_later(suspect);
    } else if (find_left(agent, suspect->uuid, &guest) &&
               guest.domid == suspect->domid) {
        save_helper_kill_siblings(guest.domid);
        guest_resume(agent->guests, guest.domid, on_resumed, suspect);
    } else {
        forget(suspect);
    }
}

static bool is_known(const struct agent *agent, const char *uuid)
{
    const struct suspect *suspect;

    TAILQ_FOREACH(suspect, &agent->dispatcher->left_suspended, link)
    {
        if (strcmp(suspect->uuid, uuid) == 0) {
            return true;
        }
    }
    return false;
}

void left_suspended_let_go(struct agent *agent, const char *uuid)
{
    struct suspect *suspect;
    struct guest guest;

    if (is_known(agent, uuid)) {
        return;
    }
    if (!find_left(agent, uuid, &guest)) {
        left_suspended_unmark(agent, uuid);
        return;
    }
    suspect = xcalloc(1, sizeof(*suspect));
    suspect->agent = agent;
    snprintf(suspect->uuid, sizeof(suspect->uuid), "%s", uuid);
    snprintf(suspect->name, sizeof(suspect->name), "%s", guest.name);
    suspect->domid = guest.domid;
    suspect->wait_ms = LOOK_AGAIN_MS;
    suspect->timer = evtimer_new(agent->loop, on_second_look, suspect);
    TAILQ_INSERT_TAIL(&agent->dispatcher->left_suspended, suspect, link);
    look_later(suspect);
}

void left_suspended_take_up(struct agent *agent)
{
    char *folder = marks_folder(agent);
    DIR *marks = opendir(folder);
    struct dirent *mark;

    while (marks != NULL && (mark = readdir(marks)) != NULL) {
        if (mark->d_name[0] != '.') {
            left_suspended_let_go(agent, mark->d_name);
        }
    }
    if (marks != NULL) {
        closedir(marks);
    }
    free(folder);
}
