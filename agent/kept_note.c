/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/kept_note.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/recovery.h"

static bool is_left_on_overlay(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (snapshot->disks[i].overlay_stays) {
            return true;
        }
    }
    return false;
}

/* What has to be done is never cut, but what stands before it. */
static void tell(const char *path, struct error *err)
{
    char *rest = xasprintf("; libvirt may not start the domain now: have its "
                           "definition name what its disks are on, then remove "
                           "%s",
                           path);
    size_t room = sizeof(err->message) - 1;
    size_t length = strlen(rest);
    size_t end = strlen(err->message);

    if (end + length > room) {
        end = length < room ? room - length : 0;
    }
    snprintf(err->message + end, sizeof(err->message) - end, "%s", rest);
    free(rest);
}

void kept_note_settle(struct snapshot *snapshot, struct error *err)
{
    char *path;

    if (snapshot->request.operation != REQUEST_CREATE ||
        err->code == ERR_NONE || !snapshot->noted || !snapshot->of_libvirt ||
        !is_left_on_overlay(snapshot)) {
        return;
    }
    snapshot->note_stays = true;
    path = recovery_aside_path(snapshot);
    LOG_ERROR("%s %s; %s is kept, and names the images: libvirt does not start "
              "the domain as long as that file is there",
              snapshot->label, err->message, path);
    tell(path, err);
    free(path);
}
