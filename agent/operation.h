/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine: runs an operation, a table of named steps each with its undo.
 * Knows deadlines and cancelling, and no Xen.  Pure: clock, timer and deferred
 * calls come through `struct operation_host`.
 *
 *   running --failure, deadline or cancel before the commit--> undoing
 *   running --last step done--> finished     undoing --first undone--> finished
 *
 * Before the committing step is done a failure undoes in reverse order, the
 * failing step included (its effect is unknown): an undo looks at what is
 * there instead of assuming.  One that fails is called again now and then where
 * that may help (STEP_UNDO_AGAIN), else at most once.  After it there is only
 * forward: cancel and the request's time limit are no longer heard (but
 * see STEP_TURNS_BACK), and a failing step is noted (operation->late_error) but
 * the others still run, unless the step is one that `must` succeed: then the
 * operation ends there as failed, undoing nothing.
 *
 * A step's run() starts work and returns; exactly one operation_step_done()
 * follows, from inside run() already or later: what comes next is deferred to
 * the event loop either way.  The same for undo().  When a step's time is up or
 * the operation is cancelled, its abort() is called once (never after
 * operation_step_done(), which it may call itself) and the step ends as soon as
 * it can, itself; a step without abort() is waited for.  Before the commit such
 * a step counts as failed even if it then succeeds, except the committing one:
 * once done it is done.
 *
 * A crash and a failure are one path: what a noted step leaves behind lets the
 * next process take the operation up again, back or forward.
 *
 * An operation that gave up before its first step ran has nothing to undo,
 * unless an earlier process had begun it.
 */
#ifndef XENSNAPD_OPERATION_H
#define XENSNAPD_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

struct operation;

typedef void operation_act(struct operation *operation);

enum step_flag {
    /* When it is done there is no way back. */
    STEP_COMMITS = 1,
    /* Behind the commit: what follows makes no sense without it. */
    STEP_MUST = 2,
    /* host->note() is called before it runs, so that it survives a crash that
     * the operation has come this far; if that fails, the step does not run
     * before the commit, and does all the same behind it. */
    STEP_NOTED = 4,
    /* Behind the commit: while it is under way a cancel is heard all the same,
     * by its abort(); one from before it began, which the commit made come too
     * late, as soon as it has begun.  What comes of that is the step's to say,
     * and its words count. */
    STEP_TURNS_BACK = 8,
    /* Its undo begins from the top each time, and is given a few attempts. */
    STEP_UNDO_AGAIN = 16
};

/* Of a step's name. */
#define OPERATION_STEP_MAX 31

struct step {
    /* "save-memory": stable, appears in logs, errors and notes */
    const char *name;
    const char *words; /* "saving memory": for people */
    operation_act *run;
    operation_act *undo;  /* NULL: nothing to undo */
    operation_act *abort; /* NULL: cannot be hurried */
    uint32_t deadline_ms; /* 0: none but the request's */
    uint8_t progress;     /* percent of the whole reached when it is done */
    unsigned int flags;   /* enum step_flag, or-ed */
};

struct operation_host {
    /* Milliseconds of a clock that never jumps. */
    uint64_t (*now_ms)(struct operation *operation);
    /* One timer for each operation: operation_on_timer() after `ms`; a new
     * call replaces the old one; UINT64_MAX stops it. */
    void (*arm_timer)(struct operation *operation, uint64_t ms);
    /* operation_on_deferred() soon, from the event loop. */
    void (*defer)(struct operation *operation);
    /* Writes down, durably, what a recovery needs; without it a STEP_NOTED step
     * does not run.  NULL: nothing survives. */
    bool (*note)(struct operation *operation, struct error *err);
    /* Something to tell: a step or an undo began, progress moved. */
    void (*on_progress)(struct operation *operation);
    /* The end: operation->error tells how.  The operation may be freed. */
    void (*on_finished)(struct operation *operation);
};

enum operation_state {
    OPERATION_IDLE,
    OPERATION_RUNNING,
    OPERATION_UNDOING,
    OPERATION_FINISHED
};

struct operation {
    /* caller fills */
    const struct operation_host *host;
    const struct step *steps; /* ends with a step whose name is NULL */
    const char *label;        /* for log lines: "dom=7 req=ab12 op=create" */
    uint64_t timeout_ms;      /* for the whole; 0: none */
    uint64_t allowed_ms; /* that and what was over before; 0: nothing was */

    /* read-only */
    enum operation_state state;
    size_t current; /* index of the step under way */
    bool committed;
    uint8_t progress;        /* 0 to 100, never going back */
    struct error error;      /* why it failed; ERR_NONE: it did not */
    const char *failed_step; /* where, or NULL */
    struct error undo_error; /* what could not be put back */
    struct error late_error; /* what failed after the commit */

    /* private */
    struct error pending; /* how the act under way ended */
    struct error stop;    /* why it is to be given up; ERR_NONE: it is not */
    bool started;         /* run() or undo() of `current` was called ... */
    bool inside;          /* ... and has not returned yet */
    bool ended;           /* operation_step_done() was called */
    bool deferred;
    bool recovering;            /* an undo is to begin at `current` */
    bool undo_waits;            /* until the timer, to be called again */
    unsigned int undo_attempts; /* that are left */
    bool anew;                  /* the first step counts as begun */
    uint64_t step_began_ms;
    uint64_t operation_deadline_ms;
    uint64_t step_deadline_ms;
};

/* The first step begins from the event loop. */
void operation_start(struct operation *operation);

/*
 * Takes up an operation that a crash interrupted, instead of starting it.
 * `recover_undo`: undoes the step of that index and all before it, and fails
 * with `why`.  `recover_forward`: it was committed, and goes on with that step.
 * `recover_anew`: starts it; its first step is undone also if it is given up
 * before that.
 */
void operation_recover_undo(struct operation *operation, size_t index,
                            const struct error *why);
void operation_recover_anew(struct operation *operation);
void operation_recover_forward(struct operation *operation, size_t index);

/* The index of the step of that name, as a note tells it; false if there is
 * none. */
bool operation_find_step(const struct step *steps, const char *name,
                         size_t *ret_index);

/* `err` NULL or ERR_NONE: success.  Copied. */
void operation_step_done(struct operation *operation, const struct error *err);

/* Gives up, unless committed; `code` says why (ERR_CANCELLED, ERR_TIMEOUT,
 * ERR_INTERRUPTED).  False if it is too late: committed (of ERR_CANCELLED: and
 * not at a step that turns back, or just before it), failed or given up
 * already.  Not from inside run(), undo() or on_progress(). */
bool operation_cancel(struct operation *operation, enum error_code code,
                      const char *message);

/* From an undo: whether it is called again if it fails; and that it should not
 * be, for it has waited long enough. */
bool operation_undo_comes_again(const struct operation *operation);
void operation_undo_for_the_last_time(struct operation *operation);

/* Progress within the step under way, 0 to 100.  on_progress() comes each
 * time. */
void operation_report(struct operation *operation, unsigned int percent);

void operation_on_timer(struct operation *operation);
void operation_on_deferred(struct operation *operation);

#endif
