/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guardian as the agent sees it: a process of its own that does what must
 * still be done if the agent is killed or hangs (guardian_program.h).
 */
#ifndef XENSNAPD_BASE_GUARDIAN_H
#define XENSNAPD_BASE_GUARDIAN_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/config.h"
#include "agent/base/error.h"

#define GUARDIAN_ARGUMENTS_MAX 10u

struct guardian;

struct guardian_listener {
    /* It watches; or, `err` set, it cannot (ERR_INTERNAL), and is still the
     * caller's to dismiss.  Once. */
    void (*on_ready)(const struct error *err, void *arg);
    /* Ready once, and now it has died; it is still the caller's to dismiss. */
    void (*on_lost)(void *arg);
    /* One of its role's words. */
    void (*on_word)(char word, void *arg);
};

/* Never fails on the spot; all callbacks come from the loop.  `role` and its
 * `count` arguments, at most GUARDIAN_ARGUMENTS_MAX, as the role wants them;
 * `listener` is static. */
struct guardian *guardian_start(struct event_base *loop,
                                const struct config *config, const char *role,
                                uint32_t domid, const char *const arguments[],
                                size_t count,
                                const struct guardian_listener *listener,
                                void *arg);

void guardian_say(struct guardian *guardian, char word);

/*
 * `over`: nothing is to be guarded any more.  Otherwise the agent cannot help,
 * and the guardian does what it would do if it had died.  No callback comes any
 * more.  NULL is allowed.
 */
void guardian_dismiss(struct guardian *guardian, bool over);

#endif
