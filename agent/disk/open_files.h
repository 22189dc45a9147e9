/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which files a process has open, whatever name they have by now. */
#ifndef XENSNAPD_DISK_OPEN_FILES_H
#define XENSNAPD_DISK_OPEN_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file_id {
    uint64_t device; /* of a block device: which it is, with inode 0 */
    uint64_t inode;
};

/* False with errno if there is no such file. */
bool file_id_of(const char *path, struct file_id *ret_id);

/* Whether both paths lead to one file or device; also if they are one path. */
bool file_is_same(const char *a, const char *b);

/* The same of two images of a disk that is in that driver domain or, with
 * `driver` NULL, here: of files over there nothing but the paths is known. */
bool file_is_same_in(const char *driver, const char *a, const char *b);

bool process_has_open(pid_t pid, const struct file_id *id);

/* The same, open for writing. */
bool process_writes_to(pid_t pid, const struct file_id *id);

/*
 * Whether anything on this machine but the caller has the file open, for
 * whatever, QEMU with its locking off included; and whether another machine's
 * QEMU writes to it, as far as locks tell.
 */
bool file_is_in_use(const char *path);

#endif
