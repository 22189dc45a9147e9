/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise_action.h"

/* What the configuration says, 0 if it does not (xl always writes it, other
 * toolstacks need not). */
static libxl_action_on_shutdown configured(libxl_shutdown_reason reason,
                                           const libxl_domain_config *config)
{
    switch (reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        return config->on_poweroff;
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return config->on_reboot;
    case LIBXL_SHUTDOWN_REASON_CRASH:
        return config->on_crash;
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return config->on_watchdog;
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        return config->on_soft_reset;
    default:
        return LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    }
}

static enum shutdown_outcome usual(libxl_shutdown_reason reason)
{
    switch (reason) {
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return OUTCOME_RESTART;
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        return OUTCOME_SOFT_RESET;
    default:
        return OUTCOME_DESTROY;
    }
}

struct shutdown_action shutdown_action(libxl_shutdown_reason reason,
                                       const libxl_domain_config *config)
{
    struct shutdown_action action = {usual(reason), false};

    switch (configured(reason, config)) {
    case LIBXL_ACTION_ON_SHUTDOWN_DESTROY:
        action.outcome = OUTCOME_DESTROY;
        break;
    case LIBXL_ACTION_ON_SHUTDOWN_RESTART:
        action.outcome = OUTCOME_RESTART;
        break;
    case LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME:
        action.outcome = OUTCOME_RESTART_RENAMED;
        break;
    case LIBXL_ACTION_ON_SHUTDOWN_PRESERVE:
        action.outcome = OUTCOME_KEEP;
        break;
    case LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY:
        action = (struct shutdown_action){OUTCOME_DESTROY, true};
        break;
    case LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART:
        action = (struct shutdown_action){OUTCOME_RESTART, true};
        break;
    case LIBXL_ACTION_ON_SHUTDOWN_SOFT_RESET:
        action.outcome = OUTCOME_SOFT_RESET;
        break;
    }
    return action;
}

const char *shutdown_reason_words(libxl_shutdown_reason reason)
{
    switch (reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        return "has powered off";
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return "has rebooted";
    case LIBXL_SHUTDOWN_REASON_SUSPEND:
        return "is suspended";
    case LIBXL_SHUTDOWN_REASON_CRASH:
        return "has crashed";
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return "was stopped by its watchdog";
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        return "asks for a soft reset";
    default:
        return "has shut down for a reason unknown to libxl";
    }
}

const char *shutdown_outcome_words(enum shutdown_outcome outcome)
{
    switch (outcome) {
    case OUTCOME_KEEP:
        return "keep it as it is";
    case OUTCOME_DESTROY:
        return "destroy it";
    case OUTCOME_RESTART:
        return "restart it";
    case OUTCOME_RESTART_RENAMED:
        return "rename it and start it anew";
    case OUTCOME_SOFT_RESET:
        return "reset it";
    }
    return "?";
}
