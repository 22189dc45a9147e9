/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the agent does to the hypervisor, by libxl and to xenstore as points of
 * fault_points.h. */
#include "fault_points.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <libxl.h>
#include <xencall.h>
#include <xenctrl.h>
#include <xenstore.h>
#include <xenstore_lib.h>

/* ---- the hypervisor ---- */

static const char *domctl_name(const struct xen_domctl *domctl)
{
    switch (domctl->cmd) {
    case XEN_DOMCTL_createdomain:
        return "create";
    case XEN_DOMCTL_pausedomain:
        return "pause";
    case XEN_DOMCTL_unpausedomain:
        return "unpause";
    case XEN_DOMCTL_resumedomain:
        return "resume";
    case XEN_DOMCTL_destroydomain:
        return "destroy";
    default:
        return NULL;
    }
}

int xencall1(xencall_handle *xcall, unsigned int op, uint64_t argument)
{
    const char *name = op == __HYPERVISOR_domctl
                           ? domctl_name((void *)(uintptr_t)argument)
                           : NULL;

    POINT(int, name != NULL, "hypercall", name,
          REAL(xencall1)(xcall, op, argument), fail_with(ENOMEM));
}

int libxl_domain_pause(libxl_ctx *ctx, uint32_t domid,
                       const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_pause)(ctx, domid, how), ERROR_FAIL);
}

int libxl_domain_unpause(libxl_ctx *ctx, uint32_t domid,
                         const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_unpause)(ctx, domid, how), ERROR_FAIL);
}

int libxl_domain_resume(libxl_ctx *ctx, uint32_t domid, int suspend_cancel,
                        const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_resume)(ctx, domid, suspend_cancel, how),
          ERROR_FAIL);
}

int libxl_domain_destroy(libxl_ctx *ctx, uint32_t domid,
                         const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_destroy)(ctx, domid, how), ERROR_FAIL);
}

int libxl_domain_suspend(libxl_ctx *ctx, uint32_t domid, int fd, int flags,
                         const libxl_asyncop_how *how)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_suspend)(ctx, domid, fd, flags, how), ERROR_FAIL);
}

int libxl_domain_create_restore(libxl_ctx *ctx, libxl_domain_config *config,
                                uint32_t *domid, int fd, int back_fd,
                                const libxl_domain_restore_params *params,
                                const libxl_asyncop_how *how,
                                const libxl_asyncprogress_how *console)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_create_restore)(ctx, config, domid, fd, back_fd,
                                            params, how, console),
          ERROR_FAIL);
}

int libxl_domain_create_new(libxl_ctx *ctx, libxl_domain_config *config,
                            uint32_t *domid, const libxl_asyncop_how *how,
                            const libxl_asyncprogress_how *console)
{
    POINT(int, true, "libxl", __func__,
          REAL(libxl_domain_create_new)(ctx, config, domid, how, console),
          ERROR_FAIL);
}

/* ---- xenstore ---- */

/* A transaction in which nothing was changed is none of our points.  The
 * agent's loop has one thread; ids are small. */
#define TRANSACTIONS 1024u

static bool changed[TRANSACTIONS];

static bool is_immediate(xs_transaction_t transaction)
{
    changed[transaction % TRANSACTIONS] = true;
    return transaction == XBT_NULL;
}

bool xs_write(struct xs_handle *xs, xs_transaction_t transaction,
              const char *path, const void *data, unsigned int length)
{
    POINT(bool, is_immediate(transaction), "xs-write", path,
          REAL(xs_write)(xs, transaction, path, data, length), refuse(ENOMEM));
}

bool xs_mkdir(struct xs_handle *xs, xs_transaction_t transaction,
              const char *path)
{
    POINT(bool, is_immediate(transaction), "xs-mkdir", path,
          REAL(xs_mkdir)(xs, transaction, path), refuse(ENOMEM));
}

bool xs_rm(struct xs_handle *xs, xs_transaction_t transaction, const char *path)
{
    POINT(bool, is_immediate(transaction), "xs-rm", path,
          REAL(xs_rm)(xs, transaction, path), refuse(ENOMEM));
}

bool xs_set_permissions(struct xs_handle *xs, xs_transaction_t transaction,
                        const char *path, struct xs_permissions *permissions,
                        unsigned int count)
{
    POINT(bool, is_immediate(transaction), "xs-set-permissions", path,
          REAL(xs_set_permissions)(xs, transaction, path, permissions, count),
          refuse(ENOMEM));
}

xs_transaction_t xs_transaction_start(struct xs_handle *xs)
{
    xs_transaction_t transaction = REAL(xs_transaction_start)(xs);

    changed[transaction % TRANSACTIONS] = false;
    return transaction;
}

bool xs_transaction_end(struct xs_handle *xs, xs_transaction_t transaction,
                        bool abort_it)
{
    bool commits = !abort_it && changed[transaction % TRANSACTIONS];
    enum action action = COUNT;
    bool result;

    if (counts(CALLER) && commits)
        action = come_to("xs-commit", "");
    if (action == FAIL) {
        /* As xenstored does it: what failed is over. */
        REAL(xs_transaction_end)(xs, transaction, true);
        return refuse(ENOMEM);
    }
    result = REAL(xs_transaction_end)(xs, transaction, abort_it);
    if (action == KILL_AFTER)
        end_agent();
    return result;
}

/* ---- xenstore, several requests at once (agent/store/wire.h) ---- */

/* This connection counts its transactions for itself. */
static bool sent_changes[TRANSACTIONS];

/* Whether what is sent commits a transaction in which something was changed. */
static bool sends_commit(const char *data, size_t size)
{
    struct xsd_sockmsg header;
    bool commits = false;

    for (; size >= sizeof(header); data += header.len, size -= header.len) {
        memcpy(&header, data, sizeof(header));
        data += sizeof(header);
        size -= sizeof(header);
        if (header.len > size)
            break;
        if (header.type == XS_WRITE || header.type == XS_RM)
            sent_changes[header.tx_id % TRANSACTIONS] = true;
        if (header.type == XS_TRANSACTION_END) {
            commits |=
                sent_changes[header.tx_id % TRANSACTIONS] && data[0] == 'T';
            sent_changes[header.tx_id % TRANSACTIONS] = false;
        }
    }
    return commits;
}

/* Done is what was answered: xenstored drops what it has not read from a
 * connection that hangs up. */
static ssize_t send_and_wait(int fd, const void *data, size_t size, int flags)
{
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    ssize_t sent = REAL(send)(fd, data, size, flags);

    poll(&answer, 1, -1);
    return sent;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    if (!counts(CALLER) || !is_connected_to(fd, "xenstored/socket") ||
        !sends_commit(data, size))
        return REAL(send)(fd, data, size, flags);
    POINT(ssize_t, true, "xs-commit", "", send_and_wait(fd, data, size, flags),
          fail_with(ENOMEM));
}
