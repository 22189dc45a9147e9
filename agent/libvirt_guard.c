/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/libvirt_guard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/base/folder.h"
#include "agent/guest/whole_file.h"
#include "agent/libvirt_xml.h"

#define STATE_MAX ((size_t)16 << 20) /* bytes */

static char *mark_path(const char *run_folder, const char *uuid)
{
    return xasprintf("%s/libvirt/%s", run_folder, uuid);
}

bool libvirt_guard_mark(const char *run_folder, const char *uuid,
                        struct error *err)
{
    char *folder = xjoin(run_folder, "libvirt");
    bool ok = folder_mark(folder, 0755, uuid, err);

    free(folder);
    return ok;
}

void libvirt_guard_unmark(const char *run_folder, const char *uuid)
{
    char *path = mark_path(run_folder, uuid);

    unlink(path);
    free(path);
}

/* A state file that a killed daemon left may be of an earlier domain of that
 * name. */
bool libvirt_guard_runs(const char *libvirt_folder, const struct guest *guest)
{
    char *path = xasprintf("%s/%s.xml", libvirt_folder, guest->name);
    char uuid[GUEST_UUID_LENGTH + 1];
    char *state = NULL;
    struct error err;
    bool is_its = access(path, F_OK) == 0;

    if (is_its && whole_file_read(path, STATE_MAX, &state, &err)) {
        is_its = !libvirt_xml_uuid(state, uuid) || !strcmp(uuid, guest->uuid);
    }
    free(state);
    free(path);
    return is_its;
}

bool libvirt_guard_check(const char *libvirt_folder, const char *run_folder,
                         const struct guest *guest, struct error *err)
{
    char *mark = mark_path(run_folder, guest->uuid);
    bool ok =
        !libvirt_guard_runs(libvirt_folder, guest) || access(mark, F_OK) == 0;

    free(mark);
    return ok ||
           error_set(err, ERR_HOOK_FAILED,
                     "libvirt runs domain \"%s\" and would restart it on the "
                     "images that are the snapshot's then, for it does not ask "
                     "xensnapd's hook, /etc/libvirt/hooks/libxl.d/xensnapd: "
                     "put it there, or before libvirt 6.5 at "
                     "/etc/libvirt/hooks/libxl, and restart libvirt's daemon, "
                     "or take an internal snapshot",
                     guest->name);
}
