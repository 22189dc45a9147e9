/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/backend_socket.h"

#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/snapshot.h"

void backend_find_socket(struct operation *operation)
{
    const struct snapshot *snapshot = snapshot_of(operation);
    const struct qmp_settings *qmp = &snapshot->agent->qmp;
    char *path = xasprintf("%s/%s%u", qmp->socket_folder, qmp->socket_name,
                           snapshot->guest.domid);
    struct error err = {0};

    if (access(path, F_OK) != 0) {
        error_set(&err, ERR_UNSUPPORTED_DISK,
                  "the QEMU that serves domain %u here has no QMP socket %s: "
                  "`xl devd` gives it none; put qemu-devd in QEMU's place as "
                  "xensnapd(8) says, and start the guest anew",
                  snapshot->guest.domid, path);
    }
    free(path);
    operation_step_done(operation, &err);
}
