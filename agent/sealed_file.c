/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sealed_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"
#include "agent/base/log.h"
#include "agent/guest/whole_file.h"
#include "agent/journal/seal.h"

bool sealed_file_replace(const char *path, const char *text, struct error *err)
{
    size_t length;
    char *sealed = seal_add(text, strlen(text), &length);
    bool done = whole_file_replace(path, sealed, length, err);

    free(sealed);
    return done;
}

bool sealed_file_read(const char *path, size_t limit, char **ret_text,
                      struct error *err)
{
    char *text;

    if (!whole_file_read(path, limit + SEAL_LENGTH, &text, err)) {
        return false;
    }
    if (!seal_require(text, strlen(text), err)) {
        free(text);
        return error_prefix(err, "%s: ", path);
    }
    *ret_text = text;
    return true;
}

void sealed_file_set_aside(const char *path, const struct error *why,
                           const char *advice)
{
    char *aside = xasprintf("%s.aside", path);

    if (beneath_rename(NULL, path, aside) == 0) {
        LOG_ERROR("%s; it is kept as %s; %s", why->message, aside, advice);
    } else {
        LOG_ERROR("%s; it cannot be renamed to %s (%s), so remove it; %s",
                  why->message, aside, strerror(errno), advice);
    }
    free(aside);
}
