/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a domain's configuration says about its shutdown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/supervise_action.h"

/* A different action for each reason, so that a mix-up shows. */
static libxl_domain_config all_different(void)
{
    libxl_domain_config config = {0};

    config.on_poweroff = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    config.on_reboot = LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME;
    config.on_crash = LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART;
    config.on_watchdog = LIBXL_ACTION_ON_SHUTDOWN_RESTART;
    config.on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    return config;
}

static void assert_action(libxl_shutdown_reason reason,
                          const libxl_domain_config *config,
                          enum shutdown_outcome outcome, bool dump_core)
{
    struct shutdown_action action = shutdown_action(reason, config);

    assert_int_equal(action.outcome, outcome);
    assert_int_equal(action.dump_core, dump_core);
}

static void each_reason_has_its_own_setting(void **state)
{
    libxl_domain_config config = all_different();

    (void)state;
    assert_action(LIBXL_SHUTDOWN_REASON_POWEROFF, &config, OUTCOME_KEEP, false);
    assert_action(LIBXL_SHUTDOWN_REASON_REBOOT, &config,
                  OUTCOME_RESTART_RENAMED, false);
    assert_action(LIBXL_SHUTDOWN_REASON_CRASH, &config, OUTCOME_RESTART, true);
    assert_action(LIBXL_SHUTDOWN_REASON_WATCHDOG, &config, OUTCOME_RESTART,
                  false);
    assert_action(LIBXL_SHUTDOWN_REASON_SOFT_RESET, &config, OUTCOME_DESTROY,
                  false);
}

static void a_core_dump_may_come_before_destroying(void **state)
{
    libxl_domain_config config = {0};

    (void)state;
    config.on_crash = LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY;
    assert_action(LIBXL_SHUTDOWN_REASON_CRASH, &config, OUTCOME_DESTROY, true);
}

static void a_soft_reset_is_done_only_where_configured(void **state)
{
    libxl_domain_config config = {0};

    (void)state;
    config.on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_SOFT_RESET;
    assert_action(LIBXL_SHUTDOWN_REASON_SOFT_RESET, &config, OUTCOME_SOFT_RESET,
                  false);
    config.on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    assert_action(LIBXL_SHUTDOWN_REASON_SOFT_RESET, &config, OUTCOME_KEEP,
                  false);
}

static void what_is_not_set_is_as_with_xl(void **state)
{
    const libxl_domain_config config = {0};

    (void)state;
    assert_action(LIBXL_SHUTDOWN_REASON_POWEROFF, &config, OUTCOME_DESTROY,
                  false);
    assert_action(LIBXL_SHUTDOWN_REASON_REBOOT, &config, OUTCOME_RESTART,
                  false);
    assert_action(LIBXL_SHUTDOWN_REASON_CRASH, &config, OUTCOME_DESTROY, false);
    assert_action(LIBXL_SHUTDOWN_REASON_SOFT_RESET, &config, OUTCOME_SOFT_RESET,
                  false);
}

static void an_unknown_reason_destroys_as_with_xl(void **state)
{
    libxl_domain_config config = all_different();

    (void)state;
    assert_action((libxl_shutdown_reason)77, &config, OUTCOME_DESTROY, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reason_has_its_own_setting),
        cmocka_unit_test(a_core_dump_may_come_before_destroying),
        cmocka_unit_test(a_soft_reset_is_done_only_where_configured),
        cmocka_unit_test(what_is_not_set_is_as_with_xl),
        cmocka_unit_test(an_unknown_reason_destroys_as_with_xl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
