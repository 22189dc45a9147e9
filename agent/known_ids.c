/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/known_ids.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/store/paths.h"

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool known_ids_has(const struct known_ids *known, const char *key)
{
    return tfind(key, &known->tree, compare) != NULL;
}

void known_ids_add(struct known_ids *known, const char *key)
{
    tsearch(xstrdup(key), &known->tree, compare);
}

void known_ids_remove(struct known_ids *known, const char *key)
{
    char **node = tfind(key, &known->tree, compare);

    if (node != NULL) {
        char *kept = *node;

        tdelete(key, &known->tree, compare);
        free(kept);
    }
}

void known_ids_clear(struct known_ids *known)
{
    tdestroy(known->tree, free);
    known->tree = NULL;
}

struct collection {
    uint32_t domid; /* whose */
    struct id_list list;
};

static void collect(const void *node, VISIT visit, void *arg)
{
    struct collection *collection = arg;
    struct id_list *list = &collection->list;
    const char *key = *(char *const *)node;

    if ((visit == postorder || visit == leaf) &&
        path_key_domid(key, NULL) == collection->domid) {
        list->ids = xrealloc(list->ids, list->count + 1, sizeof(*list->ids));
        list->ids[list->count++] = xstrdup(key);
    }
}

struct id_list known_ids_of(const struct known_ids *known, uint32_t domid)
{
    struct collection collection = {.domid = domid};

    twalk_r(known->tree, collect, &collection);
    return collection.list;
}

void id_list_dispose(struct id_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->ids[i]);
    }
    free(list->ids);
    *list = (struct id_list){0};
}
