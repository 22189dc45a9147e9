/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where requests stand: names, paths, values. */
#include "client/folder.h"

#include "agent/base/alloc.h"
#include "agent/base/text.h"
#include "client/identity.h"
#include "client/root.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ID_MAX    64
#define DOMID_MAX 10
#define DIGITS    "0123456789"
#define DOMAINS   "/local/domain"

/* ---- names and paths ---- */

bool request_is_id(const char *text)
{
    size_t domid = strspn(text, DIGITS), length;

    if (domid > 0 && domid <= DOMID_MAX && text[domid] == ':')
        text += domid + 1;
    length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "abcdefghijklmnopqrstuvwxyz_.-" DIGITS);
    return length > 0 && length <= ID_MAX && text[length] == '\0';
}

char *request_path(struct xs_handle *xs, const char *id)
{
    const char *colon = strchr(id, ':');

    if (colon)
        return xasprintf(DOMAINS "/%.*s/" OWN_FOLDER "/%s", (int)(colon - id),
                         id, colon + 1);
    if (in_domain(xs))
        return xasprintf(OWN_FOLDER "%s%s", *id ? "/" : "", id);
    return xasprintf("%s/requests%s%s", root_path(), *id ? "/" : "", id);
}

/* The rest of a path below a folder; NULL: it is elsewhere. */
static const char *below(const char *path, const char *folder)
{
    size_t length = strlen(folder);

    return strncmp(path, folder, length) == 0 && path[length] == '/'
               ? path + length + 1
               : NULL;
}

char *request_of_path(struct xs_handle *xs, const char *path)
{
    char *own = request_path(xs, "");
    const char *id = below(path, own);
    const char *domid = below(path, DOMAINS);
    size_t digits = domid ? strspn(domid, DIGITS) : 0;

    free(own);
    if (id)
        return *id ? xstrndup(id, strcspn(id, "/")) : NULL;
    if (digits == 0 || domid[digits] != '/')
        return NULL;
    id = below(domid + digits + 1, OWN_FOLDER);
    if (!id || !*id)
        return NULL;
    return in_domain(xs) ? xstrndup(id, strcspn(id, "/"))
                         : xasprintf("%.*s:%.*s", (int)digits, domid,
                                     (int)strcspn(id, "/"), id);
}

/* ---- values ---- */

/* Takes over `key`. */
static char *key_path(struct xs_handle *xs, const char *id, char *key)
{
    char *folder = request_path(xs, id);
    char *path = *key ? xasprintf("%s/%s", folder, key) : xstrdup(folder);

    free(folder);
    free(key);
    return path;
}

char *make_printable(char *text)
{
    for (char *c = text; c && *c;) {
        size_t length = text_plain_length(c);

        if (length == 0)
            *c = '?';
        c += length > 0 ? length : 1;
    }
    return text;
}

char *request_read(struct xs_handle *xs, xs_transaction_t transaction,
                   const char *id, const char *format, ...)
{
    va_list args;
    char *path, *value;

    va_start(args, format);
    path = key_path(xs, id, xvasprintf(format, args));
    va_end(args);
    value = xs_read(xs, transaction, path, NULL);
    free(path);
    return make_printable(value);
}

char **request_list(struct xs_handle *xs, xs_transaction_t transaction,
                    unsigned int *n, const char *id, const char *format, ...)
{
    va_list args;
    char *path, **names;

    va_start(args, format);
    path = key_path(xs, id, xvasprintf(format, args));
    va_end(args);
    *n = 0;
    names = xs_directory(xs, transaction, path, n);
    free(path);
    return names;
}
