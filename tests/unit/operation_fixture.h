/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An operation, driven by a clock and a loop that the tests turn by hand.
 * Inline: no test uses all of it. */
#ifndef XENSNAPD_TESTS_OPERATION_FIXTURE_H
#define XENSNAPD_TESTS_OPERATION_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/log.h"
#include "agent/operation.h"

static struct operation operation;
static uint64_t now;
static uint64_t timer_at; /* UINT64_MAX: stopped */
static bool deferred;
static unsigned int finished;
static char trace[512]; /* what was called: "run:a abort:a undo:a" */
static uint8_t progress_seen;

/* ---- the host ---- */

static inline uint64_t host_now(struct operation *op)
{
    (void)op;
    return now;
}

static inline void host_arm(struct operation *op, uint64_t ms)
{
    (void)op;
    timer_at = ms == UINT64_MAX ? UINT64_MAX : now + ms;
}

static inline void host_defer(struct operation *op)
{
    (void)op;
    assert_false(deferred);
    deferred = true;
}

static inline void host_progress(struct operation *op)
{
    assert_true(op->progress >= progress_seen);
    progress_seen = op->progress;
}

static inline void host_finished(struct operation *op)
{
    assert_int_equal(op->state, OPERATION_FINISHED);
    finished++;
}

/* One without notes. */
static const struct operation_host plain_host = {
    .now_ms = host_now,
    .arm_timer = host_arm,
    .defer = host_defer,
    .on_progress = host_progress,
    .on_finished = host_finished,
};

/* ---- the steps ---- */

static inline void trace_act(struct operation *op, const char *what)
{
    size_t length = strlen(trace);

    snprintf(trace + length, sizeof(trace) - length, "%s%s:%s",
             length > 0 ? " " : "", what, op->steps[op->current].name);
}

static inline void run(struct operation *op)
{
    trace_act(op, "run");
}

static inline void undo(struct operation *op)
{
    trace_act(op, "undo");
}

static inline void abort_step(struct operation *op)
{
    trace_act(op, "abort");
}

/* ---- turning the loop ---- */

static inline void turn(void)
{
    assert_true(deferred);
    deferred = false;
    operation_on_deferred(&operation);
}

static inline void succeed(void)
{
    operation_step_done(&operation, NULL);
    turn();
}

static inline void fail_with(const char *message)
{
    struct error err;

    error_set(&err, ERR_QMP, "%s", message);
    operation_step_done(&operation, &err);
    turn();
}

static inline void pass(uint64_t ms)
{
    now += ms;
    if (timer_at <= now) {
        timer_at = UINT64_MAX;
        operation_on_timer(&operation);
    }
}

static inline void prepare(const struct operation_host *host,
                           const struct step *steps)
{
    log_configure(LOG_TARGET_STDERR, XTL_CRITICAL);
    memset(&operation, 0, sizeof(operation));
    operation.host = host;
    operation.steps = steps;
    operation.label = "test";
    now = 1000;
    timer_at = UINT64_MAX;
    deferred = false;
    finished = 0;
    trace[0] = '\0';
    progress_seen = 0;
}

/* Starts, and brings that many steps to a good end. */
static inline void start_and_do(unsigned int count)
{
    operation_start(&operation);
    turn();
    while (count-- > 0) {
        succeed();
    }
}

static inline void assert_finished(enum error_code code,
                                   const char *failed_step)
{
    assert_int_equal(finished, 1);
    assert_string_equal(error_code_name(operation.error.code),
                        error_code_name(code));
    if (failed_step != NULL) {
        assert_string_equal(operation.failed_step, failed_step);
    } else {
        assert_null(operation.failed_step);
    }
    assert_true(timer_at == UINT64_MAX);
    assert_false(deferred);
}

#endif
