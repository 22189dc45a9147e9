/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/merge_look.h"

#include <json-c/json.h>

#include "agent/base/clock.h"
#include "agent/disk/merge_guard.h"
#include "agent/disk/plug_node.h"

/* QEMU's monitor may fail us behind a merge; what QEMU has open then must be
 * known all the same, for the configuration to name it. */
#define LOOK_ATTEMPTS 5u
#define LOOK_AGAIN_MS 200u

static void look(struct snapshot *snapshot);

static void on_time_to_look(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    look(arg);
}

static void look_again(struct snapshot *snapshot, const struct error *err)
{
    struct timeval later = clock_timeval(LOOK_AGAIN_MS);
    struct error own = *err; /* it may belong to the session */

    snapshot_close_qmp(snapshot);
    if (snapshot->patience == 0) {
        snapshot->look_then(snapshot, &own);
        return;
    }
    snapshot->patience--;
    event_base_once(snapshot->agent->loop, -1, EV_TIMEOUT, on_time_to_look,
                    snapshot, &later);
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    static const struct error none;
    struct snapshot *snapshot = arg;

    if (err != NULL) {
        look_again(snapshot, err);
        return;
    }
    snapshot_close_qmp(snapshot);
    merge_guard_dismiss(snapshot, true);
    block_graph_free(snapshot->graph);
    snapshot->graph = graph;
    snapshot->look_then(snapshot, &none);
}

static void on_released(struct snapshot *snapshot, const struct error *err)
{
    (void)err; /* it can wait until the disk is unplugged */
    block_graph_query(snapshot->qmp, on_graph, snapshot);
}

/* Of a merge that an agent which died had begun, or that we lost sight of. */
static void on_job_dismissed(struct json_object *ret, const struct error *err,
                             void *arg)
{
    (void)ret;
    (void)err; /* mostly there is none any more */
    plug_node_release(arg, on_released);
}

static void send_to_job(struct snapshot *snapshot, const char *command,
                        qmp_on_reply *on_reply)
{
    struct json_object *arguments = json_object_new_object();

    json_object_object_add(arguments, "id",
                           json_object_new_string(snapshot->merge_job_id));
    qmp_execute(snapshot->qmp, command, arguments, 0, on_reply, snapshot);
}

static void on_job_cancelled(struct json_object *ret, const struct error *err,
                             void *arg)
{
    (void)ret;
    (void)err; /* mostly it has concluded */
    send_to_job(arg, "job-dismiss", on_job_dismissed);
}

/* One that we lost sight of may be pending still, and the guest wait: what the
 * graph shows must be what it stays at. */
static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;

    (void)qmp;
    if (err != NULL) {
        look_again(snapshot, err);
    } else if (snapshot->merge_error.code != ERR_NONE) {
        send_to_job(snapshot, "job-cancel", on_job_cancelled);
    } else {
        send_to_job(snapshot, "job-dismiss", on_job_dismissed);
    }
}

static void look(struct snapshot *snapshot)
{
    struct agent *agent = snapshot->agent;

    snapshot->qmp = qmp_open(agent->loop, &agent->qmp, snapshot->guest.domid,
                             snapshot->guest.uuid, on_open, snapshot);
}

void merge_look(struct snapshot *snapshot, snapshot_then *then)
{
    snapshot->look_then = then;
    snapshot->patience = LOOK_ATTEMPTS;
    look(snapshot);
}
