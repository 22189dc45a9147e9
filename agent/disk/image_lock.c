/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU holds a shared lock on one byte of an image for each permission it has
 * on it: byte 100 + n for permission n, and writing is permission 1
 * (block/file-posix.c, RAW_LOCK_PERM_BASE; BLK_PERM_WRITE).
 */
#include "agent/disk/image_lock.h"

#include <fcntl.h>
#include <unistd.h>

#define WRITE_LOCK_BYTE 101

bool image_is_quiet(const char *path, struct error *err)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = WRITE_LOCK_BYTE,
        .l_len = 1,
    };
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
    bool quiet = true;

    if (fd < 0) {
        return true;
    }
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0) {
        quiet = lock.l_type == F_UNLCK;
    }
    close(fd);
    return quiet ||
           error_set(err, ERR_SNAPSHOT_IN_USE,
                     "%s, which holds the snapshot's state, is open for "
                     "writing in another program",
                     path);
}
