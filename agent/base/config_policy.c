/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the setting `policy`: a list of rules, each a mapping of keys to a
 * value or a list of values. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/config_reader.h"
#include "agent/base/policy.h"

#define KEY "policy"

typedef bool take_value(struct policy_rule *rule, const char *text,
                        struct error *err);

static const struct setting rate_count = {
    .kind = SETTING_COUNT, .min = "1", .max = "100000"};
static const struct setting rate_time = {
    .kind = SETTING_DURATION, .min = "1s", .max = "720h"};
static const struct setting open_bound = {
    .kind = SETTING_COUNT, .min = "1", .max = "100000"};
static const struct setting snapshot_bound = {
    .kind = SETTING_COUNT, .min = "1", .max = "100000"};

/* "10 / 1h" */
static bool take_rate(struct policy_rule *rule, const char *text,
                      struct error *err)
{
    size_t length = strcspn(text, "/");
    uint64_t count, ms;
    char shown[80];
    char *number;
    bool ok;

    if (!text[length])
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s\" is not a number of requests and a time, such "
                         "as 10/1h",
                         error_sanitise(shown, sizeof(shown), text));
    number = xstrndup(text, length);
    while (length > 0 && number[length - 1] == ' ')
        number[--length] = '\0';
    text = strchr(text, '/') + 1;
    text += strspn(text, " ");
    ok = setting_parse_number(&rate_count, number, &count, err) &&
         setting_parse_number(&rate_time, text, &ms, err);
    free(number);
    if (ok) {
        rule->rate_count = (uint32_t)count;
        rule->rate_ms = (uint32_t)ms;
    }
    return ok;
}

static bool take_open(struct policy_rule *rule, const char *text,
                      struct error *err)
{
    uint64_t value;

    if (!setting_parse_number(&open_bound, text, &value, err))
        return false;
    rule->max_open = (uint32_t)value;
    return true;
}

static bool take_snapshots(struct policy_rule *rule, const char *text,
                           struct error *err)
{
    uint64_t value;

    if (!setting_parse_number(&snapshot_bound, text, &value, err))
        return false;
    rule->max_snapshots = (uint32_t)value;
    return true;
}

static const struct rule_key {
    const char *name;
    bool many; /* a list will do as well */
    take_value *take;
} rule_keys[] = {
    {"who", true, policy_take_who},
    {"operations", true, policy_take_operation},
    {"targets", true, policy_take_target},
    {"folders", true, policy_take_folder},
    {"rate", false, take_rate},
    {"open", false, take_open},
    {"snapshots", false, take_snapshots},
};

#define RULE_KEYS (sizeof(rule_keys) / sizeof(rule_keys[0]))

static bool refuse_at(struct config_reader *reader, yaml_mark_t mark,
                      const char *reason)
{
    error_set(reader->err, ERR_INVALID_REQUEST, KEY ": %s", reason);
    return config_reader_at(reader, mark);
}

static bool refuse(struct config_reader *reader, const char *reason)
{
    return refuse_at(reader, reader->event.start_mark, reason);
}

static bool take_scalar(struct config_reader *reader,
                        const struct rule_key *key, struct policy_rule *rule)
{
    const char *text = config_reader_text(reader);

    if (!text)
        error_set(reader->err, ERR_INVALID_REQUEST,
                  key->many ? "a value, or a list of values, is expected"
                            : "a single value is expected");
    else if (key->take(rule, text, reader->err))
        return true;
    error_prefix(reader->err, KEY ".%s: ", key->name);
    return config_reader_at(reader, reader->event.start_mark);
}

static bool read_values(struct config_reader *reader,
                        const struct rule_key *key, struct policy_rule *rule)
{
    size_t count = 0;

    if (!key->many || reader->event.type != YAML_SEQUENCE_START_EVENT)
        return take_scalar(reader, key, rule);
    while (config_reader_next(reader)) {
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return count > 0 || refuse(reader, "an empty list says nothing");
        if (!take_scalar(reader, key, rule))
            return false;
        count++;
    }
    return false;
}

static const struct rule_key *identify(struct config_reader *reader,
                                       bool seen[RULE_KEYS])
{
    const char *name = config_reader_text(reader);
    char shown[80];
    size_t i;

    for (i = 0; name && i < RULE_KEYS; i++) {
        if (strcmp(rule_keys[i].name, name) != 0)
            continue;
        if (!seen[i]) {
            seen[i] = true;
            return &rule_keys[i];
        }
        error_set(reader->err, ERR_INVALID_REQUEST,
                  KEY ".%s: stands in this rule a second time", name);
        config_reader_at(reader, reader->event.start_mark);
        return NULL;
    }
    error_set(reader->err, ERR_INVALID_REQUEST,
              KEY ".%s: a rule has who, operations, targets, folders, rate, "
                  "open and snapshots",
              name ? error_sanitise(shown, sizeof(shown), name) : "?");
    config_reader_at(reader, reader->event.start_mark);
    return NULL;
}

/* A rule without `targets` is about whoever asks. */
static bool complete_rule(struct config_reader *reader, yaml_mark_t begin,
                          struct policy_rule *rule)
{
    if (rule->who_count == 0)
        return refuse_at(reader, begin,
                         "a rule says who: a domain's name, say");
    if (rule->operations == 0)
        return refuse_at(reader, begin,
                         "a rule says which operations: all, say");
    return rule->target_count > 0 ||
           policy_take_target(rule, "self", reader->err);
}

static bool read_rule(struct config_reader *reader, struct policy *policy)
{
    struct policy_rule *rule = policy_add_rule(policy);
    yaml_mark_t begin = reader->event.start_mark;
    bool seen[RULE_KEYS] = {false};
    const struct rule_key *key;

    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, "a rule is expected, as \"- who: NAME\"");
    while (config_reader_next(reader)) {
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return complete_rule(reader, begin, rule);
        key = identify(reader, seen);
        if (!key || !config_reader_next(reader) ||
            !read_values(reader, key, rule))
            return false;
    }
    return false;
}

static bool read_rules(struct config_reader *reader, struct policy *policy)
{
    while (config_reader_next(reader)) {
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return true;
        if (!read_rule(reader, policy))
            return false;
    }
    return false;
}

bool config_read_policy(struct config_reader *reader)
{
    struct policy *policy;

    if (config_reader_is_nothing(reader))
        return true;
    if (reader->event.type != YAML_SEQUENCE_START_EVENT)
        return refuse(reader, "a list of rules is expected");
    policy = xcalloc(1, sizeof(*policy));
    policy->holders = 1;
    if (!read_rules(reader, policy)) {
        policy_release(policy);
        return false;
    }
    policy_release(reader->config->policy);
    reader->config->policy = policy;
    return true;
}
