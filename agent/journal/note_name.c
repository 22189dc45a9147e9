/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/journal/note_name.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/journal/record_fields.h"

#define PREFIX "op-"
#define SUFFIX ".json"

char *note_name(const struct snapshot *snapshot)
{
    return snapshot->noted_by_id
               ? xasprintf(PREFIX "%s" SUFFIX, snapshot->id)
               : xasprintf(PREFIX "%s.%s" SUFFIX, snapshot->id,
                           snapshot->guest.uuid);
}

bool note_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    return length > strlen(PREFIX) + strlen(SUFFIX) &&
           strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
           strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

/* "op-<id>.<uuid>.json", and whatever is behind that. */
bool note_name_is_of(const char *name, const char *uuid)
{
    char *end = xasprintf(".%s" SUFFIX, uuid);
    bool is_its =
        strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strstr(name, end) != NULL;

    free(end);
    return is_its;
}

char *note_name_uuid(const char *name)
{
    size_t end = strlen(name) - strlen(SUFFIX);
    char *uuid =
        end < GUEST_UUID_LENGTH
            ? NULL
            : xstrndup(name + end - GUEST_UUID_LENGTH, GUEST_UUID_LENGTH);

    if (uuid != NULL && !record_uuid_is_valid(uuid)) {
        free(uuid);
        uuid = NULL;
    }
    return uuid;
}
