/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which requests were handed on, by their keys (store/paths.h). */
#ifndef XENSNAPD_KNOWN_IDS_H
#define XENSNAPD_KNOWN_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: none. */
struct known_ids {
    void *tree; /* tsearch(3), of char * */
};

bool known_ids_has(const struct known_ids *known, const char *key);
void known_ids_add(struct known_ids *known, const char *key);
/* One that is not known is no error. */
void known_ids_remove(struct known_ids *known, const char *key);
void known_ids_clear(struct known_ids *known);

/* A copy of those of one domain, for looking at them changes the tree. */
struct id_list {
    char **ids;
    size_t count;
};

struct id_list known_ids_of(const struct known_ids *known, uint32_t domid);
void id_list_dispose(struct id_list *list);

#endif
