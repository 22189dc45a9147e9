/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a request is doing. */
#include "client/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void progress_init(struct progress *progress, bool quiet)
{
    memset(progress, 0, sizeof(*progress));
    progress->quiet = quiet;
    progress->terminal = isatty(STDERR_FILENO);
}

/* A line that wraps could not be rewritten. */
static int terminal_columns(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
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

void progress_show(struct progress *progress, struct xs_handle *xs,
                   const char *id, const char *state)
{
    char *step = store_read(xs, XBT_NULL, ROOT "/requests/%s/step", id);
    char *percent = store_read(xs, XBT_NULL, ROOT "/requests/%s/progress", id);
    char line[sizeof(progress->last)];

    snprintf(line, sizeof(line), "%s %3s %%  %s", state,
             percent ? percent : "0", step ? step : "");
    free(step);
    free(percent);
    if (progress->quiet || strcmp(line, progress->last) == 0)
        return;
    memcpy(progress->last, line, sizeof(line));
    if (progress->terminal)
        rewrite(progress, line);
    else
        fprintf(stderr, "%s\n", line);
}

void progress_break(struct progress *progress)
{
    if (progress->shown > 0)
        fputc('\n', stderr);
    progress->shown = 0;
}
