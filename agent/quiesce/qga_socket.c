/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/qga_socket.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/store/read.h"

#define BACKENDS_HERE "/local/domain/0/"

static bool is_served_here(struct xs_handle *xs, const char *folder)
{
    char *backend = store_read(xs, folder, "backend");
    bool here = backend != NULL &&
                strncmp(backend, BACKENDS_HERE, strlen(BACKENDS_HERE)) == 0;

    free(backend);
    return here;
}

static char *socket_of(struct xs_handle *xs, const char *folder)
{
    if (!store_read_is(xs, folder, "name", QGA_CHANNEL) ||
        !store_read_is(xs, folder, "connection", "socket") ||
        !is_served_here(xs, folder)) {
        return NULL;
    }
    return store_read(xs, folder, "path");
}

char *qga_socket_find(struct xs_handle *xs, uint32_t domid)
{
    char *consoles = xasprintf("/libxl/%" PRIu32 "/device/console", domid);
    unsigned int count = 0;
    char **names = xs_directory(xs, XBT_NULL, consoles, &count);
    char *found = NULL;

    for (unsigned int i = 0; names != NULL && i < count && found == NULL; i++) {
        char *folder = xjoin(consoles, names[i]);

        found = socket_of(xs, folder);
        free(folder);
    }
    free(names);
    free(consoles);
    return found;
}
