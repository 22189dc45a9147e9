/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocation that never returns NULL.
 *
 * The agent asks for kilobytes; when not even those are there, nothing that it
 * could still do would work.  It aborts, and the journal lets the next agent
 * put things right.
 */
#ifndef XENSNAPD_BASE_ALLOC_H
#define XENSNAPD_BASE_ALLOC_H

#include <stdarg.h>
#include <stddef.h>

/* Zeroed. */
void *xcalloc(size_t n, size_t size) __attribute__((returns_nonnull));

/* Aborts also if n * size overflows.  n or size 0 gives one byte. */
void *xrealloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));

char *xstrdup(const char *text) __attribute__((returns_nonnull));

/* At most `length` bytes of `text`, which need not be terminated. */
char *xstrndup(const char *text, size_t length)
    __attribute__((returns_nonnull));

/* A copy of `value`, or NULL, in the place of what was there, which is freed;
 * it may be that itself. */
void xreplace(char **text, const char *value);

/* "<folder>/<name>"; what is made most of all is not worth a format. */
char *xjoin(const char *folder, const char *name)
    __attribute__((returns_nonnull));

char *xasprintf(const char *format, ...)
    __attribute__((returns_nonnull, format(printf, 1, 2)));
char *xvasprintf(const char *format, va_list args)
    __attribute__((returns_nonnull, format(printf, 1, 0)));

#endif
