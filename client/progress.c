/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a request is doing. */
#include "client/progress.h"

#include "client/folder.h"
#include "client/human.h"
#include "client/style.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_COLUMNS 20

/* With fewer the bar would leave too little of the step's name. */
#define BAR_MIN_COLUMNS 35

/* A rate from less than this is a guess. */
#define RATE_AFTER_MS 500

struct reading {
    const char *state;
    bool over; /* it has ended since `state` was read */
    char *step;
    unsigned int percent;
    uint64_t bytes, total; /* total 0: not known */
};

void progress_init(struct progress *progress, bool quiet)
{
    memset(progress, 0, sizeof(*progress));
    progress->quiet = quiet;
    progress->terminal = style_is_terminal(STDERR_FILENO);
}

/* ---- what there is to say ---- */

static uint64_t read_number(struct xs_handle *xs, xs_transaction_t transaction,
                            const char *id, const char *key)
{
    char *value = request_read(xs, transaction, id, "%s", key);
    uint64_t number = value ? strtoull(value, NULL, 10) : 0;

    free(value);
    return number;
}

/* It may have begun, or ended, since somebody looked. */
static void read_state(struct xs_handle *xs, xs_transaction_t transaction,
                       const char *id, struct reading *reading)
{
    char *state = request_read(xs, transaction, id, "state");
    bool running = state && strcmp(state, "running") == 0;

    if (running)
        reading->state = "running";
    reading->over = state && !running && strcmp(state, "queued") != 0;
    free(state);
}

static void read_keys(struct xs_handle *xs, xs_transaction_t transaction,
                      const char *id, struct reading *reading)
{
    uint64_t percent = read_number(xs, transaction, id, "progress");

    read_state(xs, transaction, id, reading);
    free(reading->step);
    reading->step = request_read(xs, transaction, id, "step");
    reading->percent = percent > 100 ? 100 : (unsigned int)percent;
    reading->bytes = read_number(xs, transaction, id, "bytes-done");
    reading->total = read_number(xs, transaction, id, "bytes-total");
}

/* Of one moment: the agent may go on to the next step meanwhile. */
static void read_all(struct xs_handle *xs, const char *id, const char *state,
                     struct reading *reading)
{
    *reading = (struct reading){.state = state};
    for (int attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
        xs_transaction_t transaction = xs_transaction_start(xs);

        read_keys(xs, transaction, id, reading);
        if (transaction == XBT_NULL ||
            xs_transaction_end(xs, transaction, false))
            break;
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Each step has bytes of its own. */
static void note_step(struct progress *progress, const struct reading *reading)
{
    const char *step = reading->step ? reading->step : "";

    if (strncmp(progress->step, step, sizeof(progress->step) - 1) != 0) {
        snprintf(progress->step, sizeof(progress->step), "%s", step);
        progress->first_ms = 0;
    }
    if (progress->first_ms == 0 && reading->total > 0) {
        progress->first_ms = now_ms();
        progress->first_bytes = reading->bytes;
    }
}

/* Bytes for each second; 0: too early to tell. */
static uint64_t rate(const struct progress *progress,
                     const struct reading *reading)
{
    uint64_t ms = progress->first_ms ? now_ms() - progress->first_ms : 0;

    if (ms < RATE_AFTER_MS || reading->bytes <= progress->first_bytes)
        return 0;
    return (reading->bytes - progress->first_bytes) * 1000 / ms;
}

/* ": 512 MiB of 1.1 GiB, 210 MiB/s, 3 s left", as far as it is known. */
static void describe_bytes(const struct progress *progress,
                           const struct reading *reading, char *text,
                           size_t size)
{
    char done[HUMAN_MAX], total[HUMAN_MAX], speed[HUMAN_MAX], left[HUMAN_MAX];
    uint64_t per_second = rate(progress, reading);

    text[0] = '\0';
    if (reading->total == 0)
        return;
    human_bytes(done, reading->bytes);
    human_bytes(total, reading->total);
    if (per_second == 0) {
        snprintf(text, size, ": %s of %s", done, total);
        return;
    }
    human_bytes(speed, per_second);
    if (reading->bytes >= reading->total) {
        /* More than was expected: a guest that changes its memory. */
        snprintf(text, size, ": %s, %s/s", done, speed);
        return;
    }
    human_duration(left, (reading->total - reading->bytes) / per_second * 1000 +
                             1000);
    snprintf(text, size, ": %s of %s, %s/s, %s left", done, total, speed, left);
}

/* ---- a terminal ---- */

/* A line that wraps could not be rewritten. */
static int terminal_columns(void)
{
    struct winsize size;

    /* 0 is none that is known. */
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 79;
    return size.ws_col - 1;
}

static void rewrite(struct progress *progress, const char *line)
{
    int columns = terminal_columns();
    int length = (int)strlen(line);

    if (length > columns)
        length = columns;
    if (progress->shown > columns)
        progress->shown = columns;
    fprintf(stderr, "\r%.*s", length, line);
    /* Spaces over the rest of the line before, then back. */
    if (progress->shown > length) {
        fprintf(stderr, "%*s\r%.*s", progress->shown - length, "", length,
                line);
    }
    progress->shown = length;
}

static void draw_bar(char bar[BAR_COLUMNS + 1], unsigned int percent)
{
    unsigned int filled = percent * BAR_COLUMNS / 100;

    memset(bar, ' ', BAR_COLUMNS);
    memset(bar, '=', filled);
    if (filled < BAR_COLUMNS)
        bar[filled] = '>';
    bar[BAR_COLUMNS] = '\0';
}

static void show_bar(struct progress *progress, const struct reading *reading)
{
    char bar[BAR_COLUMNS + 1], bytes[4 * HUMAN_MAX + 32];
    char line[sizeof(progress->last)];
    const char *step = reading->step ? reading->step : reading->state;

    draw_bar(bar, reading->percent);
    describe_bytes(progress, reading, bytes, sizeof(bytes));
    if (terminal_columns() < BAR_MIN_COLUMNS)
        snprintf(line, sizeof(line), "%3u %%  %s%s", reading->percent, step,
                 bytes);
    else
        snprintf(line, sizeof(line), "[%s] %3u %%  %s%s", bar, reading->percent,
                 step, bytes);
    if (strcmp(line, progress->last) != 0)
        rewrite(progress, line);
    memcpy(progress->last, line, sizeof(line));
}

/* ---- a file or a pipe ---- */

/* No more than a line for each tenth of a step: logs are read later. */
static void show_line(struct progress *progress, const struct reading *reading)
{
    char key[sizeof(progress->last)], bytes[4 * HUMAN_MAX + 32];

    snprintf(key, sizeof(key), "%s %u %s", reading->state,
             reading->percent / 10, reading->step ? reading->step : "");
    if (strcmp(key, progress->last) == 0)
        return;
    memcpy(progress->last, key, sizeof(key));
    describe_bytes(progress, reading, bytes, sizeof(bytes));
    if (reading->step)
        fprintf(stderr, "%s %3u %%  %s%s\n", reading->state, reading->percent,
                reading->step, bytes);
    else
        fprintf(stderr, "%s\n", reading->state);
}

void progress_show(struct progress *progress, struct xs_handle *xs,
                   const char *id, const char *state)
{
    struct reading reading;

    if (progress->quiet)
        return;
    read_all(xs, id, state, &reading);
    note_step(progress, &reading);
    /* What came of it is told in words of its own. */
    if (!reading.over && progress->terminal)
        show_bar(progress, &reading);
    else if (!reading.over)
        show_line(progress, &reading);
    free(reading.step);
}

void progress_done(struct progress *progress)
{
    static const struct reading done = {.percent = 100, .state = "done"};

    /* What a terminal shows stays there. */
    if (progress->shown > 0)
        show_bar(progress, &done);
}

void progress_break(struct progress *progress)
{
    if (progress->shown == 0)
        return;
    fputc('\n', stderr);
    progress->shown = 0;
    progress->last[0] = '\0';
}
