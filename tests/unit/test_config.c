/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf/agent.yaml: what it may say, and how it is told what is wrong.  Run in
 * the project's folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/config.h"
#include "agent/base/policy.h"
#include "agent/request_key.h"

#define SHIPPED "conf/agent.yaml"

static struct config config;
static struct error err;

static bool parse(const char *text)
{
    config_dispose(&config);
    return config_parse(text, strlen(text), "x.yaml", &config, &err);
}

static void assert_refused(const char *text, const char *message)
{
    assert_false(parse(text));
    assert_int_equal(err.code, ERR_INVALID_REQUEST);
    assert_string_equal(err.message, message);
}

/* Domain 0 may do everything, and nobody else is in it. */
static void assert_default_policy(const struct policy *policy)
{
    const struct policy_rule *rule = &policy->rules[0];

    assert_int_equal(policy->count, 1);
    assert_int_equal(rule->who_count, 1);
    assert_int_equal(rule->who[0].kind, POLICY_DOMID);
    assert_int_equal(rule->who[0].domid, 0);
    assert_int_equal(rule->operations, 0xf);
    assert_int_equal(rule->target_count, 1);
    assert_int_equal(rule->targets[0].kind, POLICY_ANY);
    assert_true(rule->any_folder);
    assert_int_equal(rule->rate_count, 0);
    assert_int_equal(rule->max_open, 0);
    assert_int_equal(rule->max_snapshots, 0);
}

static void assert_defaults(void)
{
    struct config defaults, here = config;

    config_set_defaults(&defaults);
    assert_default_policy(defaults.policy);
    assert_default_policy(config.policy);
    config_dispose(&defaults);
    here.policy = NULL;
    assert_memory_equal(&here, &defaults, sizeof(here));
}

static void the_shipped_file_says_what_is_so_without_it(void **state)
{
    (void)state;
    config_dispose(&config);
    assert_true(config_load(SHIPPED, &config, &err));
    assert_defaults();
}

/* Whether the shipped file has `key`, in its section. */
static bool is_shipped(const char *key)
{
    FILE *file = fopen(SHIPPED, "re");
    char line[512], section[64] = "", name[64], full[160];
    bool found = false;

    assert_non_null(file);
    while (!found && fgets(line, sizeof(line), file)) {
        if (sscanf(line, " %63[a-z-]:", name) != 1)
            continue;
        if (line[0] != ' ')
            snprintf(section, sizeof(section), "%s", name);
        snprintf(full, sizeof(full), line[0] == ' ' ? "%s.%s" : "%.0s%s",
                 section, name);
        found = !strcmp(full, key);
    }
    fclose(file);
    return found;
}

static void the_shipped_file_names_every_setting(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; config_key(i); i++) {
        if (!is_shipped(config_key(i)))
            fail_msg("%s does not name %s", SHIPPED, config_key(i));
    }
    assert_true(i > 15);
}

static void an_empty_file_means_all_defaults(void **state)
{
    (void)state;
    assert_true(parse(""));
    assert_defaults();
    assert_true(parse("# only a comment\n---\n"));
    assert_defaults();
    assert_true(parse("log:\n  # level: debug\n"));
    assert_defaults();
}

static void settings_are_taken_over(void **state)
{
    (void)state;
    assert_true(parse("log: {level: debug, target: syslog}\n"
                      "store:\n  folder: /srv/x\n  reserve: 2 GiB\n"
                      "xenstore: {root: \"/tool/other\"}\n"
                      "limits: {memory-saves: 7}\n"
                      "supervise: never\n"));
    assert_int_equal(config.log.level, XTL_DEBUG);
    assert_int_equal(config.log.target, LOG_TARGET_SYSLOG);
    assert_string_equal(config.store.folder, "/srv/x");
    assert_true(config.store.reserve_bytes == UINT64_C(2) << 30);
    assert_string_equal(config.xenstore.root, "/tool/other");
    assert_int_equal(config.limits.memory_saves, 7);
    assert_int_equal(config.supervise, SUPERVISE_NEVER);
    assert_int_equal(config.limits.per_domain, 16);
}

static void durations_take_units(void **state)
{
    (void)state;
    assert_true(parse("timeouts: {request: 2h, lock: 1500ms, qmp-reply: 3s, "
                      "drain: 2min, qmp-greeting: 4s}"));
    assert_int_equal(config.timeouts.request_ms, 7200000);
    assert_int_equal(config.timeouts.lock_ms, 1500);
    assert_int_equal(config.timeouts.qmp_reply_ms, 3000);
    assert_int_equal(config.timeouts.drain_ms, 120000);
    assert_int_equal(config.timeouts.qmp_greeting_ms, 4000);
}

static void a_number_alone_is_no_duration_and_no_size(void **state)
{
    (void)state;
    assert_refused("timeouts: {request: 30}",
                   "x.yaml:1: timeouts.request: \"30\" is not a duration such "
                   "as 500ms, 30s, 10min or 1h");
    assert_refused("store: {reserve: 64}",
                   "x.yaml:1: store.reserve: \"64\" is not a size such as "
                   "512KiB, 64MiB or 1GiB");
    assert_true(parse("timeouts: {request: 0}\nstore: {reserve: 0}"));
    assert_true(config.timeouts.request_ms == 0);
    assert_true(config.store.reserve_bytes == 0);
}

static void a_freeze_ends_before_the_guest_thaws_by_itself(void **state)
{
    (void)state;
    assert_refused("timeouts: {freeze: 40s}",
                   "x.yaml: timeouts.max-freeze (30 s) has to be longer than "
                   "timeouts.freeze (40 s)");
    assert_refused("timeouts: {freeze: 2500ms, max-freeze: 2500ms}",
                   "x.yaml: timeouts.max-freeze (2.5 s) has to be longer than "
                   "timeouts.freeze (2.5 s)");
    assert_true(parse("timeouts: {freeze: 40s, max-freeze: 1min}"));
}

static void a_value_that_is_no_choice_is_refused_with_the_choices(void **state)
{
    (void)state;
    assert_refused("log:\n  level: foo\n",
                   "x.yaml:2: log.level: \"foo\" is not one of debug, verbose, "
                   "detail, info, notice, warn, error, critical");
    assert_refused("supervise: \"\\e[1m\"",
                   "x.yaml:1: supervise: \"?[1m\" is not one of auto, always, "
                   "never");
    assert_refused("log: {level: }",
                   "x.yaml:1: log.level: \"\" is not one of debug, verbose, "
                   "detail, info, notice, warn, error, critical");
}

static void a_number_out_of_bounds_is_refused_with_the_bounds(void **state)
{
    (void)state;
    assert_refused("\nlimits:\n\n  total: 0",
                   "x.yaml:4: limits.total: \"0\" is out of bounds: from 1 to "
                   "100000");
    assert_refused("timeouts: {lock: 10ms}",
                   "x.yaml:1: timeouts.lock: \"10ms\" is out of bounds: from "
                   "100ms to 1h");
    assert_refused("timeouts: {lock: 5124095576030432h}",
                   "x.yaml:1: timeouts.lock: \"5124095576030432h\" is not a "
                   "duration such as 500ms, 30s, 10min or 1h");
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const values[] = {
        "fast", "-1",   "1.5s", "10 parsecs",           "''",
        "s",    "0x10", "1e3",  "99999999999999999999s"};
    char text[80];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        snprintf(text, sizeof(text), "timeouts: {lock: %s}", values[i]);
        assert_false(parse(text));
        assert_non_null(strstr(err.message, "timeouts.lock: \""));
    }
    assert_false(parse("limits: {total: 5s}"));
    assert_false(parse("store: {reserve: 5MB}"));
}

static void folders_must_be_plain_absolute_paths(void **state)
{
    static const char *const values[] = {"var", "/var/", "/a//b",    "/a/../b",
                                         "/",   "''",    "\"/a\\n\""};
    char text[80];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        snprintf(text, sizeof(text), "store: {folder: %s}", values[i]);
        assert_false(parse(text));
        assert_non_null(strstr(err.message, "is not a plain absolute path"));
    }
    assert_false(parse("xenstore: {root: /tool/a.b}"));
    assert_non_null(strstr(err.message, "xenstore path"));
    assert_true(parse("xenstore: {root: /localhost}"));
    assert_refused("xenstore: {root: /local/domain/0}",
                   "x.yaml:1: xenstore.root: \"/local/domain/0\" is among the "
                   "folders of domains, which libxl makes and removes; name "
                   "one elsewhere, such as /tool/xensnapd");
}

/* Beside records and notes each file is taken for one, or they for a file. */
static void what_is_made_does_not_go_among_the_agent_s_own(void **state)
{
    (void)state;
    assert_refused("store: {memory-folder: /var/lib/xensnapd/snapshots}",
                   "x.yaml: store.memory-folder (/var/lib/xensnapd/snapshots) "
                   "is where the agent keeps what is its own "
                   "(/var/lib/xensnapd/snapshots); name a folder beside that");
    assert_refused(
        "store: {folder: /a, disk-folder: /a/journal/x}",
        "x.yaml: store.disk-folder (/a/journal/x) is where the agent "
        "keeps what is its own (/a/journal); name a folder beside "
        "that");
    assert_false(parse("store: {folder: /a, run-folder: /a/left}"));
    assert_true(parse("store: {folder: /a, memory-folder: /a/snapshots2}"));
    assert_true(parse("store: {folder: /a, memory-folder: /a}"));
}

static void metrics_replace_none_of_the_agent_s_files(void **state)
{
    (void)state;
    assert_refused("store: {folder: /a}\nmetrics: {file: /a/x.prom}",
                   "x.yaml: metrics.file (/a/x.prom) lies in store.folder "
                   "(/a); name a file elsewhere, or off");
    assert_refused("metrics: {file: /run/xensnapd/lock}",
                   "x.yaml: metrics.file (/run/xensnapd/lock) lies in "
                   "store.run-folder (/run/xensnapd); name a file elsewhere, "
                   "or off");
    assert_false(parse("store: {memory-folder: /m}\nmetrics: {file: /m}"));
    assert_false(parse("store: {disk-folder: /d}\nmetrics: {file: /d/x}"));
    assert_true(parse("store: {folder: /a}\nmetrics: {file: /ab.prom}"));
    assert_true(parse("metrics: {file: off}"));
}

static void a_folder_that_is_too_long_is_refused(void **state)
{
    char text[PATH_MAX + 64];

    (void)state;
    snprintf(text, sizeof(text), "store: {folder: /%0*d}", PATH_MAX - 1, 0);
    assert_false(parse(text));
    assert_non_null(strstr(err.message, "is longer than 4095 bytes"));
}

static void an_unknown_setting_is_refused(void **state)
{
    (void)state;
    assert_refused("log:\n  colour: red\n",
                   "x.yaml:2: log.colour: there is no such setting");
    assert_refused("logging: {}",
                   "x.yaml:1: logging: there is no such setting");
    assert_refused("log.level: debug",
                   "x.yaml:1: log.level: there is no such setting");
    assert_refused("supervise: auto\nlevel: debug",
                   "x.yaml:2: level: there is no such setting");
}

static void a_repeated_setting_is_refused(void **state)
{
    (void)state;
    assert_refused("log:\n  level: info\n  level: debug\n",
                   "x.yaml:3: log.level: stands here a second time");
    assert_refused("log: {level: info}\nlog: {target: stderr}\n",
                   "x.yaml:2: log: stands here a second time");
}

static void a_wrong_type_is_refused(void **state)
{
    (void)state;
    assert_refused("log:\n  level: {a: b}\n",
                   "x.yaml:2: log.level: a single value is expected");
    assert_refused("supervise: [auto]\n",
                   "x.yaml:1: supervise: a single value is expected");
    assert_refused("log: info\n",
                   "x.yaml:1: log: is a section: its settings follow, each on "
                   "a line of its own");
    assert_refused("log: [level]\n",
                   "x.yaml:1: log: is a section: its settings follow, each on "
                   "a line of its own");
    assert_refused("limits: [\n",
                   "x.yaml:1: limits: is a section: its settings follow, each "
                   "on a line of its own");
    assert_refused("- log\n",
                   "x.yaml:1: settings are expected, as \"name: value\"");
    assert_refused("? [a]\n: b\n", "x.yaml:1: a setting's name is expected");
    assert_refused("supervise: \"auto\\0\"",
                   "x.yaml:1: supervise: a single value is expected");
}

static void anchors_and_a_second_document_are_refused(void **state)
{
    (void)state;
    assert_refused("log: &a {level: info}\n",
                   "x.yaml:1: anchors and aliases are not allowed here");
    assert_refused("log: *a\n",
                   "x.yaml:1: anchors and aliases are not allowed here");
    assert_refused("supervise: auto\n---\nsupervise: never\n",
                   "x.yaml:2: a second document is not allowed here");
}

static void broken_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    assert_false(parse("log:\n  level: \"info\n"));
    assert_memory_equal(err.message, "x.yaml:", 7);
    assert_false(parse("log:\n\tlevel: info\n"));
    assert_memory_equal(err.message, "x.yaml:2: ", 10);
    assert_false(parse("\xff\xfe\x01"));
}

static void a_refused_file_changes_nothing(void **state)
{
    static const char text[] = "limits: {total: 5}\npolicy: [{who: any, "
                               "operations: all}]\nsupervise: x";

    (void)state;
    assert_true(parse(""));
    assert_false(config_parse(text, strlen(text), "x.yaml", &config, &err));
    assert_defaults();
}

static void operations_have_the_numbers_of_requests(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; policy_operations[i]; i++) {
        assert_string_equal(policy_operations[i],
                            request_operation_name((enum request_operation)i));
        assert_string_equal(policy_operations[i], request_operations[i].name);
    }
    assert_null(request_operations[i].name);
}

static void a_policy_is_taken_over(void **state)
{
    const struct policy_rule *rule;

    (void)state;
    assert_true(parse("policy:\n"
                      "  - who: [web-*, domid 5]\n"
                      "    operations: [create, rescan]\n"
                      "    targets: [self, db, "
                      "0F0E0D0C-0000-1111-2222-0123456789ab]\n"
                      "    folders: [/srv/a, /srv/b]\n"
                      "    rate: 10 / 1h\n"
                      "    open: 2\n"
                      "    snapshots: 9\n"
                      "  - {who: any, operations: all}\n"));
    assert_int_equal(config.policy->count, 2);
    rule = &config.policy->rules[0];
    assert_int_equal(rule->who_count, 2);
    assert_string_equal(rule->who[0].text, "web-*");
    assert_int_equal(rule->who[1].domid, 5);
    assert_int_equal(rule->operations,
                     1u << REQUEST_CREATE | 1u << REQUEST_RESCAN);
    assert_int_equal(rule->target_count, 3);
    assert_int_equal(rule->targets[0].kind, POLICY_SELF);
    assert_int_equal(rule->targets[2].kind, POLICY_UUID);
    assert_int_equal(rule->folder_count, 2);
    assert_string_equal(rule->folders[1], "/srv/b");
    assert_int_equal(rule->rate_count, 10);
    assert_int_equal(rule->rate_ms, 3600000);
    assert_int_equal(rule->max_open, 2);
    assert_int_equal(rule->max_snapshots, 9);
    /* What a rule leaves out: its own domain, no folder, no bound. */
    rule = &config.policy->rules[1];
    assert_int_equal(rule->operations, 0xf);
    assert_int_equal(rule->target_count, 1);
    assert_int_equal(rule->targets[0].kind, POLICY_SELF);
    assert_false(rule->any_folder);
    assert_int_equal(rule->folder_count, 0);
    assert_true(parse("policy: []"));
    assert_int_equal(config.policy->count, 0);
    assert_true(parse("policy:\n"));
    assert_defaults();
}

static void a_rule_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *message;
    } wrong[] = {
        {"policy: any", "x.yaml:1: policy: a list of rules is expected"},
        {"policy: [web]",
         "x.yaml:1: policy: a rule is expected, as \"- who: NAME\""},
        {"policy:\n  - operations: all",
         "x.yaml:2: policy: a rule says who: a domain's name, say"},
        {"policy:\n  - {who: web}",
         "x.yaml:2: policy: a rule says which operations: all, say"},
        {"policy:\n  - {who: [], operations: all}",
         "x.yaml:2: policy: an empty list says nothing"},
        {"policy:\n  - {who: web, operations: [create, destroy]}",
         "x.yaml:2: policy.operations: \"destroy\" is not one of create, "
         "delete, revert, rescan, all"},
        {"policy:\n  - who: web\n    colour: red",
         "x.yaml:3: policy.colour: a rule has who, operations, targets, "
         "folders, rate, open and snapshots"},
        {"policy:\n  - {who: a, who: b}",
         "x.yaml:2: policy.who: stands in this rule a second time"},
        {"policy: [{who: {a: b}}]",
         "x.yaml:1: policy.who: a value, or a list of values, is expected"},
        {"policy: [{who: a, open: [1]}]",
         "x.yaml:1: policy.open: a single value is expected"},
        {"policy: [{who: 5}]",
         "x.yaml:1: policy.who: \"5\" is not a domain's name, a pattern of "
         "names, a uuid, \"domid 5\" or any"},
        {"policy: [{who: domid 99999}]",
         "x.yaml:1: policy.who: \"domid 99999\" is not a domid: write "
         "\"domid 5\""},
        {"policy: [{who: self}]",
         "x.yaml:1: policy.who: \"self\" is not somebody who asks: it is a "
         "target; write any"},
        {"policy: [{folders: /a/../b}]",
         "x.yaml:1: policy.folders: \"/a/../b\" is not a plain absolute path, "
         "or any"},
        {"policy: [{rate: 10}]",
         "x.yaml:1: policy.rate: \"10\" is not a number of requests and a "
         "time, such as 10/1h"},
        {"policy: [{rate: 10/1ms}]",
         "x.yaml:1: policy.rate: \"1ms\" is out of bounds: from 1s to 720h"},
        {"policy: [{open: 0}]",
         "x.yaml:1: policy.open: \"0\" is out of bounds: from 1 to 100000"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refused(wrong[i].text, wrong[i].message);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    assert_false(config_load("/nonexistent/agent.yaml", &config, &err));
    assert_string_equal(err.message, "cannot open /nonexistent/agent.yaml: No "
                                     "such file or directory");
    assert_false(config_load("/", &config, &err));
    assert_string_equal(err.message, "cannot read /: Is a directory");
}

/* ---- the store's folders alone ---- */

/* NULL: it cannot be told. */
static const char *store_of(const char *text)
{
    config_dispose(&config);
    assert_false(parse(text));
    return config_parse_store(text, strlen(text), &config) ? config.store.folder
                                                           : NULL;
}

static void folders_are_found_in_a_file_that_is_wrong_elsewhere(void **state)
{
    (void)state;
    assert_string_equal(store_of("limits: {total: many}\n"
                                 "policy: [{what: [is, {this: 1}]}]\n"
                                 "store: {reserve: x, run-folder: /r, "
                                 "folder: /a}\n"),
                        "/a");
    assert_string_equal(config.store.run_folder, "/r");
    assert_string_equal(store_of("limits: {total: many}\n"),
                        "/var/lib/xensnapd");
    assert_string_equal(store_of("store: {folder: /a}\nlimit: {total: 1}\n"),
                        "/a");
    assert_string_equal(store_of("limit: {total: 1}\nstore: {folder: /a}\n"),
                        "/a");
    assert_string_equal(store_of("store:\n  folder: /a\nlimits: }\n"), "/a");
}

static void a_folder_that_may_be_meant_is_not_passed_over(void **state)
{
    static const char *const texts[] = {
        "nonsense",
        "stor: {folder: /a}\n",
        "store: {foldr: /a}\n",
        "store: /a\n",
        "store: [folder, /a]\n",
        "store: {folder: a}\n",
        "store: {folder: [/a]}\n",
        "store: {folder: /a}\nstore: {folder: /b}\n",
        "store.folder: /a\n",
        "{a: b}: /a\n",
        "limits: {\n",
        "limits: {total: 1}\n---\nstore: {folder: /a}\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (store_of(texts[i]) != NULL) {
            fail_msg("%s", texts[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shipped_file_says_what_is_so_without_it),
        cmocka_unit_test(the_shipped_file_names_every_setting),
        cmocka_unit_test(an_empty_file_means_all_defaults),
        cmocka_unit_test(settings_are_taken_over),
        cmocka_unit_test(durations_take_units),
        cmocka_unit_test(a_number_alone_is_no_duration_and_no_size),
        cmocka_unit_test(a_freeze_ends_before_the_guest_thaws_by_itself),
        cmocka_unit_test(a_value_that_is_no_choice_is_refused_with_the_choices),
        cmocka_unit_test(a_number_out_of_bounds_is_refused_with_the_bounds),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(folders_must_be_plain_absolute_paths),
        cmocka_unit_test(what_is_made_does_not_go_among_the_agent_s_own),
        cmocka_unit_test(metrics_replace_none_of_the_agent_s_files),
        cmocka_unit_test(a_folder_that_is_too_long_is_refused),
        cmocka_unit_test(an_unknown_setting_is_refused),
        cmocka_unit_test(a_repeated_setting_is_refused),
        cmocka_unit_test(a_wrong_type_is_refused),
        cmocka_unit_test(anchors_and_a_second_document_are_refused),
        cmocka_unit_test(broken_yaml_is_refused_with_its_line),
        cmocka_unit_test(a_refused_file_changes_nothing),
        cmocka_unit_test(operations_have_the_numbers_of_requests),
        cmocka_unit_test(a_policy_is_taken_over),
        cmocka_unit_test(a_rule_that_is_none_is_refused),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(folders_are_found_in_a_file_that_is_wrong_elsewhere),
        cmocka_unit_test(a_folder_that_may_be_meant_is_not_passed_over),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    config_dispose(&config);
    return failed;
}
