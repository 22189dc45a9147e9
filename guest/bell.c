/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/bell.h"

#include <stddef.h>
#include <xenevtchn.h>

void bell_ring(uint32_t port)
{
    xenevtchn_handle *device = xenevtchn_open(NULL, 0);
    int local;

    if (device == NULL) {
        return;
    }
    local = xenevtchn_bind_interdomain(device, 0, port);
    if (local >= 0) {
        xenevtchn_notify(device, (evtchn_port_t)local);
        xenevtchn_unbind(device, (evtchn_port_t)local);
    }
    xenevtchn_close(device);
}
