/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How records are changed: which are, is collected first. */
#ifndef XENSNAPD_SNAPSHOT_TREE_CHANGE_PRIVATE_H
#define XENSNAPD_SNAPSHOT_TREE_CHANGE_PRIVATE_H

#include "agent/journal/record_names.h"
#include "agent/journal/records.h"

struct names {
    const char *wanted; /* a path or a name, as the matcher reads it */
    const char *driver; /* where that path is; NULL: here */
    struct record_names found;
};

typedef void record_changer(struct record *record, const void *arg);

/* Each as a copy, which then takes its place; durable on return. */
bool tree_change_each(struct records *records, const char *vm_uuid,
                      const struct names *names, record_changer *change,
                      const void *arg, struct error *err);

#endif
