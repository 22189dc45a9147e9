/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests to xenstored, sent together. */
#include "agent/store/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/store/burst.h"

/* Taken from the socket at once. */
#define ANSWERS_MAX ((size_t)8 * 1024)

/* ---- sending ---- */

/* Answers that are not read would be taken for those of later requests. */
static bool give_up(const struct wire *wire, int errnum)
{
    shutdown(wire->fd, SHUT_RDWR);
    errno = errnum;
    return false;
}

static bool send_burst(const struct wire *wire, const struct burst *burst)
{
    size_t sent = 0;

    while (sent < burst->length) {
        ssize_t n = send(wire->fd, burst->data + sent, burst->length - sent,
                         MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return sent > 0 ? give_up(wire, errno) : false;
        }
        sent += (size_t)n;
    }
    return true;
}

/* ---- receiving ---- */

/* What has come of the answers.  Nothing comes unasked on this connection, so
 * all that is there may be taken: it belongs to the requests just sent. */
struct answers {
    char data[ANSWERS_MAX];
    size_t taken;
    size_t length;
};

static bool receive_more(const struct wire *wire, struct answers *answers)
{
    ssize_t n;

    do {
        n = recv(wire->fd, answers->data, sizeof(answers->data), 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        return give_up(wire, n == 0 ? EPIPE : errno);
    }
    answers->taken = 0;
    answers->length = (size_t)n;
    return true;
}

static bool take(const struct wire *wire, struct answers *answers, void *data,
                 size_t length)
{
    size_t got = 0;

    while (got < length) {
        size_t there = answers->length - answers->taken;
        size_t n = there < length - got ? there : length - got;

        memcpy((char *)data + got, answers->data + answers->taken, n);
        answers->taken += n;
        got += n;
        if (got < length && !receive_more(wire, answers)) {
            return false;
        }
    }
    return true;
}

int wire_errnum(const char *name)
{
    for (size_t i = 0; i < sizeof(xsd_errors) / sizeof(xsd_errors[0]); i++) {
        if (strcmp(xsd_errors[i].errstring, name) == 0) {
            return xsd_errors[i].errnum;
        }
    }
    return EINVAL;
}

/* `*ret_answer` is the caller's; NULL where xenstored refused. */
static bool take_answer(const struct wire *wire, struct answers *answers,
                        char **ret_answer, size_t *ret_length, int *ret_errnum)
{
    struct xsd_sockmsg header;
    char *payload;

    if (!take(wire, answers, &header, sizeof(header))) {
        return false;
    }
    if (header.len > XENSTORE_PAYLOAD_MAX) {
        return give_up(wire, EPROTO);
    }
    payload = xcalloc(header.len + 1u, 1);
    if (!take(wire, answers, payload, header.len)) {
        free(payload);
        return false;
    }
    *ret_errnum = 0;
    *ret_length = header.len;
    if (header.type == XS_ERROR) {
        *ret_errnum = wire_errnum(payload);
        free(payload);
        payload = NULL;
    }
    *ret_answer = payload;
    return true;
}

/* ---- several ---- */

static bool has_answer(uint32_t type)
{
    return type != XS_WRITE && type != XS_RM;
}

static bool receive_all(const struct wire *wire, struct wire_request *requests,
                        size_t count)
{
    struct answers answers;

    answers.taken = answers.length = 0;
    for (size_t i = 0; i < count; i++) {
        struct wire_request *request = &requests[i];

        if (!take_answer(wire, &answers, &request->answer, &request->length,
                         &request->errnum)) {
            return false;
        }
        if (!has_answer(request->type)) {
            free(request->answer);
            request->answer = NULL;
        }
    }
    return true;
}

static bool too_long(void)
{
    errno = E2BIG;
    return false;
}

static bool run_pipelined(const struct wire *wire, xs_transaction_t transaction,
                          struct wire_request *requests, size_t count)
{
    struct burst *burst = burst_new();
    size_t done = 0;
    bool ok = true;

    while (ok && done < count) {
        burst_clear(burst);
        while (done + burst->count < count &&
               burst_append(burst, requests[done + burst->count].type,
                            transaction, requests[done + burst->count].path,
                            requests[done + burst->count].value)) {
        }
        ok = burst->count > 0
                 ? send_burst(wire, burst) &&
                       receive_all(wire, requests + done, burst->count)
                 : too_long();
        done += burst->count;
    }
    free(burst);
    return ok;
}

/* ---- one by one ---- */

static bool run_one(struct xs_handle *xs, xs_transaction_t transaction,
                    struct wire_request *request)
{
    unsigned int length;

    switch (request->type) {
    case XS_READ:
        request->answer = xs_read(xs, transaction, request->path, &length);
        return request->answer != NULL;
    case XS_WRITE:
        return xs_write(xs, transaction, request->path, request->value,
                        (unsigned int)strlen(request->value));
    default:
        return xs_rm(xs, transaction, request->path);
    }
}

bool wire_run(const struct wire *wire, xs_transaction_t transaction,
              struct wire_request *requests, size_t count)
{
    if (wire->fd >= 0) {
        return run_pipelined(wire, transaction, requests, count);
    }
    for (size_t i = 0; i < count; i++) {
        requests[i].errnum =
            run_one(wire->xs, transaction, &requests[i]) ? 0 : errno;
    }
    return true;
}

/* ---- transactions ---- */

/* One request; NULL with errno on failure. */
static char *ask(const struct wire *wire, uint32_t type,
                 xs_transaction_t transaction, const char *text)
{
    struct burst *burst = burst_new();
    struct answers answers;
    char *answer = NULL;
    size_t length;
    int errnum;
    bool ok;

    answers.taken = answers.length = 0;
    burst_append(burst, type, transaction, text, NULL);
    ok = send_burst(wire, burst) &&
         take_answer(wire, &answers, &answer, &length, &errnum);
    free(burst);
    if (ok && answer == NULL) {
        errno = errnum;
    }
    return answer;
}

xs_transaction_t wire_begin(const struct wire *wire)
{
    xs_transaction_t transaction;
    char *answer;

    if (wire->fd < 0) {
        return xs_transaction_start(wire->xs);
    }
    answer = ask(wire, XS_TRANSACTION_START, XBT_NULL, "");
    if (answer == NULL) {
        return XBT_NULL;
    }
    transaction = (xs_transaction_t)strtoul(answer, NULL, 10);
    free(answer);
    return transaction;
}

static bool end(const struct wire *wire, xs_transaction_t transaction,
                bool commits)
{
    char *answer;

    if (wire->fd < 0) {
        return xs_transaction_end(wire->xs, transaction, !commits);
    }
    answer = ask(wire, XS_TRANSACTION_END, transaction, commits ? "T" : "F");
    free(answer);
    return answer != NULL;
}

bool wire_commit(const struct wire *wire, xs_transaction_t transaction)
{
    int errnum;

    if (end(wire, transaction, true)) {
        return true;
    }
    errnum = errno;
    /* Where it did not get as far as xenstored; else there is none to end. */
    if (errnum != EAGAIN) {
        wire_abort(wire, transaction);
    }
    errno = errnum;
    return false;
}

void wire_abort(const struct wire *wire, xs_transaction_t transaction)
{
    end(wire, transaction, false);
}
