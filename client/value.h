/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the agent will take a value, by its own table. */
#ifndef XENSNAP_VALUE_H
#define XENSNAP_VALUE_H

#include <stdbool.h>

#define VALUE_WHY_MAX 512

/* `key` is one of a request's, with those of a disk below disks/<vdev>. What
 * has no table of its own is valid. */
bool value_is_valid(const char *key, const char *value,
                    char ret_why[VALUE_WHY_MAX]);

#endif
