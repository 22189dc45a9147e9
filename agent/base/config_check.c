/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/config_check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"

/* Else a guest that takes its time would have thawed before it has frozen. */
static bool check_freeze(const struct config *config, struct error *err)
{
    uint64_t freeze_ms = config->timeouts.freeze_ms;
    uint64_t max_freeze_ms = config->timeouts.max_freeze_ms;

    return max_freeze_ms > freeze_ms ||
           error_set(err, ERR_INVALID_REQUEST,
                     "timeouts.max-freeze (%g s) has to be longer than "
                     "timeouts.freeze (%g s)",
                     (double)max_freeze_ms / 1000.0,
                     (double)freeze_ms / 1000.0);
}

static bool lies_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return strncmp(path, folder, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

/* Those of record_files.h, recovery.c and left_images.h. */
static bool check_own(const struct config *config, const char *key,
                      const char *folder, struct error *err)
{
    static const char *const names[] = {"snapshots", "journal", "left"};
    bool ok = true;
    size_t i;

    for (i = 0; ok && i < sizeof(names) / sizeof(names[0]); i++) {
        char *own = xjoin(config->store.folder, names[i]);

        ok = !lies_in(folder, own) ||
             error_set(err, ERR_INVALID_REQUEST,
                       "%s (%s) is where the agent keeps what is its own "
                       "(%s); name a folder beside that",
                       key, folder, own);
        free(own);
    }
    return ok;
}

/* A record is no memory file, and what lies beside notes no note. */
static bool check_folders(const struct config *config, struct error *err)
{
    return check_own(config, "store.memory-folder", config->store.memory_folder,
                     err) &&
           check_own(config, "store.disk-folder", config->store.disk_folder,
                     err) &&
           check_own(config, "store.run-folder", config->store.run_folder, err);
}

/* It is replaced whole, and removed at the end. */
static bool check_metrics(const struct config *config, struct error *err)
{
    const struct {
        const char *key, *path;
    } folders[] = {
        {"store.folder", config->store.folder},
        {"store.memory-folder", config->store.memory_folder},
        {"store.disk-folder", config->store.disk_folder},
        {"store.run-folder", config->store.run_folder},
    };
    size_t i;

    for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (lies_in(config->metrics.file, folders[i].path))
            return error_set(err, ERR_INVALID_REQUEST,
                             "metrics.file (%s) lies in %s (%s); name a "
                             "file elsewhere, or off",
                             config->metrics.file, folders[i].key,
                             folders[i].path);
    }
    return true;
}

bool config_check(const struct config *config, const char *path,
                  struct error *err)
{
    return (check_freeze(config, err) && check_folders(config, err) &&
            check_metrics(config, err)) ||
           error_prefix(err, "%s: ", path);
}

bool config_check_files(const struct config *config, const char *path,
                        struct error *err)
{
    struct stat status;

    return stat(config->metrics.file, &status) != 0 ||
           !S_ISDIR(status.st_mode) ||
           error_set(err, ERR_INVALID_REQUEST,
                     "%s: metrics.file (%s) is a folder; name a file in it",
                     path, config->metrics.file);
}
