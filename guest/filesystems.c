/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/filesystems.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "guest/mountinfo.h"

#define MOUNTINFO "/proc/self/mountinfo"

/* Large, so not on the stack; one thread, so one is enough. */
static struct {
    struct mount all[FILESYSTEMS_MAX];
    size_t count;
} mounts;

uint64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what there is ---- */

/* Freezing goes by file system: one mounted in several places counts once. */
static bool is_there(const struct mount *mount)
{
    for (size_t i = 0; i < mounts.count; i++) {
        if (mounts.all[i].major == mount->major &&
            mounts.all[i].minor == mount->minor) {
            return true;
        }
    }
    return false;
}

static bool read_mounts(void)
{
    FILE *file = fopen(MOUNTINFO, "re");
    struct mount mount;
    char *line = NULL;
    size_t size = 0;

    mounts.count = 0;
    if (file == NULL) {
        return false;
    }
    while (mounts.count < FILESYSTEMS_MAX && getline(&line, &size, file) >= 0) {
        if (mountinfo_parse(line, &mount) && !is_there(&mount)) {
            mounts.all[mounts.count++] = mount;
        }
    }
    free(line);
    fclose(file);
    return true;
}

static int open_mount(const struct mount *mount)
{
    return open(mount->point, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

/* ---- freezing ---- */

static bool fail(char reason[FILESYSTEMS_REASON], const char *what,
                 const char *point, const char *why)
{
    snprintf(reason, FILESYSTEMS_REASON, "%s %.80s: %s", what, point, why);
    return false;
}

static bool freeze_one(struct filesystem *filesystem, const char *point,
                       char reason[FILESYSTEMS_REASON])
{
    if (ioctl(filesystem->fd, FIFREEZE, 0) == 0) {
        filesystem->frozen = true;
        return true;
    }
    if (errno == EBUSY) {
        return fail(reason, "cannot freeze", point,
                    "something else has frozen it");
    }
    if (errno != EOPNOTSUPP) {
        return fail(reason, "cannot freeze", point, strerror(errno));
    }
    return syncfs(filesystem->fd) == 0 ||
           fail(reason, "cannot flush", point, strerror(errno));
}

static bool freeze_next(struct filesystems *filesystems,
                        const struct mount *mount,
                        char reason[FILESYSTEMS_REASON])
{
    struct filesystem *filesystem = &filesystems->all[filesystems->count];

    filesystem->frozen = false;
    filesystem->fd = open_mount(mount);
    if (filesystem->fd < 0) {
        return fail(reason, "cannot open", mount->point, strerror(errno));
    }
    filesystems->count++;
    return freeze_one(filesystem, mount->point, reason);
}

bool filesystems_freeze(struct filesystems *filesystems, uint64_t deadline_ms,
                        char reason[FILESYSTEMS_REASON])
{
    bool ok = read_mounts();

    filesystems->count = 0;
    if (!ok) {
        fail(reason, "cannot read", MOUNTINFO, strerror(errno));
    }
    for (size_t i = mounts.count; ok && i > 0; i--) {
        ok = freeze_next(filesystems, &mounts.all[i - 1], reason);
        if (ok && monotonic_ms() >= deadline_ms) {
            ok = fail(reason, "stopped at", mounts.all[i - 1].point,
                      "the time was over");
        }
    }
    if (!ok) {
        filesystems_thaw(filesystems);
    }
    return ok;
}

void filesystems_thaw(struct filesystems *filesystems)
{
    while (filesystems->count > 0) {
        struct filesystem *last = &filesystems->all[--filesystems->count];

        if (last->frozen) {
            ioctl(last->fd, FITHAW, 0);
        }
        close(last->fd);
    }
}

void filesystems_thaw_all(void)
{
    read_mounts();
    for (size_t i = 0; i < mounts.count; i++) {
        int fd = open_mount(&mounts.all[i]);

        if (fd >= 0) {
            ioctl(fd, FITHAW, 0);
            close(fd);
        }
    }
}
