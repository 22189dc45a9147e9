/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Colours and line drawing, where there is a terminal for them. */
#ifndef XENSNAP_STYLE_H
#define XENSNAP_STYLE_H

#include <stdbool.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GREEN, STYLE_RED };

/*
 * What begins and what ends a style on standard output: empty where that is no
 * terminal, where TERM names no terminal (dumb) and where NO_COLOR is set to
 * anything.
 */
const char *style_begin(enum style style);
const char *style_end(enum style style);

/* Whether a descriptor is a terminal whose lines can be rewritten. */
bool style_is_terminal(int fd);

/* Whether the locale can show more than ASCII; setlocale() was called. */
bool style_has_unicode(void);

#endif
