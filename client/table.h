/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Columns of text, as wide as they must be. */
#ifndef XENSNAP_TABLE_H
#define XENSNAP_TABLE_H

#include <stddef.h>

#define TABLE_COLUMNS 8

/* Zeroed but for n_columns. */
struct table {
    size_t n_columns; /* at most TABLE_COLUMNS */
    char *(*rows)[TABLE_COLUMNS];
    size_t n_rows;
};

/* Takes over `cells`, n_columns of them, each its own allocation. */
void table_add(struct table *table, char *const cells[]);

/* Copies constant texts. */
void table_add_heading(struct table *table, const char *const cells[]);

/* On standard output; the first row is a heading. */
void table_print(const struct table *table);

void table_release(struct table *table);

/* How many columns a text takes on a terminal; in a locale that does not
 * know them each character takes one. */
int text_columns(const char *text);

#endif
