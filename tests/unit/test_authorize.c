/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may ask for what: the decisions, as tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/authorize.h"
#include "agent/base/config.h"

#define WEB_UUID "11111111-2222-3333-4444-555555555555"
#define DB_UUID  "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

static const struct party dom0 = {0, "", ""};
static const struct party web = {5, WEB_UUID, "web-1"};
static const struct party db = {6, DB_UUID, "db"};
static const struct party nameless = {7, "", ""};

static struct config config;
static struct error err;

static const char rules[] =
    "policy:\n"
    "  - {who: domid 0, operations: all, targets: any, folders: any}\n"
    "  - who: web-*\n"
    "    operations: [create, delete]\n"
    "    folders: [/srv/web, /srv/more]\n"
    "    rate: 2/10s\n"
    "    open: 1\n"
    "  - {who: web-*, operations: revert, targets: [" DB_UUID "]}\n"
    "  - {who: domid 9, operations: create, targets: 'x?'}\n"
    "  - {who: any, operations: rescan, folders: [/srv/any]}\n";

static void parse(const char *text)
{
    config_dispose(&config);
    assert_true(config_parse(text, strlen(text), "x.yaml", &config, &err));
}

static int with_rules(void **state)
{
    (void)state;
    parse(rules);
    return 0;
}

static const struct policy_rule *ask(const struct party *who,
                                     enum request_operation operation,
                                     const struct party *target)
{
    return authorize_operation(config.policy, who, operation, target,
                               target->name, &err);
}

static void without_a_policy_domain_0_may_everything_and_others_nothing(
    void **state)
{
    enum request_operation operation;

    (void)state;
    parse("");
    for (operation = REQUEST_CREATE; operation <= REQUEST_RESCAN; operation++) {
        assert_non_null(ask(&dom0, operation, &web));
        assert_null(ask(&web, operation, &web));
        assert_int_equal(err.code, ERR_PERMISSION_DENIED);
        assert_null(ask(&nameless, operation, &web));
    }
    assert_true(authorize_admits(config.policy, &dom0));
    assert_false(authorize_admits(config.policy, &web));
}

static void the_first_rule_that_fits_decides(void **state)
{
    static const struct party x1 = {20, "", "x1"}, x12 = {21, "", "x12"};
    static const struct party nine = {9, "", "nine"};
    static const struct party upper = {
        6, "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE", "db"};
    const struct {
        const struct party *who;
        enum request_operation operation;
        const struct party *target;
        int rule; /* -1: none */
    } table[] = {
        {&dom0, REQUEST_CREATE, &web, 0},
        {&dom0, REQUEST_RESCAN, &db, 0},
        {&web, REQUEST_CREATE, &web, 1},
        {&web, REQUEST_DELETE, &web, 1},
        {&web, REQUEST_CREATE, &db, -1},
        {&web, REQUEST_REVERT, &web, -1},
        {&web, REQUEST_REVERT, &db, 2},
        {&web, REQUEST_REVERT, &upper, 2},
        {&web, REQUEST_RESCAN, &web, 4},
        {&web, REQUEST_RESCAN, &db, -1},
        {&db, REQUEST_CREATE, &db, -1},
        {&db, REQUEST_RESCAN, &db, 4},
        {&nine, REQUEST_CREATE, &x1, 3},
        {&nine, REQUEST_CREATE, &x12, -1},
        {&nine, REQUEST_CREATE, &nine, -1},
        /* Without a uuid nobody is itself. */
        {&nameless, REQUEST_RESCAN, &nameless, -1},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct policy_rule *rule =
            ask(table[i].who, table[i].operation, table[i].target);
        int found = rule ? (int)(rule - config.policy->rules) : -1;

        if (found != table[i].rule)
            fail_msg("row %zu: rule %d instead of %d", i, found, table[i].rule);
    }
}

static void who_is_in_no_rule_is_not_admitted(void **state)
{
    (void)state;
    parse("policy: [{who: [web-*, " DB_UUID "], operations: create}]");
    assert_true(authorize_admits(config.policy, &web));
    assert_true(authorize_admits(config.policy, &db));
    assert_false(authorize_admits(config.policy, &nameless));
    assert_false(authorize_requester(config.policy, &nameless, &err));
    assert_int_equal(err.code, ERR_PERMISSION_DENIED);
    assert_string_equal(err.message,
                        "domain 7 may not ask for anything: no rule of the "
                        "policy is about it");
}

/* Neither "any" nor a pattern: a rule for guests must not bind domain 0. */
static void domain_0_is_meant_by_its_domid_only(void **state)
{
    static const struct party named = {0, "", "Domain-0"};

    (void)state;
    parse("policy: [{who: [any, '*', Domain-0], operations: all, "
          "targets: any}]");
    assert_false(authorize_admits(config.policy, &named));
    assert_null(ask(&named, REQUEST_CREATE, &web));
    assert_non_null(ask(&web, REQUEST_CREATE, &db));
}

static void a_refusal_says_who_what_and_why(void **state)
{
    static const struct party odd = {7, "", "a\033[2Jb"};

    (void)state;
    assert_null(authorize_operation(config.policy, &web, REQUEST_CREATE, &db,
                                    "d\033b", &err));
    assert_string_equal(err.message,
                        "domain 5 (web-1) may not ask for the operation create "
                        "on the domain \"d?b\": no rule of the policy allows "
                        "it");
    assert_null(authorize_operation(config.policy, &odd, REQUEST_DELETE, &odd,
                                    "7", &err));
    assert_string_equal(err.message,
                        "domain 7 (a?[2Jb) may not ask for the operation "
                        "delete on the domain \"7\": no rule of the policy "
                        "allows it");
}

static void set_path(struct request *request, const char *memory_path,
                     const char *disk_path)
{
    snprintf(request->memory_path, sizeof(request->memory_path), "%s",
             memory_path);
    snprintf(request->disks[0].path, sizeof(request->disks[0].path), "%s",
             disk_path);
}

static void paths_lie_in_the_folders_of_the_rule(void **state)
{
    static const struct {
        const char *memory_path;
        const char *disk_path;
        bool allowed;
    } table[] = {
        {"", "", true},
        {"/srv/web/a.save", "", true},
        {"", "/srv/more/sub/a.qcow2", true},
        {"/srv/web/a", "/srv/more/b", true},
        {"/srv/web", "", false},
        {"/srv/website/a", "", false},
        {"/srv", "", false},
        {"/etc/shadow", "", false},
        {"/srv/web/a", "/etc/shadow", false},
        {"/srv/any/a", "", false},
    };
    static struct request_disk disk;
    static struct request request = {
        .operation = REQUEST_CREATE, .disks = &disk, .disk_count = 1};
    const struct policy_rule *rule = ask(&web, REQUEST_CREATE, &web);
    size_t i;

    (void)state;
    snprintf(disk.vdev, sizeof(disk.vdev), "xvda");
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        set_path(&request, table[i].memory_path, table[i].disk_path);
        if (authorize_paths(rule, &request, &err) != table[i].allowed)
            fail_msg("row %zu", i);
        if (!table[i].allowed)
            assert_int_equal(err.code, ERR_PATH_NOT_ALLOWED);
        assert_true(authorize_paths(&config.policy->rules[0], &request, &err));
    }
}

static void no_folder_lets_a_disk_be_moved(void **state)
{
    struct request_disk disk = {.vdev = "xvda"};
    struct request request = {
        .operation = REQUEST_RESCAN, .disks = &disk, .disk_count = 1};
    const struct policy_rule *rule = ask(&web, REQUEST_RESCAN, &web);

    (void)state;
    assert_true(authorize_paths(rule, &request, &err));
    strcpy(disk.format, "qcow2");
    assert_false(authorize_paths(rule, &request, &err));
    assert_int_equal(err.code, ERR_PATH_NOT_ALLOWED);
    assert_non_null(strstr(err.message, "disks/xvda/format: "));
    strcpy(disk.path, "/srv/any/a.qcow2");
    assert_false(authorize_paths(rule, &request, &err));
    assert_non_null(strstr(err.message, "disks/xvda/path: "));
    assert_true(authorize_paths(&config.policy->rules[0], &request, &err));
}

static void no_more_are_open_than_the_rule_says(void **state)
{
    const struct policy_rule *rule = ask(&web, REQUEST_CREATE, &web);

    (void)state;
    assert_true(authorize_open(rule, 0, &err));
    assert_false(authorize_open(rule, 1, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_true(authorize_open(&config.policy->rules[0], 100000, &err));
}

static void no_more_come_in_a_time_than_the_rule_says(void **state)
{
    static const struct {
        uint64_t now_ms;
        bool allowed;
    } table[] = {
        {1000, true},  {1001, true},  {1002, false},  {10999, false},
        {11000, true}, {12000, true}, {12001, false}, {50000, true},
    };
    const struct policy_rule *rule = ask(&web, REQUEST_CREATE, &web);
    struct rate_window window = {0};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (authorize_rate(rule, &window, table[i].now_ms, &err) !=
            table[i].allowed)
            fail_msg("row %zu", i);
    }
    window = (struct rate_window){.since_ms = 1000, .count = 2};
    assert_false(authorize_rate(rule, &window, 8500, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message, "the policy allows 2 requests in 10 s; "
                                     "ask again in 3 s");
}

static int dispose(void **state)
{
    (void)state;
    config_dispose(&config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            without_a_policy_domain_0_may_everything_and_others_nothing),
        cmocka_unit_test_setup(the_first_rule_that_fits_decides, with_rules),
        cmocka_unit_test(who_is_in_no_rule_is_not_admitted),
        cmocka_unit_test(domain_0_is_meant_by_its_domid_only),
        cmocka_unit_test_setup(a_refusal_says_who_what_and_why, with_rules),
        cmocka_unit_test_setup(paths_lie_in_the_folders_of_the_rule,
                               with_rules),
        cmocka_unit_test_setup(no_folder_lets_a_disk_be_moved, with_rules),
        cmocka_unit_test_setup(no_more_are_open_than_the_rule_says, with_rules),
        cmocka_unit_test_setup(no_more_come_in_a_time_than_the_rule_says,
                               with_rules),
    };

    return cmocka_run_group_tests(tests, NULL, dispose);
}
