/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains that have shut down: which, and what libxl can do with them. */
#include "agent/guest/guest_aftermath.h"

#include <inttypes.h>
#include <libxl_utils.h>
#include <libxl_uuid.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/alloc.h"
#include "agent/base/container_of.h"
#include "agent/guest/guests_private.h"

/* One that went in between counts as gone; false: nobody can tell. */
static bool look_at(struct guests *guests, uint32_t domid, struct guest *ret_at,
                    bool *ret_there)
{
    struct error err;

    *ret_there = guests_find_domid(guests, domid, ret_at, &err);
    return *ret_there || err.code == ERR_NO_SUCH_DOMAIN;
}

bool guests_of_uuid(struct guests *guests, const char *uuid,
                    struct guest *ret_found, size_t room, size_t *ret_count)
{
    int count = 0;
    libxl_dominfo *all = libxl_list_domain(guests_libxl(guests), &count);
    size_t found = 0;
    libxl_uuid wanted;
    bool known = all && libxl_uuid_from_string(&wanted, uuid) == 0;

    for (int i = 0; known && i < count && found < room; i++) {
        bool there = false;

        if (libxl_uuid_compare(&all[i].uuid, &wanted) == 0)
            known = look_at(guests, all[i].domid, &ret_found[found], &there);
        found += there;
    }
    if (all)
        libxl_dominfo_list_free(all, count);
    *ret_count = known ? found : 0;
    return known;
}

bool guest_keep_aside(struct guests *guests, const struct guest *guest,
                      libxl_domain_config *config, struct error *err)
{
    char suffix[32];
    time_t now = time(NULL);
    struct tm utc;
    libxl_uuid uuid;
    int rc;

    gmtime_r(&now, &utc);
    strftime(suffix, sizeof(suffix), "-%Y%m%dT%H%MZ", &utc);
    libxl_uuid_generate(&uuid);
    rc = libxl_domain_preserve(guests_libxl(guests), guest->domid,
                               &config->c_info, suffix, uuid);
    if (!rc)
        return true;
    return error_set(err, ERR_LIBXL,
                     "libxl cannot rename domain %" PRIu32 " to keep it "
                     "(error %d)",
                     guest->domid, rc);
}

struct soft_reset {
    struct guest_call call;
    guest_on_done *on_done;
    void *arg;
};

static void on_reset_ended(struct guest_call *call)
{
    struct soft_reset *reset = container_of(call, struct soft_reset, call);
    struct soft_reset ended = *reset;
    struct error err;

    if (call->rc)
        guest_call_describe(call, &err);
    guest_call_dispose(call);
    free(reset);
    ended.on_done(ended.call.rc ? &err : NULL, ended.arg);
}

struct guest_call *guest_soft_reset(struct guests *guests, uint32_t domid,
                                    libxl_domain_config *config,
                                    guest_on_done *on_done, void *arg)
{
    struct soft_reset *reset = xcalloc(1, sizeof(*reset));
    struct guest_call *call = &reset->call;

    reset->on_done = on_done;
    reset->arg = arg;
    guest_call_init(call, guests, domid, "resetting", on_reset_ended);
    guest_call_begun(call, libxl_domain_soft_reset(guests_libxl(guests), config,
                                                   domid, &call->how, NULL));
    return call;
}
