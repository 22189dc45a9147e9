/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making a domain, new or from a saved stream.
 *
 *   making --done--> finished
 *   making --failed, a domain is left--> clearing --destroyed--> finished
 *
 * libxl destroys what it could not complete, except after an abort
 * (domcreate_complete(), libxl_create.c).
 */
#include <errno.h>
#include <libxl_utils.h>
#include <libxl_uuid.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/container_of.h"
#include "agent/guest/guests.h"
#include "agent/guest/guests_private.h"
#include "agent/guest/savefile.h"

/* libxl.h has it without a type. */
#define NO_DOMID ((uint32_t)INVALID_DOMID)

struct create_call {
    struct guest_call call;
    libxl_domain_config *config;
    struct error err;
    guest_on_created *on_created;
    void *arg;
};

static void finish(struct create_call *create)
{
    struct create_call ended = *create;
    struct error *err = ended.err.code == ERR_NONE ? NULL : &ended.err;

    guest_call_dispose(&create->call);
    free(create);
    ended.on_created(err ? NO_DOMID : ended.call.domid, err, ended.arg);
}

static void on_cleared(struct guest_call *call)
{
    struct create_call *create = container_of(call, struct create_call, call);

    if (call->rc && call->rc != ERROR_DOMAIN_NOTFOUND)
        error_set(&create->err, create->err.code,
                  "%s; and domain %u, which is left half-built, could not be "
                  "destroyed",
                  create->err.message, call->domid);
    finish(create);
}

/* The uuid tells our domain from another that got its domid meanwhile. */
static bool is_left_behind(struct create_call *create)
{
    struct guest_call *call = &create->call;
    libxl_dominfo info;
    bool left;

    if (!libxl_domid_valid_guest(call->domid))
        return false;
    left = guest_look(call->guests, call->domid, &info) == 0 && !info.dying &&
           libxl_uuid_compare(&info.uuid, &create->config->c_info.uuid) == 0;
    libxl_dominfo_dispose(&info);
    return left;
}

static void describe(struct create_call *create)
{
    const char *name = create->config->c_info.name;
    char clean[80];

    guest_call_describe(&create->call, &create->err);
    if (create->err.code == ERR_CANCELLED) /* which had no domid yet, perhaps */
        error_set(&create->err, ERR_CANCELLED, "making domain %s was cancelled",
                  error_sanitise(clean, sizeof(clean), name ? name : "?"));
}

static void on_create_ended(struct guest_call *call)
{
    struct create_call *create = container_of(call, struct create_call, call);

    if (call->rc && create->err.code == ERR_NONE)
        describe(create);
    if (!call->rc || !is_left_behind(create)) {
        finish(create);
        return;
    }
    call->on_ended = on_cleared;
    guest_call_begun(call, libxl_domain_destroy(call->guests->context.libxl,
                                                call->domid, &call->how));
}

static bool check_stream(struct guest_call *call, int fd, struct error *err)
{
    char head[SAVEFILE_STREAM_HEAD];
    off_t begin = guest_call_set_stream(call, fd);
    ssize_t length = begin < 0 ? -1 : pread(fd, head, sizeof(head), begin);

    if (length < 0)
        return error_set_errno(err, ERR_NO_MEMORY_STATE, errno,
                               "cannot read the memory file");
    return savefile_check_stream(head, (size_t)length, err);
}

static int begin_restore(struct create_call *create, int fd)
{
    struct guest_call *call = &create->call;
    libxl_domain_restore_params params;
    int rc;

    if (!check_stream(call, fd, &create->err))
        return ERROR_INVAL;
    libxl_domain_restore_params_init(&params);
    params.checkpointed_stream = LIBXL_CHECKPOINTED_STREAM_NONE;
    params.stream_version = 2;
    rc = libxl_domain_create_restore(call->guests->context.libxl,
                                     create->config, &call->domid, fd, -1,
                                     &params, &call->how, NULL);
    libxl_domain_restore_params_dispose(&params);
    return rc;
}

struct guest_call *guest_create(struct guests *guests,
                                libxl_domain_config *config, int restore_fd,
                                guest_on_created *on_created, void *arg)
{
    struct create_call *create = xcalloc(1, sizeof(*create));
    struct guest_call *call = &create->call;
    int rc;

    create->config = config;
    create->on_created = on_created;
    create->arg = arg;
    guest_call_init(call, guests, NO_DOMID, "creating", on_create_ended);
    /* A saved configuration says 0 where any domid will do, as for xl. */
    if (!libxl_domid_valid_guest(config->c_info.domid))
        config->c_info.domid = NO_DOMID;
    if (restore_fd >= 0)
        rc = begin_restore(create, restore_fd);
    else
        rc = libxl_domain_create_new(guests->context.libxl, config,
                                     &call->domid, &call->how, NULL);
    guest_call_begun(call, rc);
    return call;
}
