/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The default path of an overlay, and the stems of names.  Pure. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/image.h"

static const char *const image_suffixes[] = {
    ".qcow2", ".qcow", ".img", ".raw", ".qed", ".vhd", ".vpc",
};

/* The length of stem[0..length) without its image suffix, if that leaves
 * something. */
static size_t without_suffix(const char *stem, size_t length)
{
    size_t i;

    for (i = 0; i < sizeof(image_suffixes) / sizeof(image_suffixes[0]); i++) {
        size_t n = strlen(image_suffixes[i]);

        if (length > n && memcmp(stem + length - n, image_suffixes[i], n) == 0)
            return length - n;
    }
    return length;
}

/* Without a "-<number>", which a name that was taken has got; `length` if there
 * is none. */
static size_t without_attempt(const char *stem, size_t length)
{
    size_t n = length;

    while (n > 0 && stem[n - 1] >= '0' && stem[n - 1] <= '9')
        n--;
    return n > 0 && n < length && stem[n - 1] == '-' ? n - 1 : length;
}

/* Without ".<name>", if that leaves something. */
static size_t without_name(const char *stem, size_t length, const char *name)
{
    size_t n = strlen(name);

    if (n > 0 && length > n + 1 && stem[length - n - 1] == '.' &&
        memcmp(stem + length - n, name, n) == 0)
        return length - n - 1;
    return length;
}

/* Without what stands behind the last dot, if that leaves something. */
static size_t without_last_part(const char *stem, size_t length)
{
    size_t n = length;

    while (n > 0 && stem[n - 1] != '.')
        n--;
    return n > 1 ? n - 1 : length;
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Turns a path into a file name. */
static void flatten(char *stem)
{
    for (; *stem; stem++)
        if (*stem == '/')
            *stem = '-';
}

static char *copy_of(const char *stem, size_t length)
{
    return xasprintf("%.*s", (int)length, stem);
}

char *image_stem(const char *path)
{
    const char *stem = file_name(path);

    return copy_of(stem, without_suffix(stem, strlen(stem)));
}

char *image_stem_flat(const char *path)
{
    const char *stem = path + strspn(path, "/");
    char *flat = copy_of(stem, without_suffix(stem, strlen(stem)));

    flatten(flat);
    return flat;
}

bool image_has_stem(const char *path, const char *stem)
{
    const char *name = file_name(path);
    size_t length = strlen(stem);

    return length > 0 && strncmp(name, stem, length) == 0 &&
           name[length] == '.';
}

char *image_stem_of_overlay(const char *path, const char *name)
{
    const char *stem = file_name(path);
    size_t length = without_suffix(stem, strlen(stem));
    size_t first = without_attempt(stem, length);
    size_t shorter = without_name(stem, length, name);

    if (shorter == length) {
        shorter = without_name(stem, first, name);
        if (shorter == first)
            shorter = without_last_part(stem, length);
    }
    return copy_of(stem, shorter);
}

/* How much of a stem fits: a character is not cut. */
static size_t cut(const char *stem, size_t room)
{
    size_t length = strlen(stem);

    if (length <= room)
        return length;
    while (room > 0 && ((unsigned char)stem[room] & 0xc0) == 0x80)
        room--;
    return room;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool image_default_path(char *buffer, size_t size, const char *folder,
                        const char *stem, const char *name,
                        unsigned int attempt)
{
    size_t beside = strlen(folder);
    const char *slash = beside > 0 && folder[beside - 1] != '/' ? "/" : "";
    char number[16] = "";
    size_t before, behind, limit, length;

    if (attempt > 0)
        snprintf(number, sizeof(number), "-%u", attempt);
    before = beside + strlen(slash);
    behind = strlen(name) + strlen(number) + strlen("..qcow2");
    limit = smaller(before + NAME_MAX, smaller(size - 1, IMAGE_PATH_MAX));
    if (before + behind >= limit)
        return false;
    length = cut(stem, limit - before - behind);
    if (length == 0)
        return false;
    snprintf(buffer, size, "%s%s%.*s.%s%s.qcow2", folder, slash, (int)length,
             stem, name, number);
    return true;
}

bool image_name_is_default(const char *name)
{
    static const char suffix[] = ".qcow2";
    size_t length = strlen(name), end = sizeof(suffix) - 1;
    const char *dot = strchr(*name ? name + 1 : name, '.');

    return length > end && !strcmp(name + length - end, suffix) && dot &&
           (size_t)(dot - name) + 1 < length - end;
}

/* What stands in xenstore QEMU reads up to the first space (7.2,
 * xen_bus_backend_create(): "%ms"), and that is how a toolstack has a disk
 * opened.  Where the domain's image has one and it runs, its QEMU does not. */
bool image_path_lasts(const char *path, const char *now, struct error *err)
{
    return !strchr(path, ' ') || strchr(now, ' ') ||
           error_set(err, ERR_INVALID_REQUEST,
                     "\"%s\" has a space, up to which QEMU would read it when "
                     "the domain is started again; choose a path without",
                     path);
}
