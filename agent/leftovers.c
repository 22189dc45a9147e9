/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/disk/image.h"
#include "agent/disk/image_snapshots.h"
#include "agent/disk/kept_disks.h"
#include "agent/disk/open_files.h"
#include "agent/journal/record_fields.h"
#include "agent/known_files.h"

#define MIB (1024 * 1024)

struct sweep {
    const char *disk_folder;
    const struct records *records;
    struct known_files *known;
    bool looked; /* known_files_look() */
    leftovers_is_used *is_used;
    void *arg;
    size_t count;
};

/* Given each entry of a folder, whose path is `folder_path`. */
typedef void on_entry(struct sweep *sweep, int folder, const char *folder_path,
                      const char *name);

/* Only the folders of the settings may be links. */
static void each_entry(struct sweep *sweep, int at, const char *name,
                       const char *path, on_entry *visit)
{
    int link = at == AT_FDCWD ? 0 : O_NOFOLLOW;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | link);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (folder == NULL && fd >= 0) {
        close(fd);
    }
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        visit(sweep, fd, path, entry->d_name);
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

/* ---- what explains a file ---- */

static bool is_named(const struct sweep *sweep, const char *path)
{
    return known_files_has(sweep->known, path) ||
           sweep->is_used(path, sweep->arg);
}

static bool is_known(struct sweep *sweep, const char *path)
{
    if (!sweep->looked) {
        sweep->looked = true;
        known_files_look(sweep->known);
    }
    return known_files_is_one(sweep->known, path);
}

/* `vm_uuid` NULL: whose it would be is not known. */
static void tell(struct sweep *sweep, const char *vm_uuid, const char *what,
                 const char *path, off_t bytes, const char *advice)
{
    const char *unreadable = records_unreadable(sweep->records, vm_uuid, NULL);
    uint64_t mib = (uint64_t)bytes / MIB;

    if (unreadable != NULL) {
        LOG_WARN("the %s %s (%" PRIu64 " MiB) may be of snapshot \"%s\", whose "
                 "record cannot be read; keep it until that is mended",
                 what, path, mib, unreadable);
        return;
    }
    LOG_WARN("no snapshot has the %s %s (%" PRIu64 " MiB); %s", what, path, mib,
             advice);
    sweep->count++;
}

/* ---- memory files ---- */

static void look_at_memory_file(struct sweep *sweep, int folder,
                                const char *folder_path, const char *name)
{
    const char *vm_uuid = strrchr(folder_path, '/') + 1;
    struct stat status;
    char *path;

    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
        return;
    }
    path = xasprintf("%s/%s", folder_path, name);
    if (!is_named(sweep, path) && !is_known(sweep, path)) {
        tell(sweep, vm_uuid, "memory file", path, status.st_size,
             "remove it if you do not need it");
    }
    free(path);
}

static void look_at_vm(struct sweep *sweep, int above, const char *above_path,
                       const char *name)
{
    char *path;

    /* What the agent makes there is called after a VM. */
    if (!record_uuid_is_valid(name)) {
        return;
    }
    path = xasprintf("%s/%s", above_path, name);
    each_entry(sweep, above, name, path, look_at_memory_file);
    free(path);
    /* Empty where an agent was killed before it noted that it had made it. */
    unlinkat(above, name, AT_REMOVEDIR);
}

/* ---- overlays ---- */

/* What lies over nothing is somebody else's.  One that is damaged may be ours.
 */
static bool is_overlay(const char *path)
{
    struct image_info info;
    struct error ignored;

    return !image_inspect(path, "qcow2", &info, &ignored) ||
           info.backing_path[0] != '\0';
}

static void tell_overlay(struct sweep *sweep, const char *path, off_t bytes)
{
    if (!is_named(sweep, path) && is_overlay(path) && !is_known(sweep, path) &&
        !file_is_in_use(path)) {
        tell(sweep, NULL, "overlay", path, bytes,
             "nothing has it open: remove it if no domain's configuration "
             "names it");
    }
}

static void look_at_overlay(struct sweep *sweep, int folder,
                            const char *folder_path, const char *name)
{
    struct stat status;
    char *path;

    if (!image_name_is_default(name) ||
        fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode)) {
        return;
    }
    path = xasprintf("%s/%s", folder_path, name);
    tell_overlay(sweep, path, status.st_size);
    free(path);
}

/* It is met there. */
static bool is_in_disk_folder(const struct sweep *sweep, const char *path)
{
    size_t length = strlen(sweep->disk_folder);

    return strncmp(path, sweep->disk_folder, length) == 0 &&
           path[length] == '/' && strchr(path + length + 1, '/') == NULL;
}

/* A link to one; without it, it has done its duty. */
static void look_at_left(struct sweep *sweep, int folder,
                         const char *folder_path, const char *name)
{
    char path[PATH_MAX];
    ssize_t length = readlinkat(folder, name, path, sizeof(path) - 1);
    struct stat status;

    (void)folder_path;
    if (length <= 0) {
        return;
    }
    path[length] = '\0';
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
        if (!is_in_disk_folder(sweep, path)) {
            tell_overlay(sweep, path, status.st_size);
        }
    } else if (errno == ENOENT) {
        unlinkat(folder, name, 0);
    }
}

/* ---- temporary internal snapshots ---- */

/* A revert that could not put back what it had kept leaves it there; or could
 * not delete it. */
static void look_at_disk(struct sweep *sweep, const struct record_disk *disk)
{
    char *kept = sweep->is_used(disk->path, sweep->arg)
                     ? NULL
                     : image_find_snapshot(disk->path, KEPT_DISKS_PREFIX);

    if (kept != NULL) {
        LOG_WARN(
            "a revert has left the internal snapshot \"%s\" in %s, of what "
            "that held before; delete it with qemu-img when the domain is "
            "off, if you do not need it",
            kept, disk->path);
    }
    free(kept);
}

static void look_at_record(const struct record *record, void *arg)
{
    for (size_t i = 0; i < record->disk_count; i++) {
        const struct record_disk *disk = &record->disks[i];

        if (!disk->external && disk->driver == NULL) {
            look_at_disk(arg, disk);
        }
    }
}

size_t leftovers_report(const char *memory_folder, const char *disk_folder,
                        const char *left_folder, const struct records *records,
                        leftovers_is_used *is_used, void *arg)
{
    struct sweep sweep = {
        .disk_folder = disk_folder,
        .records = records,
        .known = known_files_of(records),
        .is_used = is_used,
        .arg = arg,
    };

    each_entry(&sweep, AT_FDCWD, memory_folder, memory_folder, look_at_vm);
    each_entry(&sweep, AT_FDCWD, disk_folder, disk_folder, look_at_overlay);
    each_entry(&sweep, AT_FDCWD, left_folder, left_folder, look_at_left);
    records_each(records, look_at_record, &sweep);
    known_files_free(sweep.known);
    return sweep.count;
}
