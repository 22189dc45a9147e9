/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an earlier agent has noted, taken up where it ended. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/config_text.h"
#include "agent/guest/guest_aftermath.h"
#include "agent/supervise_action.h"
#include "agent/supervise_notes.h"
#include "agent/supervise_ward.h"

static bool has_its_name(const struct guest *guest,
                         const libxl_domain_config *config)
{
    const char *name = config->c_info.name;

    return name && !strcmp(guest->name, name);
}

/* What libxl may have begun to destroy or to reset, which it never does to one
 * that is to be kept aside: its PCI devices go, it is paused, then its QEMU and
 * its devices go, then its name (libxl__destroy_domid(), libxl_domain.c).  Its
 * configuration could not be read from it any more.  One that asks for a reset
 * holds a memory that is wanted, so it must be certain. */
static bool may_be_half_gone(const struct guest *guest,
                             const libxl_domain_config *config)
{
    const struct shutdown_action action =
        shutdown_action(guest->shutdown_reason, config);

    return action.outcome != OUTCOME_RESTART_RENAMED &&
           action.outcome != OUTCOME_KEEP &&
           (guest->paused || action.outcome == OUTCOME_RESTART) &&
           (!guest->name[0] || has_its_name(guest, config));
}

/* False: it is one that was only kept aside, under another name. */
static bool take_up_shut_down(struct ward *ward, const struct guest *guest,
                              const char *json,
                              const libxl_domain_config *config)
{
    if (may_be_half_gone(guest, config))
        ward_resume_restart(ward, json, guest);
    else if (guest->domid == ward->domid && has_its_name(guest, config))
        ward_take_domain(ward, ward->domid); /* it is untouched */
    else
        return false;
    return true;
}

static bool take_up_domain(struct ward *ward, const struct guest *guest,
                           const char *json, const libxl_domain_config *config)
{
    if (guest->dying)
        return false;
    if (guest->shutdown)
        return config && take_up_shut_down(ward, guest, json, config);
    if (guest->paused) /* it was never let go */
        ward_resume_restart(ward, json, guest);
    else
        ward_take_domain(ward, guest->domid);
    return true;
}

/* The agent ended between keeping the configuration and removing it again. */
static bool take_up_restart(struct ward *ward, const char *json)
{
    struct guests *guests = ward->supervisor->guests;
    libxl_domain_config config;
    struct guest found[4];
    struct error err;
    bool taken = false, known;
    size_t count;

    if (!guests_of_uuid(guests, ward->uuid, found,
                        sizeof(found) / sizeof(*found), &count))
        return false;
    known = config_text_parse(guests, json, &config, &err);
    for (size_t i = 0; i < count && !taken; i++)
        taken = take_up_domain(ward, &found[i], json, known ? &config : NULL);
    if (known)
        libxl_domain_config_dispose(&config);
    if (!taken)
        ward_resume_restart(ward, json, NULL);
    return true;
}

/* Looking at it will tell whether the domain is still there. */
static bool take_up(struct supervisor *supervisor,
                    const struct supervise_note *note)
{
    struct ward *ward = ward_add(supervisor, note->uuid, note->domid);
    char *json = note_read_config(supervisor->notes, note->uuid);
    bool ok = true;

    if (json)
        ok = take_up_restart(ward, json);
    else
        ward_look_after(ward, 0);
    free(json);
    return ok;
}

static bool is_restart(const struct supervisor *supervisor, const char *uuid)
{
    char *path = note_config_path(supervisor->notes, uuid);
    bool there = access(path, F_OK) == 0;

    free(path);
    return there;
}

/* Before anything is done: what has begun could not be called off. */
static bool can_take_up(const struct supervisor *supervisor,
                        const struct supervise_note *note)
{
    struct guest found;
    size_t count;

    return !is_restart(supervisor, note->uuid) ||
           guests_of_uuid(supervisor->guests, note->uuid, &found, 1, &count);
}

bool supervisor_take_up(struct supervisor *supervisor, struct error *err)
{
    struct supervise_note *notes;
    size_t count = notes_read(supervisor->notes, &notes);
    bool ok = true;

    for (size_t i = 0; ok && i < count; i++)
        ok = can_take_up(supervisor, &notes[i]);
    for (size_t i = 0; ok && i < count; i++)
        ok = take_up(supervisor, &notes[i]);
    free(notes);
    return ok ||
           error_set(err, ERR_LIBXL,
                     "libxl cannot list the domains, of which some were being "
                     "started anew");
}
