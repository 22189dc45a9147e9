/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * By the QEMU guest agent, which is asked by a guardian of the guest alone
 * (freeze_guard_program.h): what is here starts that, and tells it what to do.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/guardian.h"
#include "agent/base/log.h"
#include "agent/quiesce/freeze_guard_program.h"
#include "agent/quiesce/qga_socket.h"
#include "agent/quiesce/quiesce_method.h"
#include "agent/store/socket.h"

struct qga_method {
    struct quiesce *quiesce;
    struct quiesce_target target;
    char *uuid;
    char *socket;
    struct guardian *guardian;
    bool thaw_asked;
    bool may_be_frozen; /* it was asked to, and has not said how that ended */
    bool failed;        /* why, comes: */
    char words[512];
    size_t length;
};

static struct guardian *start_guardian(const struct quiesce_target *target,
                                       const char *socket, bool take_back,
                                       const struct guardian_listener *listener,
                                       void *arg)
{
    char limit[16], max_freeze[16];
    char *lock = xasprintf("%s/freeze-%" PRIu32 "-lock",
                           target->config->store.run_folder, target->domid);
    const char *arguments[] = {target->uuid,          socket, limit, max_freeze,
                               take_back ? "1" : "0", lock};
    struct guardian *guardian;

    snprintf(limit, sizeof(limit), "%" PRIu32, target->freeze_ms);
    snprintf(max_freeze, sizeof(max_freeze), "%" PRIu32, target->max_freeze_ms);
    guardian = guardian_start(
        target->loop, target->config, freeze_guard_role.name, target->domid,
        arguments, sizeof(arguments) / sizeof(*arguments), listener, arg);
    free(lock);
    return guardian;
}

/* ---- a guardian that nobody waits for ---- */

static void ignore_ready(const struct error *err, void *arg)
{
    (void)err;
    (void)arg;
}

static void ignore_lost(void *arg)
{
    (void)arg;
}

static void ignore_word(char word, void *arg)
{
    (void)word;
    (void)arg;
}

static void have_thawed(const struct quiesce_target *target, const char *socket)
{
    static const struct guardian_listener listener = {
        .on_ready = ignore_ready,
        .on_lost = ignore_lost,
        .on_word = ignore_word,
    };

    guardian_dismiss(start_guardian(target, socket, true, &listener, NULL),
                     false);
}

/* ---- what the guardian says ---- */

static void on_ready(const struct error *err, void *arg)
{
    struct qga_method *method = arg;

    if (err != NULL) {
        quiesce_answer(method->quiesce, QUIESCE_FAILED, err->message);
    } else if (!method->thaw_asked) {
        method->may_be_frozen = true;
        guardian_say(method->guardian, AGENT_SAYS_FREEZE);
    }
}

/* Killed: whatever it had frozen, another one thaws. */
static void on_lost(void *arg)
{
    struct qga_method *method = arg;

    LOG_ERROR("the guardian of domain %" PRIu32 ", which is frozen, has died: "
              "another one thaws it",
              method->target.domid);
    guardian_dismiss(method->guardian, true);
    method->guardian = NULL;
    if (method->may_be_frozen) {
        method->may_be_frozen = false;
        have_thawed(&method->target, method->socket);
        quiesce_answer(method->quiesce, QUIESCE_EXPIRED, "");
    }
}

static void end(struct qga_method *method, enum quiesce_answer answer)
{
    method->may_be_frozen = false;
    quiesce_answer(method->quiesce, answer, method->words);
}

static void take_words(struct qga_method *method, char c)
{
    if (c == '\n') {
        end(method, QUIESCE_FAILED);
    } else if (method->length + 1 < sizeof(method->words)) {
        method->words[method->length++] = c;
    }
}

static void on_word(char word, void *arg)
{
    struct qga_method *method = arg;

    if (method->failed) {
        take_words(method, word);
    } else if (word == FREEZE_GUARD_FROZEN) {
        quiesce_answer(method->quiesce, QUIESCE_FROZEN, "");
    } else if (word == FREEZE_GUARD_FAILED) {
        method->failed = true;
    } else if (word == FREEZE_GUARD_THAWED) {
        end(method, QUIESCE_THAWED);
    } else if (word == FREEZE_GUARD_EXPIRED) {
        end(method, QUIESCE_EXPIRED);
    }
}

/* ---- what is asked ---- */

static char *find_socket(uint32_t domid)
{
    struct xs_handle *xs = store_socket_open();
    char *found;

    if (xs == NULL) {
        return NULL;
    }
    found = qga_socket_find(xs, domid);
    xs_close(xs);
    return found;
}

static bool qga_open(const struct quiesce_target *target,
                     struct quiesce *quiesce, void **ret_own)
{
    char *socket = find_socket(target->domid);
    struct qga_method *method;

    if (socket == NULL) {
        return false;
    }
    method = xcalloc(1, sizeof(*method));
    method->quiesce = quiesce;
    method->target = *target;
    method->uuid = xstrdup(target->uuid);
    method->target.uuid = method->uuid;
    method->socket = socket;
    *ret_own = method;
    return true;
}

static bool qga_freeze(void *own, struct error *err)
{
    static const struct guardian_listener listener = {
        .on_ready = on_ready,
        .on_lost = on_lost,
        .on_word = on_word,
    };
    struct qga_method *method = own;

    (void)err;
    method->guardian = start_guardian(&method->target, method->socket, false,
                                      &listener, method);
    return true;
}

static void qga_thaw(void *own)
{
    struct qga_method *method = own;

    method->thaw_asked = true;
    if (method->guardian != NULL) {
        guardian_say(method->guardian, AGENT_SAYS_THAW);
    }
}

/* What is not known to be thawed, the guardian goes on with. */
static void qga_close(void *own)
{
    struct qga_method *method = own;

    guardian_dismiss(method->guardian, !method->may_be_frozen);
    free(method->uuid);
    free(method->socket);
    free(method);
}

static void qga_take_back(const struct quiesce_target *target)
{
    char *socket = find_socket(target->domid);

    if (socket != NULL) {
        have_thawed(target, socket);
    }
    free(socket);
}

const struct quiesce_method quiesce_by_qga = {
    .program = "qemu-ga",
    .open = qga_open,
    .freeze = qga_freeze,
    .thaw = qga_thaw,
    .close = qga_close,
    .take_back = qga_take_back,
};
