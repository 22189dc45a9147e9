/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who on this machine has a file open in such a way that it cannot be shared.
 */
#ifndef XENSNAPD_DISK_FILE_USER_H
#define XENSNAPD_DISK_FILE_USER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/disk/open_files.h"

struct file_user {
    pid_t pid;
    char program[32];
    bool is_qemu; /* of a domain: that one */
    uint32_t domid;
};

/*
 * A process that writes to the file or, where somebody is about to do that
 * (`to_write`), a domain's QEMU that reads it: to such a one it is the base of
 * an image, which must not change.  Neither the caller nor `except`.  False if
 * there is none, as far as can be told here.
 */
bool file_user_find(const struct file_id *id, bool to_write, pid_t except,
                    struct file_user *ret_user);

#endif
