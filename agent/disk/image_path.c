/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The default path of an overlay.  Pure. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

/* The last '/' and all before it, "" if there is none. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) + 1 : 0;
}

static size_t stem_length(const char *stem, const char *current)
{
    size_t length = without_suffix(stem, strlen(stem));
    size_t shorter;

    if (!current)
        return length;
    shorter = without_name(stem, length, current);
    if (shorter == length) {
        size_t first = without_attempt(stem, length);

        shorter = without_name(stem, first, current);
        if (shorter == first)
            return length;
    }
    return shorter;
}

/* Turns what stands behind the folder, a path, into a file name. */
static void flatten(char *stem)
{
    for (; *stem; stem++)
        if (*stem == '/')
            *stem = '-';
}

bool image_default_path(char *buffer, size_t size, const char *active_path,
                        const char *folder, const char *current,
                        const char *name, unsigned int attempt)
{
    const char *stem = active_path + folder_length(active_path);
    int folder_part = (int)(stem - active_path);
    const char *slash = "";
    char number[16] = "";
    int written, file_name;

    if (folder) {
        stem = active_path + strspn(active_path, "/");
        folder_part = (int)strlen(folder);
        slash = folder_part > 0 && folder[folder_part - 1] == '/' ? "" : "/";
    }
    if (attempt > 0)
        snprintf(number, sizeof(number), "-%u", attempt);
    written = snprintf(buffer, size, "%.*s%s%.*s.%s%s.qcow2", folder_part,
                       folder ? folder : active_path, slash,
                       (int)stem_length(stem, current), stem, name, number);
    if (written < 0 || (size_t)written >= size || written > IMAGE_PATH_MAX)
        return false;
    file_name = folder_part + (int)strlen(slash);
    if (written - file_name > NAME_MAX)
        return false;
    flatten(buffer + file_name);
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
