/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Metrics in Prometheus' text format. */
#include "agent/metrics_format.h"

#include <inttypes.h>

#define P "xensnapd_"

/* Upper bounds in milliseconds; the last bucket has none.  A snapshot of disks
 * alone takes a tenth of a second, a merge may take an hour. */
static const uint64_t duration_bounds[METRICS_BUCKETS_MAX - 1] = {
    100, 250, 500, 1000, 2500, 5000, 15000, 60000, 300000, 1200000, 3600000,
};

/* A guest notices a second, and its clients some. */
static const uint64_t downtime_bounds[METRICS_BUCKETS_MAX - 1] = {
    25, 50, 100, 250, 500, 1000, 2500, 5000, 15000, 60000, 300000,
};

static void observe(struct histogram *histogram, const uint64_t *bounds,
                    uint64_t ms)
{
    size_t i = 0;

    while (i < METRICS_BUCKETS_MAX - 1 && ms > bounds[i]) {
        i++;
    }
    histogram->buckets[i]++;
    histogram->count++;
    histogram->sum_ms += ms;
}

void histogram_observe_duration(struct histogram *histogram, uint64_t ms)
{
    observe(histogram, duration_bounds, ms);
}

void histogram_observe_downtime(struct histogram *histogram, uint64_t ms)
{
    observe(histogram, downtime_bounds, ms);
}

/* ---- the format ---- */

static void head(FILE *out, const char *name, const char *type,
                 const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void number(FILE *out, const char *name, const char *type,
                   const char *help, uint64_t value)
{
    head(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

/* Milliseconds as seconds. */
static void seconds(FILE *out, uint64_t ms)
{
    fprintf(out, "%" PRIu64 ".%03u", ms / 1000, (unsigned int)(ms % 1000));
}

static void label(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            fputs("\\n", out);
        } else {
            if (*value == '"' || *value == '\\') {
                fputc('\\', out);
            }
            fputc(*value, out);
        }
    }
    fputc('"', out);
}

static const char *operation_name(size_t i)
{
    return request_operation_name((enum request_operation)i);
}

static void histogram(FILE *out, const char *name, const char *operation,
                      const uint64_t *bounds, const struct histogram *values)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < METRICS_BUCKETS_MAX; i++) {
        sum += values->buckets[i];
        fprintf(out, "%s_bucket{operation=\"%s\",le=\"", name, operation);
        if (i < METRICS_BUCKETS_MAX - 1) {
            seconds(out, bounds[i]);
        } else {
            fputs("+Inf", out);
        }
        fprintf(out, "\"} %" PRIu64 "\n", sum);
    }
    fprintf(out, "%s_sum{operation=\"%s\"} ", name, operation);
    seconds(out, values->sum_ms);
    fprintf(out, "\n%s_count{operation=\"%s\"} %" PRIu64 "\n", name, operation,
            values->count);
}

/* ---- what there is ---- */

static void operations(FILE *out, const struct metrics_counts *counts)
{
    const char *name = P "operations_total";

    head(out, name, "counter", "Operations that ended, by how they ended.");
    for (size_t i = 0; i <= REQUEST_RESCAN; i++) {
        const uint64_t *ends = counts->operations[i].ends;
        uint64_t failed = 0;

        for (size_t code = 0; code < ERR_COUNT; code++) {
            failed +=
                code == ERR_NONE || code == ERR_CANCELLED ? 0 : ends[code];
        }
        fprintf(out, "%s{operation=\"%s\",result=\"done\"} %" PRIu64 "\n", name,
                operation_name(i), ends[ERR_NONE]);
        fprintf(out, "%s{operation=\"%s\",result=\"cancelled\"} %" PRIu64 "\n",
                name, operation_name(i), ends[ERR_CANCELLED]);
        fprintf(out, "%s{operation=\"%s\",result=\"failed\"} %" PRIu64 "\n",
                name, operation_name(i), failed);
    }
}

static void error_line(FILE *out, const char *name, const char *operation,
                       size_t code, uint64_t count)
{
    if (count != 0) {
        fprintf(out, "%s{operation=\"%s\",code=\"%s\"} %" PRIu64 "\n", name,
                operation, error_code_name((enum error_code)code), count);
    }
}

/* Only those that came: most never do. */
static void errors(FILE *out, const struct metrics_counts *counts)
{
    const char *name = P "errors_total";

    head(out, name, "counter",
         "Operations that were not done, by error code; operation is unknown "
         "where the request could not be read.");
    for (size_t code = ERR_NONE + 1; code < ERR_COUNT; code++) {
        for (size_t i = 0; i <= REQUEST_RESCAN; i++) {
            error_line(out, name, operation_name(i), code,
                       counts->operations[i].ends[code]);
        }
        error_line(out, name, "unknown", code, counts->refused[code]);
    }
}

static void histograms(FILE *out, const struct metrics_counts *counts)
{
    const char *name = P "operation_duration_seconds";

    head(out, name, "histogram",
         "How long operations took, without the time in the queue.");
    for (size_t i = 0; i <= REQUEST_RESCAN; i++) {
        histogram(out, name, operation_name(i), duration_bounds,
                  &counts->operations[i].duration);
    }
    name = P "downtime_seconds";
    head(out, name, "histogram",
         "How long guests did not run, for operations that were done.");
    for (size_t i = 0; i <= REQUEST_RESCAN; i++) {
        if (i != REQUEST_DELETE) {
            histogram(out, name, operation_name(i), downtime_bounds,
                      &counts->operations[i].downtime);
        }
    }
}

static void vm_labels(FILE *out, const char *name, const struct metrics_vm *vm)
{
    fprintf(out, "%s{", name);
    label(out, "vm", vm->uuid);
    fputc(',', out);
    label(out, "domain", vm->domain);
}

static uint64_t vm_snapshots(const struct metrics_vm *vm)
{
    return vm->snapshots;
}

static uint64_t vm_memory(const struct metrics_vm *vm)
{
    return vm->memory_bytes;
}

static uint64_t vm_newest(const struct metrics_vm *vm)
{
    return vm->newest < 0 ? 0 : (uint64_t)vm->newest;
}

static uint64_t disk_depth(const struct metrics_disk *disk)
{
    return disk->depth;
}

static uint64_t disk_bytes(const struct metrics_disk *disk)
{
    return disk->bytes;
}

static void of_vms(FILE *out, const struct metrics_values *values,
                   const char *name, const char *help,
                   uint64_t (*value)(const struct metrics_vm *))
{
    head(out, name, "gauge", help);
    for (size_t i = 0; i < values->vm_count; i++) {
        vm_labels(out, name, &values->vms[i]);
        fprintf(out, "} %" PRIu64 "\n", value(&values->vms[i]));
    }
}

static void of_disks(FILE *out, const struct metrics_values *values,
                     const char *name, const char *help,
                     uint64_t (*value)(const struct metrics_disk *))
{
    head(out, name, "gauge", help);
    for (size_t i = 0; i < values->vm_count; i++) {
        const struct metrics_vm *vm = &values->vms[i];

        for (size_t d = 0; d < vm->disk_count; d++) {
            vm_labels(out, name, vm);
            fputc(',', out);
            label(out, "disk", vm->disks[d].vdev);
            fprintf(out, "} %" PRIu64 "\n", value(&vm->disks[d]));
        }
    }
}

void metrics_format(FILE *out, const struct metrics_values *values)
{
    head(out, P "build_info", "gauge", "The agent's version.");
    fputs(P "build_info{", out);
    label(out, "version", values->version);
    fputs("} 1\n", out);
    number(out, P "start_time_seconds", "gauge",
           "When the agent was started, since 1970.",
           (uint64_t)values->started);
    operations(out, values->counts);
    errors(out, values->counts);
    histograms(out, values->counts);
    number(out, P "memory_written_bytes_total", "counter",
           "Bytes of memory files that were written.",
           values->counts->memory_bytes);
    number(out, P "queue_length", "gauge", "Requests that wait for their turn.",
           values->waiting);
    number(out, P "operations_running", "gauge", "Operations under way.",
           values->running);
    number(out, P "leftover_files", "gauge",
           "Memory files and overlays that no snapshot had when the agent was "
           "started.",
           values->leftover_files);
    of_vms(out, values, P "snapshots", "Snapshots of a VM.", vm_snapshots);
    of_vms(out, values, P "snapshot_memory_bytes",
           "What the memory files of a VM's snapshots hold.", vm_memory);
    of_vms(out, values, P "last_snapshot_timestamp_seconds",
           "When the newest snapshot of a VM was made, since 1970.", vm_newest);
    of_disks(out, values, P "chain_depth",
             "Images in the chain that a disk is on.", disk_depth);
    of_disks(out, values, P "chain_bytes",
             "What the images of a disk's chain take on the disk.", disk_bytes);
}
