/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/save_helper.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/log.h"
#include "agent/base/processes.h"

/* run_helper() in libxl_save_callout.c: the program, its mode, two
 * descriptors, the domid, and more. */
#define MODE_ARGUMENT  1
#define DOMID_ARGUMENT 4

struct search {
    uint32_t domid;
    pid_t foreign;
};

bool save_helper_saves(const char *cmdline, size_t length)
{
    const char *mode = process_argument(cmdline, length, MODE_ARGUMENT);

    return mode && !strcmp(mode, "--save-domain");
}

bool save_helper_matches(const char *cmdline, uint64_t length, uint32_t domid)
{
    const char *number = process_argument(cmdline, length, DOMID_ARGUMENT);
    char wanted[16];

    snprintf(wanted, sizeof(wanted), "%" PRIu32, domid);
    return save_helper_saves(cmdline, length) && number &&
           !strcmp(number, wanted);
}

bool save_helper_is_foreign(pid_t pid, const char *cmdline, size_t length,
                            uint32_t domid)
{
    pid_t parent;

    if (!save_helper_matches(cmdline, length, domid))
        return false;
    parent = process_parent(pid);
    return parent != 0 && parent != getppid() && parent != getpid();
}

static void note_foreign(pid_t pid, const char *cmdline, size_t length,
                         void *arg)
{
    struct search *search = arg;

    if (save_helper_is_foreign(pid, cmdline, length, search->domid))
        search->foreign = pid;
}

pid_t save_helper_foreign(uint32_t domid)
{
    struct search search = {.domid = domid};

    processes_visit(note_foreign, &search);
    return search.foreign;
}

static void kill_sibling(pid_t pid, const char *cmdline, size_t length,
                         void *arg)
{
    const struct search *search = arg;

    if (save_helper_matches(cmdline, length, search->domid) &&
        process_kill_child_of(pid, getppid()))
        LOG_INFO("ended the save helper %d that was left behind", (int)pid);
}

void save_helper_kill_siblings(uint32_t domid)
{
    struct search search = {.domid = domid};

    processes_visit(kill_sibling, &search);
}
