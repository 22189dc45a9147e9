/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of records of one VM, to change them by: records_each_of_vm() allows
 * that only once it is over.  All zero: none. */
#ifndef XENSNAPD_JOURNAL_RECORD_NAMES_H
#define XENSNAPD_JOURNAL_RECORD_NAMES_H

#include <stddef.h>

#include "agent/journal/record.h"

struct record_names {
    char **names; /* owned */
    size_t count;
};

void record_names_add(struct record_names *names, const struct record *record);
void record_names_dispose(struct record_names *names);

#endif
