/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/xenbus.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xen/io/xs_wire.h>

#define DEVICE "/dev/xen/xenbus"

/* ---- the connection ---- */

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(address.sun_path)) {
        return fd;
    }
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool xenbus_open(struct xenbus *xenbus)
{
    const char *path = getenv("XENSTORED_PATH");
    struct stat status;

    if (path == NULL) {
        path = DEVICE;
    }
    xenbus->event = false;
    xenbus->fd = stat(path, &status) == 0 && S_ISSOCK(status.st_mode)
                     ? connect_to(path)
                     : open(path, O_RDWR | O_CLOEXEC);
    return xenbus->fd >= 0;
}

void xenbus_close(struct xenbus *xenbus)
{
    close(xenbus->fd);
}

/* ---- the wire ---- */

static bool send_all(const struct xenbus *xenbus, const void *data,
                     size_t length)
{
    const char *rest = data;

    while (length > 0) {
        ssize_t done = write(xenbus->fd, rest, length);

        if (done < 0 && errno != EINTR) {
            return false;
        }
        rest += done > 0 ? done : 0;
        length -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

static bool receive_all(const struct xenbus *xenbus, void *data, size_t length)
{
    char *rest = data;

    while (length > 0) {
        ssize_t done = read(xenbus->fd, rest, length);

        if (done == 0) {
            errno = EPIPE;
            return false;
        }
        if (done < 0 && errno != EINTR) {
            return false;
        }
        rest += done > 0 ? done : 0;
        length -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

/* NULL where the connection is broken.  The body is terminated. */
static char *receive(const struct xenbus *xenbus, struct xsd_sockmsg *ret_head)
{
    char *body;

    if (!receive_all(xenbus, ret_head, sizeof(*ret_head)) ||
        ret_head->len > XENSTORE_PAYLOAD_MAX) {
        return NULL;
    }
    body = calloc(1, ret_head->len + 1);
    if (body != NULL && !receive_all(xenbus, body, ret_head->len)) {
        free(body);
        return NULL;
    }
    return body;
}

static int error_number(const char *name)
{
    return strcmp(name, "ENOENT") == 0   ? ENOENT
           : strcmp(name, "EACCES") == 0 ? EACCES
                                         : EIO;
}

/* The answer's body, the caller's to free(). */
static char *receive_answer(struct xenbus *xenbus)
{
    struct xsd_sockmsg head;
    char *body;

    while ((body = receive(xenbus, &head)) != NULL &&
           head.type == XS_WATCH_EVENT) {
        xenbus->event = true;
        free(body);
    }
    if (body != NULL && head.type == XS_ERROR) {
        errno = error_number(body);
        free(body);
        return NULL;
    }
    return body;
}

/* `path` with its NUL, and what follows it. */
static char *ask(struct xenbus *xenbus, uint32_t type, const char *path,
                 const char *more, size_t more_length)
{
    size_t path_length = strlen(path) + 1;
    struct xsd_sockmsg head = {.type = type,
                               .len = (uint32_t)(path_length + more_length)};

    return send_all(xenbus, &head, sizeof(head)) &&
                   send_all(xenbus, path, path_length) &&
                   send_all(xenbus, more, more_length)
               ? receive_answer(xenbus)
               : NULL;
}

static bool succeeds(char *answer)
{
    bool ok = answer != NULL;

    free(answer);
    return ok;
}

/* ---- what is asked ---- */

char *xenbus_read(struct xenbus *xenbus, const char *path)
{
    return ask(xenbus, XS_READ, path, "", 0);
}

bool xenbus_write(struct xenbus *xenbus, const char *path, const char *value)
{
    return succeeds(ask(xenbus, XS_WRITE, path, value, strlen(value)));
}

bool xenbus_remove(struct xenbus *xenbus, const char *path)
{
    return succeeds(ask(xenbus, XS_RM, path, "", 0));
}

bool xenbus_watch(struct xenbus *xenbus, const char *path)
{
    static const char token[] = "watch";

    return succeeds(ask(xenbus, XS_WATCH, path, token, sizeof(token)));
}

bool xenbus_take_event(struct xenbus *xenbus)
{
    struct pollfd source = {.fd = xenbus->fd, .events = POLLIN};
    struct xsd_sockmsg head;
    bool event = xenbus->event;

    xenbus->event = false;
    while (poll(&source, 1, 0) > 0) {
        char *body = receive(xenbus, &head);

        if (body == NULL) {
            break;
        }
        event = event || head.type == XS_WATCH_EVENT;
        free(body);
    }
    return event;
}
