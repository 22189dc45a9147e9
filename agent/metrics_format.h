/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is measured, and its form for Prometheus (text format 0.0.4).  Pure.
 */
#ifndef XENSNAPD_METRICS_FORMAT_H
#define XENSNAPD_METRICS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/base/error.h"
#include "agent/request.h"

#define METRICS_BUCKETS_MAX 12

struct histogram {
    uint64_t buckets[METRICS_BUCKETS_MAX]; /* each by itself, not summed up */
    uint64_t count;
    uint64_t sum_ms;
};

/* Counted from the agent's start on. */
struct metrics_counts {
    struct {
        uint64_t ends[ERR_COUNT]; /* ERR_NONE: done */
        struct histogram duration;
        struct histogram downtime;
    } operations[REQUEST_RESCAN + 1];
    uint64_t refused[ERR_COUNT]; /* requests whose keys could not be read */
    uint64_t memory_bytes;       /* written into memory files */
};

struct metrics_disk {
    char vdev[32];
    size_t depth;
    uint64_t bytes;
};

struct metrics_vm {
    const char *uuid;
    const char *domain;
    size_t snapshots;
    uint64_t memory_bytes; /* of its memory files */
    int64_t newest;        /* when that was made, seconds since 1970 */
    const struct metrics_disk *disks;
    size_t disk_count;
};

struct metrics_values {
    const char *version;
    int64_t started; /* seconds since 1970 */
    const struct metrics_counts *counts;
    size_t waiting; /* requests */
    size_t running;
    size_t leftover_files; /* found at start */
    const struct metrics_vm *vms;
    size_t vm_count;
};

void histogram_observe_duration(struct histogram *histogram, uint64_t ms);
void histogram_observe_downtime(struct histogram *histogram, uint64_t ms);

void metrics_format(FILE *out, const struct metrics_values *values);

#endif
