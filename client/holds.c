/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domains whose disks are held. */
#include "client/holds.h"

#include "agent/base/alloc.h"
#include "client/domains.h"
#include "client/human.h"
#include "client/root.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The local time of day, for a hold is short. */
static void time_of_day(char text[HUMAN_MAX], int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;

    snprintf(text, HUMAN_MAX, "%s", "-");
    if (localtime_r(&when, &parts))
        strftime(text, HUMAN_MAX, "%H:%M:%S", &parts);
}

char *hold_text(struct xs_handle *xs, const char *uuid)
{
    char *disks = root_read(xs, XBT_NULL, "holds/%s/disks", uuid);
    char *until = root_read(xs, XBT_NULL, "holds/%s/until", uuid);
    char when[HUMAN_MAX], *text = NULL;
    int64_t seconds = 0;
    bool ends = until && human_parse_time(until, &seconds);

    time_of_day(when, seconds);
    if (disks && ends && seconds < (int64_t)time(NULL))
        text = xasprintf("held for a rescan of %s, whose time was over at %s: "
                         "letting go is tried again",
                         disks, when);
    else if (disks && ends)
        text = xasprintf("held until %s, for a rescan of %s", when, disks);
    else if (disks)
        text = xasprintf("held, for a rescan of %s", disks);
    free(until);
    free(disks);
    return text;
}

/* The name of a VM that runs, else its uuid. */
static char *name_of(struct xs_handle *xs, const char *uuid)
{
    char *domid = domains_domid(xs, uuid);
    char *name =
        domid ? store_read(xs, XBT_NULL, "/local/domain/%s/name", domid) : NULL;

    free(domid);
    return name ? name : xstrdup(uuid);
}

void holds_print(struct xs_handle *xs)
{
    unsigned int n;
    char **uuids = root_list(xs, XBT_NULL, &n, "holds");

    for (unsigned int i = 0; i < n; i++) {
        char *text = hold_text(xs, uuids[i]), *name = name_of(xs, uuids[i]);

        if (text)
            printf("%s%s is %s; 'xensnap rescan %s --complete', or "
                   "'--abort', ends that\n",
                   i == 0 ? "\n" : "", name, text, name);
        free(name);
        free(text);
    }
    free(uuids);
}

static void put_key(struct json *json, struct xs_handle *xs, const char *uuid,
                    const char *key)
{
    char *value = root_read(xs, XBT_NULL, "holds/%s/%s", uuid, key);

    json_put_string(json, key, value);
    free(value);
}

void holds_add_json(struct json *json, struct xs_handle *xs, const char *key)
{
    unsigned int n;
    char **uuids = root_list(xs, XBT_NULL, &n, "holds");

    json_open_array(json, key);
    for (unsigned int i = 0; i < n; i++) {
        char *name = name_of(xs, uuids[i]);

        json_open_object(json, NULL);
        json_put_string(json, "uuid", uuids[i]);
        json_put_string(json, "name", name);
        put_key(json, xs, uuids[i], "disks");
        put_key(json, xs, uuids[i], "until");
        json_close_object(json);
        free(name);
    }
    json_close_array(json);
    free(uuids);
}
