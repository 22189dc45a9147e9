/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/other_saves.h"

#include <stdbool.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/exec_events.h"
#include "agent/base/log.h"
#include "agent/base/processes.h"
#include "agent/guest/save_helper.h"

struct other_saves {
    struct exec_events *events; /* NULL: the kernel tells nothing */
    bool complete;              /* none was missed: all were looked at once */
    /* Those that were helpers when they were looked at, ours included. */
    pid_t *helpers;
    size_t count;
};

struct other_saves *other_saves_new(void)
{
    struct other_saves *saves = xcalloc(1, sizeof(*saves));
    struct error err = {0};

    saves->events = exec_events_new(&err);
    if (!saves->events) {
        LOG_INFO("the kernel does not tell which programs start (%s): each "
                 "request looks at all processes",
                 err.message);
    }
    return saves;
}

void other_saves_free(struct other_saves *saves)
{
    if (!saves)
        return;
    exec_events_free(saves->events);
    free(saves->helpers);
    free(saves);
}

static void note_helper(pid_t pid, const char *cmdline, size_t length,
                        void *arg)
{
    struct other_saves *saves = arg;

    if (!save_helper_saves(cmdline, length))
        return;
    saves->helpers =
        xrealloc(saves->helpers, saves->count + 1, sizeof(*saves->helpers));
    saves->helpers[saves->count++] = pid;
}

static void look_at(pid_t pid, void *arg)
{
    struct other_saves *saves = arg;

    if (!process_visit(pid, note_helper, saves))
        saves->complete = false;
}

struct search {
    uint32_t domid;
    bool is_helper;
    bool is_foreign;
};

static void look_again(pid_t pid, const char *cmdline, size_t length, void *arg)
{
    struct search *search = arg;

    search->is_helper = save_helper_saves(cmdline, length);
    search->is_foreign =
        save_helper_is_foreign(pid, cmdline, length, search->domid);
}

/* Those that have ended since are forgotten. */
static pid_t find_among_helpers(struct other_saves *saves, uint32_t domid)
{
    size_t kept = 0;
    pid_t found = 0;

    for (size_t i = 0; i < saves->count; i++) {
        struct search search = {.domid = domid};

        if (!process_visit(saves->helpers[i], look_again, &search))
            saves->complete = false;
        if (search.is_foreign)
            found = saves->helpers[i];
        if (search.is_helper)
            saves->helpers[kept++] = saves->helpers[i];
    }
    saves->count = kept;
    return found;
}

pid_t other_saves_find(struct other_saves *saves, uint32_t domid)
{
    if (!saves->events)
        return save_helper_foreign(domid);
    if (!exec_events_take(saves->events, look_at, saves))
        saves->complete = false;
    /* What starts while all are looked at is told the next time. */
    if (!saves->complete) {
        saves->count = 0;
        saves->complete = processes_visit(note_helper, saves);
    }
    return find_among_helpers(saves, domid);
}
