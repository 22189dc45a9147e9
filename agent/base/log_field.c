/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/log_field.h"

#include <string.h>

/* Where there is room for it and for the end. */
static void add(char *text, size_t size, const char *what)
{
    size_t length = strlen(text);
    size_t added = strnlen(what, size - length - 1);

    memcpy(text + length, what, added);
    text[length + added] = '\0';
}

static void add_quoted(char *text, size_t size, const char *value)
{
    add(text, size, "\"");
    for (; *value != '\0'; value++) {
        char letter[2] = {*value, '\0'};

        if (*value == '"' || *value == '\\') {
            add(text, size, "\\");
        }
        add(text, size, letter);
    }
    add(text, size, "\"");
}

void log_field_append(char *text, size_t size, const char *key,
                      const char *value)
{
    if (value == NULL || *value == '\0') {
        return;
    }
    if (*text != '\0') {
        add(text, size, " ");
    }
    add(text, size, key);
    add(text, size, "=");
    if (strpbrk(value, " \"\\=") == NULL) {
        add(text, size, value);
    } else {
        add_quoted(text, size, value);
    }
}
