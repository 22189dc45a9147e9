/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads conf/agent.yaml: sections of settings, two levels and no more, and the
 * policy. */
#include "agent/base/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/config_check.h"
#include "agent/base/config_reader.h"
#include "agent/base/policy.h"

#define FILE_MAX ((size_t)1 << 20)

void config_set_defaults(struct config *config)
{
    const struct setting *setting;
    struct error err;

    memset(config, 0, sizeof(*config));
    for (setting = config_settings; setting->key; setting++) {
        if (setting->by_default &&
            !setting_store(setting, setting->by_default, config, &err))
            abort(); /* the table contradicts itself */
    }
    config->policy = policy_default();
}

void config_dispose(struct config *config)
{
    policy_release(config->policy);
    config->policy = NULL;
}

const char *config_key(size_t index)
{
    const struct setting *setting;

    for (setting = config_settings; setting->key; setting++) {
        if (setting->kind != SETTING_SECTION && index-- == 0)
            return setting->key;
    }
    return NULL;
}

bool config_reader_at(struct config_reader *reader, yaml_mark_t mark)
{
    return error_prefix(reader->err, "%s:%zu: ", reader->path, mark.line + 1);
}

static bool refuse(struct config_reader *reader, const char *reason)
{
    error_set(reader->err, ERR_INVALID_REQUEST, "%s", reason);
    return config_reader_at(reader, reader->event.start_mark);
}

static bool refuse_syntax(struct config_reader *reader)
{
    const char *problem = reader->yaml.problem;

    error_set(reader->err, ERR_INVALID_REQUEST, "%s",
              problem ? problem : "cannot be read");
    return config_reader_at(reader, reader->yaml.problem_mark);
}

/* Those let a small file grow without end, and no setting needs them. */
static bool has_anchor(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return true;
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL;
    default:
        return false;
    }
}

bool config_reader_next(struct config_reader *reader)
{
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->yaml, &reader->event))
        return refuse_syntax(reader);
    if (has_anchor(&reader->event))
        return refuse(reader, "anchors and aliases are not allowed here");
    return true;
}

/* A text that holds a zero byte would be read as a shorter one. */
const char *config_reader_text(const struct config_reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const char *text;

    if (event->type != YAML_SCALAR_EVENT)
        return NULL;
    text = (const char *)event->data.scalar.value;
    return strlen(text) == event->data.scalar.length ? text : NULL;
}

bool config_reader_is_nothing(const struct config_reader *reader)
{
    const yaml_event_t *event = &reader->event;

    return event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0 &&
           event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

const struct setting *config_reader_setting(const char *section,
                                            const char *name)
{
    const struct setting *setting;
    char *key = section ? xasprintf("%s.%s", section, name) : xstrdup(name);

    /* "log.level" written at the top level is not the setting's name. */
    if (!section && strchr(name, '.'))
        key[0] = '\0';
    for (setting = config_settings; setting->key; setting++) {
        if (!strcmp(setting->key, key))
            break;
    }
    free(key);
    return setting->key ? setting : NULL;
}

/* The setting that the key just read names. */
static const struct setting *identify(struct config_reader *reader,
                                      const char *section)
{
    const struct setting *setting;
    const char *name;
    char shown[80];

    name = config_reader_text(reader);
    if (!name) {
        refuse(reader, "a setting's name is expected");
        return NULL;
    }
    error_sanitise(shown, sizeof(shown), name);
    setting = config_reader_setting(section, name);
    if (!setting)
        error_set(reader->err, ERR_INVALID_REQUEST,
                  "%s%s%s: there is no such setting", section ? section : "",
                  section ? "." : "", shown);
    else if (reader->seen[setting - config_settings])
        error_set(reader->err, ERR_INVALID_REQUEST,
                  "%s: stands here a second time", setting->key);
    else
        return setting;
    config_reader_at(reader, reader->event.start_mark);
    return NULL;
}

static bool read_value(struct config_reader *reader,
                       const struct setting *setting)
{
    const char *text = config_reader_text(reader);

    /* A section refuses whatever it is. */
    if (!text && setting->kind != SETTING_SECTION)
        error_set(reader->err, ERR_INVALID_REQUEST,
                  "a single value is expected");
    else if (setting_store(setting, text, reader->config, reader->err))
        return true;
    error_prefix(reader->err, "%s: ", setting->key);
    return config_reader_at(reader, reader->event.start_mark);
}

static bool read_settings(struct config_reader *reader, const char *section);

static bool read_setting(struct config_reader *reader, const char *section)
{
    const struct setting *setting = identify(reader, section);

    if (!setting)
        return false;
    reader->seen[setting - config_settings] = true;
    if (!config_reader_next(reader))
        return false;
    if (setting->kind == SETTING_POLICY)
        return config_read_policy(reader);
    if (setting->kind != SETTING_SECTION)
        return read_value(reader, setting);
    if (reader->event.type == YAML_MAPPING_START_EVENT)
        return read_settings(reader, setting->key);
    return config_reader_is_nothing(reader) || read_value(reader, setting);
}

/* From behind a mapping's start up to its end. */
static bool read_settings(struct config_reader *reader, const char *section)
{
    for (;;) {
        if (!config_reader_next(reader))
            return false;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return true;
        if (!read_setting(reader, section))
            return false;
    }
}

static bool read_document(struct config_reader *reader)
{
    if (!config_reader_next(reader))
        return false;
    if (reader->event.type == YAML_MAPPING_START_EVENT) {
        if (!read_settings(reader, NULL))
            return false;
    } else if (!config_reader_is_nothing(reader)) {
        return refuse(reader, "settings are expected, as \"name: value\"");
    }
    return config_reader_next(reader); /* the document's end */
}

static bool read_stream(struct config_reader *reader)
{
    /* The stream's start, then a document's or the stream's end. */
    if (!config_reader_next(reader))
        return false;
    if (!config_reader_next(reader))
        return false;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return true;
    if (!read_document(reader) || !config_reader_next(reader))
        return false;
    if (reader->event.type != YAML_STREAM_END_EVENT)
        return refuse(reader, "a second document is not allowed here");
    return true;
}

bool config_parse(const char *text, size_t length, const char *path,
                  struct config *ret_config, struct error *err)
{
    struct config config;
    struct config_reader reader = {.path = path, .config = &config, .err = err};
    bool ok;

    if (!yaml_parser_initialize(&reader.yaml))
        return error_set(err, ERR_INTERNAL, "%s: libyaml does not start", path);
    yaml_parser_set_input_string(&reader.yaml, (const unsigned char *)text,
                                 length);
    config_set_defaults(&config);
    ok = read_stream(&reader) && config_check(&config, path, err);
    if (ok)
        *ret_config = config;
    else
        config_dispose(&config);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.yaml);
    return ok;
}

char *config_read_file(const char *path, size_t *ret_length, struct error *err)
{
    FILE *file = fopen(path, "re");
    bool ok = false;
    char *text;

    if (!file) {
        error_set_errno(err, ERR_INTERNAL, errno, "cannot open %s", path);
        return NULL;
    }
    text = xcalloc(FILE_MAX + 1, 1);
    *ret_length = fread(text, 1, FILE_MAX + 1, file);
    if (ferror(file))
        error_set_errno(err, ERR_INTERNAL, errno, "cannot read %s", path);
    else if (*ret_length > FILE_MAX)
        error_set(err, ERR_INVALID_REQUEST, "%s: is larger than 1 MiB", path);
    else
        ok = true;
    fclose(file);
    if (ok)
        return text;
    free(text);
    return NULL;
}

bool config_load(const char *path, struct config *ret_config, struct error *err)
{
    size_t length;
    char *text = config_read_file(path, &length, err);
    struct config config;
    bool ok = text && config_parse(text, length, path, &config, err);

    free(text);
    if (!ok)
        return false;
    if (!config_check_files(&config, path, err)) {
        config_dispose(&config);
        return false;
    }
    *ret_config = config;
    return true;
}
