/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is to be done with a domain that has shut down, by the reason and by
 * its configuration (xl.cfg(5), "on_poweroff" and so on).  Pure.
 */
#ifndef XENSNAPD_SUPERVISE_ACTION_H
#define XENSNAPD_SUPERVISE_ACTION_H

#include <libxl.h>
#include <stdbool.h>

enum shutdown_outcome {
    OUTCOME_KEEP,            /* leave it, shut down, for whoever looks at it */
    OUTCOME_DESTROY,         /* remove it */
    OUTCOME_RESTART,         /* remove it and start it anew */
    OUTCOME_RESTART_RENAMED, /* keep it under another name, start it anew */
    OUTCOME_SOFT_RESET       /* begin anew within the same domain (kexec) */
};

struct shutdown_action {
    enum shutdown_outcome outcome;
    bool dump_core; /* first */
};

/*
 * The action for a reason other than suspend.  An action that is not set is
 * what xl takes when the file does not say; an unknown reason destroys the
 * domain, as with xl.
 */
struct shutdown_action shutdown_action(libxl_shutdown_reason reason,
                                       const libxl_domain_config *config);

/* "has rebooted", "has crashed": for people. */
const char *shutdown_reason_words(libxl_shutdown_reason reason);

/* "restart it". */
const char *shutdown_outcome_words(enum shutdown_outcome outcome);

#endif
