/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an earlier agent has noted, taken up where it ended. */
#include <stdlib.h>
#include <string.h>

#include "agent/guest/config_text.h"
#include "agent/guest/guest_aftermath.h"
#include "agent/supervise_notes.h"
#include "agent/supervise_ward.h"

/* Whether it is the domain that was to be restarted, and not yet the one that
 * was only kept aside under another name. */
static bool is_untouched(const struct ward *ward, const struct guest *guest,
                         const char *json)
{
    char *name = config_text_name(ward->supervisor->guests, json);
    bool untouched = guest->domid == ward->domid && guest->shutdown && name &&
                     !strcmp(guest->name, name);

    free(name);
    return untouched;
}

/* The agent ended between keeping the configuration and removing it again. */
static void take_up_restart(struct ward *ward, const char *json)
{
    struct guest found[4];
    size_t count = guests_of_uuid(ward->supervisor->guests, ward->uuid, found,
                                  sizeof(found) / sizeof(*found));

    for (size_t i = 0; i < count; i++) {
        if (found[i].dying)
            continue;
        if (is_untouched(ward, &found[i], json)) {
            ward_take_domain(ward, ward->domid);
            return;
        }
        if (found[i].shutdown)
            continue;
        if (found[i].paused) /* it was never let go */
            ward_resume_restart(ward, json, &found[i]);
        else
            ward_take_domain(ward, found[i].domid);
        return;
    }
    ward_resume_restart(ward, json, NULL);
}

/* Looking at it will tell whether the domain is still there. */
static void take_up(struct supervisor *supervisor,
                    const struct supervise_note *note)
{
    struct ward *ward = ward_add(supervisor, note->uuid, note->domid);
    char *json = note_read_config(supervisor->notes, note->uuid);

    if (json)
        take_up_restart(ward, json);
    else
        ward_look_after(ward, 0);
    free(json);
}

void supervisor_take_up(struct supervisor *supervisor)
{
    struct supervise_note *notes;
    size_t count = notes_read(supervisor->notes, &notes);

    for (size_t i = 0; i < count; i++)
        take_up(supervisor, &notes[i]);
    free(notes);
}
