// SPDX-License-Identifier: LGPL-2.1-or-later
#define _GNU_SOURCE
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct disk disks[MAX_DISKS];
int disk_count;

/* Direct I/O needs aligned memory; one thread, so one buffer is enough. */
static char buffer[MAX_READ * SECTOR_SIZE] __attribute__((aligned(4096)));

static void set_aside(struct disk *disk, int error)
{
    printf("error %s %s\n", disk->name, strerror(error));
    close(disk->fd);
    disk->fd = -1;
}

bool disk_write(struct disk *disk, uint64_t sector, const void *data)
{
    if (disk->fd < 0)
        return false;
    memcpy(buffer, data, SECTOR_SIZE);
    if (pwrite(disk->fd, buffer, SECTOR_SIZE, sector * SECTOR_SIZE) ==
        SECTOR_SIZE)
        return true;
    set_aside(disk, errno);
    return false;
}

bool disk_read(struct disk *disk, uint64_t sector, int sectors, void *data)
{
    ssize_t bytes = sectors * SECTOR_SIZE;

    if (disk->fd < 0)
        return false;
    if (pread(disk->fd, buffer, bytes, sector * SECTOR_SIZE) != bytes) {
        set_aside(disk, errno);
        return false;
    }
    memcpy(data, buffer, bytes);
    return true;
}

uint64_t record_number(const char *text)
{
    if (strncmp(text, "tick ", 5) != 0)
        return 0;
    return strtoull(text + 5, NULL, 10);
}

static long read_number(const char *format, const char *name)
{
    char path[96];
    long value = -1;

    snprintf(path, sizeof(path), format, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%ld", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

static bool usable(const char *name)
{
    return strncmp(name, "xvd", 3) == 0 &&
           strlen(name) < sizeof(disks[0].name) &&
           read_number("/sys/block/%s/ro", name) == 0 &&
           read_number("/sys/block/%s/size", name) >= DISK_SECTORS;
}

static void open_disk(struct disk *disk)
{
    char path[32];
    char header[SECTOR_SIZE];

    snprintf(path, sizeof(path), "/dev/%s", disk->name);
    disk->fd = open(path, O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
    if (disk->fd >= 0 && disk_read(disk, HEADER_SECTOR, 1, header))
        disk->last = record_number(header);
}

static struct disk *find(const char *name)
{
    for (int i = 0; i < disk_count; i++)
        if (strcmp(disks[i].name, name) == 0)
            return &disks[i];
    return NULL;
}

static void drop_vanished(void)
{
    for (int i = disk_count - 1; i >= 0; i--) {
        if (read_number("/sys/block/%s/ro", disks[i].name) >= 0)
            continue;
        printf("disk %s gone\n", disks[i].name);
        if (disks[i].fd >= 0)
            close(disks[i].fd);
        disks[i] = disks[--disk_count];
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct disk *)a)->name,
                  ((const struct disk *)b)->name);
}

void disks_rescan(void)
{
    struct dirent *entry;
    DIR *folder;

    drop_vanished();
    folder = opendir("/sys/block");
    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL && disk_count < MAX_DISKS) {
        if (!usable(entry->d_name) || find(entry->d_name) != NULL)
            continue;
        struct disk *disk = &disks[disk_count++];
        *disk = (struct disk){.fd = -1};
        strcpy(disk->name, entry->d_name);
        open_disk(disk);
        printf("disk %s=%llu\n", disk->name, (unsigned long long)disk->last);
    }
    closedir(folder);
    qsort(disks, disk_count, sizeof(disks[0]), by_name);
}

bool disks_all_connected(void)
{
    static const char devices[] = "/sys/bus/xen/devices";
    DIR *folder = opendir(devices);
    struct dirent *entry;
    bool all = true;
    char path[sizeof(devices) + sizeof(entry->d_name) + 8];

    if (folder == NULL)
        return true;
    while ((entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, "vbd-", 4) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s/block", devices, entry->d_name);
        all = all && access(path, F_OK) == 0;
    }
    closedir(folder);
    return all;
}

void disks_reopen(void)
{
    for (int i = 0; i < disk_count; i++) {
        if (disks[i].fd >= 0 || !usable(disks[i].name))
            continue;
        open_disk(&disks[i]);
        if (disks[i].fd >= 0)
            printf("disk %s=%llu\n", disks[i].name,
                   (unsigned long long)disks[i].last);
    }
}
