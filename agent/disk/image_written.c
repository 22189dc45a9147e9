/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/image_written.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

uint64_t image_written_ns(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode) ||
        status.st_mtim.tv_sec < 0) {
        return 0;
    }
    return (uint64_t)status.st_mtim.tv_sec * SECOND +
           (uint64_t)status.st_mtim.tv_nsec;
}

/* What QEMU flushes is the data (fdatasync(2)).  A time that could not be
 * flushed is still the one that the file has. */
uint64_t image_settled_ns(const char *path)
{
    uint64_t written_ns = image_written_ns(path);
    int fd = written_ns == 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    return written_ns;
}

/* Full seconds are what is left of a time by a program that restores or moves
 * files and keeps no more of it. */
bool image_time_is_other(uint64_t now_ns, uint64_t noted_ns)
{
    return noted_ns != 0 && now_ns != 0 && now_ns != noted_ns &&
           now_ns != noted_ns / SECOND * SECOND;
}

bool image_was_written(const char *path, uint64_t noted_ns)
{
    return image_time_is_other(image_written_ns(path), noted_ns);
}
