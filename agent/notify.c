/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ringing the event channel of whoever asked. */
#include "agent/notify.h"

#include <errno.h>
#include <string.h>
#include <xenevtchn.h>

#include "agent/base/log.h"

static xenevtchn_handle *device;

static void log_failure(uint32_t domid, uint32_t port, const char *what)
{
    LOG_NOTICE("dom=%u port=%u: cannot notify: %s: %s", domid, port, what,
               strerror(errno));
}

/* Binding the other end raises a first event on ours; nobody listens there. */
static void bind_and_notify(uint32_t domid, uint32_t port)
{
    int local = xenevtchn_bind_interdomain(device, domid, port);

    if (local < 0) {
        log_failure(domid, port, "binding the port");
        return;
    }
    if (xenevtchn_notify(device, (evtchn_port_t)local) < 0)
        log_failure(domid, port, "raising the event");
    /* The requester's port becomes unbound again, fit for its next request. */
    if (xenevtchn_unbind(device, (evtchn_port_t)local) < 0)
        log_failure(domid, port, "letting go of the port");
}

void notify_requester(uint32_t domid, uint32_t port)
{
    if (!device)
        device = xenevtchn_open(log_xentoollog(), 0);
    if (device)
        bind_and_notify(domid, port);
    else
        log_failure(domid, port, "opening the event channel device");
}

void notify_close(void)
{
    xenevtchn_close(device);
    device = NULL;
}
