/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise.h"

#include <stdlib.h>

#include "agent/base/alloc.h"
#include "agent/supervise_notes.h"
#include "agent/supervise_ward.h"

struct supervisor *supervisor_new(struct guests *guests,
                                  const struct config *config,
                                  struct error *err)
{
    char *folder = notes_open(config->store.run_folder, err);
    struct supervisor *supervisor;

    if (!folder)
        return NULL;
    supervisor = xcalloc(1, sizeof(*supervisor));
    supervisor->guests = guests;
    supervisor->config = config;
    supervisor->notes = folder;
    supervisor->watch = death_watch_new(guests, ward_on_report, supervisor);
    if (!supervisor_take_up(supervisor, err)) {
        supervisor_free(supervisor);
        return NULL;
    }
    return supervisor;
}

void supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor)
        return;
    while (supervisor->wards) {
        ward_make_idle(supervisor->wards);
        ward_drop(supervisor->wards);
    }
    death_watch_free(supervisor->watch);
    free(supervisor->notes);
    free(supervisor);
}

bool supervisor_is_busy(const struct supervisor *supervisor)
{
    const struct ward *ward;

    for (ward = supervisor->wards; ward; ward = ward->next)
        if (ward->reaction && !reaction_is_waiting(ward->reaction))
            return true;
    return false;
}

enum restart supervisor_restart(const struct supervisor *supervisor,
                                const char *uuid)
{
    const struct ward *ward = ward_find(supervisor, uuid);

    if (!ward || !ward->reaction)
        return RESTART_NONE;
    return reaction_is_failing(ward->reaction) ? RESTART_FAILING
                                               : RESTART_UNDER_WAY;
}

static bool refuse_busy(const struct ward *ward, struct error *err)
{
    return error_set(err, ERR_BUSY,
                     "domain %s has shut down and is being restarted; try "
                     "again",
                     ward->uuid);
}

bool supervisor_lets_change(const struct supervisor *supervisor,
                            const char *uuid, struct error *err)
{
    const struct ward *ward = ward_find(supervisor, uuid);

    return !ward || !ward->reaction || refuse_busy(ward, err);
}

bool supervisor_adopt(struct supervisor *supervisor, const struct guest *guest,
                      struct error *err)
{
    struct ward *ward = ward_find(supervisor, guest->uuid);

    if (ward && !ward_make_idle(ward))
        return refuse_busy(ward, err);
    if (!note_write(supervisor->notes, guest->uuid, guest->domid, err))
        return false;
    note_remove_config(supervisor->notes, guest->uuid);
    if (!ward)
        ward = ward_add(supervisor, guest->uuid, guest->domid);
    if (ward->domid != guest->domid)
        ward_disarm(ward);
    ward->domid = guest->domid;
    ward->settled = false;
    return ward->held || ward->alarm || ward_arm(ward, err);
}

void supervisor_hold(struct supervisor *supervisor, const char *uuid)
{
    struct ward *ward = ward_find(supervisor, uuid);

    if (!ward || ward->reaction)
        return;
    ward->held = true;
    event_del(ward->look);
    ward_disarm(ward);
}

void supervisor_release(struct supervisor *supervisor, const char *uuid)
{
    struct ward *ward = ward_find(supervisor, uuid);

    if (!ward || !ward->held)
        return;
    ward->held = false;
    ward->settled = false;
    ward->look_ms = 0;
    ward->down_since_ms = 0;
    ward_arm_or_log(ward);
    ward_look_after(ward, 0);
}

bool supervisor_forget(struct supervisor *supervisor, const char *uuid,
                       struct error *err)
{
    struct ward *ward = ward_find(supervisor, uuid);

    if (!ward)
        return true;
    if (!ward_make_idle(ward))
        return refuse_busy(ward, err);
    ward_forget(ward);
    return true;
}

void supervisor_reattach(struct supervisor *supervisor)
{
    struct ward *ward;

    death_watch_reattach(supervisor->watch);
    for (ward = supervisor->wards; ward; ward = ward->next) {
        if (ward->held || ward->reaction)
            continue;
        ward->alarm_spent = false;
        ward_look_after(ward, 0);
    }
}
