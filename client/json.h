/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing JSON: what is opened must be closed, by the caller. `key` is NULL for
 * a member of an array and for the outermost value.
 */
#ifndef XENSNAP_JSON_H
#define XENSNAP_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Zeroed but for `out`. */
struct json {
    FILE *out;
    bool on_one_line;
    unsigned int depth;
    bool has_members; /* of what is open now */
};

void json_open_object(struct json *json, const char *key);
void json_close_object(struct json *json);
void json_open_array(struct json *json, const char *key);
void json_close_array(struct json *json);

/* NULL is left out. What is no UTF-8 in it becomes U+FFFD; what a terminal
 * would act on is escaped. */
void json_put_string(struct json *json, const char *key, const char *value);

void json_put_number(struct json *json, const char *key, int64_t value);
void json_put_bool(struct json *json, const char *key, bool value);

/* After the outermost value. */
void json_end(struct json *json);

#endif
