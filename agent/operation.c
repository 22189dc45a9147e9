/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine that runs an operation's steps, and undoes them. */
#include "agent/operation.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "agent/base/log.h"

#define NEVER UINT64_MAX

/* A refusal of QEMU, libxl, xenstored or the disk need not be the last word. */
#define UNDO_ATTEMPTS 3u
#define UNDO_AGAIN_MS 500u

static void begin_step(struct operation *operation);
static void undo_next(struct operation *operation, size_t left);
static void undo_again(struct operation *operation);

static const struct step *current_step(const struct operation *operation)
{
    return &operation->steps[operation->current];
}

static bool is_under_way(const struct operation *operation)
{
    return operation->started && !operation->ended;
}

static bool is_stopped(const struct operation *operation)
{
    return operation->stop.code != ERR_NONE;
}

static uint64_t now_ms(struct operation *operation)
{
    return operation->host->now_ms(operation);
}

static uint64_t elapsed_ms(struct operation *operation)
{
    return now_ms(operation) - operation->step_began_ms;
}

/* ---- time limits and cancelling ---- */

static void arm_timer(struct operation *operation)
{
    uint64_t now = now_ms(operation);
    uint64_t deadline = NEVER;

    if (operation->state == OPERATION_RUNNING && !is_stopped(operation)) {
        if (is_under_way(operation))
            deadline = operation->step_deadline_ms;
        if (!operation->committed &&
            operation->operation_deadline_ms < deadline)
            deadline = operation->operation_deadline_ms;
    }
    if (deadline != NEVER)
        deadline = deadline > now ? deadline - now : 0;
    operation->host->arm_timer(operation, deadline);
}

/* Gives up, for the reason in operation->stop: a step under way is told. */
static void stop(struct operation *operation)
{
    const struct step *step = current_step(operation);

    arm_timer(operation);
    if (is_under_way(operation) && step->abort)
        step->abort(operation);
}

static bool has_failed(const struct operation *operation)
{
    return operation->ended && operation->pending.code != ERR_NONE;
}

static bool can_stop(const struct operation *operation)
{
    return operation->state == OPERATION_RUNNING && !is_stopped(operation) &&
           !has_failed(operation);
}

static bool turns_back(const struct operation *operation)
{
    return operation->committed &&
           (current_step(operation)->flags & STEP_TURNS_BACK);
}

/* Behind the commit: the step under way, or the one that comes next. */
static bool hears_cancel(const struct operation *operation)
{
    size_t at = operation->current + (operation->ended ? 1 : 0);

    return operation->steps[at].flags & STEP_TURNS_BACK;
}

bool operation_cancel(struct operation *operation, enum error_code code,
                      const char *message)
{
    bool too_late = operation->committed &&
                    !(code == ERR_CANCELLED && hears_cancel(operation));

    assert(!operation->inside);
    if (too_late || !can_stop(operation))
        return false;
    error_set(&operation->stop, code, "%s", message);
    stop(operation);
    return true;
}

void operation_on_timer(struct operation *operation)
{
    const struct step *step = current_step(operation);
    uint64_t now = now_ms(operation);

    if (operation->undo_waits) {
        undo_again(operation);
        return;
    }
    if (!can_stop(operation))
        return;
    if (is_under_way(operation) && now >= operation->step_deadline_ms) {
        error_set(&operation->stop, ERR_TIMEOUT,
                  "the step %s took longer than the %g s it is allowed",
                  step->name, step->deadline_ms / 1000.0);
        stop(operation);
    } else if (!operation->committed &&
               now >= operation->operation_deadline_ms) {
        error_set(&operation->stop, ERR_TIMEOUT,
                  "the request took longer than the %g s it is allowed; it was "
                  "at the step %s",
                  (double)(operation->allowed_ms ? operation->allowed_ms
                                                 : operation->timeout_ms) /
                      1000.0,
                  step->name);
        stop(operation);
    } else {
        arm_timer(operation);
    }
}

/* ---- progress ---- */

static uint8_t progress_before(const struct operation *operation)
{
    return operation->current
               ? operation->steps[operation->current - 1].progress
               : 0;
}

static void raise_progress(struct operation *operation, unsigned int progress)
{
    if (progress <= operation->progress)
        return;
    operation->progress = (uint8_t)progress;
    operation->host->on_progress(operation);
}

void operation_report(struct operation *operation, unsigned int percent)
{
    unsigned int from = progress_before(operation);
    unsigned int to = current_step(operation)->progress;

    if (operation->state != OPERATION_RUNNING || !is_under_way(operation))
        return;
    if (percent > 100)
        percent = 100;
    if (to > from && from + (to - from) * percent / 100 > operation->progress)
        raise_progress(operation, from + (to - from) * percent / 100);
    else
        operation->host->on_progress(operation);
}

/* ---- one act: a step or its undo ---- */

static void call_act(struct operation *operation, operation_act *act)
{
    operation->pending.code = ERR_NONE;
    operation->ended = false;
    operation->started = true;
    operation->step_began_ms = now_ms(operation);
    operation->inside = true;
    act(operation);
    operation->inside = false;
}

static void defer(struct operation *operation)
{
    operation->deferred = true;
    operation->host->defer(operation);
}

void operation_step_done(struct operation *operation, const struct error *err)
{
    assert(is_under_way(operation));
    operation->ended = true;
    if (err)
        operation->pending = *err;
    /* Here and not when the deferred call comes: a cancel in between would be
     * too late. */
    if (operation->state == OPERATION_RUNNING &&
        (current_step(operation)->flags & STEP_COMMITS) &&
        !has_failed(operation))
        operation->committed = true;
    defer(operation);
}

/* ---- the end ---- */

static void finish(struct operation *operation)
{
    operation->state = OPERATION_FINISHED;
    arm_timer(operation);
    operation->host->on_finished(operation);
}

/* ---- undoing ---- */

static void begin_undo(struct operation *operation, size_t left)
{
    operation->state = OPERATION_UNDOING;
    arm_timer(operation);
    undo_next(operation, left);
}

/* The first `left` steps are still to be undone, the last of them first. */
static void undo_next(struct operation *operation, size_t left)
{
    operation->started = false;
    while (left > 0 && !operation->steps[left - 1].undo)
        left--;
    if (left == 0) {
        finish(operation);
        return;
    }
    operation->current = left - 1;
    operation->undo_attempts =
        current_step(operation)->flags & STEP_UNDO_AGAIN ? UNDO_ATTEMPTS : 1;
    operation->host->on_progress(operation);
    call_act(operation, current_step(operation)->undo);
}

bool operation_undo_comes_again(const struct operation *operation)
{
    return operation->undo_attempts > 1;
}

void operation_undo_for_the_last_time(struct operation *operation)
{
    operation->undo_attempts = 1;
}

static void undo_again(struct operation *operation)
{
    operation->undo_waits = false;
    call_act(operation, current_step(operation)->undo);
}

static void undo_ended(struct operation *operation)
{
    const char *name = current_step(operation)->name;

    operation->undo_attempts--;
    if (has_failed(operation) && operation->undo_attempts > 0) {
        LOG_WARN("%s step=%s undo failed, and is tried again: %s",
                 operation->label, name, operation->pending.message);
        operation->undo_waits = true;
        operation->host->arm_timer(operation, UNDO_AGAIN_MS);
        return;
    }
    if (has_failed(operation)) {
        LOG_ERROR("%s step=%s undo failed: %s", operation->label, name,
                  operation->pending.message);
        if (operation->undo_error.code == ERR_NONE)
            operation->undo_error = operation->pending;
    } else {
        LOG_INFO("%s step=%s undo done ms=%" PRIu64, operation->label, name,
                 elapsed_ms(operation));
    }
    undo_next(operation, operation->current);
}

/* ---- running ---- */

/* Before the commit: `ran` of the steps were begun and are to be undone. */
static void fail(struct operation *operation, const struct error *reason,
                 size_t ran)
{
    operation->error = *reason;
    operation->failed_step = current_step(operation)->name;
    LOG_WARN("%s step=%s failed: %s", operation->label, operation->failed_step,
             reason->message);
    begin_undo(operation, ran);
}

/* The step's own words only matter if nobody had told it to give up, or if it
 * has made something of that. */
static const struct error *reason_of_failure(const struct operation *operation)
{
    return is_stopped(operation) && !turns_back(operation)
               ? &operation->stop
               : &operation->pending;
}

static void note_success(struct operation *operation)
{
    LOG_INFO("%s step=%s done ms=%" PRIu64, operation->label,
             current_step(operation)->name, elapsed_ms(operation));
    raise_progress(operation, current_step(operation)->progress);
}

static void note_late_error(struct operation *operation)
{
    const struct error *reason = reason_of_failure(operation);

    LOG_WARN("%s step=%s failed after the commit: %s", operation->label,
             current_step(operation)->name, reason->message);
    if (operation->late_error.code == ERR_NONE)
        operation->late_error = *reason;
}

/* Behind the commit: nothing is undone. */
static void end_as_failed(struct operation *operation)
{
    operation->error = *reason_of_failure(operation);
    operation->failed_step = current_step(operation)->name;
    LOG_ERROR("%s step=%s failed after the commit: %s", operation->label,
              operation->failed_step, operation->error.message);
    finish(operation);
}

static void step_ended(struct operation *operation)
{
    bool failed = has_failed(operation);

    if (!operation->committed && (failed || is_stopped(operation))) {
        fail(operation, reason_of_failure(operation), operation->current + 1);
        return;
    }
    if (failed && (current_step(operation)->flags & STEP_MUST)) {
        end_as_failed(operation);
        return;
    }
    if (failed)
        note_late_error(operation);
    else
        note_success(operation);
    /* The commit came first. */
    if (operation->stop.code != ERR_CANCELLED || !hears_cancel(operation))
        operation->stop.code = ERR_NONE;
    operation->current++;
    begin_step(operation);
}

static void begin_step(struct operation *operation)
{
    const struct step *step = current_step(operation);
    struct error why;

    operation->started = false;
    operation->ended = false;
    if (!step->name) {
        raise_progress(operation, 100);
        finish(operation);
        return;
    }
    if (is_stopped(operation) && !operation->committed) {
        fail(operation, &operation->stop,
             operation->current == 0 && operation->anew ? 1
                                                        : operation->current);
        return;
    }
    if ((step->flags & STEP_NOTED) && operation->host->note &&
        !operation->host->note(operation, &operation->pending)) {
        if (!operation->committed) {
            why = operation->pending;
            fail(operation, &why, operation->current);
            return;
        }
        note_late_error(operation);
    }
    operation->host->on_progress(operation);
    operation->step_deadline_ms =
        step->deadline_ms ? now_ms(operation) + step->deadline_ms : NEVER;
    call_act(operation, step->run);
    if (is_stopped(operation))
        stop(operation); /* it turns back */
    else
        arm_timer(operation);
}

void operation_start(struct operation *operation)
{
    assert(operation->state == OPERATION_IDLE && operation->steps[0].name);
    operation->state = OPERATION_RUNNING;
    operation->operation_deadline_ms =
        operation->timeout_ms ? now_ms(operation) + operation->timeout_ms
                              : NEVER;
    defer(operation);
}

bool operation_find_step(const struct step *steps, const char *name,
                         size_t *ret_index)
{
    for (size_t i = 0; steps[i].name != NULL; i++) {
        if (strcmp(steps[i].name, name) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

void operation_recover_anew(struct operation *operation)
{
    operation->anew = true;
    operation_start(operation);
}

void operation_recover_undo(struct operation *operation, size_t index,
                            const struct error *why)
{
    assert(operation->state == OPERATION_IDLE);
    operation->state = OPERATION_UNDOING;
    operation->error = *why;
    operation->failed_step = operation->steps[index].name;
    operation->current = index + 1;
    operation->recovering = true;
    defer(operation);
}

void operation_recover_forward(struct operation *operation, size_t index)
{
    assert(operation->state == OPERATION_IDLE);
    operation->state = OPERATION_RUNNING;
    operation->operation_deadline_ms = NEVER;
    operation->committed = true;
    operation->current = index;
    defer(operation);
}

void operation_on_deferred(struct operation *operation)
{
    if (!operation->deferred)
        return;
    operation->deferred = false;
    if (operation->recovering) {
        operation->recovering = false;
        undo_next(operation, operation->current);
    } else if (!operation->started)
        begin_step(operation);
    else if (operation->state == OPERATION_UNDOING)
        undo_ended(operation);
    else
        step_ended(operation);
}
