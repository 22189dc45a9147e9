/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeping notes of operations under way, and deciding what becomes of them. */
#include "agent/recovery.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/merge_switch.h"
#include "agent/guest/guest_steps.h"
#include "agent/journal/durable_file.h"
#include "agent/journal/operation_state.h"
#include "agent/journal/seal.h"
#include "agent/snapshot_ops.h"

#define JOURNAL_FOLDER "journal"
#define PREFIX         "op-"
#define SUFFIX         ".json"
#define ASIDE          ".aside"
#define NOTE_MAX       ((size_t)16 << 20)

struct recovery {
    struct durable_folder folder;
};

struct recovery *recovery_open(const char *store_folder, struct error *err)
{
    struct recovery *recovery = xcalloc(1, sizeof(*recovery));
    struct durable_folder store;
    bool ok = durable_folder_open(NULL, store_folder, true, &store, err);

    if (ok) {
        ok = durable_folder_open(&store, JOURNAL_FOLDER, true,
                                 &recovery->folder, err);
        durable_folder_close(&store);
    }
    if (!ok) {
        free(recovery);
        return NULL;
    }
    return recovery;
}

void recovery_close(struct recovery *recovery)
{
    if (recovery != NULL) {
        durable_folder_close(&recovery->folder);
        free(recovery);
    }
}

/* ---- notes ---- */

/* An id alone does not do: its folder may have been removed and written anew,
 * for another domain, while what it asked for first is still being undone.  Of
 * one domain there is one operation at a time. */
static char *note_name(const struct snapshot *snapshot)
{
    return snapshot->noted_by_id
               ? xasprintf(PREFIX "%s" SUFFIX, snapshot->id)
               : xasprintf(PREFIX "%s.%s" SUFFIX, snapshot->id,
                           snapshot->guest.uuid);
}

bool recovery_note(struct snapshot *snapshot, struct error *err)
{
    const struct recovery *recovery = snapshot->agent->recovery;
    char *name = note_name(snapshot);
    char *text = operation_state_encode(snapshot);
    size_t length;
    char *sealed = seal_add(text, strlen(text), &length);
    bool ok = durable_file_write(&recovery->folder, name, sealed, length, err);

    /* A failure may have left one. */
    snapshot->noted = true;
    free(sealed);
    free(text);
    free(name);
    return ok;
}

/* Should a power cut bring the note back, it says what is so: the next
 * operation's note, which is written before that changes anything, flushes the
 * folder. */
bool recovery_forget(struct snapshot *snapshot)
{
    const struct recovery *recovery = snapshot->agent->recovery;
    char *name = note_name(snapshot);
    struct error err;
    bool ok = true;

    if (snapshot->noted && snapshot->note_stays) {
        ok = durable_file_set_aside(&recovery->folder, name, &err);
    } else if (snapshot->noted) {
        ok = durable_file_drop(&recovery->folder, name, &err);
    }
    if (!ok) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
    free(name);
    return ok;
}

char *recovery_aside_path(const struct snapshot *snapshot)
{
    char *name = note_name(snapshot);
    char *path =
        xasprintf("%s/%s" ASIDE, snapshot->agent->recovery->folder.path, name);

    free(name);
    return path;
}

/* ---- reading them ---- */

static bool is_note(const char *name)
{
    size_t length = strlen(name);

    return length > strlen(PREFIX) + strlen(SUFFIX) &&
           strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
           strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

/* "op-<id>.<uuid>.json", and whatever is behind that. */
static bool is_note_of(const char *name, const char *uuid)
{
    char *end = xasprintf(".%s" SUFFIX, uuid);
    bool is_its =
        strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strstr(name, end) != NULL;

    free(end);
    return is_its;
}

char *recovery_find_note(const char *store_folder, const char *uuid,
                         bool *ret_aside)
{
    char *folder = xjoin(store_folder, JOURNAL_FOLDER);
    DIR *notes = opendir(folder);
    const struct dirent *entry;
    char *path = NULL;

    while (path == NULL && notes != NULL && (entry = readdir(notes)) != NULL) {
        if (is_note_of(entry->d_name, uuid)) {
            path = xjoin(folder, entry->d_name);
            *ret_aside = !is_note(entry->d_name);
        }
    }
    if (notes != NULL) {
        closedir(notes);
    }
    free(folder);
    return path;
}

/* Files that were noted before they were made: they may be there, and whether
 * they are the ones is looked at before they are removed. */
static void assume_effects(struct snapshot *snapshot)
{
    struct error err;

    snapshot->recovered = true;
    snapshot->noted = true;
    snapshot->memory_fd = -1;
    snapshot->restore_fd = -1;
    snapshot->switch_sent = true;
    snapshot->memory_made = snapshot->memory_temporary != NULL;
    snapshot->memory_linked = snapshot->memory_path != NULL;
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        struct snapshot_disk *disk = &snapshot->disks[i];

        disk->rule = format_rule_find("qdisk", disk->format, &err);
        disk->overlay_made = disk->driver == NULL && disk->overlay != NULL;
        disk->overlay_stays = disk->overlay_stays && disk->driver != NULL;
        disk->restore_overlay_made =
            disk->driver == NULL && disk->restore_overlay != NULL;
    }
}

/* The index of the recipe's step of that name; false if it has none. */
static bool find_step(const struct step *steps, const char *name,
                      size_t *ret_index)
{
    for (size_t i = 0; steps[i].name != NULL; i++) {
        if (strcmp(steps[i].name, name) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool check_step(const struct snapshot *snapshot, struct error *err)
{
    const struct step *steps =
        snapshot_recipe(&snapshot->request, snapshot->running, err);
    char shown[sizeof(snapshot->noted_step)];
    size_t index;

    if (steps == NULL || find_step(steps, snapshot->noted_step, &index)) {
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

static bool read_note(const struct recovery *recovery, const char *name,
                      struct snapshot *snapshot, struct error *err)
{
    char *text;
    size_t length;
    bool ok;

    if (!durable_file_read(&recovery->folder, name, NOTE_MAX, &text, &length,
                           err)) {
        return false;
    }
    ok = seal_require(text, length, err) &&
         operation_state_decode(text, snapshot, err) &&
         check_name(snapshot, name, err) && check_step(snapshot, err);
    free(text);
    return ok;
}

/* Nothing is done on the strength of such a note, neither now nor at a later
 * start, when the domain has gone on.  Who asked is told `interrupted`
 * (dispatch_intake.c); the rest is for somebody to look at. */
static void set_aside(const struct recovery *recovery, const char *name,
                      const struct error *why)
{
    const char *path = recovery->folder.path;
    struct error err;

    LOG_ERROR("%s/%s cannot be used: %s", path, name, why->message);
    if (durable_file_set_aside(&recovery->folder, name, &err)) {
        LOG_ERROR("%s/%s is kept as %s.aside; what its operation had done was "
                  "neither undone nor finished: see that the domain runs and "
                  "which images its disks are on, then remove that file",
                  path, name, name);
    } else {
        LOG_ERROR("%s; remove it", err.message);
    }
}

static void load_note(struct recovery *recovery, const char *name,
                      recovery_take_up *take_up, void *arg)
{
    struct snapshot *snapshot = xcalloc(1, sizeof(*snapshot));
    struct error err;

    snapshot->memory_fd = -1;
    snapshot->restore_fd = -1;
    if (read_note(recovery, name, snapshot, &err)) {
        assume_effects(snapshot);
        take_up(snapshot, arg);
    } else {
        set_aside(recovery, name, &err);
        snapshot_free(snapshot);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_notes(struct recovery *recovery, char ***ret_names)
{
    int fd =
        openat(recovery->folder.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    size_t count = 0;

    *ret_names = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (durable_name_is_temporary(entry->d_name)) {
            unlinkat(recovery->folder.fd, entry->d_name, 0);
        } else if (is_note(entry->d_name)) {
            *ret_names = xrealloc(*ret_names, count + 1, sizeof(**ret_names));
            (*ret_names)[count++] = xstrdup(entry->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

void recovery_load(struct recovery *recovery, recovery_take_up *take_up,
                   void *arg)
{
    char **names;
    size_t count = list_notes(recovery, &names);

    if (count > 0) {
        qsort(names, count, sizeof(*names), compare_names);
    }
    for (size_t i = 0; i < count; i++) {
        load_note(recovery, names[i], take_up, arg);
        free(names[i]);
    }
    free(names);
}

/* ---- back or forward ---- */

/* Of a step that the recipe has. */
static size_t index_of(const struct snapshot *snapshot, const char *name)
{
    size_t index = 0;

    find_step(snapshot->operation.steps, name, &index);
    return index;
}

static void go_back(struct snapshot *snapshot, const char *from)
{
    struct error why;

    error_set(&why, ERR_INTERRUPTED,
              "the agent ended while this request was under way; what it had "
              "done was undone");
    operation_recover_undo(&snapshot->operation, index_of(snapshot, from),
                           &why);
}

static void go_forward(struct snapshot *snapshot, const char *from)
{
    operation_recover_forward(&snapshot->operation, index_of(snapshot, from));
}

static bool record_is_unreadable(const struct snapshot *snapshot)
{
    return records_unreadable(snapshot->agent->records, snapshot->guest.uuid,
                              snapshot->name) != NULL;
}

/* Without the record neither way can be gone: the first step has nothing to
 * undo. */
static void leave_alone(struct snapshot *snapshot)
{
    struct error why;

    error_set(
        &why, ERR_STORE,
        "the agent ended while this request was under way, and the record "
        "of snapshot \"%s\" cannot be read any more: what was done is "
        "left as it is; the log of xensnapd's start tells more",
        snapshot->name);
    operation_recover_undo(&snapshot->operation, 0, &why);
}

static const char *consistency_of(const struct record *record)
{
    if (strcmp(record->consistency, "quiesced") == 0) {
        return "quiesced";
    }
    return strcmp(record->consistency, "full") == 0 ? "full" : "crash";
}

/* The record is the commit; of that name there may be an older one. */
static void recover_create(struct snapshot *snapshot)
{
    const struct record *record = records_find(
        snapshot->agent->records, snapshot->guest.uuid, snapshot->name);

    if (record != NULL &&
        strcmp(record->created_at, snapshot->created_at) == 0) {
        snapshot->consistency = consistency_of(record);
        snapshot->memory_bytes = record->memory_bytes;
        go_forward(snapshot, "commit-backends");
    } else if (record == NULL && record_is_unreadable(snapshot)) {
        leave_alone(snapshot);
    } else {
        go_back(snapshot, "write-record");
    }
}

static bool came_to(const struct snapshot *snapshot, const char *step)
{
    return index_of(snapshot, snapshot->noted_step) >= index_of(snapshot, step);
}

/* A domain that our restore left in its middle has not run; whoever made it,
 * nothing is lost with it.  One that has run was started by somebody. */
static bool is_remains(const struct snapshot *snapshot)
{
    return !snapshot->gone &&
           guest_never_ran(snapshot->agent->guests, snapshot->guest.domid);
}

static void on_remains_gone(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    snapshot->call = NULL;
    if (err != NULL) {
        LOG_ERROR("%s %s", snapshot->label, err->message);
    }
    go_back(snapshot, "prepare-backends");
}

/* For a domain that did not run before: back to that. */
static void recover_start(struct snapshot *snapshot)
{
    if (came_to(snapshot, "start") && record_is_unreadable(snapshot)) {
        leave_alone(snapshot);
    } else if (came_to(snapshot, "start")) {
        go_forward(snapshot, snapshot->gone ? "write-record" : "start");
    } else if (is_remains(snapshot)) {
        snapshot->call =
            guest_destroy(snapshot->agent->guests, snapshot->guest.domid,
                          on_remains_gone, snapshot);
    } else {
        go_back(snapshot, "prepare-backends");
    }
}

/* libxl pauses a domain before it takes anything of it away, QEMU first: from
 * then on it cannot be let go any more.  Nor has it run since its state was
 * kept. */
static bool is_half_ended(const struct snapshot *snapshot)
{
    return came_to(snapshot, "end-domain") &&
           (snapshot->guest.paused || snapshot->guest.dying);
}

/* Destroying the old domain is the commit. */
static void recover_revert(struct snapshot *snapshot, uint32_t old_domid)
{
    bool old_is_there = !snapshot->gone && snapshot->guest.domid == old_domid &&
                        !is_half_ended(snapshot);

    if (came_to(snapshot, "end-domain") && !old_is_there &&
        record_is_unreadable(snapshot)) {
        leave_alone(snapshot);
    } else if (came_to(snapshot, "start")) {
        bool new_is_there =
            !snapshot->gone && snapshot->guest.domid == snapshot->new_domid;

        restore_recall_source(snapshot);
        go_forward(snapshot, new_is_there ? "start" : "write-record");
    } else if (old_is_there || !came_to(snapshot, "end-domain")) {
        go_back(snapshot, "end-domain");
    } else if (snapshot->gone || snapshot->guest.domid == old_domid ||
               is_remains(snapshot)) {
        go_forward(snapshot, "restore");
    } else {
        /* Somebody started the domain anew meanwhile: it is theirs. */
        snapshot->gone = true;
        go_back(snapshot, "keep-running-state");
    }
}

/* Whatever was merged is; from the top it finds out what is left to do. */
static void recover_delete(struct snapshot *snapshot)
{
    snapshot->running = !snapshot->gone;
    if (records_find(snapshot->agent->records, snapshot->guest.uuid,
                     snapshot->name) == NULL) {
        if (record_is_unreadable(snapshot)) {
            leave_alone(snapshot);
        } else {
            go_forward(snapshot, "publish");
        }
        return;
    }
    backends_forget(snapshot);
    snapshot_free_disks(snapshot);
    operation_recover_anew(&snapshot->operation);
}

void recovery_begin(struct snapshot *snapshot)
{
    uint32_t old_domid = snapshot->guest.domid;
    struct guest guest;
    struct error err;

    if (guests_find(snapshot->agent->guests, snapshot->guest.uuid, &guest,
                    &err)) {
        /* One that is half gone has lost its name. */
        if (guest.name[0] == '\0') {
            memcpy(guest.name, snapshot->guest.name, sizeof(guest.name));
        }
        snapshot->guest = guest;
        if (guest.domid != old_domid) {
            /* It may have rebooted onto the overlays. */
            merge_forget_domain(snapshot);
            backends_let_stay(snapshot);
        }
    } else {
        snapshot->gone = err.code == ERR_NO_SUCH_DOMAIN;
    }
    LOG_NOTICE("%s was interrupted; taking it up again", snapshot->label);
    switch (snapshot->request.operation) {
    case REQUEST_CREATE:
        recover_create(snapshot);
        break;
    case REQUEST_REVERT:
        if (snapshot->running) {
            recover_revert(snapshot, old_domid);
        } else {
            recover_start(snapshot);
        }
        break;
    case REQUEST_DELETE:
    case REQUEST_RESCAN:
        recover_delete(snapshot);
        break;
    }
}
