/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a record's YAML form. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "agent/base/alloc.h"
#include "agent/journal/record.h"
#include "agent/journal/record_fields.h"

struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the one being looked at */
    const char *text;   /* all of it that libyaml is given */
    char *config;       /* read ahead of it; NULL: libyaml does */
    struct error *err;
};

/* ---- the configuration ---- */

/*
 * Nine tenths of a record are its last value, the domain's configuration, and
 * libyaml turns over each byte of it some dozens of times.  As it is written,
 * a block of plain lines up to the end, it is read here; of any other form it
 * is libyaml's.
 */
#define CONFIG_HEAD   "\nconfig: |\n"
#define CONFIG_INDENT "  "
#define CONFIG_BEGIN  CONFIG_HEAD CONFIG_INDENT "{"
#define RECORD_END    "...\n"

static bool is_plain_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
            return false;
    }
    return true;
}

/* The line without its indent, or NULL if it has none.  An empty line needs
 * none. */
static const char *line_text(const char *line, const char *line_end)
{
    size_t indent = strlen(CONFIG_INDENT);

    if (*line == '\n')
        return line;
    return line_end - line > (ptrdiff_t)indent &&
                   memcmp(line, CONFIG_INDENT, indent) == 0
               ? line + indent
               : NULL;
}

/* The text of a block of `length` bytes; NULL if it is not a plain one.  Empty
 * lines at its end would not be part of it. */
static char *block_text(const char *block, size_t length)
{
    const char *end = block + length;
    char *text = xcalloc(length + 1, 1);
    char *at = text;

    while (block < end) {
        const char *line_end = memchr(block, '\n', (size_t)(end - block)) + 1;
        const char *line = line_text(block, line_end);

        if (!line || (line_end == end && *line == '\n')) {
            free(text);
            return NULL;
        }
        at = mempcpy(at, line, (size_t)(line_end - line));
        block = line_end;
    }
    return text;
}

/* Gives what libyaml is left with, the caller's to free(); NULL: all of it. */
static char *read_config_ahead(struct reader *reader, const char *text,
                               size_t length)
{
    size_t end = strlen(RECORD_END), head = strlen(CONFIG_HEAD);
    const char *begin =
        memmem(text, length, CONFIG_BEGIN, strlen(CONFIG_BEGIN));
    const char *block = begin ? begin + head : NULL;
    size_t block_length;

    if (!block || length < end || memcmp(text + length - end, RECORD_END, end))
        return NULL;
    block_length = (size_t)(text + length - end - block);
    if (!is_plain_text(block, block_length))
        return NULL;
    reader->config = block_text(block, block_length);
    return reader->config
               ? xasprintf("%.*s" RECORD_END, (int)(block - text), text)
               : NULL;
}

/* Puts the line where `mark` is in front of the message; returns false. */
static bool at_line(struct reader *reader, yaml_mark_t mark)
{
    return error_prefix(reader->err, "line %zu: ", mark.line + 1);
}

/* The event being looked at is not what it should be; returns false. */
static bool unexpected(struct reader *reader, const char *expected)
{
    error_set(reader->err, ERR_STORE, "%s is expected here", expected);
    return at_line(reader, reader->event.start_mark);
}

/* Where the parser stopped.  What is not UTF-8 it finds in its buffer, ahead
 * of the marks: that one is counted in bytes. */
static size_t problem_line(const struct reader *reader)
{
    const char *end = reader->text + reader->yaml.problem_offset;
    const char *p;
    size_t line = 1;

    if (reader->yaml.error != YAML_READER_ERROR)
        return reader->yaml.problem_mark.line + 1;
    for (p = reader->text; p < end; p++)
        line += *p == '\n';
    return line;
}

static bool next(struct reader *reader)
{
    const char *problem;

    yaml_event_delete(&reader->event);
    if (yaml_parser_parse(&reader->yaml, &reader->event))
        return true;
    problem = reader->yaml.problem;
    return error_set(reader->err, ERR_STORE, "line %zu: %s",
                     problem_line(reader), problem ? problem : "out of memory");
}

/* The next event must be of that type. */
static bool expect(struct reader *reader, yaml_event_type_t type,
                   const char *what)
{
    return next(reader) &&
           (reader->event.type == type || unexpected(reader, what));
}

/* The text of the scalar being looked at, or NULL after an error. */
static const char *scalar(struct reader *reader, const char *what)
{
    const yaml_event_t *event = &reader->event;
    const char *text = (const char *)event->data.scalar.value;

    /* A zero byte inside would hide what follows it. */
    if (event->type == YAML_SCALAR_EVENT &&
        strlen(text) == event->data.scalar.length)
        return text;
    unexpected(reader, what);
    return NULL;
}

/* ---- values ---- */

static bool parse_number(const char *text, uint64_t *ret_number)
{
    char *end;

    /* strtoull() would take blanks and signs too. */
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return !*end && errno == 0;
}

static bool parse_flag(const char *text, bool *ret_flag)
{
    *ret_flag = !strcmp(text, "true");
    return *ret_flag || !strcmp(text, "false");
}

static bool store_text(const struct record_field *field, const char *text,
                       void *structure, struct error *err)
{
    if (!record_text_check(field, text, err))
        return false;
    *(char **)record_field_at(field, structure) = xstrdup(text);
    return true;
}

static bool store(const struct record_field *field, const char *text,
                  void *structure, struct error *err)
{
    void *at = record_field_at(field, structure);
    char shown[80];

    if (field->kind == RECORD_TEXT)
        return store_text(field, text, structure, err);
    error_sanitise(shown, sizeof(shown), text);
    if (field->kind == RECORD_FLAG)
        return parse_flag(text, at) ||
               error_set(err, ERR_STORE, "%s: \"%s\" is not true or false",
                         field->key, shown);
    return parse_number(text, at) ||
           error_set(err, ERR_STORE, "%s: \"%s\" is not a number", field->key,
                     shown);
}

/* The value of `field`, a single one. */
static bool read_value(struct reader *reader, const struct record_field *field,
                       void *structure)
{
    const char *text;

    if (!next(reader) || !(text = scalar(reader, "a value")))
        return false;
    if (reader->config && !strcmp(field->key, "config"))
        text = reader->config;
    return store(field, text, structure, reader->err) ||
           at_line(reader, reader->event.start_mark);
}

static bool read_item(struct reader *reader, const struct record_field *field,
                      struct record_disk *disk)
{
    const char *path = scalar(reader, "an overlay's path");

    if (!path)
        return false;
    if (!record_text_check(field, path, reader->err))
        return at_line(reader, reader->event.start_mark);
    if (field->kind == RECORD_FOREIGN)
        record_disk_add_foreign(disk, path);
    else
        record_disk_append_overlay(disk, path);
    return true;
}

static bool read_list(struct reader *reader, const struct record_field *field,
                      struct record_disk *disk)
{
    if (!expect(reader, YAML_SEQUENCE_START_EVENT, "a list of overlays"))
        return false;
    while (next(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT) {
        if (!read_item(reader, field, disk))
            return false;
    }
    return reader->event.type == YAML_SEQUENCE_END_EVENT;
}

/* ---- mappings ---- */

/*
 * The field that the key being looked at names, or NULL after an error.
 * `*seen` has a bit for each field that was there.
 */
static const struct record_field *identify(struct reader *reader,
                                           const struct record_field *fields,
                                           uint32_t *seen)
{
    const char *key = scalar(reader, "a key");
    const struct record_field *field;
    char shown[80];
    uint32_t bit;

    if (!key)
        return NULL;
    for (field = fields; field->key && strcmp(field->key, key); field++)
        ;
    bit = 1u << (field - fields);
    if (field->key && !(*seen & bit)) {
        *seen |= bit;
        return field;
    }
    error_set(reader->err, ERR_STORE, "%s: %s",
              error_sanitise(shown, sizeof(shown), key),
              field->key ? "this key stands here a second time"
                         : "there is no such key in a record of version 1");
    at_line(reader, reader->event.start_mark);
    return NULL;
}

static bool check_seen(const struct record_field *fields, uint32_t seen,
                       struct error *err)
{
    const struct record_field *field;

    for (field = fields; field->key; field++) {
        if (field->required && !(seen & 1u << (field - fields)))
            return error_set(err, ERR_STORE, "%s is missing", field->key);
    }
    return true;
}

static bool read_disks(struct reader *reader, struct record *record);

static bool read_field(struct reader *reader, const struct record_field *field,
                       void *structure)
{
    if (field->kind == RECORD_DISKS)
        return read_disks(reader, structure);
    if (record_kind_is_list(field->kind))
        return read_list(reader, field, structure);
    return read_value(reader, field, structure);
}

/* The rest of a mapping that began at `begin`. */
static bool read_mapping(struct reader *reader, yaml_mark_t begin,
                         const struct record_field *fields, void *structure)
{
    uint32_t seen = 0;

    while (next(reader) && reader->event.type != YAML_MAPPING_END_EVENT) {
        const struct record_field *field = identify(reader, fields, &seen);

        if (!field || !read_field(reader, field, structure))
            return false;
    }
    if (reader->event.type != YAML_MAPPING_END_EVENT)
        return false;
    return check_seen(fields, seen, reader->err) || at_line(reader, begin);
}

static bool read_disk(struct reader *reader, struct record *record)
{
    yaml_mark_t begin = reader->event.start_mark;
    struct record_disk *disk;

    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return unexpected(reader, "a disk's keys");
    record->disks =
        xrealloc(record->disks, record->disk_count + 1, sizeof(*record->disks));
    disk = &record->disks[record->disk_count++];
    memset(disk, 0, sizeof(*disk));
    if (!read_mapping(reader, begin, record_disk_fields, disk))
        return false;
    return record_disk_check(disk, reader->err) || at_line(reader, begin);
}

static bool read_disks(struct reader *reader, struct record *record)
{
    if (!expect(reader, YAML_SEQUENCE_START_EVENT, "a list of disks"))
        return false;
    while (next(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT) {
        if (!read_disk(reader, record))
            return false;
    }
    return reader->event.type == YAML_SEQUENCE_END_EVENT;
}

/* ---- the whole ---- */

static bool check_version(const char *text, struct error *err)
{
    uint64_t version;

    if (!parse_number(text, &version) || version == 0)
        return error_set(err, ERR_STORE, "version: it is not a number from 1");
    if (version > RECORD_VERSION)
        return error_set(err, ERR_STORE,
                         "version %s is newer than this program knows (%d)",
                         text, RECORD_VERSION);
    return true;
}

/* Before anything else: the other keys mean what the version says. */
static bool read_version(struct reader *reader)
{
    const char *text;

    if (!next(reader) || !(text = scalar(reader, "the key version")))
        return false;
    if (strcmp(text, "version"))
        return unexpected(reader, "the key version");
    if (!next(reader) || !(text = scalar(reader, "a version")))
        return false;
    return check_version(text, reader->err) ||
           at_line(reader, reader->event.start_mark);
}

static bool read_record(struct reader *reader, struct record *record)
{
    yaml_mark_t begin;

    if (!expect(reader, YAML_STREAM_START_EVENT, "a record") ||
        !expect(reader, YAML_DOCUMENT_START_EVENT, "a record") ||
        !expect(reader, YAML_MAPPING_START_EVENT, "a record"))
        return false;
    begin = reader->event.start_mark;
    if (!read_version(reader) ||
        !read_mapping(reader, begin, record_fields, record))
        return false;
    if (!record_check(record, reader->err))
        return at_line(reader, begin);
    if (!expect(reader, YAML_DOCUMENT_END_EVENT, "the record's end"))
        return false;
    if (reader->event.data.document_end.implicit)
        return unexpected(reader, "a line of three dots, the record's end,");
    return expect(reader, YAML_STREAM_END_EVENT, "the file's end");
}

static bool decode(struct reader *reader, const char *text, size_t length,
                   struct record *record)
{
    bool ok;

    if (!yaml_parser_initialize(&reader->yaml))
        return error_set(reader->err, ERR_STORE, "out of memory");
    reader->text = text;
    yaml_parser_set_encoding(&reader->yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader->yaml, (const unsigned char *)text,
                                 length);
    ok = read_record(reader, record);
    yaml_event_delete(&reader->event);
    yaml_parser_delete(&reader->yaml);
    return ok;
}

bool record_decode(const char *text, size_t length, const char *path,
                   struct record *ret_record, struct error *err)
{
    struct reader reader = {.err = err};
    struct record record = {0};
    char *rest = read_config_ahead(&reader, text, length);
    bool ok = rest ? decode(&reader, rest, strlen(rest), &record)
                   : decode(&reader, text, length, &record);

    free(rest);
    free(reader.config);
    if (!ok) {
        record_dispose(&record);
        return error_prefix(err, "%s: ", path);
    }
    *ret_record = record;
    return true;
}
