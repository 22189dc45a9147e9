/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of virtual disks, read and written. */
#include "agent/disk/vdev.h"

#include <stdio.h>
#include <string.h>

#define DISKS_MAX      (1u << 20) /* xen-vbd-interface(7) */
#define PARTITIONS_MAX (1u << 8)

static const char *const prefixes[] = {
    [VDEV_XVD] = "xvd", [VDEV_HD] = "hd", [VDEV_SD] = "sd"};

/* Reads a number below `limit`.  NULL if there is
 * none, else what follows it. */
static const char *read_number(const char *text, uint32_t limit,
                               uint32_t *ret_number)
{
    uint32_t number = 0;
    const char *start = text;

    while (*text >= '0' && *text <= '9') {
        number = number * 10 + (uint32_t)(*text++ - '0');
        if (number >= limit)
            return NULL;
    }
    *ret_number = number;
    return text > start ? text : NULL;
}

/* "a" is 0, "z" 25, "aa" 26. */
static const char *read_letters(const char *text, uint32_t *ret_disk)
{
    uint32_t disk = 0;
    const char *start = text;

    while (*text >= 'a' && *text <= 'z') {
        disk = disk * 26 + (uint32_t)(*text++ - 'a') + 1;
        if (disk > DISKS_MAX)
            return NULL;
    }
    *ret_disk = disk - 1;
    return text > start ? text : NULL;
}

/* The partition's number, if any, ends the name. */
static bool read_partition(const char *text, struct vdev *vdev)
{
    vdev->partition = 0;
    if (*text == '\0')
        return true;
    text = read_number(text, PARTITIONS_MAX, &vdev->partition);
    return text && *text == '\0';
}

static bool parse_numbers(const char *name, struct vdev *vdev)
{
    vdev->kind = VDEV_XVD;
    if (name[0] != 'd')
        return false;
    name = read_number(name + 1, DISKS_MAX, &vdev->disk);
    if (!name)
        return false;
    if (*name == 'p' && name[1] != '\0')
        name++;
    else if (*name != '\0')
        return false;
    return read_partition(name, vdev);
}

bool vdev_parse(const char *name, struct vdev *ret_vdev)
{
    struct vdev vdev;
    size_t kind;

    for (kind = 0; kind < sizeof(prefixes) / sizeof(prefixes[0]); kind++) {
        size_t length = strlen(prefixes[kind]);

        if (strncmp(name, prefixes[kind], length) != 0)
            continue;
        vdev.kind = (enum vdev_kind)kind;
        name = read_letters(name + length, &vdev.disk);
        if (!name || !read_partition(name, &vdev))
            return false;
        *ret_vdev = vdev;
        return true;
    }
    if (!parse_numbers(name, &vdev))
        return false;
    *ret_vdev = vdev;
    return true;
}

void vdev_format(const struct vdev *vdev, char *buffer, size_t size)
{
    char letters[8], number[12] = "";
    size_t at = sizeof(letters) - 1;
    uint32_t rest = vdev->disk + 1;

    letters[at] = '\0';
    while (rest > 0 && at > 0) {
        letters[--at] = (char)('a' + (rest - 1) % 26);
        rest = (rest - 1) / 26;
    }
    if (vdev->partition > 0)
        snprintf(number, sizeof(number), "%u", vdev->partition);
    snprintf(buffer, size, "%s%s%s", prefixes[vdev->kind], letters + at,
             number);
}

bool vdev_from_drive_id(const char *id, struct vdev *ret_vdev)
{
    struct vdev vdev = {0};
    uint32_t bus, unit;
    char end;

    if (sscanf(id, "ide%u-hd%u%c", &bus, &unit, &end) == 2 && bus < 2 &&
        unit < 2) {
        vdev.kind = VDEV_HD;
        vdev.disk = bus * 2 + unit;
    } else if (sscanf(id, "ahcidisk-%u%c", &vdev.disk, &end) == 1) {
        vdev.kind = VDEV_HD;
    } else if (sscanf(id, "scsi0-hd%u%c", &vdev.disk, &end) == 1) {
        vdev.kind = VDEV_SD;
    } else {
        return false;
    }
    if (vdev.disk >= DISKS_MAX)
        return false;
    *ret_vdev = vdev;
    return true;
}

bool vdev_equal(const struct vdev *a, const struct vdev *b)
{
    return a->kind == b->kind && a->disk == b->disk &&
           a->partition == b->partition;
}

bool vdev_is_emulated_as(const struct vdev *vdev, const struct vdev *emulated)
{
    return vdev->disk == emulated->disk &&
           (vdev->kind == VDEV_SD) == (emulated->kind == VDEV_SD);
}
