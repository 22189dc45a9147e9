/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many requesters at once, each with a connection of its own and one request
 * under way.
 *
 *     crowd FOLDER REQUESTERS ROUNDS DOMAINS PREFIX FIRST [KEY=VALUE]...
 *
 * Each requester asks ROUNDS times below FOLDER, about the domains
 * PREFIX<FIRST> and following in turn, without a transaction and with
 * `operation` last. Prints a line for each request: which domain, and the
 * microseconds from the first write to the final state as its watch sees it.
 * The last line has the microseconds of the whole.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xenstore.h>

struct crowd {
    const char *folder;
    int requesters;
    int rounds;
    int domains;
    const char *prefix;
    int first;
    char **keys;
    pthread_barrier_t ready;
};

struct requester {
    struct crowd *crowd;
    int number;
    struct xs_handle *xs;
    char request[128];
    char state[160];
    double *us; /* one for each round */
    pthread_t thread;
};

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void put(const struct requester *requester, const char *key, int length,
                const char *value)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%.*s", requester->request, length, key);
    if (!xs_write(requester->xs, XBT_NULL, path, value,
                  (unsigned int)strlen(value))) {
        perror(path);
        exit(1);
    }
}

static int domain_of(const struct requester *requester, int round)
{
    const struct crowd *crowd = requester->crowd;

    return (requester->number + round * crowd->requesters) % crowd->domains;
}

/* The last of the keys that were given is the one that lets it begin. */
static void ask(const struct requester *requester, int round)
{
    const struct crowd *crowd = requester->crowd;
    char name[64];

    snprintf(name, sizeof(name), "%s%d", crowd->prefix,
             crowd->first + domain_of(requester, round));
    put(requester, "domain", 6, name);
    for (char **key = crowd->keys; *key != NULL; key++) {
        const char *value = strchr(*key, '=') + 1;

        put(requester, *key, (int)(value - *key - 1), value);
    }
}

static bool is_final(const char *state)
{
    return state != NULL &&
           (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0);
}

static void wait_for_end(const struct requester *requester)
{
    bool final = false;

    while (!final) {
        unsigned int length;
        char *state;

        free(xs_read_watch(requester->xs, &length));
        state = xs_read(requester->xs, XBT_NULL, requester->state, &length);
        final = is_final(state);
        free(state);
    }
}

static void *run(void *arg)
{
    struct requester *requester = arg;
    unsigned int count;

    free(xs_read_watch(requester->xs, &count)); /* the one of its beginning */
    pthread_barrier_wait(&requester->crowd->ready);
    for (int round = 0; round < requester->crowd->rounds; round++) {
        double begin = now_us();

        ask(requester, round);
        wait_for_end(requester);
        requester->us[round] = now_us() - begin;
        xs_rm(requester->xs, XBT_NULL, requester->request);
    }
    return NULL;
}

static void begin(struct crowd *crowd, struct requester *requester, int number)
{
    requester->crowd = crowd;
    requester->number = number;
    requester->us = calloc((size_t)crowd->rounds, sizeof(double));
    requester->xs = xs_open(0);
    snprintf(requester->request, sizeof(requester->request), "%s/crowd-%d",
             crowd->folder, number);
    snprintf(requester->state, sizeof(requester->state), "%s/state",
             requester->request);
    if (requester->xs == NULL ||
        !xs_watch(requester->xs, requester->state, "state") ||
        pthread_create(&requester->thread, NULL, run, requester) != 0) {
        perror("crowd");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct crowd crowd;
    struct requester *all;
    double start, us;

    if (argc < 8)
        return 2;
    crowd = (struct crowd){argv[1], atoi(argv[2]), atoi(argv[3]), atoi(argv[4]),
                           argv[5], atoi(argv[6]), argv + 7,      {{0}}};
    all = calloc((size_t)crowd.requesters, sizeof(*all));
    pthread_barrier_init(&crowd.ready, NULL, (unsigned)crowd.requesters + 1);
    for (int i = 0; i < crowd.requesters; i++)
        begin(&crowd, &all[i], i);
    pthread_barrier_wait(&crowd.ready);
    start = now_us();
    for (int i = 0; i < crowd.requesters; i++)
        pthread_join(all[i].thread, NULL);
    us = now_us() - start;
    for (int i = 0; i < crowd.requesters; i++)
        for (int round = 0; round < crowd.rounds; round++)
            printf("%d %.1f\n", domain_of(&all[i], round), all[i].us[round]);
    printf("%.1f\n", us);
    return 0;
}
