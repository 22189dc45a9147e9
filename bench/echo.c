/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The floor of a request without work: reads what the request's `operation` is,
 * and answers that it is done.
 *
 *     echo FOLDER
 *
 * Says a line when it listens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

static void answer(struct xs_handle *xs, char *path)
{
    char *slash = strrchr(path, '/');
    char state[256];
    unsigned int length;
    char *operation;

    if (slash == NULL || strcmp(slash, "/operation") != 0)
        return;
    operation = xs_read(xs, XBT_NULL, path, &length);
    if (operation != NULL) {
        snprintf(state, sizeof(state), "%.*s/state", (int)(slash - path), path);
        xs_write(xs, XBT_NULL, state, "done", 4);
    }
    free(operation);
}

int main(int argc, char **argv)
{
    struct xs_handle *xs = xs_open(0);

    if (argc < 2 || xs == NULL || !xs_mkdir(xs, XBT_NULL, argv[1]) ||
        !xs_watch(xs, argv[1], "requests"))
        return 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        unsigned int count;
        char **event = xs_read_watch(xs, &count);

        if (event == NULL)
            return 1;
        answer(xs, event[XS_WATCH_PATH]);
        free(event);
    }
}
