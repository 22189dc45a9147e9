/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image files, looked at and made without QEMU.
 *
 * An overlay is a qcow2 file of a few metadata clusters; writing it here costs
 * a tenth of a millisecond where a qemu-img process costs ten (both besides
 * what the disk takes to flush it).  Layout per QEMU's docs/interop/qcow2.txt.
 *
 * All functions block on file I/O, but only on a few kilobytes of it.
 */
#ifndef XENSNAPD_DISK_IMAGE_H
#define XENSNAPD_DISK_IMAGE_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/beneath.h"
#include "agent/base/error.h"

/* Longest backing file name that a qcow2 header can hold. */
#define IMAGE_PATH_MAX 1023

struct image_info {
    char path[PATH_MAX];
    char format[16]; /* QEMU's name, as given to image_inspect() */
    uint64_t virtual_bytes;
    char backing_path[PATH_MAX]; /* absolute; "" if there is none */
    char backing_format[16];     /* "" if the header does not record it */
    bool dirty; /* not closed cleanly (qcow2 with lazy refcounts, qed) */
};

struct image_chain {
    struct image_info *images; /* images[0] = the one asked for */
    size_t depth;
};

/*
 * Makes a new, empty qcow2 overlay at `path` (O_EXCL: an existing file is
 * ERR_INVALID_REQUEST and left alone) of `virtual_bytes` over `backing_path`
 * of `backing_format`, both recorded in the header; reads it back and compares.
 * It is not on disk before it was flushed (image_flush_overlays()), but on its
 * way there.  After a failure no file is left.  For `held` see beneath.h.
 * Owner, group and mode are those of the backing image where it is a file, so
 * that whoever could open that can open this (the owner may always write);
 * else root's and 0600.
 */
bool image_create_overlay(struct beneath *held, const char *path,
                          uint64_t virtual_bytes, const char *backing_path,
                          const char *backing_format, struct error *err);

/* Flushes overlays that were just made, and each of their folders once. */
bool image_flush_overlays(struct beneath *held, const char *const *paths,
                          size_t count, struct error *err);

/* Whether nothing was ever written to an overlay made by the above; true also
 * for a file that is not there. */
bool image_overlay_is_empty(const char *path);

/* Whether it is a file with no data at all, not even a header: one that was
 * being made. */
bool image_has_no_data(const char *path);

/*
 * Reads an image's header: "raw", "qcow2", or one of "qcow", "qed" and "vpc",
 * which can lie under an overlay.  The format is told, never guessed: a guest
 * can write any header into a raw disk.  ERR_CHAIN_BROKEN, naming the image,
 * if it is missing, not of that format or damaged; ERR_UNSUPPORTED_DISK if it
 * is encrypted, keeps its data elsewhere or names a backing file by anything
 * but a path.
 */
bool image_inspect(const char *path, const char *format,
                   struct image_info *ret_info, struct error *err);

/*
 * Follows backing files down from `path`.  ERR_CHAIN_BROKEN if one is missing,
 * is not what the one above it names, records no backing format, or if the
 * chain loops or is longer than 256.
 */
bool image_chain_read(const char *path, const char *format,
                      struct image_chain *ret_chain, struct error *err);

/* The same; `permit` is asked for each image before it is opened, and says in
 * `err` why not. */
typedef bool image_permit(const char *path, void *arg, struct error *err);
bool image_chain_read_permitted(const char *path, const char *format,
                                image_permit *permit, void *arg,
                                struct image_chain *ret_chain,
                                struct error *err);
void image_chain_dispose(struct image_chain *chain);

/*
 * The stem of the names of an image's overlays: its file name without an image
 * suffix; or its path without that, with '/' as '-', for overlays that do not
 * lie beside it.  The caller's to free().  Pure, like the four that follow.
 */
char *image_stem(const char *path);
char *image_stem_flat(const char *path);

/* Whether a file's name begins with the stem and a dot. */
bool image_has_stem(const char *path, const char *stem);

/* The stem of an overlay that was made for the snapshot `name`: without that,
 * and without a number behind it; if it is not called so, without what stands
 * behind its last dot. */
char *image_stem_of_overlay(const char *path, const char *name);

/*
 * The default path of an overlay: "<folder>/<stem>.<name>.qcow2".  A stem that
 * is too long for that is cut.  `attempt` > 0 adds "-<attempt>" to the name,
 * for when the path is taken.  False if it does not fit into `size` even so,
 * or no qcow2 header could name it.
 */
bool image_default_path(char *buffer, size_t size, const char *folder,
                        const char *stem, const char *name,
                        unsigned int attempt);

/* Whether a file's name may be one that the above makes.  Pure. */
bool image_name_is_default(const char *name);

/* ERR_INVALID_REQUEST, naming it, if a domain that runs on image `now` would
 * not come up again on that one.  Pure. */
bool image_path_lasts(const char *path, const char *now, struct error *err);

#endif
