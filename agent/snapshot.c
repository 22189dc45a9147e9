/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a request under way holds, and who serves its domain's disks. */
#include "agent/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>
#include <xenstore.h>

#include "agent/backend.h"
#include "agent/backends.h"
#include "agent/base/alloc.h"
#include "agent/base/loop_limit.h"
#include "agent/disk/chains_question.h"
#include "agent/guest/guard.h"
#include "agent/quiesce/quiesce.h"
#include "agent/watch.h"

static void disk_dispose(struct snapshot_disk *disk)
{
    free(disk->path);
    free(disk->format);
    free(disk->driver);
    free(disk->driver_uuid);
    free(disk->skipped);
    free(disk->wanted_path);
    free(disk->stem);
    free(disk->internal_name);
    free(disk->node);
    free(disk->overlay);
    free(disk->restore_overlay);
    free(disk->abandoned);
    free(disk->over);
    free(disk->state);
    free(disk->state_format);
    for (size_t i = 0; i < disk->known_count; i++) {
        free(disk->known[i].path);
        free(disk->known[i].under);
    }
    free(disk->known);
    free(disk->target);
    free(disk->target_format);
    free(disk->held_path);
    free(disk->held_format);
    image_chain_dispose(&disk->chain);
}

static void event_free_if(struct event *event)
{
    if (event != NULL) {
        event_free(event);
    }
}

void snapshot_free_config(libxl_domain_config **config)
{
    if (*config != NULL) {
        libxl_domain_config_dispose(*config);
        free(*config);
        *config = NULL;
    }
}

void snapshot_free_disks(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        disk_dispose(&snapshot->disks[i]);
    }
    free(snapshot->disks);
    snapshot->disks = NULL;
    snapshot->disk_count = 0;
}

struct snapshot *snapshot_new(void)
{
    struct snapshot *snapshot = xcalloc(1, sizeof(*snapshot));

    snapshot->memory_fd = -1;
    snapshot->restore_fd = -1;
    return snapshot;
}

void snapshot_close_qmp(struct snapshot *snapshot)
{
    qmp_close(snapshot->qmp);
    snapshot->qmp = NULL;
}

void snapshot_leave_qemu(struct snapshot *snapshot)
{
    chains_forget(snapshot->question);
    snapshot->question = NULL;
    snapshot_close_qmp(snapshot);
}

void snapshot_free(struct snapshot *snapshot)
{
    backends_free(snapshot->backends);
    free(snapshot->job_id);
    snapshot_free_disks(snapshot);
    snapshot_free_config(&snapshot->config);
    snapshot_free_config(&snapshot->restore_config);
    free(snapshot->config_json);
    snapshot_leave_qemu(snapshot);
    block_graph_free(snapshot->graph);
    if (snapshot->memory_fd >= 0) {
        close(snapshot->memory_fd);
    }
    if (snapshot->restore_fd >= 0) {
        close(snapshot->restore_fd);
    }
    free(snapshot->noted_boot);
    free(snapshot->rescue_path);
    free(snapshot->unrescued);
    free(snapshot->kept_name);
    quiesce_free(snapshot->quiesce);
    free(snapshot->not_quiesced);
    free(snapshot->memory_path);
    free(snapshot->memory_temporary);
    event_free_if(snapshot->timer);
    event_free_if(snapshot->deferred);
    event_free_if(snapshot->teller);
    event_free_if(snapshot->meter);
    loop_limit_free(snapshot->restore_limit);
    event_free_if(snapshot->pause_limit);
    guard_dismiss(snapshot->guard, false);
    request_dispose(&snapshot->request);
    beneath_release(&snapshot->folders);
    policy_release(snapshot->policy);
    free(snapshot);
}

bool snapshot_takes_any_here(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot_takes_here(&snapshot->disks[i])) {
            return true;
        }
    }
    return false;
}

bool snapshot_remove_file(struct snapshot *snapshot, const char *path,
                          struct error *err)
{
    return beneath_remove(&snapshot->folders, path) == 0 || errno == ENOENT ||
           error_set_errno(err, ERR_STORE, errno, "cannot remove %s", path);
}

struct block_job_where snapshot_job_place(const struct snapshot *snapshot)
{
    return (struct block_job_where){
        .loop = snapshot->agent->loop,
        .qmp = &snapshot->agent->qmp,
        .domid = snapshot->guest.domid,
        .uuid = snapshot->guest.uuid,
    };
}

static pid_t device_model(const struct agent *agent, uint32_t domid)
{
    char *path =
        xasprintf("/local/domain/%" PRIu32 "/image/device-model-pid", domid);
    struct xs_handle *xs = watch_xs(agent->watch);
    char *value = xs == NULL ? NULL : xs_read(xs, XBT_NULL, path, NULL);
    int pid = value == NULL ? 0 : atoi(value);

    free(value);
    free(path);
    return pid > 0 ? pid : 0;
}

pid_t snapshot_qemu(const struct snapshot *snapshot)
{
    const struct agent *agent = snapshot->agent;
    uint32_t domid = snapshot->guest.domid;

    return agent->backend != NULL ? backend_qemu(agent->backend, domid)
                                  : device_model(agent, domid);
}

static void on_later(evutil_socket_t fd, short events, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)fd;
    (void)events;
    event_free(snapshot->meter);
    snapshot->meter = NULL;
    snapshot->later(snapshot);
}

void snapshot_later(struct snapshot *snapshot, uint32_t ms, snapshot_act *act)
{
    struct timeval delay = clock_timeval(ms);

    snapshot->later = act;
    snapshot->meter = evtimer_new(snapshot->agent->loop, on_later, snapshot);
    event_add(snapshot->meter, &delay);
}
