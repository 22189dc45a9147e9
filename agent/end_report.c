/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a request leaves to be told. */
#include "agent/end_report.h"

#include "agent/snapshot.h"

static void add_disks(const struct snapshot *snapshot, struct end_facts *facts)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        size_t depth =
            disk->depth > disk->chain.depth ? disk->depth : disk->chain.depth;

        if (snapshot_takes(disk)) {
            facts->disks++;
            facts->depth = depth > facts->depth ? depth : facts->depth;
        }
    }
}

/* Those that suspend or pause the guest, or end it. */
static bool stands_still(const struct request *request)
{
    switch (request->operation) {
    case REQUEST_CREATE:
        return request->memory;
    case REQUEST_REVERT:
        return true;
    case REQUEST_RESCAN:
        return request->phase != REQUEST_PHASE_PREPARE;
    case REQUEST_DELETE:
        break;
    }
    return false;
}

void end_facts_of(const struct snapshot *snapshot, const struct error *err,
                  struct end_facts *ret_facts)
{
    const struct request *request = &snapshot->request;
    bool done = err == NULL;

    *ret_facts = (struct end_facts){
        .domain = snapshot->guest.name,
        .uuid = snapshot->guest.uuid,
        .id = snapshot->id,
        .known = request->id[0] != '\0' || snapshot->guest.uuid[0] != '\0',
        .operation = request->operation,
        .name = snapshot->name[0] != '\0' ? snapshot->name : request->name,
        .code = done ? ERR_NONE : err->code,
        .started = snapshot->started_ms != 0,
        .stood_still = done && stands_still(request),
        .downtime_ms = snapshot->downtime_ms,
        .requester = snapshot->requester,
    };
    if (ret_facts->started) {
        ret_facts->ms = clock_monotonic_ms() - snapshot->started_ms;
    }
    if (done) {
        ret_facts->memory_bytes =
            request->operation == REQUEST_CREATE ? snapshot->memory_bytes : 0;
        add_disks(snapshot, ret_facts);
    }
}
