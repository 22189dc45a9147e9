/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a request's end. */
#include "client/wait.h"

#include "client/events.h"
#include "client/failure.h"
#include "client/progress.h"
#include "client/request.h"
#include "client/requests.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct wait {
    struct xs_handle *xs;
    const char *id;
    struct progress progress;
    int events;
    bool asking;
    bool asked;
    bool cancelled;
};

static volatile sig_atomic_t caught;

/* Those that the program heeds; a shell has its jobs in the background ignore
 * what is typed at it. */
static const int signals[] = {SIGINT, SIGTERM};

#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static void on_signal(int number)
{
    caught = number;
}

static bool start_watching(struct wait *wait)
{
    char *path = request_path(wait->xs, wait->id);
    bool watching = xs_watch(wait->xs, path, "request");

    free(path);
    wait->events = watching ? events_start(wait->xs) : -1;
    return wait->events >= 0;
}

static bool is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 &&
           action.sa_handler == SIG_IGN;
}

static void heed_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    for (size_t i = 0; i < N_SIGNALS; i++) {
        if (!is_ignored(signals[i]))
            sigaction(signals[i], &action, NULL);
    }
}

void wait_block_signals(void)
{
    sigset_t set;

    heed_signals(on_signal);
    sigemptyset(&set);
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* From now on a further Ctrl-C ends the program, not the request. */
static void cancel(struct wait *wait)
{
    wait->asking = false;
    wait->cancelled = true;
    heed_signals(SIG_DFL);
    progress_break(&wait->progress);
    request_cancel(wait->xs, wait->id);
}

static void handle_signal(struct wait *wait)
{
    int number = caught;

    caught = 0;
    if (number == SIGINT && !wait->asked && isatty(STDIN_FILENO) &&
        isatty(STDERR_FILENO)) {
        progress_break(&wait->progress);
        fprintf(stderr, "Cancel request %s? [y/N] ", wait->id);
        wait->asking = true;
        wait->asked = true;
    } else {
        /* The question stands there, without an end of its line. */
        if (wait->asking)
            fputc('\n', stderr);
        cancel(wait);
    }
}

static void handle_answer(struct wait *wait)
{
    char answer[64];
    ssize_t n = read(STDIN_FILENO, answer, sizeof(answer));

    if (n > 0 && (answer[0] == 'y' || answer[0] == 'Y'))
        cancel(wait);
    wait->asking = false;
}

/* Sleeps until something happens; false once there is no xenstore. */
static bool sleep_until_event(struct wait *wait)
{
    struct pollfd fds[] = {
        {.fd = wait->events, .events = POLLIN},
        {.fd = wait->asking ? STDIN_FILENO : -1, .events = POLLIN},
    };
    sigset_t none;

    sigemptyset(&none);
    if (ppoll(fds, 2, NULL, &none) < 0) {
        if (errno != EINTR)
            return false;
        if (caught)
            handle_signal(wait);
        return true;
    }
    if (fds[1].revents)
        handle_answer(wait);
    return !fds[0].revents || events_take(wait->events, NULL, NULL);
}

static bool is_final(const char *state, enum exit_status *status)
{
    if (strcmp(state, "done") == 0)
        *status = EXIT_DONE;
    else if (strcmp(state, "failed") == 0)
        *status = EXIT_FAILED;
    else if (strcmp(state, "cancelled") == 0)
        *status = EXIT_CANCELLED;
    else
        return false;
    return true;
}

/* True once there is nothing to wait for any more. */
static bool look(struct wait *wait, enum exit_status *status)
{
    char *state = request_state(wait->xs, XBT_NULL, wait->id);
    char *operation;
    bool over = false;

    if (state) {
        over = is_final(state, status);
        if (!over && !wait->asking)
            progress_show(&wait->progress, wait->xs, wait->id, state);
    } else {
        operation = request_read(wait->xs, XBT_NULL, wait->id, "operation");
        if (!operation) {
            progress_break(&wait->progress);
            failure_tell(
                "request-gone", "'xensnap list' tells what came of it.",
                "request %s is gone: somebody removed it, or xenstored "
                "was restarted",
                wait->id);
            *status = EXIT_NO_AGENT;
            over = true;
        }
        free(operation);
    }
    free(state);
    return over;
}

enum exit_status wait_for_end(struct xs_handle *xs, const char *id, bool quiet)
{
    struct wait wait = {.xs = xs, .id = id};
    enum exit_status status = EXIT_NO_AGENT;
    bool alive;

    progress_init(&wait.progress, quiet);
    alive = start_watching(&wait);
    while (alive && !look(&wait, &status))
        alive = sleep_until_event(&wait);
    if (alive && status == EXIT_DONE && !wait.asking)
        progress_done(&wait.progress);
    progress_break(&wait.progress);
    if (wait.asking)
        fputc('\n', stderr);
    if (!alive) {
        failure_tell("no-xenstore", "The agent finishes what it has begun.",
                     "lost xenstore while waiting for request %s", id);
        status = EXIT_NO_AGENT;
    }
    return status;
}
