/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The jobs of a driver domain's agent: which there are, and what they hear. */
#include "agent/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/backend_answer.h"
#include "agent/backend_job.h"
#include "agent/base/alloc.h"
#include "agent/base/child.h"
#include "agent/base/log.h"
#include "agent/recovery.h"
#include "agent/snapshot.h"
#include "agent/store/connection.h"
#include "agent/store/keys.h"
#include "agent/store/read.h"

#define PROTOCOL "1"

/* The watches' tokens. */
#define DOMID "domid"
#define JOBS  "jobs"

#define LOOK_AGAIN_MS 50u

struct entry {
    struct backend_job *job;
    bool seen;
    TAILQ_ENTRY(entry) link;
};

struct backend {
    struct agent *agent;
    struct store *store;
    struct event *again; /* looks once more */
    struct event *sigchld;
    char *folder; /* of the jobs; NULL until this domain's domid is known */
    bool ready;   /* on this connection; jobs are watched */
    TAILQ_HEAD(, entry) entries;
};

static void add(struct backend *backend, struct backend_job *job)
{
    struct entry *entry = xcalloc(1, sizeof(*entry));

    entry->job = job;
    TAILQ_INSERT_TAIL(&backend->entries, entry, link);
}

static void drop(struct backend *backend, struct entry *entry)
{
    TAILQ_REMOVE(&backend->entries, entry, link);
    backend_job_free(entry->job);
    free(entry);
}

static struct entry *find(struct backend *backend, const char *id)
{
    struct entry *entry;

    TAILQ_FOREACH(entry, &backend->entries, link)
    {
        if (strcmp(backend_job_id(entry->job), id) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* One that has no `phase` yet is still being written. */
static bool read_phase(struct backend *backend, const char *folder,
                       enum backend_phase *ret_phase)
{
    char *text = store_read(backend_xs(backend), folder, "phase");
    bool known = text != NULL && backend_phase_parse(text, ret_phase);

    free(text);
    return known;
}

/* Two acts of a rescan at once would undo one another's work. */
static bool must_wait(struct backend *backend, const char *folder)
{
    char *uuid = store_read(backend_xs(backend), folder, "uuid");
    bool rescans = uuid != NULL && store_read_is(backend_xs(backend), folder,
                                                 "operation", "rescan");
    struct timeval later = clock_timeval(LOOK_AGAIN_MS);
    const struct entry *entry;
    bool waits = false;

    TAILQ_FOREACH(entry, &backend->entries, link)
    {
        waits = waits || (rescans && backend_job_rescans(entry->job, uuid));
    }
    if (waits) {
        event_add(backend->again, &later);
    }
    free(uuid);
    return waits;
}

static void look(struct backend *backend, const char *id)
{
    char *folder = xasprintf("%s/%s", backend->folder, id);
    struct entry *entry = find(backend, id);
    enum backend_phase phase;

    if (entry == NULL && must_wait(backend, folder)) {
        free(folder);
        return;
    }
    if (read_phase(backend, folder, &phase) && request_id_is_valid(id)) {
        if (entry == NULL) {
            add(backend, backend_job_new(backend->agent, id, folder, phase));
            entry = find(backend, id);
        }
        entry->seen = true;
        backend_job_hear(entry->job, folder, phase);
    } else if (entry != NULL) {
        entry->seen = true;
    }
    free(folder);
}

/* Events of equal path that wait together are one: each is a reason to look. */
static void look_at_all(struct backend *backend)
{
    unsigned int count = 0;
    char **ids =
        xs_directory(backend_xs(backend), XBT_NULL, backend->folder, &count);
    struct entry *entry, *next;

    /* A folder that is not there cannot be told from one that may not be
     * read. */
    if (ids == NULL && errno != ENOENT && errno != EACCES) {
        return;
    }
    TAILQ_FOREACH(entry, &backend->entries, link)
    {
        entry->seen = false;
    }
    for (unsigned int i = 0; ids != NULL && i < count; i++) {
        look(backend, ids[i]);
    }
    for (entry = TAILQ_FIRST(&backend->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (!entry->seen && backend_job_gone(entry->job)) {
            drop(backend, entry);
        }
    }
    free(ids);
}

/* ---- xenstore ---- */

static void on_again(evutil_socket_t fd, short events, void *arg)
{
    struct backend *backend = arg;

    (void)fd;
    (void)events;
    if (backend_xs(backend) != NULL) {
        look_at_all(backend);
    }
}

static bool advertise(struct backend *backend, struct error *err)
{
    struct keys keys = {0};
    bool ok;

    keys_remove(&keys, "jobs"); /* an earlier agent's */
    keys_add(&keys, "version", XENSNAPD_VERSION);
    keys_add(&keys, "protocol", PROTOCOL);
    keys_add(&keys, "pid", "%d", getpid());
    keys_add(&keys, "state", "ready");
    ok = keys_commit(backend_xs(backend), BACKEND_FOLDER, &keys, NULL, NULL,
                     err);
    keys_dispose(&keys);
    return ok;
}

static void become_ready(struct backend *backend)
{
    struct error err = {0};

    if (!advertise(backend, &err)) {
        LOG_ERROR("%s", err.message);
    } else if (!store_watch(backend->store, backend->folder, JOBS)) {
        LOG_ERROR("cannot watch %s in xenstore: %s", backend->folder,
                  strerror(errno));
    } else {
        backend->ready = true;
        LOG_NOTICE("ready for jobs in %s", backend->folder);
        sd_notify(0, "READY=1");
    }
}

/* Domain 0 names it when it makes the domain known, which is later than the
 * connection where xenstored was started anew: until then it is waited for. */
static void learn_domid(struct backend *backend)
{
    char *domid = xs_read(backend_xs(backend), XBT_NULL, "domid", NULL);

    if (domid == NULL) {
        LOG_WARN("xenstore does not name this domain's domid yet: %s",
                 strerror(errno));
        return;
    }
    free(backend->folder);
    backend->folder = xasprintf("%s/backends/%s",
                                backend->agent->config.xenstore.root, domid);
    free(domid);
    become_ready(backend);
}

static void on_connected(void *arg)
{
    struct backend *backend = arg;

    /* The event comes at once, and whenever it is written. */
    if (!store_watch(backend->store, "domid", DOMID)) {
        LOG_ERROR("cannot watch this domain's domid in xenstore: %s",
                  strerror(errno));
    }
}

/* Jobs wait until it is back, or are gone with it. */
static void on_lost(void *arg)
{
    struct backend *backend = arg;

    backend->ready = false;
}

static void on_watch(const char *path, const char *token, void *arg)
{
    struct backend *backend = arg;

    (void)path;
    if (strcmp(token, DOMID) == 0 && !backend->ready) {
        learn_domid(backend);
    } else if (strcmp(token, JOBS) == 0) {
        look_at_all(backend);
    }
}

static const struct store_listener listener = {
    .on_connected = on_connected,
    .on_lost = on_lost,
    .on_watch = on_watch,
};

/* ---- children ---- */

/* Signals merge, so all that have exited.  There is no libxl to have others. */
static void on_sigchld(evutil_socket_t number, short events, void *arg)
{
    int status;
    pid_t pid;

    (void)number;
    (void)events;
    (void)arg;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        child_reaped(pid, status);
    }
}

/* ---- life ---- */

static void take_up(struct snapshot *snapshot, void *arg)
{
    struct backend *backend = arg;

    add(backend, backend_job_resume(backend->agent, snapshot));
}

struct backend *backend_new(struct agent *agent)
{
    struct backend *backend = xcalloc(1, sizeof(*backend));

    backend->agent = agent;
    backend->again = evtimer_new(agent->loop, on_again, backend);
    backend->sigchld = evsignal_new(agent->loop, SIGCHLD, on_sigchld, backend);
    event_add(backend->sigchld, NULL);
    TAILQ_INIT(&backend->entries);
    recovery_load(agent->recovery, take_up, backend);
    backend->store =
        store_new(agent->loop, agent->config.xenstore.reconnect_max_ms,
                  &listener, backend);
    return backend;
}

void backend_free(struct backend *backend)
{
    struct entry *entry, *next;

    if (backend == NULL) {
        return;
    }
    if (backend_xs(backend) != NULL) {
        xs_rm(backend_xs(backend), XBT_NULL, BACKEND_FOLDER "/state");
    }
    for (entry = TAILQ_FIRST(&backend->entries); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, link);
        drop(backend, entry);
    }
    store_free(backend->store);
    event_free(backend->again);
    event_free(backend->sigchld);
    free(backend->folder);
    free(backend);
}

bool backend_is_busy(const struct backend *backend)
{
    const struct entry *entry;

    TAILQ_FOREACH(entry, &backend->entries, link)
    {
        if (backend_job_is_busy(entry->job) &&
            !backend_job_copies(entry->job)) {
            return true;
        }
    }
    return false;
}

struct xs_handle *backend_xs(const struct backend *backend)
{
    return store_xs(backend->store);
}

pid_t backend_qemu(const struct backend *backend, uint32_t domid)
{
    char *path = xasprintf("libxl/%" PRIu32 "/qdisk-backend-pid", domid);
    struct xs_handle *xs = backend_xs(backend);
    char *value = xs == NULL ? NULL : xs_read(xs, XBT_NULL, path, NULL);
    int pid = value == NULL ? 0 : atoi(value);

    free(value);
    free(path);
    return pid > 0 ? pid : 0;
}
