/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent's table of keys, which has types of the same names as the client:
 * no other header of the client goes in here. */
#include "client/value.h"

#include "agent/request_key.h"

#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#define DISKS "disks/"

/* Room for the value of any key; what it is there is not needed. */
#define PLACE_BYTES 8192

static const struct request_key *find(const struct request_key *table,
                                      const char *name)
{
    while (table->name && strcmp(table->name, name) != 0)
        table++;
    return table->name ? table : NULL;
}

bool value_is_valid(const char *key, const char *value,
                    char ret_why[VALUE_WHY_MAX])
{
    const struct request_key *row =
        strncmp(key, DISKS, strlen(DISKS)) == 0
            ? find(request_disk_keys, strrchr(key, '/') + 1)
            : find(request_keys, key);
    alignas(16) char place[PLACE_BYTES];
    struct error err = {0};

    if (!row || !row->parse || row->size > sizeof(place) ||
        row->parse(row, value, place, &err))
        return true;
    snprintf(ret_why, VALUE_WHY_MAX, "%s", err.message);
    return false;
}
