/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/journal/record_names.h"

#include <stdlib.h>

#include "agent/base/alloc.h"

void record_names_add(struct record_names *names, const struct record *record)
{
    names->names =
        xrealloc(names->names, names->count + 1, sizeof(*names->names));
    names->names[names->count++] = xstrdup(record->name);
}

void record_names_dispose(struct record_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
    *names = (struct record_names){0};
}
