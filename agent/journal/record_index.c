/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records in memory. */
#include "agent/journal/record_index.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

static int compare_vms(const void *a, const void *b)
{
    const struct record_vm *left = a, *right = b;

    return strcmp(left->uuid, right->uuid);
}

static int compare_names(const void *a, const void *b)
{
    const struct record *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static int compare_creation(const void *a, const void *b)
{
    const struct record *left = *(const struct record *const *)a;
    const struct record *right = *(const struct record *const *)b;
    int order = strcmp(left->created_at, right->created_at);

    return order ? order : strcmp(left->name, right->name);
}

static void free_record(void *element)
{
    struct record *record = element;

    record_dispose(record);
    free(record);
}

static void free_vm(void *element)
{
    struct record_vm *vm = element;

    tdestroy(vm->records, free_record);
    free(vm->current);
    free(vm->uuid);
    free(vm);
}

/* A tree's nodes begin with a pointer to the element. */
static void *element_of(void *const *node)
{
    return node ? *node : NULL;
}

static void add_to_tree(void **tree, void *element,
                        int (*compare)(const void *, const void *))
{
    /* Only lack of memory fails. */
    if (!tsearch(element, tree, compare))
        abort();
}

/* ---- VMs ---- */

void record_index_dispose(struct record_index *index)
{
    tdestroy(index->vms, free_vm);
    for (size_t i = 0; i < index->unreadable_count; i++) {
        free(index->unreadable[i].uuid);
        free(index->unreadable[i].name);
    }
    free(index->unreadable);
    *index = (struct record_index){0};
}

static void add_unreadable(struct record_index *index, const char *uuid,
                           const char *name, bool is_link)
{
    struct record_unreadable *added;

    index->unreadable = xrealloc(index->unreadable, index->unreadable_count + 1,
                                 sizeof(*index->unreadable));
    added = &index->unreadable[index->unreadable_count++];
    added->uuid = xstrdup(uuid);
    added->name = xstrdup(name);
    added->is_link = is_link;
}

void record_index_add_unreadable(struct record_index *index, const char *uuid,
                                 const char *name)
{
    add_unreadable(index, uuid, name, false);
}

void record_index_lose_current(struct record_index *index, const char *uuid)
{
    add_unreadable(index, uuid, RECORD_INDEX_CURRENT, true);
}

void record_index_settle_current(struct record_index *index, const char *uuid)
{
    size_t kept = 0;

    for (size_t i = 0; i < index->unreadable_count; i++) {
        struct record_unreadable *record = &index->unreadable[i];

        if (record->is_link && !strcmp(record->uuid, uuid)) {
            free(record->uuid);
            free(record->name);
        } else {
            index->unreadable[kept++] = *record;
        }
    }
    index->unreadable_count = kept;
}

const char *record_index_unreadable(const struct record_index *index,
                                    const char *uuid, const char *name)
{
    for (size_t i = 0; i < index->unreadable_count; i++) {
        const struct record_unreadable *record = &index->unreadable[i];

        if (!record->is_link && (!uuid || !strcmp(record->uuid, uuid)) &&
            (!name || !strcmp(record->name, name) ||
             !strcmp(record->name, RECORD_INDEX_ALL)))
            return record->name;
    }
    return NULL;
}

struct record_vm *record_index_find(const struct record_index *index,
                                    const char *uuid)
{
    const struct record_vm key = {.uuid = (char *)uuid};

    return element_of(tfind(&key, &index->vms, compare_vms));
}

struct record_vm *record_index_add(struct record_index *index, const char *uuid)
{
    struct record_vm *vm = record_index_find(index, uuid);

    if (vm)
        return vm;
    vm = xcalloc(1, sizeof(*vm));
    vm->uuid = xstrdup(uuid);
    add_to_tree(&index->vms, vm, compare_vms);
    return vm;
}

void record_index_remove(struct record_index *index, struct record_vm *vm)
{
    tdelete(vm, &index->vms, compare_vms);
    free_vm(vm);
}

struct vm_walk {
    record_vm_visit *visit;
    void *arg;
};

static void visit_vm(const void *node, VISIT order, void *closure)
{
    const struct vm_walk *walk = closure;

    if (order == postorder || order == leaf)
        walk->visit(element_of((void *const *)node), walk->arg);
}

void record_index_each(const struct record_index *index, record_vm_visit *visit,
                       void *arg)
{
    struct vm_walk walk = {visit, arg};

    twalk_r(index->vms, visit_vm, &walk);
}

/* ---- a VM's records ---- */

struct record *record_vm_find(const struct record_vm *vm, const char *name)
{
    const struct record key = {.name = (char *)name};

    return element_of(tfind(&key, &vm->records, compare_names));
}

void record_vm_insert(struct record_vm *vm, struct record *record)
{
    struct record *element = xcalloc(1, sizeof(*element));

    *element = *record;
    memset(record, 0, sizeof(*record));
    add_to_tree(&vm->records, element, compare_names);
    vm->count++;
}

void record_vm_remove(struct record_vm *vm, struct record *record)
{
    tdelete(record, &vm->records, compare_names);
    free_record(record);
    vm->count--;
}

void record_vm_set_current(struct record_vm *vm, const char *name)
{
    /* `name` may be the very text that is replaced. */
    char *old = vm->current;

    vm->current = name ? xstrdup(name) : NULL;
    free(old);
}

static void collect(const void *node, VISIT order, void *closure)
{
    const struct record ***next = closure;

    if (order == postorder || order == leaf)
        *(*next)++ = element_of((void *const *)node);
}

const struct record **record_vm_by_creation(const struct record_vm *vm)
{
    const struct record **array = xcalloc(vm->count, sizeof(*array));
    const struct record **next = array;

    twalk_r(vm->records, collect, &next);
    qsort(array, vm->count, sizeof(*array), compare_creation);
    return array;
}
