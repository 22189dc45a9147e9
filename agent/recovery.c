/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeping notes of operations under way. */
#include "agent/recovery.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/durable_file.h"
#include "agent/journal/note_name.h"
#include "agent/journal/operation_state.h"
#include "agent/journal/seal.h"
#include "agent/recovery_read.h"

#define JOURNAL_FOLDER "journal"
#define ASIDE          ".aside"

struct recovery {
    struct durable_folder folder;
    struct recovery_notes left; /* by an earlier agent */
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
    if (!recovery_read(&recovery->folder, &recovery->left, err)) {
        recovery_close(recovery);
        return NULL;
    }
    return recovery;
}

void recovery_close(struct recovery *recovery)
{
    if (recovery == NULL) {
        return;
    }
    recovery_notes_dispose(&recovery->left);
    durable_folder_close(&recovery->folder);
    free(recovery);
}

static void note_boot(struct snapshot *snapshot)
{
    char boot[CLOCK_BOOT_LENGTH + 1];

    clock_boot(boot);
    xreplace(&snapshot->noted_boot, boot[0] == '\0' ? NULL : boot);
}

bool recovery_note(struct snapshot *snapshot, struct error *err)
{
    const struct recovery *recovery = snapshot->agent->recovery;
    char *name = note_name(snapshot);
    char *text;
    size_t length;
    char *sealed;
    bool ok;

    note_boot(snapshot);
    text = operation_state_encode(snapshot);
    sealed = seal_add(text, strlen(text), &length);
    ok = durable_file_write(&recovery->folder, name, sealed, length, err);
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
    if (!ok && !snapshot->note_refused) {
        LOG_WARN("%s %s; until it can be, the next agent would take the "
                 "operation up",
                 snapshot->label, err.message);
        snapshot->note_refused = true;
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

char *recovery_find_note(const char *store_folder, const char *uuid,
                         bool *ret_aside)
{
    char *folder = xjoin(store_folder, JOURNAL_FOLDER);
    DIR *notes = opendir(folder);
    const struct dirent *entry;
    char *path = NULL;

    while (path == NULL && notes != NULL && (entry = readdir(notes)) != NULL) {
        if (note_name_is_of(entry->d_name, uuid)) {
            path = xjoin(folder, entry->d_name);
            *ret_aside = !note_name_is_valid(entry->d_name);
        }
    }
    if (notes != NULL) {
        closedir(notes);
    }
    free(folder);
    return path;
}

void recovery_load(struct recovery *recovery, recovery_take_up *take_up,
                   void *arg)
{
    struct recovery_notes *left = &recovery->left;

    for (size_t i = 0; i < left->count; i++) {
        take_up(left->snapshots[i], arg);
    }
    left->count = 0;
}

void recovery_each_aside(const struct recovery *recovery,
                         recovery_on_aside *on_aside, void *arg)
{
    for (size_t i = 0; i < recovery->left.aside_count; i++) {
        on_aside(recovery->left.aside[i], arg);
    }
}
