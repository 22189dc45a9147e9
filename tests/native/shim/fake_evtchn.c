/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event channels between processes, as libxenevtchn offers them.
 *
 * A handle is a FIFO evtchn/handle.<pid>.<n>, opened for reading and writing:
 * like /dev/xen/evtchn it is readable while events are pending, and a read
 * gives the port's 32-bit number.  A port is a file evtchn/port.<domid>.<port>
 *
 *     unbound <fifo> <domid that may bind it> 0
 *     bound   <fifo> <remote domid> <remote port>
 *     virq    <fifo> <virq> 0
 *
 * where <fifo> is "-" for the end of a domain that nobody plays.  A port whose
 * FIFO has no reader any more belongs to a dead process and may be bound
 * again.
 */
#include "fake_xen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xenevtchn.h>

#define FIFO_NAME_MAX 64

struct xenevtchn_handle {
    int fd;
    char fifo[FIFO_NAME_MAX];
};

struct port {
    char kind[8];
    char fifo[FIFO_NAME_MAX];
    uint32_t remote;
    uint32_t remote_port;
};

static bool port_load(uint32_t domid, uint32_t number, struct port *ret_port)
{
    char path[PATH_MAX];
    bool complete;
    FILE *file;

    fake_path(path, sizeof(path), "evtchn/port.%u.%u", domid, number);
    file = fopen(path, "re");
    if (!file) {
        errno = EINVAL;
        return false;
    }
    complete = fscanf(file, "%7s %63s %u %u", ret_port->kind, ret_port->fifo,
                      &ret_port->remote, &ret_port->remote_port) == 4;
    fclose(file);
    if (!complete)
        errno = EINVAL;
    return complete;
}

static void port_store(uint32_t domid, uint32_t number, const struct port *port)
{
    char path[PATH_MAX];
    FILE *file;

    fake_path(path, sizeof(path), "evtchn/port.%u.%u", domid, number);
    file = fopen(path, "we");
    if (!file)
        abort();
    fprintf(file, "%s %s %u %u\n", port->kind, port->fifo, port->remote,
            port->remote_port);
    if (fclose(file) != 0)
        abort();
}

static void port_remove(uint32_t domid, uint32_t number)
{
    char path[PATH_MAX];

    fake_path(path, sizeof(path), "evtchn/port.%u.%u", domid, number);
    unlink(path);
}

/* The lowest free number; 0 is never a port. */
static uint32_t port_allocate(uint32_t domid)
{
    char path[PATH_MAX];
    uint32_t number = 0;

    do {
        number++;
        fake_path(path, sizeof(path), "evtchn/port.%u.%u", domid, number);
    } while (access(path, F_OK) == 0);
    return number;
}

/* An fd to write events to, or -1 where nobody reads them. */
static int fifo_open(const char *name)
{
    char path[PATH_MAX];

    if (!strcmp(name, "-"))
        return -1;
    fake_path(path, sizeof(path), "evtchn/%s", name);
    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

static void fifo_send(const char *name, uint32_t number)
{
    int fd = fifo_open(name);

    if (fd < 0)
        return;
    /* A full FIFO holds thousands of events: its reader wakes anyway. */
    if (write(fd, &number, sizeof(number)) != (ssize_t)sizeof(number))
        fake_note("event lost %s %u", name, number);
    close(fd);
}

static bool fifo_has_reader(const char *name)
{
    int fd = fifo_open(name);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger,
                                 unsigned int flags)
{
    static atomic_uint serial;
    xenevtchn_handle *xce = calloc(1, sizeof(*xce));
    char path[PATH_MAX];

    (void)logger;
    if (!xce)
        return NULL;
    snprintf(xce->fifo, sizeof(xce->fifo), "handle.%ld.%u", (long)getpid(),
             atomic_fetch_add(&serial, 1));
    fake_path(path, sizeof(path), "evtchn/%s", xce->fifo);
    if (mkfifo(path, 0600) != 0) {
        free(xce);
        return NULL;
    }
    xce->fd =
        open(path, O_RDWR | (flags & XENEVTCHN_NO_CLOEXEC ? 0 : O_CLOEXEC));
    if (xce->fd < 0) {
        unlink(path);
        free(xce);
        return NULL;
    }
    return xce;
}

xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd,
                                   unsigned int flags)
{
    char link[64], target[PATH_MAX], *name;
    xenevtchn_handle *xce;
    ssize_t length;

    (void)logger;
    if (flags & XENEVTCHN_NO_CLOEXEC) {
        errno = EINVAL;
        return NULL;
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, target, sizeof(target) - 1);
    if (length < 0)
        return NULL;
    target[length] = '\0';
    name = strrchr(target, '/');
    xce = calloc(1, sizeof(*xce));
    if (!name || !xce) {
        free(xce);
        return NULL;
    }
    xce->fd = fd;
    snprintf(xce->fifo, sizeof(xce->fifo), "%.63s", name + 1);
    return xce;
}

/* The caller holds the lock. */
static bool unbind(xenevtchn_handle *xce, uint32_t number)
{
    struct port own, remote;

    if (!port_load(fake_own_domid(), number, &own) ||
        strcmp(own.fifo, xce->fifo) != 0) {
        errno = EINVAL;
        return false;
    }
    if (!strcmp(own.kind, "bound") &&
        port_load(own.remote, own.remote_port, &remote)) {
        strcpy(remote.kind, "unbound");
        remote.remote = fake_own_domid();
        remote.remote_port = 0;
        port_store(own.remote, own.remote_port, &remote);
    }
    port_remove(fake_own_domid(), number);
    return true;
}

static void unbind_all(xenevtchn_handle *xce)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    fake_path(path, sizeof(path), "evtchn");
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        unsigned int domid, number;

        if (sscanf(entry->d_name, "port.%u.%u", &domid, &number) == 2 &&
            domid == fake_own_domid())
            unbind(xce, number);
    }
    if (dir)
        closedir(dir);
}

int xenevtchn_close(xenevtchn_handle *xce)
{
    char path[PATH_MAX];
    int lock;

    if (!xce)
        return 0;
    lock = fake_lock();
    unbind_all(xce);
    fake_unlock(lock);
    fake_path(path, sizeof(path), "evtchn/%s", xce->fifo);
    unlink(path);
    close(xce->fd);
    free(xce);
    return 0;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return xce->fd;
}

int xenevtchn_restrict(xenevtchn_handle *xce, domid_t domid)
{
    (void)xce;
    (void)domid;
    return 0;
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t number)
{
    struct port own, remote;
    int lock = fake_lock();
    int rc = 0;

    if (!port_load(fake_own_domid(), number, &own) ||
        strcmp(own.fifo, xce->fifo) != 0) {
        errno = EINVAL;
        rc = -1;
    } else if (!strcmp(own.kind, "bound") &&
               port_load(own.remote, own.remote_port, &remote)) {
        fifo_send(remote.fifo, own.remote_port);
    }
    fake_unlock(lock);
    return rc;
}

static xenevtchn_port_or_error_t bind(xenevtchn_handle *xce, const char *kind,
                                      uint32_t remote, uint32_t remote_port)
{
    struct port port = {.remote = remote, .remote_port = remote_port};
    uint32_t number = port_allocate(fake_own_domid());

    snprintf(port.kind, sizeof(port.kind), "%s", kind);
    memcpy(port.fifo, xce->fifo, sizeof(port.fifo));
    port_store(fake_own_domid(), number, &port);
    return (xenevtchn_port_or_error_t)number;
}

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle *xce,
                                                      uint32_t domid)
{
    int lock = fake_lock();
    xenevtchn_port_or_error_t number = bind(xce, "unbound", domid, 0);

    fake_unlock(lock);
    return number;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce,
                                                     uint32_t domid,
                                                     evtchn_port_t remote_port)
{
    xenevtchn_port_or_error_t number = -1;
    struct port remote, peer;
    int lock = fake_lock();
    bool stale;

    if (!port_load(domid, remote_port, &remote))
        goto out;
    stale = !strcmp(remote.kind, "bound") &&
            (!port_load(remote.remote, remote.remote_port, &peer) ||
             !fifo_has_reader(peer.fifo));
    if ((strcmp(remote.kind, "unbound") != 0 && !stale) ||
        remote.remote != fake_own_domid()) {
        errno = EINVAL;
        goto out;
    }
    if (stale)
        port_remove(remote.remote, remote.remote_port);
    number = bind(xce, "bound", domid, remote_port);
    strcpy(remote.kind, "bound");
    remote.remote_port = (uint32_t)number;
    port_store(domid, remote_port, &remote);
    /* Xen makes a freshly bound port pending once, in case the other side
     * has sent already. */
    fifo_send(xce->fifo, (uint32_t)number);
out:
    fake_unlock(lock);
    return number;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce,
                                              unsigned int virq)
{
    xenevtchn_port_or_error_t number;
    char path[PATH_MAX];
    int lock = fake_lock();
    FILE *file;

    number = bind(xce, "virq", virq, 0);
    fake_path(path, sizeof(path), "evtchn/virq.%u", virq);
    file = fopen(path, "we");
    if (!file)
        abort();
    fprintf(file, "%s %d\n", xce->fifo, number);
    if (fclose(file) != 0)
        abort();
    fake_unlock(lock);
    return number;
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t number)
{
    int lock = fake_lock();
    bool done = unbind(xce, number);

    fake_unlock(lock);
    return done ? 0 : -1;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    uint32_t number;

    /* Blocks, or not, by the fd's own flags, like the device does. */
    if (read(xce->fd, &number, sizeof(number)) != (ssize_t)sizeof(number))
        return -1;
    return (xenevtchn_port_or_error_t)number;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t number)
{
    (void)xce;
    (void)number;
    return 0;
}

void fake_offer_port(uint32_t domid, uint32_t number)
{
    struct port port = {"unbound", "-", fake_own_domid(), 0};
    int lock = fake_lock();

    port_store(domid, number, &port);
    fake_unlock(lock);
}

void fake_raise_virq(unsigned int virq)
{
    char path[PATH_MAX], fifo[FIFO_NAME_MAX];
    unsigned int number;
    FILE *file;

    fake_path(path, sizeof(path), "evtchn/virq.%u", virq);
    file = fopen(path, "re");
    if (!file)
        return;
    if (fscanf(file, "%63s %u", fifo, &number) == 2)
        fifo_send(fifo, number);
    fclose(file);
}
