/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/leftovers.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/journal/record_fields.h"

#define MIB (1024 * 1024)

struct search {
    const char *path;
    bool found;
};

static void match(const struct record *record, void *arg)
{
    struct search *search = arg;

    search->found |= record->memory_path != NULL &&
                     strcmp(record->memory_path, search->path) == 0;
}

static bool is_recorded(const struct records *records, const char *path)
{
    struct search search = {.path = path};

    records_each(records, match, &search);
    return search.found;
}

/* The folder, opened without following a link; NULL if it is none. */
static DIR *open_folder(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (folder == NULL && fd >= 0) {
        close(fd);
    }
    return folder;
}

static size_t report_file(DIR *folder, const char *folder_path,
                          const char *name, const struct records *records,
                          leftovers_is_used *is_used, void *arg)
{
    struct stat status;
    size_t count = 0;
    char *path;

    if (fstatat(dirfd(folder), name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
        return 0;
    }
    path = xasprintf("%s/%s", folder_path, name);
    if (!is_recorded(records, path) && !is_used(path, arg)) {
        LOG_WARN("no snapshot has the memory file %s (%" PRIu64
                 " MiB); remove it if you do not need it",
                 path, (uint64_t)status.st_size / MIB);
        count = 1;
    }
    free(path);
    return count;
}

static size_t report_vm(DIR *above, const char *above_path, const char *name,
                        const struct records *records,
                        leftovers_is_used *is_used, void *arg)
{
    DIR *folder = open_folder(dirfd(above), name);
    struct dirent *entry;
    size_t count = 0;
    char *path;

    if (folder == NULL) {
        return 0;
    }
    path = xasprintf("%s/%s", above_path, name);
    while ((entry = readdir(folder)) != NULL) {
        count +=
            report_file(folder, path, entry->d_name, records, is_used, arg);
    }
    free(path);
    closedir(folder);
    /* Empty where an agent was killed before it noted that it had made it. */
    if (record_uuid_is_valid(name)) {
        unlinkat(dirfd(above), name, AT_REMOVEDIR);
    }
    return count;
}

size_t leftovers_report(const char *folder, const struct records *records,
                        leftovers_is_used *is_used, void *arg)
{
    DIR *top = open_folder(AT_FDCWD, folder);
    struct dirent *entry;
    size_t count = 0;

    if (top == NULL) {
        return 0;
    }
    while ((entry = readdir(top)) != NULL) {
        if (entry->d_name[0] != '.') {
            count +=
                report_vm(top, folder, entry->d_name, records, is_used, arg);
        }
    }
    closedir(top);
    return count;
}
