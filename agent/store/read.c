/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/store/read.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

char *store_read(struct xs_handle *xs, const char *folder, const char *key)
{
    char *path = xjoin(folder, key);
    char *value = xs == NULL ? NULL : xs_read(xs, XBT_NULL, path, NULL);

    free(path);
    return value;
}

bool store_read_is(struct xs_handle *xs, const char *folder, const char *key,
                   const char *expected)
{
    char *value = store_read(xs, folder, key);
    bool same = value != NULL && strcmp(value, expected) == 0;

    free(value);
    return same;
}
