/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two tables of fields drive both directions. */
#include "agent/journal/operation_state.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

#define VERSION 2

/* More disks than any domain has. */
#define DISKS_MAX 4096

/* NAMED: a number32 here, there its name, which another order of an enum does
 * not change.  MARK: a flag that is only there where it is set.  LATER: one
 * that earlier versions did not write; without it the snapshot keeps its own.
 */
enum kind { TEXT, CHARS, FLAG, MARK, LATER, NUMBER32, NUMBER64, NAMED };

/* NULL behind the last. */
typedef const char *name_of(uint32_t number);

struct field {
    const char *name;
    enum kind kind;
    size_t offset;
    size_t size;
    name_of *name_of; /* NAMED */
};

static const char *operation_name(uint32_t number)
{
    return number <= REQUEST_RESCAN
               ? request_operation_name((enum request_operation)number)
               : NULL;
}

static const char *failure_name(uint32_t number)
{
    return number < ERR_COUNT ? error_code_name((enum error_code)number) : NULL;
}

#define FIELD(type, kind, name, member, names)                                 \
    {                                                                          \
        name, kind, offsetof(struct type, member),                             \
            sizeof(((struct type *)0)->member), names                          \
    }
#define OF_SNAPSHOT(kind, name, member)                                        \
    FIELD(snapshot, kind, name, member, NULL)
#define NAMED_OF_SNAPSHOT(name, member, names)                                 \
    FIELD(snapshot, NAMED, name, member, names)
#define OF_DISK(kind, name, member)                                            \
    FIELD(snapshot_disk, kind, name, member, NULL)

static const struct field snapshot_fields[] = {
    OF_SNAPSHOT(CHARS, "id", id),
    OF_SNAPSHOT(NUMBER32, "requester", requester),
    OF_SNAPSHOT(CHARS, "queued-at", queued_at),
    OF_SNAPSHOT(CHARS, "started-at", started_at),
    OF_SNAPSHOT(CHARS, "created-at", created_at),
    NAMED_OF_SNAPSHOT("operation", request.operation, operation_name),
    OF_SNAPSHOT(CHARS, "request-name", request.name),
    OF_SNAPSHOT(NUMBER32, "notify-port", request.notify_port),
    OF_SNAPSHOT(FLAG, "memory", request.memory),
    OF_SNAPSHOT(CHARS, "memory-path-given", request.memory_path),
    OF_SNAPSHOT(FLAG, "keep-files", request.keep_files),
    OF_SNAPSHOT(MARK, "freezes", freezes),
    OF_SNAPSHOT(NUMBER32, "start", request.start),
    OF_SNAPSHOT(FLAG, "keep-current", request.keep_current),
    OF_SNAPSHOT(CHARS, "name", name),
    OF_SNAPSHOT(FLAG, "running", running),
    OF_SNAPSHOT(TEXT, "boot", noted_boot),
    OF_SNAPSHOT(NUMBER32, "domid", guest.domid),
    OF_SNAPSHOT(CHARS, "uuid", guest.uuid),
    OF_SNAPSHOT(CHARS, "domain-name", guest.name),
    OF_SNAPSHOT(NUMBER32, "domain-type", guest.type),
    OF_SNAPSHOT(FLAG, "live", live),
    OF_SNAPSHOT(TEXT, "memory-path", memory_path),
    OF_SNAPSHOT(TEXT, "memory-temporary", memory_temporary),
    OF_SNAPSHOT(LATER, "memory-linked", memory_linked),
    OF_SNAPSHOT(NUMBER64, "stream-offset", stream_offset),
    OF_SNAPSHOT(TEXT, "rescue-path", rescue_path),
    OF_SNAPSHOT(FLAG, "rescued", rescued),
    OF_SNAPSHOT(FLAG, "internal-applied", internal_applied),
    OF_SNAPSHOT(TEXT, "kept-disks", kept_name),
    OF_SNAPSHOT(NUMBER32, "new-domid", new_domid),
    OF_SNAPSHOT(NUMBER32, "source", attempt),
    NAMED_OF_SNAPSHOT("failure-code", failure.code, failure_name),
    OF_SNAPSHOT(CHARS, "failure", failure.message),
    OF_SNAPSHOT(TEXT, "job-id", job_id),
    OF_SNAPSHOT(MARK, "of-libvirt", of_libvirt),
};

static const struct field disk_fields[] = {
    OF_DISK(CHARS, "vdev", vdev),
    OF_DISK(TEXT, "path", path),
    OF_DISK(TEXT, "format", format),
    OF_DISK(TEXT, "driver-domain", driver),
    OF_DISK(TEXT, "driver-domain-uuid", driver_uuid),
    OF_DISK(TEXT, "skipped", skipped),
    OF_DISK(FLAG, "external", external),
    OF_DISK(TEXT, "internal-name", internal_name),
    OF_DISK(NUMBER64, "virtual-bytes", virtual_bytes),
    OF_DISK(TEXT, "overlay", overlay),
    OF_DISK(TEXT, "restore-overlay", restore_overlay),
    OF_DISK(TEXT, "abandoned", abandoned),
    OF_DISK(MARK, "copied", copied),
    OF_DISK(MARK, "merged", merged),
    OF_DISK(MARK, "overlay-stays", overlay_stays),
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- writing ---- */

static struct json_object *field_value(const struct field *field,
                                       const char *base)
{
    const void *place = base + field->offset;
    const char *text;
    uint32_t number32;
    uint64_t number64;

    switch (field->kind) {
    case TEXT:
        memcpy(&text, place, sizeof(text));
        return text == NULL ? NULL : json_object_new_string(text);
    case CHARS:
        return json_object_new_string(place);
    case FLAG:
    case LATER:
        return json_object_new_boolean(*(const bool *)place);
    case MARK:
        return *(const bool *)place ? json_object_new_boolean(true) : NULL;
    case NUMBER32:
        memcpy(&number32, place, sizeof(number32));
        return json_object_new_int64(number32);
    case NUMBER64:
        memcpy(&number64, place, sizeof(number64));
        return json_object_new_uint64(number64);
    case NAMED:
        memcpy(&number32, place, sizeof(number32));
        return json_object_new_string(field->name_of(number32));
    }
    return NULL;
}

static struct json_object *write_fields(const struct field *fields,
                                        size_t count, const void *base)
{
    struct json_object *object = json_object_new_object();

    for (size_t i = 0; i < count; i++) {
        struct json_object *value = field_value(&fields[i], base);

        if (value != NULL) {
            json_object_object_add(object, fields[i].name, value);
        }
    }
    return object;
}

char *operation_state_encode(const struct snapshot *snapshot)
{
    const struct operation *operation = &snapshot->operation;
    const char *step = operation->steps == NULL
                           ? snapshot->noted_step
                           : operation->steps[operation->current].name;
    struct json_object *object =
        write_fields(snapshot_fields, COUNT(snapshot_fields), snapshot);
    struct json_object *disks = json_object_new_array();
    char *text;

    for (size_t i = 0; i < snapshot->disk_count; i++) {
        json_object_array_add(
            disks,
            write_fields(disk_fields, COUNT(disk_fields), &snapshot->disks[i]));
    }
    json_object_object_add(object, "version", json_object_new_int(VERSION));
    json_object_object_add(object, "program",
                           json_object_new_string(XENSNAPD_VERSION));
    json_object_object_add(object, "step", json_object_new_string(step));
    json_object_object_add(object, "disks", disks);
    /* What a revert can bring the domain back with. */
    if (snapshot->request.operation == REQUEST_REVERT &&
        snapshot->config_json != NULL) {
        json_object_object_add(object, "config",
                               json_object_new_string(snapshot->config_json));
    }
    text =
        xstrdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
    return text;
}

/* ---- reading ---- */

static bool read_text(const struct field *field, struct json_object *value,
                      char *base)
{
    const char *text = json_object_get_string(value);
    char *copy;

    if (!json_object_is_type(value, json_type_string)) {
        return false;
    }
    if (field->kind == TEXT) {
        copy = xstrdup(text);
        memcpy(base + field->offset, &copy, sizeof(copy));
        return true;
    }
    if (strlen(text) >= field->size) {
        return false;
    }
    memcpy(base + field->offset, text, strlen(text) + 1);
    return true;
}

/* Not a negative one, which json-c would give as 0. */
static bool is_number(struct json_object *value)
{
    return json_object_is_type(value, json_type_int) &&
           json_object_get_int64(value) >= 0;
}

static bool read_number(const struct field *field, struct json_object *value,
                        char *base)
{
    uint64_t number64 = json_object_get_uint64(value);
    uint32_t number32 = (uint32_t)number64;

    if (!is_number(value)) {
        return false;
    }
    if (field->kind == NUMBER64) {
        memcpy(base + field->offset, &number64, sizeof(number64));
        return true;
    }
    memcpy(base + field->offset, &number32, sizeof(number32));
    return number32 == number64;
}

static bool read_named(const struct field *field, struct json_object *value,
                       char *base)
{
    const char *text = json_object_get_string(value);
    const char *name;
    uint32_t number = 0;

    if (!json_object_is_type(value, json_type_string)) {
        return false;
    }
    while ((name = field->name_of(number)) != NULL && strcmp(name, text) != 0) {
        number++;
    }
    memcpy(base + field->offset, &number, sizeof(number));
    return name != NULL;
}

static bool read_field(const struct field *field, struct json_object *value,
                       char *base)
{
    bool flag;

    switch (field->kind) {
    case TEXT:
    case CHARS:
        return read_text(field, value, base);
    case FLAG:
    case MARK:
    case LATER:
        flag = json_object_get_boolean(value) != 0;
        memcpy(base + field->offset, &flag, sizeof(flag));
        return json_object_is_type(value, json_type_boolean);
    case NUMBER32:
    case NUMBER64:
        return read_number(field, value, base);
    case NAMED:
        return read_named(field, value, base);
    }
    return false;
}

static bool may_be_missing(enum kind kind)
{
    return kind == TEXT || kind == MARK || kind == LATER;
}

static bool read_fields(const struct field *fields, size_t count,
                        struct json_object *object, void *base)
{
    struct json_object *value;

    for (size_t i = 0; i < count; i++) {
        if (!json_object_object_get_ex(object, fields[i].name, &value)) {
            if (!may_be_missing(fields[i].kind)) {
                return false;
            }
        } else if (!read_field(&fields[i], value, base)) {
            return false;
        }
    }
    return true;
}

static bool read_disks(struct json_object *object, struct snapshot *snapshot)
{
    struct json_object *disks;
    size_t count;

    if (!json_object_object_get_ex(object, "disks", &disks) ||
        !json_object_is_type(disks, json_type_array) ||
        (count = json_object_array_length(disks)) > DISKS_MAX) {
        return false;
    }
    snapshot->disks = xcalloc(count + 1, sizeof(*snapshot->disks));
    for (size_t i = 0; i < count; i++) {
        snapshot->disk_count++;
        if (!read_fields(disk_fields, COUNT(disk_fields),
                         json_object_array_get_idx(disks, i),
                         &snapshot->disks[i])) {
            return false;
        }
    }
    return true;
}

/* ERR_STORE for another version; true also for what is none. */
static bool check_version(struct json_object *object, struct error *err)
{
    struct json_object *value, *program;
    char shown[64] = "another version";

    if (!json_object_object_get_ex(object, "version", &value) ||
        !is_number(value) || json_object_get_uint64(value) == VERSION) {
        return true;
    }
    if (json_object_object_get_ex(object, "program", &program) &&
        json_object_is_type(program, json_type_string)) {
        error_sanitise(shown, sizeof(shown), json_object_get_string(program));
    }
    return error_set(err, ERR_STORE,
                     "it was written by xensnapd %s, in version %" PRIu64
                     " of its form; this one knows version %d",
                     shown, json_object_get_uint64(value), VERSION);
}

static bool read_rest(struct json_object *object, struct snapshot *snapshot)
{
    struct json_object *value;
    const char *step;

    if (json_object_object_get_ex(object, "config", &value)) {
        if (!json_object_is_type(value, json_type_string)) {
            return false;
        }
        snapshot->config_json = xstrdup(json_object_get_string(value));
    }
    if (!json_object_object_get_ex(object, "version", &value) ||
        !is_number(value) ||
        !json_object_object_get_ex(object, "step", &value) ||
        !json_object_is_type(value, json_type_string)) {
        return false;
    }
    step = json_object_get_string(value);
    if (strlen(step) >= sizeof(snapshot->noted_step)) {
        return false;
    }
    strcpy(snapshot->noted_step, step);
    return true;
}

bool operation_state_decode(const char *text, struct snapshot *snapshot,
                            struct error *err)
{
    struct json_object *object = json_tokener_parse(text);
    bool ok;

    if (!json_object_is_type(object, json_type_object)) {
        ok = error_set(err, ERR_STORE, "it is damaged: it is no JSON object");
    } else if (!check_version(object, err)) {
        ok = false;
    } else {
        ok = read_fields(snapshot_fields, COUNT(snapshot_fields), object,
                         snapshot) &&
             read_disks(object, snapshot) && read_rest(object, snapshot);
        if (!ok) {
            error_set(err, ERR_STORE,
                      "it is damaged: something is missing or no value that "
                      "can be");
        }
    }
    json_object_put(object);
    return ok;
}
