/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that a crash leaves as they were or as they should be, never between.
 *
 * Each change is made under a temporary name, flushed, renamed into place, and
 * the folder flushed: on return it is durable.  Names are those of one folder,
 * opened once, so that nothing that happens to the path above it can lead a
 * write elsewhere; links are not followed.  Files are 0600, folders 0700.
 *
 * One process at a time may write in a folder.  A failure leaves no temporary
 * file; a crash may, and whoever reads the folder next removes it
 * (durable_name_is_temporary()).
 *
 * Errors are ERR_NO_SPACE or ERR_STORE, naming the path.  When the last flush,
 * that of the folder, fails, the change is there all the same, only not
 * durable: repeating it is safe.
 */
#ifndef XENSNAPD_JOURNAL_DURABLE_FILE_H
#define XENSNAPD_JOURNAL_DURABLE_FILE_H

#include <stddef.h>

#include "agent/base/error.h"

struct durable_folder {
    int fd;
    char *path; /* for messages */
};

/*
 * Opens a folder, making it if it is missing and `make` is set.  With `parent`
 * NULL `name` is a path, and may be a symbolic link.  `*ret_folder` is
 * untouched on failure, else the caller's to durable_folder_close().
 */
bool durable_folder_open(const struct durable_folder *parent, const char *name,
                         bool make, struct durable_folder *ret_folder,
                         struct error *err);
void durable_folder_close(struct durable_folder *folder);

/* Makes or replaces a file. */
bool durable_file_write(const struct durable_folder *folder, const char *name,
                        const void *data, size_t length, struct error *err);

/*
 * The whole of a regular file of at most `limit` bytes.  `*ret_data` has a
 * zero byte behind it and is the caller's to free().
 */
bool durable_file_read(const struct durable_folder *folder, const char *name,
                       size_t limit, char **ret_data, size_t *ret_length,
                       struct error *err);

/*
 * Makes or replaces a file, and then a symbolic link to it of the name `link`,
 * with one flush of the folder for both.  File systems keep the order of
 * changes within a folder, and a link to nowhere would be taken for none.  The
 * link stands ready before: durable_link_finish() does what a crash between the
 * two kept from being done.  Unless the result is true, either of them may be
 * there.
 */
bool durable_file_write_linked(const struct durable_folder *folder,
                               const char *name, const void *data,
                               size_t length, const char *link,
                               struct error *err);

/* Makes or replaces a symbolic link. */
bool durable_link_write(const struct durable_folder *folder, const char *name,
                        const char *target, struct error *err);

/* After a crash: puts a link in place that stands ready, if what it leads to is
 * in the folder.  Where that fails it goes on standing ready. */
bool durable_link_finish(const struct durable_folder *folder, const char *link,
                         bool *ret_finished, struct error *err);

/* Where the link leads, or the one that stands ready to replace it; NULL if it
 * leads nowhere, else the caller's to free(). */
char *durable_link_read(const struct durable_folder *folder, const char *link);

/* Removes a link, and one that stands ready; see durable_file_remove(). */
bool durable_link_remove(const struct durable_folder *folder, const char *link,
                         struct error *err);

/* Removes a file or link; one that is not there is no error. */
bool durable_file_remove(const struct durable_folder *folder, const char *name,
                         struct error *err);

/* The same without a flush: the file may be there again after a power cut, but
 * not once something else in the folder was made durable. */
bool durable_file_drop(const struct durable_folder *folder, const char *name,
                       struct error *err);

/* Gives a file that cannot be used the name <name>.aside, so that nobody takes
 * it for a good one again; what has that name already goes. */
bool durable_file_set_aside(const struct durable_folder *folder,
                            const char *name, struct error *err);

/* Whether a crash left this: no other name begins with ".tmp-". */
bool durable_name_is_temporary(const char *name);

/* Whether it is the temporary name for `name`. */
bool durable_name_is_temporary_of(const char *temporary, const char *name);

#endif
