/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of settings: what each is called, what it may be, where it goes.
 * For config.c, which reads the YAML around them.  Pure.
 */
#ifndef XENSNAPD_BASE_CONFIG_SETTING_H
#define XENSNAPD_BASE_CONFIG_SETTING_H

#include "agent/base/config.h"

#define CONFIG_SETTINGS_MAX 64

enum setting_kind {
    SETTING_SECTION, /* holds the settings whose keys begin with its own */
    SETTING_CHOICE,
    SETTING_FOLDER,
    SETTING_FILE, /* a path, or "off": "" */
    SETTING_XENSTORE_PATH,
    SETTING_COUNT,
    SETTING_DURATION,
    SETTING_SIZE,
    SETTING_POLICY /* a list, read by config_policy.c */
};

struct setting_choice {
    const char *name;
    int value;
};

struct setting {
    const char *key; /* "log.level" */
    enum setting_kind kind;
    size_t offset; /* in struct config */
    size_t size;
    const char *by_default; /* this, and the bounds, written as in the file;
                             * NULL: not by this table */
    const char *min;
    const char *max;
    const struct setting_choice *choices; /* end with a name of NULL */
};

/* Ends with a key of NULL. */
extern const struct setting config_settings[];

/* Checks `text` and stores it.  The message does not name the key. */
bool setting_store(const struct setting *setting, const char *text,
                   struct config *config, struct error *err);

/* A number of the setting's kind, within its bounds. */
bool setting_parse_number(const struct setting *setting, const char *text,
                          uint64_t *ret_value, struct error *err);

#endif
