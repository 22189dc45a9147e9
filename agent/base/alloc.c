/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Allocation that never returns NULL. */
#include "agent/base/alloc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not through log.c: formatting a line could allocate again. */
static _Noreturn void out_of_memory(void)
{
    fputs("xensnapd: out of memory\n", stderr);
    abort();
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    if (!p)
        out_of_memory();
    return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
    void *moved;

    if (size && n > SIZE_MAX / size)
        out_of_memory();
    moved = realloc(p, n && size ? n * size : 1);
    if (!moved)
        out_of_memory();
    return moved;
}

char *xstrdup(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        out_of_memory();
    return copy;
}

char *xstrndup(const char *text, size_t length)
{
    char *copy = strndup(text, length);

    if (!copy)
        out_of_memory();
    return copy;
}

char *xvasprintf(const char *format, va_list args)
{
    char *text;

    if (vasprintf(&text, format, args) < 0)
        out_of_memory();
    return text;
}

void xreplace(char **text, const char *value)
{
    char *copy = value == NULL ? NULL : xstrdup(value);

    free(*text);
    *text = copy;
}

char *xjoin(const char *folder, const char *name)
{
    size_t above = strlen(folder), below = strlen(name);
    char *path = xcalloc(above + 1 + below + 1, 1);

    memcpy(path, folder, above);
    path[above] = '/';
    memcpy(path + above + 1, name, below);
    return path;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = xvasprintf(format, args);
    va_end(args);
    return text;
}
