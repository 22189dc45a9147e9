// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The disks that a test guest writes to: every writable /dev/xvd*, each with
 * the same layout in sectors of 512 bytes:
 *
 *      0            never touched, but by the command `poke`
 *      1            header: the record of the latest tick
 *      8 .. 4103    records: tick n is at 8 + n % 4096
 *   8192 .. 9215    keys: one text each, for the commands `write` and `read`
 *
 * All I/O is direct and synchronous: what was reported is on the disk, and
 * nothing that is read comes from the guest's own cache.
 */
#ifndef TICK_DISK_H
#define TICK_DISK_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SECTOR_SIZE = 512,
    HEADER_SECTOR = 1,
    FIRST_RECORD = 8,
    RECORD_COUNT = 4096,
    FIRST_KEY = 8192,
    KEY_COUNT = 1024,
    DISK_SECTORS = FIRST_KEY + KEY_COUNT,
    MAX_DISKS = 16,
    MAX_READ = 64, /* sectors at once */
};

struct disk {
    char name[16];
    int fd;        /* -1 after an I/O error, until it can be opened again */
    uint64_t last; /* the header's tick when it was opened */
};

extern struct disk disks[MAX_DISKS];
extern int disk_count;

/* Brings `disks` in line with what the kernel has now; says what came or went.
 */
void disks_rescan(void);

/* Whether each disk that Xen gave this guest has a block device by now. */
bool disks_all_connected(void);

/* Opens those again that failed, where that is possible by now. */
void disks_reopen(void);

/* Both print `error NAME WHY` and set the disk aside when the I/O fails. */
bool disk_write(struct disk *disk, uint64_t sector, const void *data);
bool disk_read(struct disk *disk, uint64_t sector, int sectors, void *data);

/* The number in a record's text, 0 if it is none. */
uint64_t record_number(const char *text);

#endif
