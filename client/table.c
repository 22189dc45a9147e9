/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Columns of text. */
#include "client/table.h"

#include "agent/base/alloc.h"
#include "client/style.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

void table_add(struct table *table, char *const cells[])
{
    table->rows =
        xrealloc(table->rows, table->n_rows + 1, sizeof(table->rows[0]));
    for (size_t c = 0; c < table->n_columns; c++)
        table->rows[table->n_rows][c] = cells[c];
    table->n_rows++;
}

void table_add_heading(struct table *table, const char *const cells[])
{
    char *copies[TABLE_COLUMNS];

    for (size_t c = 0; c < table->n_columns; c++)
        copies[c] = xstrdup(cells[c]);
    table_add(table, copies);
}

/* The bytes that continue a UTF-8 sequence take none. */
static int characters(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

int text_columns(const char *text)
{
    size_t length = mbstowcs(NULL, text, 0);
    wchar_t *wide;
    int columns;

    if (!style_has_unicode() || length == (size_t)-1)
        return characters(text);
    wide = xcalloc(length + 1, sizeof(wide[0]));
    mbstowcs(wide, text, length + 1);
    columns = wcswidth(wide, length);
    free(wide);
    /* What cannot be printed has no width. */
    return columns < 0 ? characters(text) : columns;
}

static void print_row(const struct table *table, size_t row,
                      const int widths[TABLE_COLUMNS])
{
    enum style style = row == 0 ? STYLE_BOLD : STYLE_PLAIN;

    fputs(style_begin(style), stdout);
    for (size_t c = 0; c < table->n_columns; c++) {
        const char *text = table->rows[row][c];
        int rest = widths[c] - text_columns(text);

        /* Nothing but its end follows the last column. */
        if (c + 1 == table->n_columns)
            fputs(text, stdout);
        else
            printf("%s%*s", text, rest + (widths[c] == 1 ? 1 : 2), "");
    }
    printf("%s\n", style_end(style));
}

void table_print(const struct table *table)
{
    int widths[TABLE_COLUMNS] = {0};

    for (size_t row = 0; row < table->n_rows; row++) {
        for (size_t c = 0; c < table->n_columns; c++) {
            int columns = text_columns(table->rows[row][c]);

            if (columns > widths[c])
                widths[c] = columns;
        }
    }
    for (size_t row = 0; row < table->n_rows; row++)
        print_row(table, row, widths);
}

void table_release(struct table *table)
{
    for (size_t row = 0; row < table->n_rows; row++) {
        for (size_t c = 0; c < table->n_columns; c++)
            free(table->rows[row][c]);
    }
    free(table->rows);
}
