/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files made, replaced and removed by their folder, which is held open.
 *
 * Between looking at a path and using it, a folder on the way may be swapped
 * for another one, or for a link that leads elsewhere.  So the folder of a file
 * is opened once, and what a request does to files in it goes by that
 * descriptor and the file's own name; a link of that name is never followed.
 *
 * Links on the way to the folder are the administrator's (/var/lib/xen/images
 * may be one).  They are resolved once, when the folder is first needed, and
 * what comes out is opened without following any (openat2(2); where the kernel
 * has no such call, name by name), so that nothing put there meanwhile counts.
 *
 * Paths are absolute or relative to the working folder.  Functions return and
 * set errno like the system calls that they stand for.  With `held` NULL the
 * folder is opened for that one call.
 */
#ifndef XENSNAPD_BASE_BENEATH_H
#define XENSNAPD_BASE_BENEATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct beneath_folder;

/* The folders that one request holds; zeroed, it holds none. */
struct beneath {
    struct beneath_folder *folders;
    size_t count;
};

/* Opens the folder of `path` now, for what is done to the file later. */
int beneath_hold(struct beneath *held, const char *path);

void beneath_release(struct beneath *held);

/* With O_NOFOLLOW and O_CLOEXEC. */
int beneath_open(struct beneath *held, const char *path, int flags,
                 mode_t mode);

int beneath_remove(struct beneath *held, const char *path);
int beneath_remove_folder(struct beneath *held, const char *path);
int beneath_rename(struct beneath *held, const char *from, const char *to);

/* EEXIST where there is a file of that name already.  After a failure `from` is
 * there, and `to` is not ours. */
int beneath_rename_new(struct beneath *held, const char *from, const char *to);

/* Flushes the folder of `path`, so that the names in it survive. */
int beneath_flush(struct beneath *held, const char *path);

/* Whether the path leads to that file still: other programs go by it. */
bool beneath_is_at_path(struct beneath *held, const char *path);

#endif
