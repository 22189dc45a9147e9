/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of a request's keys and the values they take. */
#include "agent/request_key.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/text.h"

#define SECONDS_MAX 86400u
/* Ten years. */
#define EXPIRES_MAX 315360000u
/* EVTCHN_FIFO_NR_CHANNELS of Xen's event_channel.h, less one. */
#define PORT_MAX 131071u

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz0123456789_.-";

const struct request_choice request_operations[] = {
    {"create", REQUEST_CREATE},
    {"delete", REQUEST_DELETE},
    {"revert", REQUEST_REVERT},
    {"rescan", REQUEST_RESCAN},
    {NULL, 0},
};

static const struct request_choice booleans[] = {
    {"1", true},   {"0", false},  {"true", true}, {"false", false},
    {"yes", true}, {"no", false}, {NULL, 0},
};

static const struct request_choice live_choices[] = {
    {"auto", REQUEST_LIVE_AUTO}, {"1", REQUEST_LIVE_YES},
    {"0", REQUEST_LIVE_NO},      {"true", REQUEST_LIVE_YES},
    {"false", REQUEST_LIVE_NO},  {"yes", REQUEST_LIVE_YES},
    {"no", REQUEST_LIVE_NO},     {NULL, 0},
};

static const struct request_choice quiesce_choices[] = {
    {"0", REQUEST_QUIESCE_NO},     {"1", REQUEST_QUIESCE_YES},
    {"try", REQUEST_QUIESCE_TRY},  {"true", REQUEST_QUIESCE_YES},
    {"false", REQUEST_QUIESCE_NO}, {"yes", REQUEST_QUIESCE_YES},
    {"no", REQUEST_QUIESCE_NO},    {NULL, 0},
};

static const struct request_choice starts[] = {
    {"as-saved", REQUEST_START_AS_SAVED},
    {"running", REQUEST_START_RUNNING},
    {"paused", REQUEST_START_PAUSED},
    {"boot", REQUEST_START_BOOT},
    {NULL, 0},
};

static const struct request_choice phases[] = {
    {"prepare", REQUEST_PHASE_PREPARE},
    {"complete", REQUEST_PHASE_COMPLETE},
    {"abort", REQUEST_PHASE_ABORT},
    {NULL, 0},
};

/* ---- values ---- */

/* `value` "is not" or "is" what `reason` says. */
static bool refuse(struct error *err, const char *value, const char *reason)
{
    char shown[80];

    return error_set(err, ERR_INVALID_REQUEST, "\"%s\" is %s",
                     error_sanitise(shown, sizeof(shown), value), reason);
}

static bool store_text(const struct request_key *key, const char *value,
                       void *place, struct error *err)
{
    size_t length = strlen(value);
    char shown[80];

    if (length >= key->size)
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s...\" is %zu bytes long; at most %zu are allowed",
                         error_sanitise(shown, sizeof(shown), value), length,
                         key->size - 1);
    memcpy(place, value, length + 1);
    return true;
}

static bool parse_name(const struct request_key *key, const char *value,
                       void *place, struct error *err)
{
    if (!snapshot_name_is_valid(value))
        return refuse(err, value,
                      "not a snapshot's name: 1 to 64 of A-Z a-z 0-9 _ . -, "
                      "not beginning with . or -, and not \"current\"");
    return store_text(key, value, place, err);
}

static bool parse_schedule(const struct request_key *key, const char *value,
                           void *place, struct error *err)
{
    if (!snapshot_name_is_valid(value))
        return refuse(err, value,
                      "not a schedule's name: 1 to 64 of A-Z a-z 0-9 _ . -, "
                      "not beginning with . or -, and not \"current\"");
    return store_text(key, value, place, err);
}

static bool parse_domain(const struct request_key *key, const char *value,
                         void *place, struct error *err)
{
    if (!*value || !text_is_clean(value))
        return refuse(err, value, "not a domain's name, domid or uuid");
    return store_text(key, value, place, err);
}

static bool parse_description(const struct request_key *key, const char *value,
                              void *place, struct error *err)
{
    if (!text_is_clean(value))
        return refuse(err, value, "not UTF-8 without control characters");
    return store_text(key, value, place, err);
}

/* What no file can be called. */
static bool check_parts(const char *path, struct error *err)
{
    size_t length;

    for (; *path; path += length) {
        path += strspn(path, "/");
        length = strcspn(path, "/");
        if (length > NAME_MAX)
            return error_set(err, ERR_INVALID_REQUEST,
                             "a file name has at most %d bytes, and one of "
                             "the path's parts has %zu; choose a shorter one",
                             NAME_MAX, length);
    }
    return true;
}

static bool parse_path(const struct request_key *key, const char *value,
                       void *place, struct error *err)
{
    if (!request_path_is_plain(value)) {
        refuse(err, value,
               "not a plain absolute path: it begins with /, has no empty, . "
               "or .. part and no control character, is UTF-8 and at most "
               "1023 bytes long");
        err->code = ERR_PATH_NOT_ALLOWED;
        return false;
    }
    return check_parts(value, err) && store_text(key, value, place, err);
}

/* The memory file's temporary name is longer (memory_check.c). */
static bool parse_memory_path(const struct request_key *key, const char *value,
                              void *place, struct error *err)
{
    size_t max = NAME_MAX - strlen(".partial");
    size_t length;

    if (!parse_path(key, value, place, err))
        return false;
    length = strlen(strrchr(value, '/') + 1);
    return length <= max ||
           error_set(err, ERR_INVALID_REQUEST,
                     "the file's name has %zu bytes; at most %zu are allowed, "
                     "for .partial is added until the file is whole",
                     length, max);
}

/* Whether the format exists, and fits, is for the format table to say. */
static bool parse_format(const struct request_key *key, const char *value,
                         void *place, struct error *err)
{
    if (!*value || value[strspn(value, "abcdefghijklmnopqrstuvwxyz"
                                       "0123456789")])
        return refuse(err, value, "not an image format such as qcow2 or raw");
    return store_text(key, value, place, err);
}

static bool parse_number(const char *value, uint32_t max, uint32_t *ret_number,
                         struct error *err)
{
    char shown[80];
    uint32_t number = 0;
    size_t digits = strspn(value, "0123456789");
    size_t i;

    for (i = 0; i < digits && number <= max; i++)
        number = number * 10 + (uint32_t)(value[i] - '0');
    if (value[digits] || number < 1 || number > max)
        return error_set(err, ERR_INVALID_REQUEST,
                         "\"%s\" is not a whole number from 1 to %u",
                         error_sanitise(shown, sizeof(shown), value), max);
    *ret_number = number;
    return true;
}

static bool parse_port(const struct request_key *key, const char *value,
                       void *place, struct error *err)
{
    (void)key;
    return parse_number(value, PORT_MAX, place, err);
}

/* Stores milliseconds. */
static bool parse_seconds(const struct request_key *key, const char *value,
                          void *place, struct error *err)
{
    uint32_t *ms = place;

    (void)key;
    if (!parse_number(value, SECONDS_MAX, ms, err))
        return false;
    *ms *= 1000;
    return true;
}

/* Digits alone are seconds, anything else must be a time. */
static bool parse_expires(const struct request_key *key, const char *value,
                          void *place, struct error *err)
{
    struct request_expiry *expiry = place;

    (void)key;
    if (*value && value[strspn(value, "0123456789")] == '\0')
        return parse_number(value, EXPIRES_MAX, &expiry->after_s, err);
    if (clock_parse_utc_up(value, &expiry->at_s) && expiry->at_s > 0)
        return true;
    return refuse(err, value,
                  "neither a number of seconds nor a UTC time such as "
                  "2026-12-31T23:59:59Z");
}

static bool parse_choice(const struct request_key *key, const char *value,
                         void *place, struct error *err)
{
    const struct request_choice *choice =
        request_choice_find(key->choices, value);
    char shown[80], list[128];

    if (!choice)
        return error_set(err, ERR_INVALID_REQUEST, "\"%s\" is not one of %s",
                         error_sanitise(shown, sizeof(shown), value),
                         request_choice_list(key->choices, list, sizeof(list)));
    if (key->size == sizeof(bool))
        *(bool *)place = choice->value;
    else
        memcpy(place, &choice->value, sizeof(choice->value));
    return true;
}

/* ---- the tables ---- */

#define CREATE (1u << REQUEST_CREATE)
#define DELETE (1u << REQUEST_DELETE)
#define REVERT (1u << REQUEST_REVERT)
#define RESCAN (1u << REQUEST_RESCAN)
#define ALL    (CREATE | DELETE | REVERT | RESCAN)

#define IN(type, member)                                                       \
    offsetof(struct type, member), sizeof(((struct type *)NULL)->member)
#define TO(member)   IN(request, member)
#define DISK(member) IN(request_disk, member)

/* `operation` and `disks` are read before the others, `cancel` by whoever
 * watches the request. */
/* clang-format off */
const struct request_key request_keys[] = {
    {"operation",    ALL,    NULL, 0, 0, NULL},
    {"domain",       ALL,    parse_domain, TO(domain), NULL},
    {"timeout",      ALL,    parse_seconds, TO(timeout_ms), NULL},
    {"notify-port",  ALL,    parse_port, TO(notify_port), NULL},
    {"cancel",       ALL,    NULL, 0, 0, NULL},
    {"name",         CREATE | DELETE | REVERT, parse_name, TO(name), NULL},
    {"memory",       CREATE, parse_choice, TO(memory), booleans},
    {"memory-path",  CREATE, parse_memory_path, TO(memory_path), NULL},
    {"live",         CREATE, parse_choice, TO(live), live_choices},
    {"quiesce",      CREATE, parse_choice, TO(quiesce), quiesce_choices},
    {"description",  CREATE, parse_description, TO(description), NULL},
    {"schedule",     CREATE, parse_schedule, TO(schedule), NULL},
    {"expires",      CREATE, parse_expires, TO(expires), NULL},
    {"keep-files",   DELETE, parse_choice, TO(keep_files), booleans},
    {"start",        REVERT, parse_choice, TO(start), starts},
    {"keep-current", REVERT, parse_choice, TO(keep_current), booleans},
    {"phase",        RESCAN, parse_choice, TO(phase), phases},
    {"hold",         RESCAN, parse_seconds, TO(hold_ms), NULL},
    {"disks",        CREATE | RESCAN, NULL, 0, 0, NULL},
    {NULL, 0, NULL, 0, 0, NULL},
};

const struct request_key request_disk_keys[] = {
    {"external", CREATE,          parse_choice, DISK(external), booleans},
    {"format",   CREATE | RESCAN, parse_format, DISK(format), NULL},
    {"path",     CREATE | RESCAN, parse_path, DISK(path), NULL},
    {"name",     CREATE,          parse_name, DISK(name), NULL},
    {NULL, 0, NULL, 0, 0, NULL},
};
/* clang-format on */

const char *const request_output_keys[] = {
    "state",  "step",      "progress",   "bytes-done",  "bytes-total", "error",
    "result", "queued-at", "started-at", "finished-at", NULL,
};

unsigned int request_key_output(const char *name)
{
    size_t length = strcspn(name, "/");
    size_t i;

    for (i = 0; request_output_keys[i]; i++) {
        if (strlen(request_output_keys[i]) == length &&
            !strncmp(request_output_keys[i], name, length))
            return 1u << i;
    }
    return 0;
}

const struct request_choice *request_choice_find(
    const struct request_choice *choices, const char *name)
{
    for (; choices->name; choices++) {
        if (!strcmp(choices->name, name))
            return choices;
    }
    return NULL;
}

const char *request_choice_list(const struct request_choice *choices,
                                char *buffer, size_t size)
{
    size_t length = 0;

    *buffer = '\0';
    for (; choices->name; choices++) {
        snprintf(buffer + length, size - length, "%s%s", length ? ", " : "",
                 choices->name);
        length = strlen(buffer);
    }
    return buffer;
}

bool request_id_is_valid(const char *id)
{
    size_t length = strspn(id, letters);

    return length >= 1 && length <= REQUEST_ID_MAX && !id[length];
}

bool snapshot_name_is_valid(const char *name)
{
    size_t length = strspn(name, letters);

    /* In xenstore the snapshots' nodes stand beside one named "current". */
    return length >= 1 && length <= SNAPSHOT_NAME_MAX && !name[length] &&
           name[0] != '.' && name[0] != '-' && strcmp(name, "current") != 0;
}

bool request_path_is_plain(const char *path)
{
    return path_is_plain(path) && strlen(path) <= 1023;
}
