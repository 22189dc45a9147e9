/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pause, then watch the rings.  A processor can be stopped between putting a
 * request into the ring and telling QEMU of it: nobody would ever answer that
 * one.  So where a ring stays busy the guest runs for a moment more.
 */
#include "agent/guest/standstill.h"

#include <inttypes.h>
#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/guest/disk_rings.h"

#define FIRST_LOOK_MS 1u
#define LAST_LOOK_MS  20u

/* What a slow disk may take before the guest is let go once more. */
#define PATIENCE_MS 2000u
#define RUN_ON_MS   20u

struct standstill {
    struct guests *guests;
    struct guest guest;
    struct disk_rings *rings;
    struct event *timer;
    uint32_t look_ms;
    bool *paused;
    uint64_t attempt_ends_ms;
    uint64_t deadline_ms;
    struct error error;
    guest_on_done *on_done;
    void *arg;
};

static void pause_now(struct standstill *still);

static void end(struct standstill *still, const struct error *err)
{
    guest_on_done *on_done = still->on_done;
    void *arg = still->arg;
    struct error own = {0};

    if (err != NULL) {
        own = *err;
    }
    disk_rings_unmap(still->rings);
    event_free(still->timer);
    free(still);
    on_done(own.code == ERR_NONE ? NULL : &own, arg);
}

static void look_after(struct standstill *still, uint32_t ms)
{
    struct timeval later = clock_timeval(ms);

    event_add(still->timer, &later);
}

static void on_unpaused(const struct error *err, void *arg)
{
    struct standstill *still = arg;

    *still->paused = err != NULL;
    if (still->error.code != ERR_NONE) {
        end(still, &still->error);
    } else if (err != NULL) {
        end(still, err);
    } else {
        look_after(still, RUN_ON_MS);
    }
}

static void run_on(struct standstill *still)
{
    guest_unpause(still->guests, still->guest.domid, on_unpaused, still);
}

static void give_up(struct standstill *still, const struct error *err)
{
    still->error = *err;
    run_on(still);
}

static void look(struct standstill *still)
{
    const char *busy = disk_rings_busy(still->rings);
    uint64_t now = clock_monotonic_ms();
    struct error err;

    if (busy == NULL) {
        end(still, NULL);
    } else if (now >= still->deadline_ms) {
        error_set(&err, ERR_GUEST_UNRESPONSIVE,
                  "disk %s: requests of domain \"%s\" to it were still under "
                  "way when the time for that was over",
                  busy, still->guest.name);
        give_up(still, &err);
    } else if (now >= still->attempt_ends_ms) {
        run_on(still);
    } else {
        look_after(still, still->look_ms);
        still->look_ms = still->look_ms * 2 > LAST_LOOK_MS ? LAST_LOOK_MS
                                                           : still->look_ms * 2;
    }
}

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct standstill *still = arg;

    (void)fd;
    (void)events;
    if (still->rings == NULL) {
        end(still, &still->error);
    } else if (*still->paused) {
        look(still);
    } else {
        pause_now(still);
    }
}

static void on_paused(const struct error *err, void *arg)
{
    struct standstill *still = arg;

    if (err != NULL) {
        end(still, err);
        return;
    }
    *still->paused = true;
    still->look_ms = FIRST_LOOK_MS;
    still->attempt_ends_ms = clock_monotonic_ms() + PATIENCE_MS;
    look(still);
}

static void pause_now(struct standstill *still)
{
    guest_pause(still->guests, still->guest.domid, on_paused, still);
}

/* The rings first, and at once: xenstored may be away later, and nothing is
 * slow once the guest stands still. */
void standstill_begin(struct guests *guests, struct xs_handle *xs,
                      const struct guest *guest, const char *const *vdevs,
                      size_t count, uint32_t limit_ms, bool *paused,
                      guest_on_done *on_done, void *arg)
{
    struct standstill *still = xcalloc(1, sizeof(*still));
    char *devices = xasprintf("/libxl/%" PRIu32 "/device/vbd", guest->domid);

    still->guests = guests;
    still->guest = *guest;
    still->rings =
        disk_rings_map(xs, devices, guest->domid, vdevs, count, &still->error);
    free(devices);
    still->deadline_ms = clock_monotonic_ms() + limit_ms;
    still->paused = paused;
    still->on_done = on_done;
    still->arg = arg;
    still->timer = evtimer_new(guests_loop(guests), on_timer, still);
    look_after(still, 0);
}
