/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making an overlay: all of it or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk/image.h"
#include "agent/disk/image_qcow2.h"

/* For messages; paths have been checked, but not by this module. */
struct shown_path {
    char text[256];
};

static struct shown_path show(const char *path)
{
    struct shown_path shown;

    error_sanitise(shown.text, sizeof(shown.text), path);
    return shown;
}

static bool fail_errno(struct error *err, const char *what)
{
    return error_set_errno(err, error_code_of_errno(errno, ERR_STORE), errno,
                           "%s", what);
}

/* What whoever asked can mend: the path. */
static bool fail_open(struct error *err)
{
    switch (errno) {
    case EEXIST:
        return error_set(err, ERR_INVALID_REQUEST,
                         "it exists already; name a path that is free");
    case ENOENT:
    case ENOTDIR:
        return error_set(err, ERR_INVALID_REQUEST,
                         "the folder that should hold it does not exist");
    case ENAMETOOLONG:
        return error_set(err, ERR_INVALID_REQUEST,
                         "its file name is too long for the file system; name "
                         "a shorter one");
    default:
        return fail_errno(err, "it cannot be made");
    }
}

/* Owner, group and mode as the backing file's; writable for its owner even
 * where the one below has been made read-only to protect it. */
static bool copy_ownership(int fd, const struct stat *backing,
                           struct error *err)
{
    struct stat own;
    mode_t mode = (backing->st_mode & 0777) | S_IRUSR | S_IWUSR;

    if (!S_ISREG(backing->st_mode))
        return true;
    if (fstat(fd, &own) < 0)
        return fail_errno(err, "it cannot be examined");
    if ((own.st_uid != backing->st_uid || own.st_gid != backing->st_gid) &&
        fchown(fd, backing->st_uid, backing->st_gid) < 0)
        return fail_errno(err, "it cannot be given its backing file's owner");
    if ((own.st_mode & 07777) != mode && fchmod(fd, mode) < 0)
        return fail_errno(err, "it cannot be given its backing file's mode");
    return true;
}

static bool write_at(int fd, const uint8_t *data, size_t length, off_t offset)
{
    while (length > 0) {
        ssize_t n = pwrite(fd, data, length, offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n;
        length -= (size_t)n;
        offset += n;
    }
    return true;
}

static bool write_overlay(int fd, const struct qcow2_overlay *overlay,
                          struct error *err)
{
    size_t i;

    if (ftruncate(fd, (off_t)overlay->file_bytes) < 0)
        return fail_errno(err, "it cannot be written");
    for (i = 0; i < QCOW2_PIECES; i++) {
        const struct qcow2_piece *piece = &overlay->pieces[i];

        if (!write_at(fd, piece->data, piece->length, (off_t)piece->offset))
            return fail_errno(err, "it cannot be written");
    }
    /* Begun early, several overlays reach the disk together.  A failure will
     * be told by the flush. */
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    return true;
}

/* QEMU will open it by its path, and must find this file there. */
static bool verify(struct beneath *held, const char *path,
                   uint64_t virtual_bytes, const char *backing_path,
                   const char *backing_format, struct error *err)
{
    struct image_info info;

    if (!beneath_is_at_path(held, path))
        return error_set(err, ERR_STORE,
                         "its folder was moved or replaced while it was made");
    if (!image_inspect(path, "qcow2", &info, err))
        return false;
    if (info.virtual_bytes != virtual_bytes ||
        strcmp(info.backing_path, backing_path) != 0 ||
        strcmp(info.backing_format, backing_format) != 0)
        return error_set(err, ERR_STORE,
                         "what was read back is not what was written");
    return true;
}

static bool fill_overlay(int fd, const struct qcow2_overlay *overlay,
                         const struct stat *backing, struct error *err)
{
    return copy_ownership(fd, backing, err) && write_overlay(fd, overlay, err);
}

static bool make_overlay(struct beneath *held, const char *path,
                         uint64_t virtual_bytes, const char *backing_path,
                         const char *backing_format, struct error *err)
{
    struct qcow2_overlay overlay;
    struct stat backing;
    bool ok;
    int fd;

    /* It will itself be named by the overlay above it. */
    if (path[0] != '/' || strlen(path) > IMAGE_PATH_MAX)
        return error_set(err, ERR_INVALID_REQUEST,
                         "its path must be absolute and at most %d bytes long",
                         IMAGE_PATH_MAX);
    if (!qcow2_encode(virtual_bytes, backing_path, backing_format, &overlay,
                      err))
        return false;
    if (stat(backing_path, &backing) < 0)
        return error_set_errno(err, ERR_CHAIN_BROKEN, errno,
                               "the image underneath, %s",
                               show(backing_path).text);

    fd = beneath_open(held, path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return fail_open(err);
    ok = fill_overlay(fd, &overlay, &backing, err) &&
         verify(held, path, virtual_bytes, backing_path, backing_format, err);
    if (!ok)
        beneath_remove(held, path);
    else
        /* Begun here, several go to the disk together, and the first flush
         * makes room for all of them.  If it fails, the flush does it. */
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    close(fd);
    return ok;
}

bool image_create_overlay(struct beneath *held, const char *path,
                          uint64_t virtual_bytes, const char *backing_path,
                          const char *backing_format, struct error *err)
{
    if (make_overlay(held, path, virtual_bytes, backing_path, backing_format,
                     err))
        return true;
    return error_prefix(err, "overlay %s: ", show(path).text);
}

/* ---- flushing ---- */

static bool flush_file(struct beneath *held, const char *path,
                       struct error *err)
{
    int fd = beneath_open(held, path, O_WRONLY | O_NONBLOCK, 0);
    bool ok = fd >= 0 && fdatasync(fd) == 0;

    if (!ok)
        fail_errno(err, "it cannot be flushed");
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Keeps the '/', so that "/file" lies in "/". */
static size_t folder_length(const char *path)
{
    return (size_t)(strrchr(path, '/') - path) + 1;
}

static bool is_in_folder_of(const char *path, const char *other)
{
    size_t length = folder_length(path);

    return length == folder_length(other) && strncmp(path, other, length) == 0;
}

/* Until its folder is flushed, a new file may be gone after a power cut. */
static bool flush_folder_once(struct beneath *held, const char *const *paths,
                              size_t index, struct error *err)
{
    for (size_t i = 0; i < index; i++) {
        if (is_in_folder_of(paths[i], paths[index]))
            return true;
    }
    return beneath_flush(held, paths[index]) == 0 ||
           fail_errno(err, "its folder cannot be flushed");
}

bool image_flush_overlays(struct beneath *held, const char *const *paths,
                          size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!flush_file(held, paths[i], err))
            return error_prefix(err, "overlay %s: ", show(paths[i]).text);
    }
    for (size_t i = 0; i < count; i++) {
        if (!flush_folder_once(held, paths, i, err))
            return error_prefix(err, "overlay %s: ", show(paths[i]).text);
    }
    return true;
}
