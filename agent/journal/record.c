/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records: freeing, copying, and writing their YAML form. */
#include "agent/journal/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "agent/base/alloc.h"
#include "agent/journal/record_fields.h"

/* ---- freeing and copying ---- */

static void free_texts(const struct record_field *field, void *structure)
{
    for (; field->key; field++) {
        if (field->kind == RECORD_TEXT)
            free(*(char **)record_field_at(field, structure));
    }
}

static void free_list(char **list, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

void record_disk_dispose(struct record_disk *disk)
{
    free_list(disk->overlays, disk->overlay_count);
    free_list(disk->foreign, disk->foreign_count);
    free_texts(record_disk_fields, disk);
}

void record_dispose(struct record *record)
{
    size_t i;

    for (i = 0; i < record->disk_count; i++)
        record_disk_dispose(&record->disks[i]);
    free(record->disks);
    free_texts(record_fields, record);
    memset(record, 0, sizeof(*record));
}

/* Gives a structure copied byte by byte texts of its own. */
static void own_texts(const struct record_field *field, void *structure)
{
    for (; field->key; field++) {
        char **text = record_field_at(field, structure);

        if (field->kind == RECORD_TEXT && *text)
            *text = xstrdup(*text);
    }
}

static char **copy_list(char *const *list, size_t count)
{
    char **copy = xcalloc(count, sizeof(*copy));
    size_t i;

    for (i = 0; i < count; i++)
        copy[i] = xstrdup(list[i]);
    return copy;
}

static void copy_disk(const struct record_disk *disk,
                      struct record_disk *ret_copy)
{
    *ret_copy = *disk;
    own_texts(record_disk_fields, ret_copy);
    ret_copy->overlays = copy_list(disk->overlays, disk->overlay_count);
    ret_copy->foreign = copy_list(disk->foreign, disk->foreign_count);
}

void record_copy(const struct record *record, struct record *ret_copy)
{
    size_t i;

    *ret_copy = *record;
    own_texts(record_fields, ret_copy);
    ret_copy->disks = xcalloc(record->disk_count, sizeof(*record->disks));
    for (i = 0; i < record->disk_count; i++)
        copy_disk(&record->disks[i], &ret_copy->disks[i]);
}

void record_disk_append_overlay(struct record_disk *disk, const char *path)
{
    disk->overlays = xrealloc(disk->overlays, disk->overlay_count + 1,
                              sizeof(*disk->overlays));
    disk->overlays[disk->overlay_count++] = xstrdup(path);
}

void record_disk_add_overlay(struct record_disk *disk, const char *path)
{
    record_disk_append_overlay(disk, path);
    free(disk->active);
    free(disk->active_format);
    disk->active = disk->active_format = NULL;
}

const struct record_disk *record_driver_disk(const struct record *record)
{
    size_t i;

    for (i = 0; i < record->disk_count; i++) {
        if (record->disks[i].driver)
            return &record->disks[i];
    }
    return NULL;
}

void record_disk_add_foreign(struct record_disk *disk, const char *path)
{
    size_t i;

    for (i = 0; i < disk->foreign_count; i++) {
        if (!strcmp(disk->foreign[i], path))
            return;
    }
    disk->foreign = xrealloc(disk->foreign, disk->foreign_count + 1,
                             sizeof(*disk->foreign));
    disk->foreign[disk->foreign_count++] = xstrdup(path);
}

/* ---- writing ---- */

struct writer {
    yaml_emitter_t yaml;
    const char *key; /* whose value is being written, for the error */
    char *text;
    size_t length;
    size_t capacity;
};

/* libyaml's write handler: 1 is success. */
static int append(void *arg, unsigned char *data, size_t length)
{
    struct writer *writer = arg;

    if (writer->capacity - writer->length < length) {
        writer->capacity = 2 * writer->capacity + length;
        writer->text = xrealloc(writer->text, writer->capacity, 1);
    }
    memcpy(writer->text + writer->length, data, length);
    writer->length += length;
    return 1;
}

/* libyaml owns the event from here on, also after a failure. */
static bool emit(struct writer *writer, yaml_event_t *event)
{
    return yaml_emitter_emit(&writer->yaml, event);
}

/* What libyaml takes for UTF-8 when it writes, but not when it reads: halves of
 * surrogate pairs, and what is beyond the last code point, U+10FFFF. */
static bool has_no_such_character(const char *text)
{
    const unsigned char *p;

    for (p = (const unsigned char *)text; *p; p++) {
        if ((p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90) ||
            p[0] >= 0xf5)
            return true;
    }
    return false;
}

/* Fails for what is not UTF-8. */
static bool emit_scalar(struct writer *writer, const char *text,
                        yaml_scalar_style_t style)
{
    const yaml_char_t *value = (const yaml_char_t *)text;
    yaml_event_t event;

    return !has_no_such_character(text) &&
           yaml_scalar_event_initialize(&event, NULL, NULL, value,
                                        (int)strlen(text), 1, 1, style) &&
           emit(writer, &event);
}

static bool emit_plain(struct writer *writer, const char *text)
{
    return emit_scalar(writer, text, YAML_PLAIN_SCALAR_STYLE);
}

/*
 * A text of several lines of plain ASCII, such as JSON, is legible as a block
 * and comes back exactly.  Everything else is quoted and escaped: a block
 * cannot hold control characters, and its reader would take a carriage return
 * or a Unicode line separator for the end of a line.
 */
static yaml_scalar_style_t style_for(const char *text)
{
    const char *p;

    if (!strchr(text, '\n'))
        return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    for (p = text; *p; p++) {
        if (*p != '\n' && (*p < ' ' || *p > '~'))
            return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    }
    return YAML_LITERAL_SCALAR_STYLE;
}

static bool emit_number(struct writer *writer, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    return emit_plain(writer, text);
}

static bool begin_mapping(struct writer *writer)
{
    yaml_event_t event;

    return yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                               YAML_BLOCK_MAPPING_STYLE) &&
           emit(writer, &event);
}

static bool end_mapping(struct writer *writer)
{
    yaml_event_t event;

    return yaml_mapping_end_event_initialize(&event) && emit(writer, &event);
}

static bool begin_sequence(struct writer *writer)
{
    yaml_event_t event;

    return yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                                YAML_BLOCK_SEQUENCE_STYLE) &&
           emit(writer, &event);
}

static bool end_sequence(struct writer *writer)
{
    yaml_event_t event;

    return yaml_sequence_end_event_initialize(&event) && emit(writer, &event);
}

/* A field of one value; one that may be missing is left out where it says
 * nothing. */
static bool emit_field(struct writer *writer, const struct record_field *field,
                       const void *structure)
{
    const void *at = record_field_at(field, structure);
    const char *text = NULL;

    if (field->kind == RECORD_TEXT) {
        text = *(char *const *)at;
        if (!text)
            return true;
    }
    if (field->kind == RECORD_NUMBER && !field->required &&
        *(const uint64_t *)at == 0)
        return true;
    writer->key = field->key;
    if (!emit_plain(writer, field->key))
        return false;
    if (field->kind == RECORD_FLAG)
        return emit_plain(writer, *(const bool *)at ? "true" : "false");
    if (field->kind == RECORD_NUMBER)
        return emit_number(writer, *(const uint64_t *)at);
    return emit_scalar(writer, text, style_for(text));
}

static bool emit_list(struct writer *writer, const struct record_field *field,
                      const struct record_disk *disk)
{
    size_t i, count;
    char *const *list = record_disk_list(field->kind, disk, &count);

    if (count == 0 && !field->required)
        return true;
    writer->key = field->key;
    if (!emit_plain(writer, field->key) || !begin_sequence(writer))
        return false;
    for (i = 0; i < count; i++) {
        if (!emit_scalar(writer, list[i], YAML_DOUBLE_QUOTED_SCALAR_STYLE))
            return false;
    }
    return end_sequence(writer);
}

static bool emit_disk(struct writer *writer, const struct record_disk *disk)
{
    const struct record_field *field;

    if (!begin_mapping(writer))
        return false;
    for (field = record_disk_fields; field->key; field++) {
        bool ok = record_kind_is_list(field->kind)
                      ? emit_list(writer, field, disk)
                      : emit_field(writer, field, disk);

        if (!ok)
            return false;
    }
    return end_mapping(writer);
}

static bool emit_disks(struct writer *writer, const char *key,
                       const struct record *record)
{
    size_t i;

    if (!emit_plain(writer, key) || !begin_sequence(writer))
        return false;
    for (i = 0; i < record->disk_count; i++) {
        if (!emit_disk(writer, &record->disks[i]))
            return false;
    }
    return end_sequence(writer);
}

static bool emit_record(struct writer *writer, const struct record *record)
{
    const struct record_field *field;

    if (!begin_mapping(writer) || !emit_plain(writer, "version") ||
        !emit_number(writer, RECORD_VERSION))
        return false;
    for (field = record_fields; field->key; field++) {
        bool ok = field->kind == RECORD_DISKS
                      ? emit_disks(writer, field->key, record)
                      : emit_field(writer, field, record);

        if (!ok)
            return false;
    }
    return end_mapping(writer);
}

static bool emit_document(struct writer *writer, const struct record *record)
{
    yaml_event_t event;

    return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
           emit(writer, &event) &&
           yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
           emit(writer, &event) && emit_record(writer, record) &&
           yaml_document_end_event_initialize(&event, 0) &&
           emit(writer, &event) && yaml_stream_end_event_initialize(&event) &&
           emit(writer, &event);
}

/* libyaml fails only for a text that is not UTF-8, and for lack of memory,
 * where its next caller of xcalloc() would not get far either. */
static bool run_emitter(struct writer *writer, const struct record *record)
{
    bool ok;

    if (!yaml_emitter_initialize(&writer->yaml))
        return false;
    yaml_emitter_set_output(&writer->yaml, append, writer);
    yaml_emitter_set_unicode(&writer->yaml, 1);
    /* Folded lines do not come back exactly in every reader. */
    yaml_emitter_set_width(&writer->yaml, -1);
    ok = emit_document(writer, record);
    yaml_emitter_delete(&writer->yaml);
    return ok;
}

bool record_encode(const struct record *record, char **ret_text,
                   size_t *ret_length, struct error *err)
{
    struct writer writer = {.key = "version"};

    if (!record_check(record, err))
        return error_prefix(err, "this cannot be recorded: ");
    if (!run_emitter(&writer, record)) {
        free(writer.text);
        return error_set(err, ERR_STORE,
                         "this cannot be recorded: %s: it is not UTF-8",
                         writer.key);
    }
    *ret_text = writer.text;
    *ret_length = writer.length;
    return true;
}

bool record_disk_lists_overlay(const struct record_disk *disk, const char *path)
{
    for (size_t i = 0; i < disk->overlay_count; i++)
        if (strcmp(disk->overlays[i], path) == 0)
            return true;
    return false;
}
