/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at image files: one header, or a chain of them. */
#include "agent/disk/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/disk/image_header.h"

#define CHAIN_MAX 256

#define HEADER_FIRST 1024

#define TEXT_OF(number) #number
#define TEXT(number)    TEXT_OF(number)

static const struct {
    const char *format;
    image_header_decode *decode;
} decoders[] = {
    {"qcow2", qcow2_decode},
    {"qcow", qcow_decode},
    {"qed", qed_decode},
};

/* Tells one file from another, whatever name led to it. */
struct image_identity {
    bool is_device;
    dev_t device;
    ino_t inode;
};

/* Reads until `length` bytes are there or the file ends. */
static ssize_t read_at(int fd, uint8_t *buffer, size_t length, off_t offset)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n =
            pread(fd, buffer + done, length - done, offset + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* O_NONBLOCK: opening a FIFO must not hang. */
static int open_image(const char *path, uint64_t *ret_bytes,
                      struct image_identity *ret_identity, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        error_set_errno(err, ERR_CHAIN_BROKEN, errno, "it cannot be opened");
        return -1;
    }
    if (fstat(fd, &st) < 0) {
        error_set_errno(err, ERR_CHAIN_BROKEN, errno, "it cannot be examined");
        goto fail;
    }
    if (S_ISREG(st.st_mode)) {
        *ret_bytes = (uint64_t)st.st_size;
    } else if (!S_ISBLK(st.st_mode)) {
        error_set(err, ERR_CHAIN_BROKEN,
                  "it is neither a file nor a block device");
        goto fail;
    } else if (ioctl(fd, BLKGETSIZE64, ret_bytes) < 0) {
        error_set_errno(err, ERR_CHAIN_BROKEN, errno,
                        "the block device does not tell its size");
        goto fail;
    }
    *ret_identity = (struct image_identity){
        .is_device = S_ISBLK(st.st_mode),
        .device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev,
        .inode = S_ISBLK(st.st_mode) ? 0 : st.st_ino};
    return fd;

fail:
    close(fd);
    return -1;
}

static bool decode_at(int fd, off_t offset, size_t length,
                      image_header_decode *decode,
                      struct image_header *ret_header, struct error *err)
{
    uint8_t *data = xrealloc(NULL, 1, length);
    ssize_t n = read_at(fd, data, length, offset);
    bool ok;

    if (n < 0)
        ok = error_set_errno(err, ERR_CHAIN_BROKEN, errno,
                             "its header cannot be read");
    else
        ok = decode(data, (size_t)n, ret_header, err);
    free(data);
    return ok;
}

/* Chains are read whenever something is published, and what an overlay's header
 * says hardly ever takes more than a few hundred bytes.  Where the name of the
 * image under it is among the first, so is all that counts: the extensions end
 * there. */
static bool decode_header(int fd, image_header_decode *decode,
                          struct image_header *ret_header, struct error *err)
{
    uint8_t first[HEADER_FIRST];
    ssize_t n = read_at(fd, first, sizeof(first), 0);
    struct image_header header;

    if (n > 0 && decode(first, (size_t)n, &header, err) &&
        header.backing[0] != '\0') {
        *ret_header = header;
        return true;
    }
    return decode_at(fd, 0, IMAGE_HEADER_MAX, decode, ret_header, err);
}

/* A dynamic VHD has a copy of its footer at the start; a fixed one has only the
 * footer itself.  QEMU looks in this order. */
static bool read_vpc(int fd, uint64_t bytes, struct image_header *ret_header,
                     struct error *err)
{
    if (decode_at(fd, 0, IMAGE_FOOTER_MAX, vpc_decode, ret_header, err))
        return true;
    if (bytes < IMAGE_FOOTER_MAX)
        return false;
    return decode_at(fd, (off_t)(bytes - IMAGE_FOOTER_MAX), IMAGE_FOOTER_MAX,
                     vpc_decode, ret_header, err);
}

static bool read_header(int fd, uint64_t bytes, const char *format,
                        struct image_header *ret_header, struct error *err)
{
    char shown[32];
    size_t i;

    if (strcmp(format, "raw") == 0) {
        /* QEMU counts in sectors and shows a last partial one as whole. */
        *ret_header =
            (struct image_header){.virtual_bytes = (bytes + IMAGE_SECTOR - 1) /
                                                   IMAGE_SECTOR * IMAGE_SECTOR};
        return true;
    }
    if (strcmp(format, "vpc") == 0)
        return read_vpc(fd, bytes, ret_header, err);
    for (i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++)
        if (strcmp(format, decoders[i].format) == 0)
            return decode_header(fd, decoders[i].decode, ret_header, err);
    return error_set(err, ERR_UNSUPPORTED_DISK,
                     "its format \"%s\" is unknown to this agent",
                     error_sanitise(shown, sizeof(shown), format));
}

/* A relative name counts from the folder of the image that holds it. */
static bool resolve_backing(const char *path, const char *backing,
                            char ret_path[PATH_MAX], struct error *err)
{
    const char *slash = strrchr(path, '/');
    int folder = 0, written;

    if (backing[0] != '/' && backing[0] != '\0' && slash)
        folder = (int)(slash - path) + 1;
    written = snprintf(ret_path, PATH_MAX, "%.*s%s", folder, path, backing);
    if (written < 0 || written >= PATH_MAX)
        return error_set(err, ERR_CHAIN_BROKEN,
                         "the path of its backing file is too long");
    return true;
}

static bool fill_info(const char *path, const char *format,
                      const struct image_header *header,
                      struct image_info *ret_info, struct error *err)
{
    if (strlen(path) >= sizeof(ret_info->path) ||
        strlen(format) >= sizeof(ret_info->format))
        return error_set(err, ERR_CHAIN_BROKEN, "its path is too long");
    ret_info->virtual_bytes = header->virtual_bytes;
    ret_info->dirty = header->dirty;
    strcpy(ret_info->path, path);
    strcpy(ret_info->format, format);
    strcpy(ret_info->backing_format, header->backing_format);
    return resolve_backing(path, header->backing, ret_info->backing_path, err);
}

static bool inspect(const char *path, const char *format,
                    struct image_info *ret_info,
                    struct image_identity *ret_identity, struct error *err)
{
    struct image_header header;
    char shown[256];
    uint64_t bytes;
    bool ok;
    int fd = open_image(path, &bytes, ret_identity, err);

    ok = fd >= 0 && read_header(fd, bytes, format, &header, err) &&
         fill_info(path, format, &header, ret_info, err);
    if (fd >= 0)
        close(fd);
    if (!ok)
        error_prefix(err,
                     "image %s: ", error_sanitise(shown, sizeof(shown), path));
    return ok;
}

bool image_inspect(const char *path, const char *format,
                   struct image_info *ret_info, struct error *err)
{
    struct image_identity identity;

    return inspect(path, format, ret_info, &identity, err);
}

static bool is_among(const struct image_identity *known, size_t count,
                     const struct image_identity *identity)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (known[i].is_device == identity->is_device &&
            known[i].device == identity->device &&
            known[i].inode == identity->inode)
            return true;
    return false;
}

/* Why the chain may not go on as image `info` says; NULL: it may. */
static const char *fault_of_link(const struct image_info *info,
                                 const struct image_identity *identities,
                                 size_t depth)
{
    if (is_among(identities, depth, &identities[depth]))
        return "the chain leads back to it";
    if (info->backing_path[0] == '\0')
        return NULL;
    if (info->backing_format[0] == '\0')
        return "it does not record the format of its backing file; `qemu-img "
               "rebase -u -b FILE -F FORMAT` does";
    if (depth + 1 == CHAIN_MAX)
        return "the chain is longer than " TEXT(CHAIN_MAX) " images";
    return NULL;
}

static bool check_link(const struct image_info *info,
                       const struct image_identity *identities, size_t depth,
                       struct error *err)
{
    const char *fault = fault_of_link(info, identities, depth);
    char shown[256];

    return fault == NULL ||
           error_set(err, ERR_CHAIN_BROKEN, "image %s: %s",
                     error_sanitise(shown, sizeof(shown), info->path), fault);
}

/* Where the next one goes.  They are large, and moving them for each took
 * longer than reading them. */
static struct image_info *next_image(struct image_chain *chain, size_t *room)
{
    if (chain->depth == *room) {
        *room = *room == 0 ? 4 : *room * 2;
        chain->images = xrealloc(chain->images, *room, sizeof(*chain->images));
    }
    return &chain->images[chain->depth];
}

bool image_chain_read(const char *path, const char *format,
                      struct image_chain *ret_chain, struct error *err)
{
    return image_chain_read_permitted(path, format, NULL, NULL, ret_chain, err);
}

bool image_chain_read_permitted(const char *path, const char *format,
                                image_permit *permit, void *arg,
                                struct image_chain *ret_chain,
                                struct error *err)
{
    struct image_identity identities[CHAIN_MAX];
    struct image_chain chain = {0};
    size_t room = 0;
    struct image_info *info;

    do {
        info = next_image(&chain, &room);
        if (chain.depth > 0) {
            path = info[-1].backing_path;
            format = info[-1].backing_format;
        }
        if ((permit && !permit(path, arg, err)) ||
            !inspect(path, format, info, &identities[chain.depth], err) ||
            !check_link(info, identities, chain.depth, err)) {
            image_chain_dispose(&chain);
            return false;
        }
        chain.depth++;
    } while (info->backing_path[0] != '\0');
    *ret_chain = chain;
    return true;
}

void image_chain_dispose(struct image_chain *chain)
{
    free(chain->images);
    *chain = (struct image_chain){0};
}
