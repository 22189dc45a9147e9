/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzzes config_parse(): any bytes are either settings within their bounds or
 * an error that names the file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/config.h"
#include "agent/base/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

/* A rule is about somebody, something and some domain. */
static void check_policy(const struct policy *policy)
{
    size_t i;

    require(policy->holders == 1);
    for (i = 0; i < policy->count; i++) {
        const struct policy_rule *rule = &policy->rules[i];

        require(rule->who_count > 0 && rule->target_count > 0);
        require(rule->operations != 0);
        require((rule->rate_count == 0) == (rule->rate_ms == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct error err;

    if (config_parse((const char *)data, size, "fuzz.yaml", &config, &err)) {
        require(config.store.folder[0] == '/');
        require(config.limits.total >= 1 && config.limits.per_domain >= 1);
        require(config.timeouts.lock_ms >= 100);
        require(config.log.level > XTL_NONE &&
                config.log.level < XTL_NUM_LEVELS);
        check_policy(config.policy);
        config_dispose(&config);
    } else {
        require(!strncmp(err.message, "fuzz.yaml:", 10));
    }
    return 0;
}
