/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/freezer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* 0 seconds: thaw. */
struct order {
    uint32_t seconds;
};

/* ---- the process itself ---- */

struct work {
    int fd;
    struct filesystems filesystems;
    bool frozen;
    uint64_t deadline_ms;
};

static void answer(const struct work *work, enum freezer_word word,
                   const char *reason)
{
    struct freezer_answer message = {.word = word};

    snprintf(message.reason, sizeof(message.reason), "%s", reason);
    send(work->fd, &message, sizeof(message), MSG_NOSIGNAL);
}

static void thaw(struct work *work, enum freezer_word word)
{
    filesystems_thaw(&work->filesystems);
    work->frozen = false;
    answer(work, word, "");
}

static void freeze(struct work *work, uint32_t seconds)
{
    char reason[FILESYSTEMS_REASON] = "";

    if (work->frozen) {
        answer(work, FREEZER_FAILED, "they are frozen already");
        return;
    }
    work->deadline_ms = monotonic_ms() + (uint64_t)seconds * 1000;
    work->frozen =
        filesystems_freeze(&work->filesystems, work->deadline_ms, reason);
    answer(work, work->frozen ? FREEZER_FROZEN : FREEZER_FAILED, reason);
}

static void obey(struct work *work, const struct order *order)
{
    if (order->seconds > 0) {
        freeze(work, order->seconds);
    } else {
        thaw(work, FREEZER_THAWED);
    }
}

static int wait_ms(const struct work *work)
{
    uint64_t now_ms = monotonic_ms();

    if (!work->frozen) {
        return -1;
    }
    return work->deadline_ms > now_ms ? (int)(work->deadline_ms - now_ms) : 0;
}

/* Until whoever gives orders has ended. */
static void serve(struct work *work)
{
    struct pollfd source = {.fd = work->fd, .events = POLLIN};
    struct order order;

    for (;;) {
        int ready = poll(&source, 1, wait_ms(work));

        if (ready > 0) {
            if (recv(work->fd, &order, sizeof(order), 0) !=
                (ssize_t)sizeof(order)) {
                break;
            }
            obey(work, &order);
        }
        if (work->frozen && wait_ms(work) == 0) {
            thaw(work, FREEZER_EXPIRED);
        }
    }
    filesystems_thaw(&work->filesystems);
}

/* Best effort: both only matter when memory is short. */
static void become_hard_to_stop(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, "-1000", 5) != 5) {
            /* without the right to: as likely to be chosen as others */
        }
        close(fd);
    }
    mlockall(MCL_CURRENT | MCL_FUTURE);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    setsid();
    prctl(PR_SET_NAME, "xensnap-freezer");
}

/* ---- orders ---- */

bool freezer_start(struct freezer *freezer)
{
    static struct work work;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return false;
    }
    freezer->pid = fork();
    if (freezer->pid == 0) {
        close(ends[0]);
        work.fd = ends[1];
        become_hard_to_stop();
        serve(&work);
        _exit(0);
    }
    close(ends[1]);
    freezer->fd = ends[0];
    return freezer->pid > 0;
}

/* One that has ended is heard of in freezer_hear(). */
static void give_order(const struct freezer *freezer, uint32_t seconds)
{
    struct order order = {.seconds = seconds};

    send(freezer->fd, &order, sizeof(order), MSG_NOSIGNAL);
}

void freezer_freeze(struct freezer *freezer, uint32_t seconds)
{
    give_order(freezer, seconds);
}

void freezer_thaw(struct freezer *freezer)
{
    give_order(freezer, 0);
}

bool freezer_hear(struct freezer *freezer, struct freezer_answer *ret_answer)
{
    return recv(freezer->fd, ret_answer, sizeof(*ret_answer), 0) ==
           (ssize_t)sizeof(*ret_answer);
}

void freezer_lost(struct freezer *freezer)
{
    freezer_end(freezer);
    filesystems_thaw_all();
}

void freezer_end(struct freezer *freezer)
{
    close(freezer->fd);
    waitpid(freezer->pid, NULL, 0);
}
