/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a finished snapshot to its record. */
#include "agent/record_steps.h"

#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/disk/image_written.h"
#include "agent/publish.h"
#include "agent/snapshot.h"
#include "agent/store/paths.h"

#define PUBLISH_ATTEMPTS 5u
#define PUBLISH_AGAIN_MS 500u

static char *copy(const char *text)
{
    return text == NULL ? NULL : xstrdup(text);
}

static void fill_disk(struct record_disk *to, const struct snapshot_disk *from)
{
    to->vdev = xstrdup(from->vdev);
    to->driver = copy(from->driver);
    to->external = from->external;
    to->path = xstrdup(from->path);
    to->format = xstrdup(from->format);
    to->snapshot = copy(from->internal_name);
    if (from->overlay != NULL) {
        record_disk_add_overlay(to, from->overlay);
    }
    to->restore_overlay = copy(from->restore_overlay);
    to->virtual_bytes = from->virtual_bytes;
    if (from->external) {
        to->written_ns = from->driver == NULL ? image_settled_ns(from->path)
                                              : from->written_ns;
    }
}

/* NULL: never. */
static char *expires_at(const struct snapshot *snapshot)
{
    const struct request_expiry *expiry = &snapshot->request.expires;
    int64_t seconds = expiry->at_s;
    char text[CLOCK_UTC_LENGTH + 1];

    if (expiry->after_s != 0 &&
        clock_parse_utc_up(snapshot->created_at, &seconds)) {
        seconds += expiry->after_s;
    }
    return seconds != 0 && clock_format_utc(seconds, text) ? xstrdup(text)
                                                           : NULL;
}

static void fill(struct record *record, const struct snapshot *snapshot)
{
    const struct request *request = &snapshot->request;

    record->vm_uuid = xstrdup(snapshot->guest.uuid);
    record->name = xstrdup(snapshot->name);
    record->domain_name = xstrdup(snapshot->guest.name);
    record->created_at = xstrdup(snapshot->created_at);
    record->parent =
        copy(records_current(snapshot->agent->records, snapshot->guest.uuid));
    if (request->description[0] != '\0') {
        record->description = xstrdup(request->description);
    }
    if (request->schedule[0] != '\0') {
        record->schedule = xstrdup(request->schedule);
    }
    record->expires_at = expires_at(snapshot);
    record->consistency = xstrdup(snapshot->consistency);
    record->memory = request->memory;
    record->live = snapshot->live;
    record->memory_path = copy(snapshot->memory_path);
    record->memory_bytes = snapshot->memory_bytes;
    record->disks = xcalloc(snapshot->disk_count, sizeof(*record->disks));
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot_takes(&snapshot->disks[i])) {
            fill_disk(&record->disks[record->disk_count++],
                      &snapshot->disks[i]);
        }
    }
}

void record_write(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct record record = {0};
    struct error err = {0};

    fill(&record, snapshot);
    record.config = snapshot->config_json;
    snapshot->config_json = NULL;
    records_add(snapshot->agent->records, &record, &err);
    record_dispose(&record);
    operation_step_done(operation, &err);
}

/* ---- publishing ---- */

static void publish(struct snapshot *snapshot);

static void on_time_to_publish(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    publish(arg);
}

/* What is published would stay wrong until the next change: a refusal is not
 * taken for an answer at once. */
static void publish(struct snapshot *snapshot)
{
    struct timeval later = clock_timeval(PUBLISH_AGAIN_MS);
    struct error err = {0};

    if (publish_vm(snapshot->agent, snapshot->guest.uuid, &err) ||
        snapshot->patience == 0) {
        operation_step_done(&snapshot->operation, &err);
        return;
    }
    snapshot->patience--;
    event_base_once(snapshot->agent->loop, -1, EV_TIMEOUT, on_time_to_publish,
                    snapshot, &later);
}

/* Where the result is in the root's folder as well: xenstored works for each
 * transaction. */
static bool goes_with_result(const struct snapshot *snapshot)
{
    return !snapshot->orphaned && path_key_domid(snapshot->id, NULL) == 0;
}

void record_publish(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->patience = PUBLISH_ATTEMPTS;
    if (goes_with_result(snapshot)) {
        snapshot->unpublished = true;
        operation_step_done(operation, NULL);
    } else {
        publish(snapshot);
    }
}

void record_publish_changes(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;
    struct error err;

    if (records_changes(agent->records) == snapshot->records_then) {
        return;
    }
    snapshot->patience = PUBLISH_ATTEMPTS;
    if (goes_with_result(snapshot)) {
        snapshot->unpublished = true;
    } else if (!publish_vm(agent, snapshot->guest.uuid, &err)) {
        LOG_WARN("%s %s", snapshot->label, err.message);
    }
}
