/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which notes there are, what they say, and what is done about those that
 * cannot be used.
 */
#include "agent/recovery_read.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/note_name.h"
#include "agent/journal/operation_state.h"
#include "agent/journal/seal.h"
#include "agent/snapshot_ops.h"

#define NOTE_MAX ((size_t)16 << 20)

/* Files that were noted before they were made: they may be there, and whether
 * they are the ones is looked at before they are removed. */
static void assume_effects(struct snapshot *snapshot)
{
    struct error err;

    snapshot->recovered = true;
    snapshot->noted = true;
    snapshot->switch_sent = true;
    snapshot->memory_made = snapshot->memory_temporary != NULL;
    snapshot->memory_linked = snapshot->memory_linked && snapshot->memory_made;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        disk->rule = format_rule_find("qdisk", disk->format, &err);
        disk->overlay_made = disk->driver == NULL && disk->overlay != NULL;
        disk->overlay_stays = disk->overlay_stays && disk->driver != NULL;
        disk->restore_overlay_made =
            disk->driver == NULL && disk->restore_overlay != NULL;
    }
}

static bool check_step(const struct snapshot *snapshot, struct error *err)
{
    const struct step *steps =
        snapshot_recipe(&snapshot->request, snapshot->running, err);
    char shown[sizeof(snapshot->noted_step)];
    size_t index;

    if (steps == NULL ||
        operation_find_step(steps, snapshot->noted_step, &index)) {
        return steps != NULL;
    }
    return error_set(err, ERR_STORE,
                     "this version of xensnapd has no step \"%s\" in a %s",
                     error_sanitise(shown, sizeof(shown), snapshot->noted_step),
                     request_operation_name(snapshot->request.operation));
}

static bool is_named(const struct snapshot *snapshot, const char *name)
{
    char *expected = note_name(snapshot);
    bool same = strcmp(expected, name) == 0;

    free(expected);
    return same;
}

/* The file's name is what the note is replaced and removed by. */
static bool check_name(struct snapshot *snapshot, const char *name,
                       struct error *err)
{
    if (is_named(snapshot, name)) {
        return true;
    }
    snapshot->noted_by_id = true;
    return is_named(snapshot, name) ||
           error_set(err, ERR_STORE,
                     "it is the note of another id or another domain");
}

static bool read_note(const struct durable_folder *folder, const char *name,
                      struct snapshot *snapshot, struct error *err)
{
    char *text;
    size_t length;
    bool ok;

    if (!durable_file_read(folder, name, NOTE_MAX, &text, &length, err)) {
        return false;
    }
    snapshot->memory_linked = true; /* earlier versions did not tell */
    ok = seal_require(text, length, err) &&
         operation_state_decode(text, snapshot, err) &&
         check_name(snapshot, name, err) && check_step(snapshot, err);
    free(text);
    return ok;
}

/* Nothing is done on the strength of such a note, neither now nor at a later
 * start, when the domain has gone on.  Who asked is told `interrupted`
 * (dispatch_intake.c); the rest is for somebody to look at. */
static void set_aside(const struct durable_folder *folder, const char *name,
                      const struct error *why)
{
    const char *path = folder->path;
    struct error err;

    LOG_ERROR("%s/%s cannot be used: %s", path, name, why->message);
    if (durable_file_set_aside(folder, name, &err)) {
        LOG_ERROR("%s/%s is kept as %s.aside; what its operation had done was "
                  "neither undone nor finished: see that the domain runs and "
                  "which images its disks are on, then remove that file",
                  path, name, name);
    } else {
        LOG_ERROR("%s; remove it", err.message);
    }
}

/* Whose domain's it was, by its name. */
static void remember_aside(struct recovery_notes *notes, const char *name)
{
    char *uuid = note_name_uuid(name);

    if (uuid != NULL) {
        notes->aside = xrealloc(notes->aside, notes->aside_count + 1,
                                sizeof(*notes->aside));
        notes->aside[notes->aside_count++] = uuid;
    }
}

/* As far as a note may be long. */
static bool reads_to_its_end(int fd)
{
    char piece[4096];
    size_t length = 0;
    ssize_t got;

    do {
        got = read(fd, piece, sizeof(piece));
        length += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && length <= NOTE_MAX) || (got < 0 && errno == EINTR));
    return got >= 0;
}

/* A file that was whole when it was written, and that the disk or the system
 * does not give back now: no reason to forget what it says. */
static bool is_only_unreadable(const struct durable_folder *folder,
                               const char *name)
{
    int fd = openat(folder->fd, name,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    bool there = fstatat(folder->fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                 S_ISREG(status.st_mode);
    bool unreadable = there && (fd < 0 || !reads_to_its_end(fd));

    if (fd >= 0) {
        close(fd);
    }
    return unreadable;
}

/* False with `err`: nobody knows what it says. */
static bool load_note(const struct durable_folder *folder, const char *name,
                      struct recovery_notes *notes, struct error *err)
{
    struct snapshot *snapshot = snapshot_new();
    struct error why;

    if (read_note(folder, name, snapshot, &why)) {
        assume_effects(snapshot);
        notes->snapshots = xrealloc(notes->snapshots, notes->count + 1,
                                    sizeof(struct snapshot *));
        notes->snapshots[notes->count++] = snapshot;
        return true;
    }
    snapshot_free(snapshot);
    if (is_only_unreadable(folder, name)) {
        return error_set(err, ERR_STORE,
                         "%.300s; what it tells must be known before anything "
                         "else is done: see to the disk, and start again",
                         why.message);
    }
    set_aside(folder, name, &why);
    remember_aside(notes, name);
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_failed(const struct durable_folder *folder, struct error *err)
{
    return error_set_errno(err, ERR_STORE, errno, "cannot read the folder %s",
                           folder->path);
}

static bool list_notes(const struct durable_folder *folder, char ***ret_names,
                       size_t *ret_count, struct error *err)
{
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    bool ok;

    *ret_names = NULL;
    *ret_count = 0;
    if (dir == NULL) {
        list_failed(folder, err);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        if (durable_name_is_temporary(entry->d_name)) {
            unlinkat(folder->fd, entry->d_name, 0);
        } else if (note_name_is_valid(entry->d_name)) {
            *ret_names =
                xrealloc(*ret_names, *ret_count + 1, sizeof(**ret_names));
            (*ret_names)[(*ret_count)++] = xstrdup(entry->d_name);
        }
    }
    ok = errno == 0 || list_failed(folder, err);
    closedir(dir);
    return ok;
}

bool recovery_read(const struct durable_folder *folder,
                   struct recovery_notes *notes, struct error *err)
{
    char **names;
    size_t count;
    bool ok = list_notes(folder, &names, &count, err);

    if (count > 0) {
        qsort(names, count, sizeof(*names), compare_names);
    }
    for (size_t i = 0; i < count; i++) {
        ok = ok && load_note(folder, names[i], notes, err);
        free(names[i]);
    }
    free(names);
    return ok;
}

void recovery_notes_dispose(struct recovery_notes *notes)
{
    for (size_t i = 0; i < notes->count; i++) {
        snapshot_free(notes->snapshots[i]);
    }
    for (size_t i = 0; i < notes->aside_count; i++) {
        free(notes->aside[i]);
    }
    free(notes->snapshots);
    free(notes->aside);
}
