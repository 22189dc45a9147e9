/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store's folders in a file that is wrong elsewhere. */
#include "agent/base/config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/config_reader.h"

struct store_look {
    struct config_reader reader;
    unsigned int told; /* how often store.folder is set */
    bool unclear;      /* something may be meant to set it */
};

/* Over the rest of the value whose first event is being looked at. */
static bool skip(struct config_reader *reader)
{
    size_t depth = 0;

    for (;;) {
        switch (reader->event.type) {
        case YAML_MAPPING_START_EVENT:
        case YAML_SEQUENCE_START_EVENT:
            depth++;
            break;
        case YAML_MAPPING_END_EVENT:
        case YAML_SEQUENCE_END_EVENT:
            depth--;
            break;
        default:
            break;
        }
        if (depth == 0)
            return true;
        if (!config_reader_next(reader))
            return false;
    }
}

static void take_value(struct store_look *look, const struct setting *setting)
{
    struct config_reader *reader = &look->reader;
    const char *text = config_reader_text(reader);
    bool ok =
        text && (setting->kind != SETTING_FOLDER ||
                 setting_store(setting, text, reader->config, reader->err));

    if (strcmp(setting->key, "store.folder") != 0)
        return;
    if (ok)
        look->told++;
    else
        look->unclear = true;
}

static bool read_keys(struct store_look *look, const char *section);

static bool read_value(struct store_look *look, const struct setting *setting)
{
    struct config_reader *reader = &look->reader;
    bool is_store = setting && strcmp(setting->key, "store") == 0;

    if (is_store && reader->event.type == YAML_MAPPING_START_EVENT)
        return read_keys(look, setting->key);
    if (!setting || (is_store && !config_reader_is_nothing(reader)))
        look->unclear = true;
    else
        take_value(look, setting);
    return skip(reader);
}

/* From behind a mapping's start up to its end. */
static bool read_keys(struct store_look *look, const char *section)
{
    struct config_reader *reader = &look->reader;

    for (;;) {
        const struct setting *setting;
        const char *name;

        if (!config_reader_next(reader))
            return false;
        if (reader->event.type == YAML_MAPPING_END_EVENT)
            return true;
        name = config_reader_text(reader);
        setting = name ? config_reader_setting(section, name) : NULL;
        if (!skip(reader) || !config_reader_next(reader) ||
            !read_value(look, setting))
            return false;
    }
}

static bool reach(struct config_reader *reader, yaml_event_type_t type)
{
    return config_reader_next(reader) && reader->event.type == type;
}

/* Whether it could be read up to its end. */
static bool read_all(struct store_look *look)
{
    struct config_reader *reader = &look->reader;

    return reach(reader, YAML_STREAM_START_EVENT) &&
           reach(reader, YAML_DOCUMENT_START_EVENT) &&
           reach(reader, YAML_MAPPING_START_EVENT) && read_keys(look, NULL) &&
           reach(reader, YAML_DOCUMENT_END_EVENT) &&
           reach(reader, YAML_STREAM_END_EVENT);
}

bool config_parse_store(const char *text, size_t length,
                        struct config *ret_config)
{
    struct config config;
    struct error ignored;
    struct store_look look = {
        .reader = {.path = "", .config = &config, .err = &ignored}};
    bool ok;

    if (!yaml_parser_initialize(&look.reader.yaml))
        return false;
    yaml_parser_set_input_string(&look.reader.yaml, (const unsigned char *)text,
                                 length);
    config_set_defaults(&config);
    ok = (read_all(&look) && !look.unclear && look.told == 0) || look.told == 1;
    if (ok)
        *ret_config = config;
    else
        config_dispose(&config);
    yaml_event_delete(&look.reader.event);
    yaml_parser_delete(&look.reader.yaml);
    return ok;
}

bool config_load_store(const char *path, struct config *ret_config)
{
    struct error ignored;
    size_t length;
    char *text = config_read_file(path, &length, &ignored);
    bool ok = text && config_parse_store(text, length, ret_config);

    free(text);
    return ok;
}
