/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of settings and the values they take. */
#include "agent/base/config_setting.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"

static const struct setting_choice log_levels[] = {
    {"debug", XTL_DEBUG}, {"verbose", XTL_VERBOSE},   {"detail", XTL_DETAIL},
    {"info", XTL_INFO},   {"notice", XTL_NOTICE},     {"warn", XTL_WARN},
    {"error", XTL_ERROR}, {"critical", XTL_CRITICAL}, {NULL, 0},
};

static const struct setting_choice log_targets[] = {
    {"stderr", LOG_TARGET_STDERR},
    {"syslog", LOG_TARGET_SYSLOG},
    {NULL, 0},
};

static const struct setting_choice supervise_choices[] = {
    {"auto", SUPERVISE_AUTO},
    {"always", SUPERVISE_ALWAYS},
    {"never", SUPERVISE_NEVER},
    {NULL, 0},
};

static const struct setting_choice roles[] = {
    {"host", ROLE_HOST},
    {"backend", ROLE_BACKEND},
    {NULL, 0},
};

#define IN(member)                                                             \
    .offset = offsetof(struct config, member),                                 \
    .size = sizeof(((struct config *)NULL)->member)
#define SECTION(name)                                                          \
    {                                                                          \
        .key = (name), .kind = SETTING_SECTION                                 \
    }
#define CHOICE(name, member, standard, list)                                   \
    {                                                                          \
        .key = (name), .kind = SETTING_CHOICE, .by_default = (standard),       \
        .choices = (list), IN(member)                                          \
    }
#define PLACE(what, name, member, standard)                                    \
    {                                                                          \
        .key = (name), .kind = (what), .by_default = (standard), IN(member)    \
    }
#define NUMBER(what, name, member, standard, lowest, highest)                  \
    {                                                                          \
        .key = (name), .kind = (what), .by_default = (standard),               \
        .min = (lowest), .max = (highest), IN(member)                          \
    }

/* clang-format off */
const struct setting config_settings[] = {
CHOICE("role", role, "host", roles),

SECTION("log"),
CHOICE("log.level", log.level, "info", log_levels),
CHOICE("log.target", log.target, "stderr", log_targets),

SECTION("store"),
PLACE(SETTING_FOLDER, "store.folder", store.folder, "/var/lib/xensnapd"),
PLACE(SETTING_FOLDER, "store.memory-folder", store.memory_folder,
      "/var/lib/xensnapd/memory"),
PLACE(SETTING_FOLDER, "store.disk-folder", store.disk_folder,
      "/var/lib/xensnapd/disks"),
PLACE(SETTING_FOLDER, "store.run-folder", store.run_folder, "/run/xensnapd"),
NUMBER(SETTING_SIZE, "store.reserve", store.reserve_bytes,
       "64MiB", "0", "1024GiB"),

SECTION("xenstore"),
PLACE(SETTING_XENSTORE_PATH, "xenstore.root", xenstore.root, "/tool/xensnapd"),
NUMBER(SETTING_DURATION, "xenstore.reconnect-max", xenstore.reconnect_max_ms,
       "5s", "100ms", "10min"),
NUMBER(SETTING_DURATION, "xenstore.keep-finished", xenstore.keep_finished_ms,
       "1h", "0s", "720h"),

SECTION("limits"),
NUMBER(SETTING_COUNT, "limits.per-domain", limits.per_domain,
       "16", "1", "1000"),
NUMBER(SETTING_COUNT, "limits.per-owner", limits.per_owner,
       "1024", "1", "100000"),
NUMBER(SETTING_COUNT, "limits.total", limits.total, "1024", "1", "100000"),
NUMBER(SETTING_COUNT, "limits.memory-saves", limits.memory_saves,
       "2", "1", "1000"),
NUMBER(SETTING_COUNT, "limits.max-snapshots", limits.max_snapshots,
       "0", "0", "100000"),
NUMBER(SETTING_COUNT, "limits.max-depth", limits.max_depth, "200", "2", "250"),
NUMBER(SETTING_COUNT, "limits.warn-depth", limits.warn_depth, "32", "0", "250"),

SECTION("timeouts"),
NUMBER(SETTING_DURATION, "timeouts.request", timeouts.request_ms,
       "30min", "0s", "24h"),
NUMBER(SETTING_DURATION, "timeouts.lock", timeouts.lock_ms,
       "30s", "100ms", "1h"),
NUMBER(SETTING_DURATION, "timeouts.qmp-greeting", timeouts.qmp_greeting_ms,
       "10s", "100ms", "1h"),
NUMBER(SETTING_DURATION, "timeouts.qmp-reply", timeouts.qmp_reply_ms,
       "10s", "100ms", "1h"),
NUMBER(SETTING_DURATION, "timeouts.qmp-transaction",
       timeouts.qmp_transaction_ms, "60s", "100ms", "1h"),
NUMBER(SETTING_DURATION, "timeouts.backend", timeouts.backend_ms,
       "60s", "100ms", "1h"),
NUMBER(SETTING_DURATION, "timeouts.max-pause", timeouts.max_pause_ms,
       "5min", "0s", "24h"),
NUMBER(SETTING_DURATION, "timeouts.restore", timeouts.restore_ms,
       "5min", "0s", "24h"),
NUMBER(SETTING_DURATION, "timeouts.freeze", timeouts.freeze_ms,
       "10s", "100ms", "10min"),
NUMBER(SETTING_DURATION, "timeouts.max-freeze", timeouts.max_freeze_ms,
       "30s", "1s", "1h"),
NUMBER(SETTING_DURATION, "timeouts.guest-tools", timeouts.guest_tools_ms,
       "2min", "100ms", "1h"),
NUMBER(SETTING_DURATION, "timeouts.hold", timeouts.hold_ms,
       "60s", "1s", "24h"),
NUMBER(SETTING_DURATION, "timeouts.drain", timeouts.drain_ms,
       "60s", "0s", "24h"),

SECTION("metrics"),
PLACE(SETTING_FILE, "metrics.file", metrics.file,
      "/var/lib/prometheus/node-exporter/xensnapd.prom"),
NUMBER(SETTING_DURATION, "metrics.interval", metrics.interval_ms,
       "5s", "100ms", "1h"),

CHOICE("supervise", supervise, "auto", supervise_choices),
{.key = "policy", .kind = SETTING_POLICY},
{.key = NULL},
};
/* clang-format on */

_Static_assert(sizeof(config_settings) / sizeof(config_settings[0]) <=
                   CONFIG_SETTINGS_MAX,
               "CONFIG_SETTINGS_MAX is too small");

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit plain_units[] = {{"", 1}, {NULL, 0}};
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {NULL, 0},
};

static const struct {
    const struct unit *units;
    const char *expected;
} number_kinds[] = {
    [SETTING_COUNT] = {plain_units, "a whole number"},
    [SETTING_DURATION] = {duration_units,
                          "a duration such as 500ms, 30s, 10min or 1h"},
    [SETTING_SIZE] = {size_units, "a size such as 512KiB, 64MiB or 1GiB"},
};

/* Reads "64 MiB" and the like; false also where it exceeds 64 bits. Nothing is
 * nothing in any unit; of any other number it would be a guess. */
static bool parse_number(const char *text, const struct unit *units,
                         uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t digits = strspn(text, "0123456789");
    size_t i;

    if (digits == 0 || digits > 19)
        return false;
    for (i = 0; i < digits; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    text += digits;
    text += strspn(text, " ");
    if (value == 0 && *text == '\0') {
        *ret_value = 0;
        return true;
    }
    for (; units->name; units++) {
        if (!strcmp(text, units->name))
            return !__builtin_mul_overflow(value, units->factor, ret_value);
    }
    return false;
}

bool setting_parse_number(const struct setting *setting, const char *text,
                          uint64_t *ret_value, struct error *err)
{
    const struct unit *units = number_kinds[setting->kind].units;
    uint64_t value, min = 0, max = 0;
    char shown[80];

    error_sanitise(shown, sizeof(shown), text);
    if (!parse_number(text, units, &value))
        return error_set(err, ERR_INVALID_REQUEST, "\"%s\" is not %s", shown,
                         number_kinds[setting->kind].expected);
    parse_number(setting->min, units, &min);
    parse_number(setting->max, units, &max);
    if (value < min || value > max)
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s\" is out of bounds: from %s to %s", shown,
                         setting->min, setting->max);
    *ret_value = value;
    return true;
}

static bool store_number(const struct setting *setting, const char *text,
                         void *place, struct error *err)
{
    uint64_t wide = 0;
    uint32_t narrow;

    if (!setting_parse_number(setting, text, &wide, err))
        return false;
    narrow = (uint32_t)wide; /* the upper bounds see to it that it fits */
    if (setting->size == sizeof(narrow))
        memcpy(place, &narrow, sizeof(narrow));
    else
        memcpy(place, &wide, sizeof(wide));
    return true;
}

static bool refuse_choice(const struct setting *setting, const char *text,
                          struct error *err)
{
    const struct setting_choice *choice;
    char list[128] = "";
    char shown[80];

    for (choice = setting->choices; choice->name; choice++) {
        size_t length = strlen(list);

        snprintf(list + length, sizeof(list) - length, "%s%s",
                 length ? ", " : "", choice->name);
    }
    return error_set(err, ERR_INVALID_REQUEST, "\"%s\" is not one of %s",
                     error_sanitise(shown, sizeof(shown), text), list);
}

static bool store_choice(const struct setting *setting, const char *text,
                         void *place, struct error *err)
{
    const struct setting_choice *choice;

    for (choice = setting->choices; choice->name; choice++) {
        if (!strcmp(choice->name, text)) {
            memcpy(place, &choice->value, setting->size);
            return true;
        }
    }
    return refuse_choice(setting, text, err);
}

/* The characters that xenstored takes in a path (valid_chars() there). */
static bool is_xenstore_path(const char *path)
{
    return path_is_plain(path) &&
           path[strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "abcdefghijklmnopqrstuvwxyz0123456789-/_@")] ==
               '\0';
}

/* There each key that is written looks like news of a domain, and all of it
 * goes with one. */
static bool is_domains(const char *path)
{
    return strcmp(path, "/local") == 0 || strncmp(path, "/local/", 7) == 0;
}

static bool store_place(const struct setting *setting, const char *text,
                        void *place, struct error *err)
{
    bool xenstore = setting->kind == SETTING_XENSTORE_PATH;
    size_t length = strlen(text);
    char shown[80];

    if (setting->kind == SETTING_FILE && strcmp(text, "off") == 0) {
        memset(place, 0, setting->size);
        return true;
    }
    error_sanitise(shown, sizeof(shown), text);
    if (xenstore ? !is_xenstore_path(text) : !path_is_plain(text))
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s\" is not a plain absolute %s", shown,
                         xenstore ? "xenstore path" : "path");
    if (xenstore && is_domains(text))
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s\" is among the folders of domains, which libxl "
                         "makes and removes; name one elsewhere, such as "
                         "/tool/xensnapd",
                         shown);
    if (length >= setting->size)
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s...\" is longer than %zu bytes", shown,
                         setting->size - 1);
    memset(place, 0, setting->size);
    memcpy(place, text, length);
    return true;
}

bool setting_store(const struct setting *setting, const char *text,
                   struct config *config, struct error *err)
{
    void *place = (char *)config + setting->offset;

    switch (setting->kind) {
    case SETTING_SECTION:
    case SETTING_POLICY:
        break;
    case SETTING_CHOICE:
        return store_choice(setting, text, place, err);
    case SETTING_FOLDER:
    case SETTING_FILE:
    case SETTING_XENSTORE_PATH:
        return store_place(setting, text, place, err);
    case SETTING_COUNT:
    case SETTING_DURATION:
    case SETTING_SIZE:
        return store_number(setting, text, place, err);
    }
    return error_set(err, ERR_INVALID_REQUEST,
                     "is a section: its settings follow, each on a line of "
                     "its own");
}
