/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keys of a record's YAML form, and what their values may be. */
#include "agent/journal/record_fields.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "agent/request.h"

/* ---- what a text may be ---- */

/*
 * Whether `text` is shaped like `model`: 'x' stands for a lower-case
 * hexadecimal digit, '0' for a decimal one, anything else for itself.
 */
static bool is_shaped(const char *text, const char *model)
{
    for (; *model; model++, text++) {
        bool fits = *text == *model;

        if (*model == 'x')
            fits = *text && strchr("0123456789abcdef", *text);
        else if (*model == '0')
            fits = *text >= '0' && *text <= '9';
        if (!fits)
            return false;
    }
    return !*text;
}

bool record_uuid_is_valid(const char *text)
{
    return is_shaped(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

static bool is_time(const char *text)
{
    return is_shaped(text, "0000-00-00T00:00:00.000Z");
}

static bool is_present(const char *text)
{
    return *text != '\0';
}

static bool is_anything(const char *text)
{
    (void)text;
    return true;
}

/*
 * Not request_path_is_plain(): which image a disk has is the toolstack's
 * choice, and "/images//root.img" works.
 */
static bool is_absolute(const char *text)
{
    return *text == '/' && strlen(text) < PATH_MAX;
}

static bool is_consistency(const char *text)
{
    return !strcmp(text, "full") || !strcmp(text, "quiesced") ||
           !strcmp(text, "crash");
}

/* Of a vdev or a format: letters, digits and '-', 1 to 31 of them. */
static bool is_word(const char *text)
{
    size_t length;

    for (length = 0; text[length]; length++) {
        if (!isalnum((unsigned char)text[length]) && text[length] != '-')
            return false;
    }
    return length >= 1 && length <= 31;
}

/* ---- the tables ---- */

#define A_NAME "a snapshot's name"
#define A_PATH "an absolute path"
#define A_WORD "a word of letters, digits and '-'"
#define A_TEXT "a text of one letter or more"

#define PLACE(field) offsetof(struct record, field)

const struct record_field record_fields[] = {
    {"vm-uuid", RECORD_TEXT, true, PLACE(vm_uuid), record_uuid_is_valid,
     "a uuid in lower case"},
    {"name", RECORD_TEXT, true, PLACE(name), snapshot_name_is_valid, A_NAME},
    {"domain-name", RECORD_TEXT, true, PLACE(domain_name), is_present, A_TEXT},
    {"created-at", RECORD_TEXT, true, PLACE(created_at), is_time,
     "a UTC time such as 2026-01-31T23:59:59.999Z"},
    {"parent", RECORD_TEXT, false, PLACE(parent), snapshot_name_is_valid,
     A_NAME},
    {"description", RECORD_TEXT, false, PLACE(description), is_anything,
     A_TEXT},
    {"consistency", RECORD_TEXT, true, PLACE(consistency), is_consistency,
     "full, quiesced or crash"},
    {"memory", RECORD_FLAG, true, PLACE(memory), NULL, NULL},
    {"live", RECORD_FLAG, true, PLACE(live), NULL, NULL},
    {"deleting", RECORD_FLAG, true, PLACE(deleting), NULL, NULL},
    {"deleting-domid", RECORD_NUMBER, false, PLACE(deleting_domid), NULL, NULL},
    {"deleting-boot", RECORD_TEXT, false, PLACE(deleting_boot), is_present,
     A_TEXT},
    {"memory-path", RECORD_TEXT, false, PLACE(memory_path), is_absolute,
     A_PATH},
    {"memory-bytes", RECORD_NUMBER, true, PLACE(memory_bytes), NULL, NULL},
    {"disks", RECORD_DISKS, true, PLACE(disks), NULL, NULL},
    {"expires-at", RECORD_TEXT, false, PLACE(expires_at), is_time,
     "a UTC time such as 2026-01-31T23:59:59.999Z"},
    {"schedule", RECORD_TEXT, false, PLACE(schedule), snapshot_name_is_valid,
     "a schedule's name"},
    {"config", RECORD_TEXT, true, PLACE(config), is_present, A_TEXT},
    {NULL, RECORD_TEXT, false, 0, NULL, NULL},
};

#undef PLACE
#define PLACE(field) offsetof(struct record_disk, field)

const struct record_field record_disk_fields[] = {
    {"vdev", RECORD_TEXT, true, PLACE(vdev), is_word, A_WORD},
    {"driver-domain", RECORD_TEXT, false, PLACE(driver), is_present, A_TEXT},
    {"external", RECORD_FLAG, true, PLACE(external), NULL, NULL},
    {"path", RECORD_TEXT, true, PLACE(path), is_absolute, A_PATH},
    {"format", RECORD_TEXT, true, PLACE(format), is_word, A_WORD},
    {"snapshot", RECORD_TEXT, false, PLACE(snapshot), snapshot_name_is_valid,
     A_NAME},
    {"overlays", RECORD_OVERLAYS, true, PLACE(overlays), is_absolute, A_PATH},
    {"active", RECORD_TEXT, false, PLACE(active), is_absolute, A_PATH},
    {"active-format", RECORD_TEXT, false, PLACE(active_format), is_word,
     A_WORD},
    {"foreign", RECORD_FOREIGN, false, PLACE(foreign), is_absolute, A_PATH},
    {"restore-overlay", RECORD_TEXT, false, PLACE(restore_overlay), is_absolute,
     A_PATH},
    {"merging", RECORD_TEXT, false, PLACE(merging), is_absolute, A_PATH},
    {"copied-into", RECORD_TEXT, false, PLACE(copied_into), is_absolute,
     A_PATH},
    {"copied", RECORD_TEXT, false, PLACE(copied), is_absolute, A_PATH},
    {"merged", RECORD_TEXT, false, PLACE(merged), is_absolute, A_PATH},
    {"virtual-bytes", RECORD_NUMBER, true, PLACE(virtual_bytes), NULL, NULL},
    {"written", RECORD_NUMBER, false, PLACE(written_ns), NULL, NULL},
    {NULL, RECORD_TEXT, false, 0, NULL, NULL},
};

#undef PLACE

void *record_field_at(const struct record_field *field, const void *structure)
{
    return (char *)structure + field->offset;
}

bool record_kind_is_list(enum record_kind kind)
{
    return kind == RECORD_OVERLAYS || kind == RECORD_FOREIGN;
}

char **record_disk_list(enum record_kind kind, const struct record_disk *disk,
                        size_t *ret_count)
{
    bool overlays = kind == RECORD_OVERLAYS;

    *ret_count = overlays ? disk->overlay_count : disk->foreign_count;
    return overlays ? disk->overlays : disk->foreign;
}

/* ---- checks ---- */

bool record_text_check(const struct record_field *field, const char *text,
                       struct error *err)
{
    char shown[80];

    if (field->is_valid(text))
        return true;
    return error_set(err, ERR_STORE, "%s: \"%s\" is not %s", field->key,
                     error_sanitise(shown, sizeof(shown), text),
                     field->expected);
}

static bool check_list(const struct record_field *field,
                       const struct record_disk *disk, struct error *err)
{
    size_t i, count;
    char *const *list = record_disk_list(field->kind, disk, &count);

    if (count > RECORD_OVERLAYS_MAX)
        return error_set(err, ERR_STORE, "%s: there are more than %d",
                         field->key, RECORD_OVERLAYS_MAX);
    for (i = 0; i < count; i++) {
        if (!record_text_check(field, list[i], err))
            return false;
    }
    return true;
}

/* The texts of a structure, each by itself. */
static bool check_texts(const struct record_field *fields,
                        const void *structure, struct error *err)
{
    const struct record_field *field;

    for (field = fields; field->key; field++) {
        char *const *text = record_field_at(field, structure);

        if (record_kind_is_list(field->kind) &&
            !check_list(field, structure, err))
            return false;
        if (field->kind != RECORD_TEXT)
            continue;
        if (!*text && field->required)
            return error_set(err, ERR_STORE, "%s is missing", field->key);
        if (*text && !record_text_check(field, *text, err))
            return false;
    }
    return true;
}

bool record_disk_check(const struct record_disk *disk, struct error *err)
{
    if (!check_texts(record_disk_fields, disk, err))
        return false;
    if (disk->external && disk->snapshot)
        return error_set(err, ERR_STORE,
                         "snapshot: an external snapshot has none");
    if (!disk->external && !disk->snapshot)
        return error_set(err, ERR_STORE,
                         "snapshot is missing where external is false");
    if (!disk->active != !disk->active_format)
        return error_set(err, ERR_STORE,
                         "active and active-format go together");
    if (!disk->external && disk->driver)
        return error_set(err, ERR_STORE,
                         "driver-domain: its disks have external snapshots "
                         "only");
    if (!disk->external && disk->overlay_count > 0)
        return error_set(err, ERR_STORE,
                         "overlays: there are none where external is false");
    return true;
}

static bool check_disks(const struct record *record, struct error *err)
{
    size_t i, j;

    if (record->disk_count > RECORD_DISKS_MAX)
        return error_set(err, ERR_STORE, "disks: there are more than %d",
                         RECORD_DISKS_MAX);
    for (i = 0; i < record->disk_count; i++) {
        if (!record_disk_check(&record->disks[i], err))
            return error_prefix(err, "disks: ");
        for (j = 0; j < i; j++) {
            if (!strcmp(record->disks[i].vdev, record->disks[j].vdev))
                return error_set(err, ERR_STORE, "disks: %s stands there twice",
                                 record->disks[i].vdev);
        }
    }
    return true;
}

bool record_check(const struct record *record, struct error *err)
{
    if (!check_texts(record_fields, record, err))
        return false;
    if (record->memory && !record->memory_path)
        return error_set(err, ERR_STORE,
                         "memory-path is missing where memory is true");
    if (!record->memory && record->memory_path)
        return error_set(err, ERR_STORE,
                         "memory-path: there is none where memory is false");
    if (record->parent && !strcmp(record->parent, record->name))
        return error_set(err, ERR_STORE, "parent: it is the record itself");
    return check_disks(record, err);
}
