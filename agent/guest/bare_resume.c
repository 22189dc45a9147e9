/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/bare_resume.h"

/* Xen's headers only take GNU C for able to have what C17 has. */
#undef __STRICT_ANSI__
#include <xenctrl.h>
#include <xenguest.h>

#include "agent/base/log.h"

static bool is_suspended(const xc_domaininfo_t *info)
{
    return (info->flags & XEN_DOMINF_shutdown) != 0 &&
           (info->flags & XEN_DOMINF_dying) == 0 &&
           ((info->flags >> XEN_DOMINF_shutdownshift) &
            XEN_DOMINF_shutdownmask) == SHUTDOWN_suspend;
}

/* The hypervisor emulates a local APIC at most for one that has no QEMU. */
static bool needs_device_model(const xc_domaininfo_t *info)
{
    return (info->arch_config.emulation_flags & ~(uint32_t)XEN_X86_EMU_LAPIC) !=
           0;
}

bool bare_resume(uint32_t domid)
{
    xc_interface *xc = xc_interface_open(log_xentoollog(), NULL, 0);
    xc_domaininfo_t info;
    bool ok;

    if (xc == NULL)
        return false;
    ok = xc_domain_getinfolist(xc, domid, 1, &info) == 1 &&
         info.domain == domid && is_suspended(&info) &&
         !needs_device_model(&info) && xc_domain_resume(xc, domid, 1) == 0;
    xc_interface_close(xc);
    return ok;
}
