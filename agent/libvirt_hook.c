/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/libvirt_hook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/config.h"
#include "agent/base/log.h"
#include "agent/disk/open_files.h"
#include "agent/journal/records_load.h"
#include "agent/libvirt_guard.h"
#include "agent/libvirt_xml.h"
#include "agent/recovery.h"

#define XML_MAX ((size_t)16 << 20) /* bytes */

/* For the undo of a create, merges included, of a guest that rebooted in it:
 * libvirt does not ask again, and the guest stays off. */
#define PATIENCE_MS 60000u

/* One look at a definition. */
struct look {
    const char *domain;
    const struct record_vm *vm;
    bool ok;
    struct error *err;
};

static bool holds_state(const struct record *record, const char *path)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (disk->external && disk->driver == NULL &&
            file_is_same(disk->path, path)) {
            return true;
        }
    }
    return false;
}

static void check_image(const char *vdev, const char *path, void *arg)
{
    struct look *look = arg;
    const struct record **records = record_vm_by_creation(look->vm);

    for (size_t i = 0; look->ok && i < look->vm->count; i++) {
        if (holds_state(records[i], path)) {
            look->ok = error_set(
                look->err, ERR_SNAPSHOT_IN_USE,
                "domain \"%s\" is not started from libvirt's definition: %s is "
                "%s there, which holds the state of its snapshot %s, and what "
                "was written since is in another image. xensnap delete %s %s "
                "merges them",
                look->domain, vdev, path, records[i]->name, look->domain,
                records[i]->name);
        }
    }
    free(records);
}

static bool check_images(const struct record_index *index, const char *domain,
                         const char *uuid, const char *xml, struct error *err)
{
    struct look look = {domain, record_index_find(index, uuid), true, err};

    if (look.vm != NULL) {
        libvirt_xml_each_image(xml, check_image, &look);
    }
    return look.ok;
}

static bool refuse_for(const char *domain, const char *note, bool aside,
                       struct error *err)
{
    if (aside) {
        return error_set(
            err, ERR_BUSY,
            "domain \"%s\" is not started: an operation on its snapshots was "
            "not undone whole, and %s, which is kept, names its images. Find "
            "those that its disks were on last, have libvirt's definition name "
            "them, then remove that file",
            domain, note);
    }
    return error_set(err, ERR_BUSY,
                     "domain \"%s\" is not started: xensnapd is at work on its "
                     "snapshots, or was when it ended (there is a note, %s). "
                     "Start it when that is over",
                     domain, note);
}

/* A delete may be about to end, or a create about to tell of its snapshot.  A
 * note that was set aside stays until somebody removes it. */
static bool is_idle(const char *store_folder, const char *domain,
                    const char *uuid, struct error *err)
{
    static const struct timespec pause = {0, 100000000};
    uint64_t limit_ms = clock_monotonic_ms() + PATIENCE_MS;
    bool aside = false;
    bool idle;
    char *note;

    while ((note = recovery_find_note(store_folder, uuid, &aside)) != NULL &&
           !aside && clock_monotonic_ms() < limit_ms) {
        free(note);
        nanosleep(&pause, NULL);
    }
    idle = note == NULL || refuse_for(domain, note, aside, err);
    free(note);
    return idle;
}

/* While a snapshot is made or deleted, the records do not say which images are
 * in use.  An operation that begins behind this look finds no domain. */
static bool may_start(const struct config *config, const char *domain,
                      const char *uuid, const char *xml, struct error *err)
{
    const char *folder = config->store.folder;
    struct record_index index = {0};
    bool ok = is_idle(folder, domain, uuid, err) &&
              records_peek(folder, uuid, &index, err) &&
              check_images(&index, domain, uuid, xml, err);

    record_index_dispose(&index);
    return ok;
}

static char *read_all(FILE *file)
{
    char *text = xcalloc(XML_MAX + 1, 1);
    size_t length = fread(text, 1, XML_MAX, file);

    text[length] = '\0';
    return text;
}

/* Those at which something is to be done: before a start, when the daemon has
 * found a running domain again, and after its end. */
static bool is_ours(const char *operation)
{
    return strcmp(operation, "prepare") == 0 ||
           strcmp(operation, "reconnect") == 0 ||
           strcmp(operation, "release") == 0;
}

/* Without the mark the domain starts, and gets no snapshots. */
static void keep_mark(const char *run_folder, const char *operation,
                      const char *uuid)
{
    struct error err;

    if (strcmp(operation, "release") == 0) {
        libvirt_guard_unmark(run_folder, uuid);
    } else if (!libvirt_guard_mark(run_folder, uuid, &err)) {
        LOG_WARN("%s", err.message);
    }
}

/* An agent that runs goes on with the settings that it has, and a host is to
 * come up whatever is wrong with a limit. */
static bool load_settings(const char *path, struct config *config,
                          struct error *err)
{
    char why[sizeof(err->message)];

    if (config_load(path, config, err)) {
        return true;
    }
    if (config_load_store(path, config)) {
        LOG_WARN("%s; the snapshots in %s count", err->message,
                 config->store.folder);
        return true;
    }
    snprintf(why, sizeof(why), "%s", err->message);
    return error_set(err, err->code,
                     "%.380s; so xensnapd cannot tell which folder holds the "
                     "snapshots (store.folder), nor what may be started",
                     why);
}

static bool act(const char *config_path, const char *domain,
                const char *operation, const char *xml, struct error *err)
{
    struct config config;
    char uuid[GUEST_UUID_LENGTH + 1];
    bool ok;

    if (!libvirt_xml_uuid(xml, uuid)) {
        return error_set(err, ERR_INTERNAL,
                         "libvirt's definition of \"%s\" has no uuid", domain);
    }
    if (!load_settings(config_path, &config, err)) {
        return false;
    }
    ok = strcmp(operation, "prepare") != 0 ||
         may_start(&config, domain, uuid, xml, err);
    if (ok) {
        keep_mark(config.store.run_folder, operation, uuid);
    }
    config_dispose(&config);
    return ok;
}

bool libvirt_hook_run(const char *config_path, char *const *arguments,
                      int count)
{
    const char *operation = count > 1 ? arguments[1] : "";
    struct error err;
    char *xml;
    bool ok;

    if (!is_ours(operation)) {
        return true;
    }
    xml = read_all(stdin);
    ok = act(config_path, arguments[0], operation, xml, &err);
    free(xml);
    if (!ok) {
        LOG_ERROR("%s", err.message);
    }
    /* libvirt ends its care of a running domain if it is told no later on. */
    return ok || strcmp(operation, "prepare") != 0;
}
