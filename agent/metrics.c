/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collecting metrics, and writing their file. */
#include "agent/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"
#include "agent/base/log.h"
#include "agent/dispatch.h"
#include "agent/metrics_format.h"

/* What one operation changes comes in several calls: one file for all. */
#define SETTLE_MS 100u

struct vm_chains {
    char uuid[GUEST_UUID_LENGTH + 1];
    struct metrics_disk *disks;
    size_t count;
};

struct metrics {
    struct agent *agent;
    struct event *timer;
    uint64_t written_ms;          /* monotonic; 0: never */
    char written[PATH_MAX];       /* which file; "": none */
    char complained_of[PATH_MAX]; /* told that it cannot be written */
    int64_t started;
    size_t leftovers;
    struct metrics_counts counts;
    void *chains; /* tsearch(3) tree of struct vm_chains * */
};

/* ---- collecting ---- */

void metrics_changed(struct metrics *metrics)
{
    uint64_t now = clock_monotonic_ms();
    uint64_t next =
        metrics->written_ms + metrics->agent->config.metrics.interval_ms;
    uint64_t ms = metrics->written_ms == 0 || next <= now ? 0 : next - now;
    struct timeval wait = clock_timeval(ms < SETTLE_MS ? SETTLE_MS : ms);

    if (!event_pending(metrics->timer, EV_TIMEOUT, NULL)) {
        event_add(metrics->timer, &wait);
    }
}

void metrics_count_end(struct metrics *metrics, const struct end_facts *facts)
{
    struct metrics_counts *counts = &metrics->counts;

    metrics_changed(metrics);
    if (!facts->known) {
        counts->refused[facts->code]++;
        return;
    }
    counts->operations[facts->operation].ends[facts->code]++;
    counts->memory_bytes += facts->memory_bytes;
    if (facts->started) {
        histogram_observe_duration(
            &counts->operations[facts->operation].duration, facts->ms);
    }
    if (facts->stood_still) {
        histogram_observe_downtime(
            &counts->operations[facts->operation].downtime, facts->downtime_ms);
    }
}

static int compare(const void *a, const void *b)
{
    const struct vm_chains *x = a, *y = b;

    return strcmp(x->uuid, y->uuid);
}

static struct vm_chains *find_chains(const struct metrics *metrics,
                                     const char *vm_uuid)
{
    struct vm_chains wanted, **node;

    snprintf(wanted.uuid, sizeof(wanted.uuid), "%s", vm_uuid);
    node = tfind(&wanted, &metrics->chains, compare);
    return node == NULL ? NULL : *node;
}

static void free_chains(void *arg)
{
    struct vm_chains *chains = arg;

    free(chains->disks);
    free(chains);
}

void metrics_set_chains(struct metrics *metrics, const char *vm_uuid,
                        const struct chain *chains, size_t count)
{
    struct vm_chains *vm = find_chains(metrics, vm_uuid);

    if (vm != NULL) {
        tdelete(vm, &metrics->chains, compare);
        free_chains(vm);
    }
    metrics_changed(metrics);
    if (count == 0) {
        return;
    }
    vm = xcalloc(1, sizeof(*vm));
    snprintf(vm->uuid, sizeof(vm->uuid), "%s", vm_uuid);
    vm->disks = xcalloc(count, sizeof(*vm->disks));
    vm->count = count;
    for (size_t i = 0; i < count; i++) {
        memcpy(vm->disks[i].vdev, chains[i].vdev, sizeof(vm->disks[i].vdev));
        vm->disks[i].depth = chains[i].depth;
        vm->disks[i].bytes = chains[i].bytes;
    }
    tsearch(vm, &metrics->chains, compare);
}

void metrics_set_leftovers(struct metrics *metrics, size_t count)
{
    metrics->leftovers = count;
    metrics_changed(metrics);
}

/* ---- the VMs, as the records tell ---- */

struct vm_list {
    const struct metrics *metrics;
    struct metrics_vm *vms;
    size_t count;
};

static struct metrics_vm *add_vm(struct vm_list *list, const char *uuid)
{
    const struct vm_chains *chains = find_chains(list->metrics, uuid);
    struct metrics_vm *vm;

    list->vms = xrealloc(list->vms, list->count + 1, sizeof(*list->vms));
    vm = &list->vms[list->count++];
    *vm = (struct metrics_vm){.uuid = uuid};
    if (chains != NULL) {
        vm->disks = chains->disks;
        vm->disk_count = chains->count;
    }
    return vm;
}

/* They come in the order of their VM, the newest last. */
static void add_record(const struct record *record, void *arg)
{
    struct vm_list *list = arg;
    struct metrics_vm *vm =
        list->count == 0 ? NULL : &list->vms[list->count - 1];

    if (vm == NULL || strcmp(vm->uuid, record->vm_uuid) != 0) {
        vm = add_vm(list, record->vm_uuid);
    }
    vm->snapshots++;
    vm->memory_bytes += record->memory_bytes;
    vm->domain = record->domain_name;
    clock_parse_utc(record->created_at, &vm->newest);
}

/* ---- the file ---- */

static void print_all(const struct metrics *metrics, FILE *out)
{
    struct vm_list list = {.metrics = metrics};
    struct metrics_values values = {
        .version = XENSNAPD_VERSION,
        .started = metrics->started,
        .counts = &metrics->counts,
        .leftover_files = metrics->leftovers,
    };

    records_each(metrics->agent->records, add_record, &list);
    values.vms = list.vms;
    values.vm_count = list.count;
    dispatcher_load(metrics->agent->dispatcher, &values.waiting,
                    &values.running);
    metrics_format(out, &values);
    free(list.vms);
}

/* What begins otherwise is no agent's.  None is flushed, so that a power cut
 * may leave nothing of it, or zeros. */
static bool is_somebody_else_s(const char *path)
{
    static const char begin[] = "# HELP xensnapd_";
    char found[sizeof(begin) - 1];
    int fd = beneath_open(NULL, path, O_RDONLY | O_NONBLOCK, 0);
    ssize_t n = fd < 0 ? 0 : read(fd, found, sizeof(found));

    if (fd >= 0) {
        close(fd);
    }
    return n > 0 && found[0] != '\0' &&
           (n < (ssize_t)sizeof(found) ||
            memcmp(found, begin, sizeof(found)) != 0);
}

/* Others may write in that folder: no link is followed, and what stands in the
 * way is removed. */
static FILE *open_new(struct beneath *held, const char *path)
{
    int fd;

    beneath_remove(held, path);
    fd = beneath_open(held, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0) {
        return NULL;
    }
    fchmod(fd, 0644); /* whatever the umask is: the exporter is no root */
    return fdopen(fd, "w");
}

/* Not flushed to the disk: it means nothing after a crash of the host.  False
 * with errno. */
static bool write_file(struct metrics *metrics, const char *path)
{
    char *temporary = xasprintf("%s.new", path);
    struct beneath held = {0};
    FILE *out = open_new(&held, temporary);
    bool ok = out != NULL;
    int error;

    if (ok) {
        print_all(metrics, out);
        ok = !ferror(out);
        ok = fclose(out) == 0 && ok &&
             beneath_rename(&held, temporary, path) == 0;
    }
    error = errno;
    if (!ok && out != NULL) {
        beneath_remove(&held, temporary);
    }
    beneath_release(&held);
    free(temporary);
    errno = error;
    return ok;
}

static void remove_written(struct metrics *metrics)
{
    if (metrics->written[0] != '\0') {
        beneath_remove(NULL, metrics->written);
        metrics->written[0] = '\0';
    }
}

/* Each file is complained of once, until it works again. */
static bool may_complain_of(struct metrics *metrics, const char *path)
{
    if (strcmp(path, metrics->complained_of) == 0) {
        return false;
    }
    snprintf(metrics->complained_of, sizeof(metrics->complained_of), "%s",
             path);
    return true;
}

static void complain(struct metrics *metrics, const char *path)
{
    int error = errno;

    if (error != ENOENT && may_complain_of(metrics, path)) {
        LOG_WARN("cannot write metrics to %s: %s", path, strerror(error));
    }
}

static void complain_of_other(struct metrics *metrics, const char *path)
{
    if (may_complain_of(metrics, path)) {
        LOG_WARN("metrics.file: %s is there already, and is none that "
                 "xensnapd has written: it stays as it is; remove it, or name "
                 "another file",
                 path);
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct metrics *metrics = arg;
    const char *path = metrics->agent->config.metrics.file;

    (void)fd;
    (void)events;
    metrics->written_ms = clock_monotonic_ms();
    if (strcmp(path, metrics->written) != 0) {
        remove_written(metrics);
    }
    if (path[0] == '\0') {
        return;
    }
    if (metrics->written[0] == '\0' && is_somebody_else_s(path)) {
        complain_of_other(metrics, path);
    } else if (write_file(metrics, path)) {
        snprintf(metrics->written, sizeof(metrics->written), "%s", path);
        metrics->complained_of[0] = '\0';
    } else {
        complain(metrics, path);
    }
}

struct metrics *metrics_new(struct agent *agent)
{
    struct metrics *metrics = xcalloc(1, sizeof(*metrics));

    metrics->agent = agent;
    metrics->started = (int64_t)time(NULL);
    metrics->timer = evtimer_new(agent->loop, on_timer, metrics);
    metrics_changed(metrics);
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    remove_written(metrics);
    tdestroy(metrics->chains, free_chains);
    event_free(metrics->timer);
    free(metrics);
}
