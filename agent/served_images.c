/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/served_images.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/format_table.h"
#include "agent/disk/image.h"
#include "agent/disk/open_files.h"
#include "agent/store/read.h"

/* enum xenbus_state */
#define CONNECTED "4"
#define CLOSED    "6" /* the disk is no more, whatever is left of it here */

struct served_images {
    const char *const *paths;
    size_t count;
    char user[11]; /* a domid; "" if there is none */
    bool looked;
    char **seen; /* the domains at the first look that had all their disks */
    size_t seen_count;
};

struct served_images *served_images_new(const char *const paths[], size_t count,
                                        uint32_t user)
{
    struct served_images *served = xcalloc(1, sizeof(*served));

    served->paths = paths;
    served->count = count;
    if (user != 0) {
        snprintf(served->user, sizeof(served->user), "%" PRIu32, user);
    }
    return served;
}

void served_images_free(struct served_images *served)
{
    if (served != NULL) {
        for (size_t i = 0; i < served->seen_count; i++) {
            free(served->seen[i]);
        }
        free(served->seen);
        free(served);
    }
}

/* ---- one disk ---- */

static bool is_one(const struct served_images *served, const char *path)
{
    for (size_t i = 0; i < served->count; i++) {
        if (file_is_same(served->paths[i], path)) {
            return true;
        }
    }
    return false;
}

/* One whose headers cannot be read no QEMU opens. */
static bool is_in_chain(const struct served_images *served, const char *path,
                        const char *format)
{
    struct image_chain chain;
    struct error ignored;
    bool found = is_one(served, path);

    if (found || !image_chain_read(path, format, &chain, &ignored)) {
        return found;
    }
    for (size_t i = 0; i < chain.depth; i++) {
        found = found || is_one(served, chain.images[i].path);
    }
    image_chain_dispose(&chain);
    return found;
}

/* FORMAT:PATH, with "aio" for raw (libxl__device_disk_string_of_format()). */
static bool leads_to_one(const struct served_images *served, char *params)
{
    char *path = strchr(params, ':');

    if (path == NULL) {
        return false;
    }
    *path++ = '\0';
    return is_in_chain(served, path,
                       strcmp(params, "aio") == 0 ? "raw"
                                                  : format_qemu_name(params));
}

/* Whether nothing will be opened because of what it names. */
static bool names_nothing(const struct served_images *served,
                          struct xs_handle *xs, const char *domid,
                          const char *folder)
{
    return store_read_is(xs, folder, "state", CLOSED) ||
           (strcmp(domid, served->user) == 0 &&
            store_read_is(xs, folder, "state", CONNECTED));
}

static bool has_one(const struct served_images *served, struct xs_handle *xs,
                    const char *domid, const char *folder)
{
    char *params = store_read(xs, folder, "params");
    bool found = params != NULL && !names_nothing(served, xs, domid, folder) &&
                 leads_to_one(served, params);

    free(params);
    return found;
}

/* ---- all of them ---- */

/* A domain whose guest uses all disks that there are gets no more with its
 * making. */
static bool look_at_domain(const struct served_images *served,
                           struct xs_handle *xs, const char *domid,
                           bool *ret_complete)
{
    char *folder = xasprintf("backend/qdisk/%s", domid);
    unsigned int count = 0;
    char **devids = xs_directory(xs, XBT_NULL, folder, &count);
    bool found = false;

    *ret_complete = devids != NULL && count > 0;
    for (unsigned int i = 0; devids != NULL && i < count && !found; i++) {
        char *device = xasprintf("%s/%s", folder, devids[i]);

        found = has_one(served, xs, domid, device);
        *ret_complete =
            *ret_complete && store_read_is(xs, device, "state", CONNECTED);
        free(device);
    }
    free(devids);
    free(folder);
    return !found;
}

static bool was_seen(const struct served_images *served, const char *domid)
{
    for (size_t i = 0; i < served->seen_count; i++) {
        if (strcmp(served->seen[i], domid) == 0) {
            return true;
        }
    }
    return false;
}

static void note_seen(struct served_images *served, const char *domid)
{
    served->seen =
        xrealloc(served->seen, served->seen_count + 1, sizeof(*served->seen));
    served->seen[served->seen_count++] = xstrdup(domid);
}

static bool look_at_all(struct served_images *served, struct xs_handle *xs,
                        char **domids, unsigned int count, struct error *err)
{
    bool complete;

    for (unsigned int i = 0; domids != NULL && i < count; i++) {
        if (was_seen(served, domids[i])) {
            continue;
        }
        if (!look_at_domain(served, xs, domids[i], &complete)) {
            return error_set(err, ERR_BUSY,
                             "domain %.10s has a disk that leads to %.300s; "
                             "ask again",
                             domids[i], served->paths[0]);
        }
        if (complete && !served->looked) {
            note_seen(served, domids[i]);
        }
    }
    served->looked = true;
    return true;
}

bool served_images_are_free(struct served_images *served, struct xs_handle *xs,
                            struct error *err)
{
    unsigned int count = 0;
    char **domids =
        xs == NULL ? NULL : xs_directory(xs, XBT_NULL, "backend/qdisk", &count);
    bool ok;

    if (domids == NULL && (xs == NULL || errno != ENOENT)) {
        return error_set(err, ERR_STORE,
                         "xenstored does not tell which images are served");
    }
    ok = look_at_all(served, xs, domids, count, err);
    free(domids);
    return ok;
}
