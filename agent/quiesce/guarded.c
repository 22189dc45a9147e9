/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts the guardian that asks the guest, and tells it what to do. */
#include "agent/quiesce/guarded.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/guardian.h"
#include "agent/base/log.h"
#include "agent/quiesce/freeze_guard.h"

struct guarded {
    const struct guarded_way *way;
    struct quiesce *quiesce;
    struct quiesce_target target;
    char *uuid;
    char *place;
    struct guardian *guardian;
    bool thaw_asked;
    bool may_be_frozen; /* it was asked to, and has not said how that ended */
    bool failed;        /* why, comes: */
    char words[512];
    size_t length;
};

static struct guardian *start_guardian(const struct guarded_way *way,
                                       const struct quiesce_target *target,
                                       const char *place, bool take_back,
                                       const struct guardian_listener *listener,
                                       void *arg)
{
    char limit[16], max_freeze[16];
    char *lock =
        xasprintf("%s/%s-%" PRIu32 "-lock", target->config->store.run_folder,
                  way->lock, target->domid);
    const char *arguments[FREEZE_GUARD_ARGUMENTS] = {
        target->uuid, place, limit, max_freeze, take_back ? "1" : "0", lock};
    struct guardian *guardian;

    snprintf(limit, sizeof(limit), "%" PRIu32,
             way->prepares ? target->tools_ms : target->freeze_ms);
    snprintf(max_freeze, sizeof(max_freeze), "%" PRIu32, target->max_freeze_ms);
    guardian = guardian_start(target->loop, target->config, way->role->name,
                              target->domid, arguments, FREEZE_GUARD_ARGUMENTS,
                              listener, arg);
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

static void have_thawed(const struct guarded_way *way,
                        const struct quiesce_target *target, const char *place)
{
    static const struct guardian_listener listener = {
        .on_ready = ignore_ready,
        .on_lost = ignore_lost,
        .on_word = ignore_word,
    };

    guardian_dismiss(start_guardian(way, target, place, true, &listener, NULL),
                     false);
}

/* ---- what the guardian says ---- */

static void on_ready(const struct error *err, void *arg)
{
    struct guarded *guarded = arg;

    if (err != NULL) {
        quiesce_answer(guarded->quiesce, QUIESCE_FAILED, err->message);
    } else if (!guarded->thaw_asked) {
        guarded->may_be_frozen = true;
        guardian_say(guarded->guardian, AGENT_SAYS_FREEZE);
    }
}

/* Killed: whatever it had frozen, another one thaws. */
static void on_lost(void *arg)
{
    struct guarded *guarded = arg;

    LOG_ERROR("the guardian of domain %" PRIu32 ", which is frozen, has died: "
              "another one thaws it",
              guarded->target.domid);
    guardian_dismiss(guarded->guardian, true);
    guarded->guardian = NULL;
    if (guarded->may_be_frozen) {
        guarded->may_be_frozen = false;
        have_thawed(guarded->way, &guarded->target, guarded->place);
        quiesce_answer(guarded->quiesce, QUIESCE_EXPIRED, "");
    }
}

static void end(struct guarded *guarded, enum quiesce_answer answer)
{
    guarded->may_be_frozen = false;
    quiesce_answer(guarded->quiesce, answer, guarded->words);
}

static void take_words(struct guarded *guarded, char c)
{
    if (c == '\n') {
        end(guarded, QUIESCE_FAILED);
    } else if (guarded->length + 1 < sizeof(guarded->words)) {
        guarded->words[guarded->length++] = c;
    }
}

static void on_word(char word, void *arg)
{
    struct guarded *guarded = arg;

    if (guarded->failed) {
        take_words(guarded, word);
    } else if (word == FREEZE_GUARD_PREPARES) {
        quiesce_answer(guarded->quiesce, QUIESCE_PREPARES, "");
    } else if (word == FREEZE_GUARD_FROZEN) {
        quiesce_answer(guarded->quiesce, QUIESCE_FROZEN, "");
    } else if (word == FREEZE_GUARD_LOST) {
        quiesce_answer(guarded->quiesce, QUIESCE_EXPIRED, "");
    } else if (word == FREEZE_GUARD_FAILED) {
        guarded->failed = true;
    } else if (word == FREEZE_GUARD_THAWED) {
        end(guarded, QUIESCE_THAWED);
    } else if (word == FREEZE_GUARD_EXPIRED) {
        end(guarded, QUIESCE_EXPIRED);
    }
}

/* ---- what is asked ---- */

bool guarded_open(const struct guarded_way *way,
                  const struct quiesce_target *target, struct quiesce *quiesce,
                  void **ret_own)
{
    char *place = way->find(target);
    struct guarded *guarded;

    if (place == NULL) {
        return false;
    }
    guarded = xcalloc(1, sizeof(*guarded));
    guarded->way = way;
    guarded->quiesce = quiesce;
    guarded->target = *target;
    guarded->uuid = xstrdup(target->uuid);
    guarded->target.uuid = guarded->uuid;
    guarded->place = place;
    *ret_own = guarded;
    return true;
}

bool guarded_freeze(void *own, struct error *err)
{
    static const struct guardian_listener listener = {
        .on_ready = on_ready,
        .on_lost = on_lost,
        .on_word = on_word,
    };
    struct guarded *guarded = own;

    (void)err;
    guarded->guardian =
        start_guardian(guarded->way, &guarded->target, guarded->place, false,
                       &listener, guarded);
    return true;
}

void guarded_thaw(void *own, bool switched)
{
    struct guarded *guarded = own;

    guarded->thaw_asked = true;
    if (guarded->guardian != NULL) {
        guardian_say(guarded->guardian,
                     switched ? AGENT_SAYS_THAW : AGENT_SAYS_DROP);
    }
}

/* What is not known to be thawed, the guardian goes on with. */
void guarded_close(void *own)
{
    struct guarded *guarded = own;

    guardian_dismiss(guarded->guardian, !guarded->may_be_frozen);
    free(guarded->uuid);
    free(guarded->place);
    free(guarded);
}

void guarded_take_back(const struct guarded_way *way,
                       const struct quiesce_target *target)
{
    char *place = way->find(target);

    if (place != NULL) {
        have_thawed(way, target, place);
    }
    free(place);
}
