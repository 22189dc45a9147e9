/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stands of holds in xenstore. */
#include "agent/hold_publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/store/keys.h"
#include "agent/store/paths.h"
#include "agent/watch.h"

static void add(struct keys *keys, const struct hold *hold, const char *key,
                const char *value)
{
    char *path = xjoin(hold->uuid, key);

    keys_add_text(keys, path, value);
    free(path);
}

static void add_disks(struct keys *keys, const struct hold *hold)
{
    char *list = xstrdup("");

    for (size_t i = 0; i < hold->disk_count; i++) {
        char *before = list;

        list =
            xasprintf("%s%s%s", before, i > 0 ? " " : "", hold->disks[i].vdev);
        free(before);
    }
    add(keys, hold, "disks", list);
    free(list);
}

/* The deadline is one of the monotonic clock. */
static void add_until(struct keys *keys, const struct hold *hold)
{
    int64_t left = (int64_t)(hold->deadline_ms - clock_monotonic_ms());
    char text[CLOCK_UTC_LENGTH + 1];

    if (hold->deadline_ms != 0 &&
        clock_format_utc((int64_t)time(NULL) + left / 1000, text)) {
        add(keys, hold, "until", text);
    }
}

void hold_publish(struct agent *agent, struct hold *hold, bool gone)
{
    bool stands = !gone && hold->state != HOLD_EXPIRED;
    const struct wire *wire =
        agent->watch == NULL ? NULL : watch_wire(agent->watch);
    struct keys keys = {0};
    struct error err;
    char *folder;

    if (wire == NULL || (!stands && !hold->published)) {
        return;
    }
    if (hold->published) {
        keys_remove(&keys, hold->uuid);
    }
    if (stands) {
        add_disks(&keys, hold);
        add_until(&keys, hold);
    }
    folder = path_holds(agent->config.xenstore.root);
    if (keys_commit_together(wire, folder, &keys, NULL, NULL, &err)) {
        hold->published = stands;
    } else {
        LOG_WARN("cannot publish the hold of %s: %s", hold->uuid, err.message);
    }
    free(folder);
    keys_dispose(&keys);
}
