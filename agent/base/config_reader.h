/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The YAML being read, for config.c and the settings that are more than one
 * value.
 */
#ifndef XENSNAPD_BASE_CONFIG_READER_H
#define XENSNAPD_BASE_CONFIG_READER_H

#include <yaml.h>

#include "agent/base/config.h"
#include "agent/base/config_setting.h"

struct config_reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the one being looked at */
    const char *path;
    struct config *config;
    bool seen[CONFIG_SETTINGS_MAX];
    struct error *err;
};

/* The whole file, the caller's to free(); NULL with the reason. */
char *config_read_file(const char *path, size_t *ret_length, struct error *err);

/* The setting `name` of a section, NULL: of the top level; NULL: no such. */
const struct setting *config_reader_setting(const char *section,
                                            const char *name);

/* Takes the next event; false, with the reason, where there is none. */
bool config_reader_next(struct config_reader *reader);

/* Puts file and line in front of the message; returns false. */
bool config_reader_at(struct config_reader *reader, yaml_mark_t mark);

/* The event's text, or NULL if it is no single value. */
const char *config_reader_text(const struct config_reader *reader);

/* "policy:" with every line under it commented out, or an empty document. */
bool config_reader_is_nothing(const struct config_reader *reader);

/* The value of `policy`, whose first event is being looked at
 * (config_policy.c). */
bool config_read_policy(struct config_reader *reader);

#endif
