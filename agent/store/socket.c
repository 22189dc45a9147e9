/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/store/socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <xenstore_lib.h>

int store_socket_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = xs_daemon_socket();
    int fd, saved;

    if (path == NULL || strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        saved = errno;
        close(fd);
        errno = saved;
        fd = -1;
    }
    return fd;
}

static bool answers(void)
{
    int fd = store_socket_connect();

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

struct xs_handle *store_socket_open(void)
{
    /* xenstored makes this folder, and it stays when xenstored ends. */
    bool runs_here = access(xs_daemon_rundir(), F_OK) == 0;
    struct xs_handle *xs;

    /* Xen 4.17 ignores XS_OPEN_SOCKETONLY, and a handle does not tell what it
     * has open. */
    if (runs_here && !answers()) {
        return NULL;
    }
    xs = xs_open(0);
    if (xs != NULL && runs_here && !answers()) {
        xs_close(xs);
        errno = ECONNREFUSED;
        return NULL;
    }
    return xs;
}
