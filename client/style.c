/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Colours and line drawing. */
#include "client/style.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool style_is_terminal(int fd)
{
    const char *term = getenv("TERM");

    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

static bool has_colours(void)
{
    const char *forbidden = getenv("NO_COLOR");

    return style_is_terminal(STDOUT_FILENO) && !(forbidden && *forbidden);
}

const char *style_begin(enum style style)
{
    static const char *const codes[] = {
        [STYLE_PLAIN] = "",       [STYLE_BOLD] = "\033[1m",
        [STYLE_DIM] = "\033[2m",  [STYLE_GREEN] = "\033[32m",
        [STYLE_RED] = "\033[31m",
    };

    return has_colours() ? codes[style] : "";
}

const char *style_end(enum style style)
{
    return style != STYLE_PLAIN && has_colours() ? "\033[0m" : "";
}

bool style_has_unicode(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}
