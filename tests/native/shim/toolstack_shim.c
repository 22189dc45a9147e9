/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plays the making of a domain, where the test is ready for it
 * (native/toolstack.py): what libxl would do below libxl_domain_create_*()
 * needs a hypervisor that builds domains.
 *
 * FAKE_XEN_DIR/creations, if there is such a folder, holds <n>.json, the
 * configuration of the domain that is wanted, and then <n>.done, the domid of
 * the one that was made, paused, or 0 if it cannot be; <n>.reset is the domid
 * of one that is to be made anew in its place.  While there is <n>.reading the
 * memory file is read on; <n>.left is the domid of a domain that stays behind
 * if the agent gives up.  While there is <n>.block the agent's loop waits, as
 * it does where libxl builds a large domain.  All else of libxl is real.  The
 * end is told as libxl would, from the agent's loop.
 */
#include "fake_xen.h"
#include "libxl_hooks.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <libxl.h>

#define POLL_US 5000

/* What libxl has read of a stream by when its helper begins. */
#define STREAM_HEAD 64

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* One at a time: its address is the timer's name. */
static struct creation {
    libxl_asyncop_how how;
    uint32_t *domid;
    char base[PATH_MAX];
    int stream; /* -1: it is made anew */
    bool active;
    bool aborted;
} creation;

static bool is_played(void)
{
    char path[PATH_MAX];

    fake_path(path, sizeof(path), "creations");
    return access(path, F_OK) == 0;
}

static void wait_a_little(void)
{
    struct timeval step = {.tv_usec = POLL_US}, when;
    void *ignored;

    gettimeofday(&when, NULL);
    timeradd(&when, &step, &when);
    if (agents_hooks->timeout_register(agents_loop, &ignored, when,
                                       &creation) != 0)
        abort();
}

static void put_file(const char *suffix, const char *text)
{
    char new_path[PATH_MAX + 16], path[PATH_MAX + 16];
    FILE *file;

    snprintf(new_path, sizeof(new_path), "%s.new", creation.base);
    snprintf(path, sizeof(path), "%s%s", creation.base, suffix);
    file = fopen(new_path, "we");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0 ||
        rename(new_path, path) != 0)
        abort();
}

/* Any number that no creation has had. */
static void choose_name(void)
{
    struct stat status;
    char path[PATH_MAX + 16];
    unsigned int number = 0;

    do {
        fake_path(creation.base, sizeof(creation.base), "creations/%u",
                  number++);
        snprintf(path, sizeof(path), "%s.json", creation.base);
    } while (stat(path, &status) == 0);
}

/* `reset`: the domain that is to be made anew in its place, or NULL. */
static int begin(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid,
                 int stream, const char *reset, const libxl_asyncop_how *how)
{
    char *json = REAL(libxl_domain_config_to_json)(ctx, config);

    if (json == NULL || how == NULL || creation.active)
        abort();
    creation.how = *how;
    creation.domid = domid;
    creation.stream = stream;
    creation.active = true;
    creation.aborted = false;
    if (stream >= 0)
        lseek(stream, STREAM_HEAD, SEEK_CUR);
    choose_name();
    if (reset != NULL)
        put_file(".reset", reset);
    put_file(".json", json);
    free(json);
    wait_a_little();
    return 0;
}

/* The domid in that file of the creation's, INVALID_DOMID for 0.  False if
 * there is no such file. */
static bool read_domid(const char *suffix, uint32_t *ret_domid)
{
    char path[PATH_MAX + 16];
    FILE *file;

    snprintf(path, sizeof(path), "%s%s", creation.base, suffix);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    if (fscanf(file, "%u", ret_domid) != 1)
        abort();
    fclose(file);
    if (*ret_domid == 0)
        *ret_domid = (uint32_t)INVALID_DOMID;
    return true;
}

static void read_on(void)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s.reading", creation.base);
    if (creation.stream >= 0 && access(path, F_OK) == 0)
        lseek(creation.stream, 1, SEEK_CUR);
}

static void block(void)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s.block", creation.base);
    while (access(path, F_OK) == 0)
        usleep(POLL_US);
}

static void end(libxl_ctx *ctx, int rc)
{
    creation.active = false;
    creation.how.callback(ctx, rc, creation.how.u.for_callback);
}

void libxl_osevent_occurred_timeout(libxl_ctx *ctx, void *for_libxl)
{
    if (for_libxl != &creation) {
        REAL(libxl_osevent_occurred_timeout)(ctx, for_libxl);
    } else if (creation.aborted) {
        if (!read_domid(".left", creation.domid))
            *creation.domid = (uint32_t)INVALID_DOMID;
        end(ctx, ERROR_ABORTED);
    } else if (read_domid(".done", creation.domid)) {
        end(ctx, *creation.domid == (uint32_t)INVALID_DOMID ? ERROR_FAIL : 0);
    } else {
        block();
        read_on();
        wait_a_little();
    }
}

int libxl_ao_abort(libxl_ctx *ctx, const libxl_asyncop_how *how)
{
    if (!creation.active || how->u.for_callback != creation.how.u.for_callback)
        return REAL(libxl_ao_abort)(ctx, how);
    creation.aborted = true;
    return 0;
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config,
                            uint32_t *domid, const libxl_asyncop_how *how,
                            const libxl_asyncprogress_how *console)
{
    return is_played() ? begin(ctx, config, domid, -1, NULL, how)
                       : REAL(libxl_domain_create_new)(ctx, config, domid, how,
                                                       console);
}

int libxl_domain_create_restore(libxl_ctx *ctx, libxl_domain_config *config,
                                uint32_t *domid, int fd, int send_back_fd,
                                const libxl_domain_restore_params *params,
                                const libxl_asyncop_how *how,
                                const libxl_asyncprogress_how *console)
{
    return is_played()
               ? begin(ctx, config, domid, fd, NULL, how)
               : REAL(libxl_domain_create_restore)(ctx, config, domid, fd,
                                                   send_back_fd, params, how,
                                                   console);
}

int libxl_domain_soft_reset(libxl_ctx *ctx, libxl_domain_config *config,
                            uint32_t domid, const libxl_asyncop_how *how,
                            const libxl_asyncprogress_how *console)
{
    static uint32_t made;
    char text[16];

    snprintf(text, sizeof(text), "%u", domid);
    return is_played() ? begin(ctx, config, &made, -1, text, how)
                       : REAL(libxl_domain_soft_reset)(ctx, config, domid, how,
                                                       console);
}
