/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/stored_config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenstore.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"
#include "agent/base/libxl_lock.h"
#include "agent/guest/config_text.h"
#include "agent/guest/disk_nodes.h"
#include "agent/guest/guests_private.h"
#include "agent/guest/whole_file.h"
#include "agent/guest/xen_paths.h"
#include "agent/store/socket.h"

struct stored_config_change {
    LIST_ENTRY(stored_config_change) entry;
    struct guests *guests;
    struct guest guest;
    struct disk_location *disks;
    size_t count;
    struct libxl_lock *lock;
    guest_on_done *on_done;
    void *arg;
};

static char *userdata_path(const struct guest *guest, char kind,
                           const char *item)
{
    return xen_userdata_path(kind, guest->domid, guest->uuid, item);
}

/* The domain may have gone while the lock was waited for; libxl looks, too. */
static bool check_domain(struct stored_config_change *change, struct error *err)
{
    if (guest_glance(change->guests, change->guest.domid, change->guest.uuid) !=
        GUEST_IS_GONE)
        return true;
    return error_set(err, ERR_NO_SUCH_DOMAIN,
                     "domain %" PRIu32 " has gone, or is another one by now",
                     change->guest.domid);
}

bool stored_config_is_overridden(const struct guest *guest)
{
    char *path = userdata_path(guest, XEN_USERDATA_DATA, "xl");
    bool there = !access(path, F_OK);

    free(path);
    return there;
}

static bool check_override(const struct guest *guest, struct error *err)
{
    if (!stored_config_is_overridden(guest))
        return true;
    return error_set(err, ERR_LIBXL,
                     "domain %" PRIu32 " has a configuration from `xl "
                     "config-update` that its next reboot would use instead "
                     "of the adjusted one; reboot it first",
                     guest->domid);
}

static bool edit_disk(libxl_domain_config *config,
                      const struct disk_location *disk, struct error *err)
{
    libxl_disk_format format;

    if (libxl_disk_format_from_string(disk->format, &format))
        return error_set(err, ERR_UNSUPPORTED_DISK,
                         "disk %s: libxl has no disk format \"%s\"", disk->vdev,
                         disk->format);
    for (int i = 0; i < config->num_disks; i++) {
        libxl_device_disk *stored = &config->disks[i];

        if (!stored->vdev || strcmp(stored->vdev, disk->vdev))
            continue;
        xreplace(&stored->pdev_path, disk->path);
        stored->format = format;
        return true;
    }
    return disk->may_be_gone ||
           error_set(err, ERR_NO_SUCH_DISK,
                     "the stored configuration has no disk %s", disk->vdev);
}

/* The stored configuration with the disks edited, or NULL. */
static char *edit_config(struct stored_config_change *change, const char *json,
                         struct error *err)
{
    libxl_domain_config config;
    char *edited = NULL;
    bool found = true;

    if (!config_text_parse(change->guests, json, &config, err))
        return NULL;
    for (size_t i = 0; i < change->count && found; i++)
        found = edit_disk(&config, &change->disks[i], err);
    if (found)
        edited = config_text_format(change->guests, &config, err);
    libxl_domain_config_dispose(&config);
    return edited;
}

/* Writes the edited configuration beside the stored one. */
static bool stage_config(struct stored_config_change *change,
                         const char *stored_path, const char *staged_path,
                         struct error *err)
{
    char *json;
    char *edited;
    bool staged;

    if (!whole_file_read(stored_path, CONFIG_TEXT_MAX, &json, err))
        return error_prefix(err, "the stored configuration: ");
    edited = edit_config(change, json, err);
    free(json);
    if (!edited)
        return false;
    /* libxl counts the terminating NUL as part of the data. */
    staged = whole_file_stage(staged_path, edited, strlen(edited) + 1, err);
    free(edited);
    return staged;
}

/*
 * What can well fail comes first and is undone by the rest's not happening;
 * the rename comes last, and hardly ever fails once the file is written.
 */
static bool commit(const struct wire *wire, const struct disk_nodes *nodes,
                   const char *staged_path, const char *stored_path,
                   struct error *err)
{
    struct error also;

    if (!disk_nodes_write(wire, nodes, DISK_NODES_AFTER, err))
        return false;
    if (whole_file_commit(staged_path, stored_path, err))
        return true;
    if (!disk_nodes_write(wire, nodes, DISK_NODES_BEFORE, &also))
        error_prefix(err, "%s; ", also.message);
    return false;
}

/* A connection of its own: waiting for the lock, the agent's may have died.
 * libxl's is for what does not go over a socket (lookahead.h). */
static struct wire open_wire(const struct guests *guests)
{
    struct wire wire = {.fd = store_socket_connect()};

    wire.xs = wire.fd < 0 ? store_socket_open() : guests->context.xs;
    return wire;
}

static void close_wire(const struct wire *wire)
{
    if (wire->fd >= 0)
        close(wire->fd);
    else if (wire->xs)
        xs_close(wire->xs);
}

static bool commit_staged(struct stored_config_change *change,
                          const char *staged_path, const char *stored_path,
                          struct error *err)
{
    struct wire wire = open_wire(change->guests);
    struct disk_nodes nodes;
    bool done;

    if (!wire.xs) {
        error_set_errno(err, ERR_STORE, errno, "cannot connect to xenstored");
        close_wire(&wire);
        return false;
    }
    done = disk_nodes_find(&wire, change->guest.domid, change->disks,
                           change->count, &nodes, err) &&
           commit(&wire, &nodes, staged_path, stored_path, err);
    disk_nodes_dispose(&nodes);
    close_wire(&wire);
    return done;
}

static bool change_config(struct stored_config_change *change,
                          struct error *err)
{
    char *stored =
        userdata_path(&change->guest, XEN_USERDATA_DATA, "libxl-json");
    char *staged =
        userdata_path(&change->guest, XEN_USERDATA_NEW, "libxl-json");
    bool done = stage_config(change, stored, staged, err) &&
                commit_staged(change, staged, stored, err);

    if (!done)
        beneath_remove(NULL, staged);
    free(staged);
    free(stored);
    return done;
}

static void change_free(struct stored_config_change *change)
{
    LIST_REMOVE(change, entry);
    libxl_lock_release(change->lock);
    free(change->disks);
    free(change);
}

static void lock_taken(const struct error *lock_err, void *arg)
{
    struct stored_config_change *change = arg;
    guest_on_done *on_done = change->on_done;
    void *done_arg = change->arg;
    struct error err = {0};
    bool done = false;

    if (lock_err)
        err = *lock_err;
    else
        done = check_domain(change, &err) &&
               check_override(&change->guest, &err) &&
               change_config(change, &err);
    change_free(change);
    on_done(done ? NULL : &err, done_arg);
}

struct stored_config_change *stored_config_set_disks(
    struct guests *guests, const struct guest *guest,
    const struct disk_location *disks, size_t count, uint32_t lock_ms,
    guest_on_done *on_done, void *arg)
{
    struct stored_config_change *change = xcalloc(1, sizeof(*change));
    char *path =
        userdata_path(guest, XEN_USERDATA_LOCK, "domain-userdata-lock");

    LIST_INSERT_HEAD(&guests->config_changes, change, entry);
    change->guests = guests;
    change->guest = *guest;
    change->disks = xcalloc(count, sizeof(*disks));
    memcpy(change->disks, disks, count * sizeof(*disks));
    change->count = count;
    change->on_done = on_done;
    change->arg = arg;
    change->lock = libxl_lock_take(guests_loop(guests), LIBXL_LOCK_DATA, path,
                                   lock_ms, lock_taken, change);
    free(path);
    return change;
}

bool stored_config_is_changing(struct guests *guests, const char *uuid)
{
    const struct stored_config_change *change;

    LIST_FOREACH(change, &guests->config_changes, entry)
    if (!strcmp(change->guest.uuid, uuid))
        return true;
    return false;
}

void stored_config_change_cancel(struct stored_config_change *change)
{
    change_free(change);
}
