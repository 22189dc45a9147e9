/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plays the making of a domain, where the test is ready for it
 * (native/toolstack.py): what libxl would do below libxl_domain_create_*()
 * needs a hypervisor that builds domains.
 *
 * FAKE_XEN_DIR/creations, if there is such a folder, holds <n>.json, the
 * configuration of the domain that is wanted, and then <n>.done, the domid of
 * the one that was made, paused, or 0 if it cannot be.  All else of libxl is
 * real.  The end is told as libxl would, from the agent's loop.
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

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* One at a time: its address is the timer's name. */
static struct creation {
    libxl_asyncop_how how;
    uint32_t *domid;
    char base[PATH_MAX];
    bool active;
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

static int begin(libxl_ctx *ctx, libxl_domain_config *config, uint32_t *domid,
                 const libxl_asyncop_how *how)
{
    char *json = REAL(libxl_domain_config_to_json)(ctx, config);

    if (json == NULL || how == NULL || creation.active)
        abort();
    creation.how = *how;
    creation.domid = domid;
    creation.active = true;
    choose_name();
    put_file(".json", json);
    free(json);
    wait_a_little();
    return 0;
}

void libxl_osevent_occurred_timeout(libxl_ctx *ctx, void *for_libxl)
{
    char path[PATH_MAX + 16];
    FILE *file;
    int rc = 0;

    if (for_libxl != &creation) {
        REAL(libxl_osevent_occurred_timeout)(ctx, for_libxl);
        return;
    }
    snprintf(path, sizeof(path), "%s.done", creation.base);
    file = fopen(path, "re");
    if (file == NULL) {
        wait_a_little();
        return;
    }
    if (fscanf(file, "%u", creation.domid) != 1)
        abort();
    fclose(file);
    if (*creation.domid == 0) {
        *creation.domid = (uint32_t)INVALID_DOMID;
        rc = ERROR_FAIL;
    }
    creation.active = false;
    creation.how.callback(ctx, rc, creation.how.u.for_callback);
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config,
                            uint32_t *domid, const libxl_asyncop_how *how,
                            const libxl_asyncprogress_how *console)
{
    return is_played() ? begin(ctx, config, domid, how)
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
               ? begin(ctx, config, domid, how)
               : REAL(libxl_domain_create_restore)(ctx, config, domid, fd,
                                                   send_back_fd, params, how,
                                                   console);
}
