/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing requests into xenstore. */
#include "client/request.h"

#include "agent/base/alloc.h"
#include "client/failure.h"
#include "client/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static struct request_key *find_key(const struct request *request,
                                    const char *name)
{
    for (size_t i = 0; i < request->n_keys; i++) {
        if (strcmp(request->keys[i].name, name) == 0)
            return &request->keys[i];
    }
    return NULL;
}

void request_add(struct request *request, const char *name, const char *value)
{
    struct request_key *key = find_key(request, name);

    if (key) {
        free(key->value);
    } else {
        request->keys = xrealloc(request->keys, request->n_keys + 1,
                                 sizeof(request->keys[0]));
        key = &request->keys[request->n_keys++];
        key->name = xstrdup(name);
    }
    key->value = xstrdup(value);
}

const char *request_get(const struct request *request, const char *name)
{
    const struct request_key *key = find_key(request, name);

    return key ? key->value : NULL;
}

bool request_has(const struct request *request, const char *name)
{
    return find_key(request, name) != NULL;
}

void request_release(struct request *request)
{
    for (size_t i = 0; i < request->n_keys; i++) {
        free(request->keys[i].name);
        free(request->keys[i].value);
    }
    free(request->keys);
}

static void choose_id(struct request *request)
{
    struct timespec now;
    uint32_t random = 0;

    clock_gettime(CLOCK_REALTIME, &now);
    /* Time and pid already differ; without randomness they have to do. */
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = (uint32_t)now.tv_nsec;
    snprintf(request->id, sizeof(request->id), "xensnap-%d-%" PRIx64 "-%08x",
             getpid(), (uint64_t)now.tv_sec, random);
}

static bool write_value(struct xs_handle *xs, xs_transaction_t transaction,
                        const char *id, const char *name, const char *value)
{
    char *folder = request_path(xs, id);
    char *path = xasprintf("%s/%s", folder, name);
    bool written =
        xs_write(xs, transaction, path, value, (unsigned int)strlen(value));

    free(path);
    free(folder);
    return written;
}

static bool write_keys(struct xs_handle *xs, xs_transaction_t transaction,
                       const struct request *request)
{
    for (size_t i = 0; i < request->n_keys; i++) {
        if (!write_value(xs, transaction, request->id, request->keys[i].name,
                         request->keys[i].value))
            return false;
    }
    return write_value(xs, transaction, request->id, "operation",
                       request->operation);
}

/* False with errno EAGAIN if another writer came between. */
static bool write_once(struct xs_handle *xs, const struct request *request)
{
    xs_transaction_t transaction = xs_transaction_start(xs);

    if (transaction == XBT_NULL)
        return false;
    if (!write_keys(xs, transaction, request)) {
        int error = errno;

        xs_transaction_end(xs, transaction, true);
        /* Only the transaction's end says EAGAIN in the sense above. */
        errno = error == EAGAIN ? EIO : error;
        return false;
    }
    return xs_transaction_end(xs, transaction, false);
}

enum exit_status request_may_ask(struct xs_handle *xs)
{
    char *path, *folder;

    if (!in_domain(xs))
        return EXIT_DONE;
    path = request_path(xs, "");
    folder = xs_read(xs, XBT_NULL, path, NULL);
    free(path);
    if (folder) {
        free(folder);
        return EXIT_DONE;
    }
    /* The folder is the agent's to make. */
    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    failure_tell("permission-denied",
                 "Add one to 'policy' in the host's agent.yaml: "
                 "xensnapd.yaml(5).",
                 "this domain may not ask for snapshots: the policy of the "
                 "host's agent has no rule for it");
    return EXIT_FAILED;
}

bool request_write(struct xs_handle *xs, struct request *request)
{
    bool written;

    choose_id(request);
    do {
        written = write_once(xs, request);
    } while (!written && errno == EAGAIN);
    if (!written)
        failure_tell("no-xenstore", "Look at xenstored's log.",
                     "the request cannot be written into xenstore: %s",
                     strerror(errno));
    return written;
}

bool request_is_there(struct xs_handle *xs, const char *id)
{
    char *operation = request_read(xs, XBT_NULL, id, "operation");
    bool there = operation != NULL;

    free(operation);
    return there;
}

void request_tell_unknown(const char *id)
{
    failure_tell("no-such-request", "'xensnap requests' shows those there are.",
                 "there is no request of the id '%s'", id);
}

/* Reading and writing in one transaction: `cancel` alone in a folder that was
 * just removed would begin another request. */
static bool cancel_once(struct xs_handle *xs, const char *id,
                        enum exit_status *status)
{
    xs_transaction_t transaction = xs_transaction_start(xs);
    char *operation, *finished;
    bool written;

    if (transaction == XBT_NULL)
        return false;
    operation = request_read(xs, transaction, id, "operation");
    finished = request_read(xs, transaction, id, "finished-at");
    *status = operation && !finished ? EXIT_DONE : EXIT_FAILED;
    written =
        *status == EXIT_DONE && write_value(xs, transaction, id, "cancel", "1");
    if (!operation)
        request_tell_unknown(id);
    else if (finished)
        failure_tell("request-finished", "'xensnap requests' shows its state.",
                     "request %s is finished already", id);
    free(operation);
    free(finished);
    if (*status == EXIT_DONE && !written) {
        int error = errno;

        xs_transaction_end(xs, transaction, true);
        errno = error == EAGAIN ? EIO : error;
        return false;
    }
    if (!written)
        return xs_transaction_end(xs, transaction, true);
    return xs_transaction_end(xs, transaction, false);
}

enum exit_status request_cancel(struct xs_handle *xs, const char *id)
{
    enum exit_status status = EXIT_FAILED;
    bool finished;

    do {
        finished = cancel_once(xs, id, &status);
    } while (!finished && errno == EAGAIN);
    if (!finished) {
        failure_tell("no-xenstore", "Look at xenstored's log.",
                     "request %s cannot be cancelled in xenstore: %s", id,
                     strerror(errno));
        return EXIT_NO_AGENT;
    }
    return status;
}

void request_remove(struct xs_handle *xs, const char *id)
{
    char *path = request_path(xs, id);

    /* The agent removes it after a while if this cannot. */
    xs_rm(xs, XBT_NULL, path);
    free(path);
}
