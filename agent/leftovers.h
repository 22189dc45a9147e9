/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory files that nobody knows of: what an agent left that died without a
 * note, or a record that somebody removed by hand.  They are large, so they are
 * told of; they are not removed, since nothing proves that they are not needed.
 */
#ifndef XENSNAPD_LEFTOVERS_H
#define XENSNAPD_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/journal/records.h"

/* Whether an operation under way made that file, or is about to. */
typedef bool leftovers_is_used(const char *path, void *arg);

/* A log line for each file below `folder`, where memory files of every VM have
 * a folder, that neither a record nor `is_used` knows.  Returns how many.  A
 * VM's folder that is empty goes, so not while an operation is under way. */
size_t leftovers_report(const char *folder, const struct records *records,
                        leftovers_is_used *is_used, void *arg);

#endif
