/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bounds what libxl does in a revert, for the domain is down meanwhile.
 *
 * A large memory file takes its time, so what counts is that it is read on.
 * The position of its descriptor tells: libxl and its helper share it with us.
 * All else that libxl waits for (a boot loader, hotplug scripts, QEMU) is over
 * soon, or never.  What it does with the loop waiting is not counted.
 */
#include <unistd.h>

#include "agent/base/loop_limit.h"
#include "agent/guest/restore_source.h"
#include "agent/snapshot.h"

static off_t read_so_far(const struct snapshot *snapshot)
{
    return snapshot->restore_fd < 0 ? 0
                                    : lseek(snapshot->restore_fd, 0, SEEK_CUR);
}

static uint32_t limit_ms(const struct snapshot *snapshot)
{
    return snapshot->agent->config.timeouts.restore_ms;
}

static void give_up(void *arg)
{
    struct snapshot *snapshot = arg;
    struct error why;

    error_set(&why, ERR_TIMEOUT,
              "libxl did not get on with it for %g s (timeouts.restore)",
              limit_ms(snapshot) / 1000.0);
    restore_call_off(snapshot, &why);
}

static bool gets_on(void *arg)
{
    struct snapshot *snapshot = arg;
    off_t now_at = read_so_far(snapshot);
    bool moved = now_at != snapshot->restore_at;

    snapshot->restore_at = now_at;
    return moved;
}

void restore_watch_begin(struct snapshot *snapshot)
{
    snapshot->restore_at = read_so_far(snapshot);
    snapshot->restore_limit = loop_limit_new(
        snapshot->agent->loop, limit_ms(snapshot), gets_on, give_up, snapshot);
}

void restore_watch_end(struct snapshot *snapshot)
{
    loop_limit_free(snapshot->restore_limit);
    snapshot->restore_limit = NULL;
}

void restore_call_off(struct snapshot *snapshot, const struct error *why)
{
    if (snapshot->called_off.code == ERR_NONE) {
        snapshot->called_off = *why;
        guest_call_abort(snapshot->call);
    }
}
