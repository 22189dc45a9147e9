/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether values and options can be right. */
#include "client/option_check.h"

#include "client/value.h"

#include <string.h>

void option_check_value(const struct command *command, const char *option,
                        const char *key, const char *value)
{
    char why[VALUE_WHY_MAX];

    if (!value_is_valid(key, value, why))
        usage_error(command, "%s: %s", option, why);
}

static bool is(const struct request *request, const char *key,
               const char *wanted)
{
    const char *value = request_get(request, key);

    return value && strcmp(value, wanted) == 0;
}

static bool tells_what_changed(const struct request *request)
{
    for (size_t i = 0; i < request->n_keys; i++) {
        if (strncmp(request->keys[i].name, "disks/", strlen("disks/")) == 0)
            return true;
    }
    return false;
}

void option_check_together(const struct command *command,
                           const struct request *request)
{
    bool prepare = is(request, "phase", "prepare");

    if (is(request, "memory", "0") && request_has(request, "memory-path"))
        usage_error(command, "--memory-path contradicts --no-memory");
    if (is(request, "memory", "0") && is(request, "live", "1"))
        usage_error(command, "--live contradicts --no-memory");
    if (request_has(request, "hold") && !prepare)
        usage_error(command, "--hold needs --prepare");
    if ((prepare || is(request, "phase", "abort")) &&
        tells_what_changed(request))
        usage_error(command,
                    "--disk VDEV=PATH and --format tell what has changed: not "
                    "with %s",
                    prepare ? "--prepare" : "--abort");
}
