/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/store/socket.h"

#include <stdbool.h>
#include <unistd.h>
#include <xenstore_lib.h>

struct xs_handle *store_socket_open(void)
{
    /* xenstored makes this folder, and it stays when xenstored ends. */
    bool runs_here = access(xs_daemon_rundir(), F_OK) == 0;

    return xs_open(runs_here ? XS_OPEN_SOCKETONLY : 0);
}
