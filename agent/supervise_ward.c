/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise_ward.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/guest/guest_aftermath.h"
#include "agent/supervise_notes.h"
#include "agent/supervise_watcher.h"

/* How soon a shut-down domain is looked at again that others see to. */
#define FIRST_LOOK_MS   1000
#define LONGEST_LOOK_MS 30000

/* How long somebody who may be responsible has to do something. */
#define GRACE_MS 30000

static void examine(struct ward *ward);

/* ---- the list ---- */

struct ward *ward_find(const struct supervisor *supervisor, const char *uuid)
{
    struct ward *ward = supervisor->wards;

    while (ward && strcmp(ward->uuid, uuid))
        ward = ward->next;
    return ward;
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    examine(arg);
}

struct ward *ward_add(struct supervisor *supervisor, const char *uuid,
                      uint32_t domid)
{
    struct ward *ward = xcalloc(1, sizeof(*ward));

    ward->supervisor = supervisor;
    snprintf(ward->uuid, sizeof(ward->uuid), "%s", uuid);
    ward->domid = domid;
    ward->look = evtimer_new(guests_loop(supervisor->guests), on_look, ward);
    ward->next = supervisor->wards;
    supervisor->wards = ward;
    return ward;
}

void ward_drop(struct ward *ward)
{
    struct ward **link = &ward->supervisor->wards;

    while (*link != ward)
        link = &(*link)->next;
    *link = ward->next;
    ward_disarm(ward);
    event_free(ward->look);
    free(ward);
}

void ward_forget(struct ward *ward)
{
    note_remove(ward->supervisor->notes, ward->uuid);
    ward_drop(ward);
}

/* ---- listening and looking ---- */

void ward_disarm(struct ward *ward)
{
    death_alarm_free(ward->alarm);
    ward->alarm = NULL;
}

bool ward_arm(struct ward *ward, struct error *err)
{
    ward_disarm(ward);
    ward->alarm_spent = false;
    ward->alarm = death_alarm_new(ward->supervisor->watch, ward->domid, err);
    return ward->alarm != NULL;
}

/* Without an alarm the domain is lost sight of until the next checkpoint. */
void ward_arm_or_log(struct ward *ward)
{
    struct error err;

    if (!ward_arm(ward, &err))
        LOG_ERROR("%s", err.message);
}

void ward_look_after(struct ward *ward, uint32_t ms)
{
    struct timeval delay = clock_timeval(ms);

    event_add(ward->look, &delay);
}

static void look_again(struct ward *ward)
{
    uint32_t ms = ward->look_ms ? ward->look_ms * 2 : FIRST_LOOK_MS;

    ward->look_ms = ms < LONGEST_LOOK_MS ? ms : LONGEST_LOOK_MS;
    ward_look_after(ward, ward->look_ms);
}

static void begin_anew(struct ward *ward)
{
    ward->settled = false;
    ward->down_since_ms = 0;
    ward->look_ms = 0;
}

void ward_take_domain(struct ward *ward, uint32_t domid)
{
    struct error err;

    ward->domid = domid;
    begin_anew(ward);
    if (!note_write(ward->supervisor->notes, ward->uuid, domid, &err))
        LOG_ERROR("%s", err.message);
    note_remove_config(ward->supervisor->notes, ward->uuid);
    if (ward->held)
        return;
    ward_arm_or_log(ward);
    ward_look_after(ward, 0);
}

/* ---- reacting ---- */

static void reaction_ended(enum reaction_end end, uint32_t domid, void *arg)
{
    struct ward *ward = arg;

    ward->reaction = NULL;
    ward->domid = domid;
    switch (end) {
    case REACTION_RESTARTED:
        ward_take_domain(ward, domid);
        break;
    case REACTION_GONE:
        ward_forget(ward);
        break;
    case REACTION_KEPT:
        ward->settled = true;
        ward_arm_or_log(ward);
        break;
    }
}

static void react(struct ward *ward, const struct guest *guest)
{
    struct supervisor *supervisor = ward->supervisor;

    ward_disarm(ward);
    ward->reaction = reaction_begin(supervisor->guests, supervisor->notes,
                                    supervisor->config->timeouts.restore_ms,
                                    guest, reaction_ended, ward);
}

void ward_resume_restart(struct ward *ward, const char *json,
                         const struct guest *leftover)
{
    struct supervisor *supervisor = ward->supervisor;

    LOG_NOTICE("a restart of domain %s was under way when the agent ended; "
               "going on",
               ward->uuid);
    ward->reaction =
        reaction_resume(supervisor->guests, supervisor->notes,
                        supervisor->config->timeouts.restore_ms, ward->uuid,
                        json, leftover, reaction_ended, ward);
}

bool ward_make_idle(struct ward *ward)
{
    if (ward->reaction && reaction_cancel(ward->reaction))
        ward->reaction = NULL;
    return !ward->reaction;
}

/* ---- whether to react ---- */

static void leave_to(struct ward *ward, const struct guest *guest,
                     const char *whom)
{
    ward->settled = true;
    LOG_WARN("domain %s (%" PRIu32 ") has shut down and stays so: it is left "
             "to %s (setting \"supervise\")",
             guest->name, guest->domid, whom);
}

static bool in_grace(const struct ward *ward)
{
    return clock_monotonic_ms() - ward->down_since_ms < GRACE_MS;
}

/* False: not, or not yet. */
static bool is_ours_to_act(struct ward *ward, const struct guest *guest)
{
    enum config_supervise mode = ward->supervisor->config->supervise;
    enum watcher watcher = WATCHER_NONE;

    if (mode == SUPERVISE_NEVER) {
        leave_to(ward, guest, "whoever administers it");
        return false;
    }
    if (mode == SUPERVISE_AUTO)
        watcher = watcher_find(&watcher_host_view, guest);
    if (watcher == WATCHER_NONE)
        return true;
    /* An xl that has seen the checkpoint's suspend may still be on its way
     * out; all others get time to act. */
    if (watcher == WATCHER_XL || in_grace(ward)) {
        look_again(ward);
        return false;
    }
    if (watcher == WATCHER_MAYBE_XL)
        return true;
    leave_to(ward, guest, watcher_name(watcher));
    return false;
}

/* Somebody kept the old one under another name and started it anew, as xl
 * does for rename-restart. */
static bool look_for_successor(const struct ward *ward, bool *ret_found)
{
    struct guest found[4];
    size_t count;

    *ret_found = false;
    if (!guests_of_uuid(ward->supervisor->guests, ward->uuid, found,
                        sizeof(found) / sizeof(*found), &count))
        return false;
    for (size_t i = 0; i < count; i++)
        if (found[i].domid != ward->domid && !found[i].dying &&
            !found[i].shutdown)
            *ret_found = true;
    return true;
}

static void examine_shut_down(struct ward *ward, const struct guest *guest)
{
    bool succeeded;

    if (ward->settled)
        return;
    if (!ward->down_since_ms)
        ward->down_since_ms = clock_monotonic_ms();
    if (guest->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND ||
        !look_for_successor(ward, &succeeded))
        look_again(ward);
    else if (succeeded)
        ward_forget(ward);
    else if (is_ours_to_act(ward, guest))
        react(ward, guest);
}

/* That xenstored is gone is the most likely reason; when it is back, this is
 * asked for at once (supervisor_reattach()). */
static void arm_later(struct ward *ward, uint32_t waited_ms,
                      const struct error *err)
{
    LOG_ERROR("%s", err->message);
    ward->look_ms = waited_ms;
    look_again(ward);
}

static void examine_running(struct ward *ward)
{
    uint32_t waited_ms = ward->look_ms;
    struct error err;

    begin_anew(ward);
    if (ward->alarm && !ward->alarm_spent)
        return;
    if (ward_arm(ward, &err))
        ward_look_after(ward, 0); /* it may have shut down just before */
    else
        arm_later(ward, waited_ms, &err);
}

static void examine(struct ward *ward)
{
    struct guest guest;
    struct error err;

    if (ward->held || ward->reaction)
        return;
    event_del(ward->look);
    if (!guests_find_domid(ward->supervisor->guests, ward->domid, &guest,
                           &err)) {
        if (err.code == ERR_NO_SUCH_DOMAIN)
            ward_forget(ward);
        else
            look_again(ward);
    } else if (guest.dying || strcmp(guest.uuid, ward->uuid)) {
        ward_forget(ward);
    } else if (guest.shutdown) {
        examine_shut_down(ward, &guest);
    } else {
        examine_running(ward);
    }
}

void ward_on_report(uint32_t domid, void *arg)
{
    struct supervisor *supervisor = arg;
    struct ward *ward = supervisor->wards;
    struct ward *next;

    for (; ward; ward = next) {
        next = ward->next;
        if (ward->domid != domid || !ward->alarm)
            continue;
        ward->alarm_spent = true;
        examine(ward);
    }
}
