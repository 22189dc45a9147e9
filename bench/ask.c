/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A requester: from the request's first write to the final state as seen by
 * its watch.
 *
 *     ask FOLDER DOMAIN [KEY=VALUE]...
 *
 * For each line of its input asks for a disk-only snapshot below FOLDER, and
 * prints how long that took in microseconds.  The request is then removed,
 * outside of that time.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xenstore.h>

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void put(struct xs_handle *xs, xs_transaction_t t, const char *folder,
                const char *key, const char *value)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, key);
    if (!xs_write(xs, t, path, value, (unsigned int)strlen(value))) {
        perror(path);
        exit(1);
    }
}

static void write_request(struct xs_handle *xs, const char *folder, int argc,
                          char **argv)
{
    xs_transaction_t t;

    do {
        t = xs_transaction_start(xs);
        put(xs, t, folder, "domain", argv[2]);
        put(xs, t, folder, "memory", "0");
        for (int i = 3; i < argc; i++) {
            char key[64];
            const char *value = strchr(argv[i], '=') + 1;

            snprintf(key, sizeof(key), "%.*s", (int)(value - argv[i] - 1),
                     argv[i]);
            put(xs, t, folder, key, value);
        }
        put(xs, t, folder, "operation", "create");
    } while (!xs_transaction_end(xs, t, false));
}

static bool is_final(const char *state)
{
    return state != NULL &&
           (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0);
}

static bool wait_for_end(struct xs_handle *xs, const char *state_path)
{
    for (;;) {
        unsigned int count;
        char **event = xs_read_watch(xs, &count);
        char *state;
        bool final, failed;

        if (event == NULL || strcmp(event[XS_WATCH_PATH], state_path) != 0) {
            free(event);
            continue;
        }
        free(event);
        state = xs_read(xs, XBT_NULL, state_path, &count);
        final = is_final(state);
        failed = final && strcmp(state, "failed") == 0;
        free(state);
        if (final)
            return !failed;
    }
}

int main(int argc, char **argv)
{
    struct xs_handle *xs = xs_open(0);
    char folder[128], state_path[160], line[80];

    if (argc < 3 || xs == NULL)
        return 2;
    for (int round = 0; fgets(line, sizeof(line), stdin) != NULL; round++) {
        double begin;
        bool done;

        snprintf(folder, sizeof(folder), "%s/bench-%d-%d", argv[1],
                 (int)getpid(), round);
        snprintf(state_path, sizeof(state_path), "%s/state", folder);
        xs_watch(xs, state_path, "state");
        begin = now_us();
        write_request(xs, folder, argc, argv);
        done = wait_for_end(xs, state_path);
        printf(done ? "%.1f\n" : "failed %.1f\n", now_us() - begin);
        fflush(stdout);
        xs_unwatch(xs, state_path, "state");
        xs_rm(xs, XBT_NULL, folder);
    }
    return 0;
}
