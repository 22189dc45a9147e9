/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From all that should stand there to what must be written. */
#include "agent/published.h"

#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* FNV-1a, 64 bits: it need not withstand anybody. */
#define HASH_BASIS UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

struct mark {
    char *path;
    uint64_t hash;
};

struct vm {
    char *uuid;
    struct mark *marks; /* sorted by path */
    size_t count;
};

struct published {
    void *vms; /* tsearch(3) tree of struct vm * */
};

/* ---- nodes ---- */

struct keys *published_node(struct published_nodes *nodes, const char *path)
{
    struct published_node *node;

    if (nodes->count == nodes->room) {
        nodes->room = nodes->room == 0 ? 16 : nodes->room * 2;
        nodes->items =
            xrealloc(nodes->items, nodes->room, sizeof(*nodes->items));
    }
    node = &nodes->items[nodes->count++];
    *node = (struct published_node){.path = xstrdup(path)};
    return &node->keys;
}

void published_nodes_dispose(struct published_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        free(nodes->items[i].path);
        keys_dispose(&nodes->items[i].keys);
    }
    free(nodes->items);
    *nodes = (struct published_nodes){0};
}

static int compare_nodes(const void *a, const void *b)
{
    const struct published_node *x = a, *y = b;

    return strcmp(x->path, y->path);
}

/* ---- marks ---- */

/* The terminating byte counts, so that no two lists look the same. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    do {
        hash = (hash ^ (unsigned char)*text) * HASH_PRIME;
    } while (*text++ != '\0');
    return hash;
}

static uint64_t hash_keys(const struct keys *keys)
{
    uint64_t hash = HASH_BASIS;

    for (size_t i = 0; i < keys->count; i++) {
        hash = hash_text(hash, keys->items[i].path);
        hash = hash_text(hash, keys->items[i].value);
    }
    return hash;
}

/* The nodes are sorted, so the marks are. */
static struct mark *mark_all(const struct published_nodes *nodes)
{
    struct mark *marks = xcalloc(nodes->count + 1, sizeof(*marks));

    for (size_t i = 0; i < nodes->count; i++) {
        marks[i].path = xstrdup(nodes->items[i].path);
        marks[i].hash = hash_keys(&nodes->items[i].keys);
    }
    return marks;
}

static void free_marks(struct mark *marks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(marks[i].path);
    }
    free(marks);
}

/* ---- the difference ---- */

static bool have_any_below(const struct published_nodes *nodes,
                           const char *folder)
{
    size_t length = strlen(folder);

    for (size_t i = 0; i < nodes->count; i++) {
        if (strncmp(nodes->items[i].path, folder, length) == 0 &&
            nodes->items[i].path[length] == '/') {
            return true;
        }
    }
    return false;
}

/* A folder that was only there for its nodes goes with the last of them. */
static void remove_gone(struct keys *changes, const char *path,
                        const struct published_nodes *nodes)
{
    char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');

    if (slash != NULL) {
        *slash = '\0';
    }
    keys_remove(changes, have_any_below(nodes, folder) ? path : folder);
    free(folder);
}

/* Merges two sorted lists.  All removals come first: where a node that goes is
 * above or below one that comes, the latter stays. */
static void find_changes(const struct vm *vm,
                         const struct published_nodes *nodes,
                         const struct mark *marks, struct keys *ret_changes)
{
    struct keys written = {0};
    size_t old = 0, new = 0;

    while (old < vm->count || new < nodes->count) {
        int order = old == vm->count ? 1
                    : new == nodes->count
                        ? -1
                        : strcmp(vm->marks[old].path, marks[new].path);

        bool differs = order == 0 && vm->marks[old].hash != marks[new].hash;

        if (order < 0) {
            remove_gone(ret_changes, vm->marks[old].path, nodes);
        }
        if (differs) {
            keys_remove(ret_changes, vm->marks[old].path);
        }
        if (differs || order > 0) {
            keys_copy(&written, "", &nodes->items[new].keys);
        }
        old += order <= 0;
        new += order >= 0;
    }
    keys_copy(ret_changes, "", &written);
    keys_dispose(&written);
}

/* ---- VMs ---- */

static int compare_vms(const void *a, const void *b)
{
    const struct vm *x = a, *y = b;

    return strcmp(x->uuid, y->uuid);
}

static void free_vm(void *arg)
{
    struct vm *vm = arg;

    free_marks(vm->marks, vm->count);
    free(vm->uuid);
    free(vm);
}

static struct vm *find_vm(struct published *published, const char *uuid)
{
    struct vm wanted = {.uuid = (char *)(uintptr_t)uuid};
    struct vm **found = tfind(&wanted, &published->vms, compare_vms);
    struct vm *vm;

    if (found != NULL) {
        return *found;
    }
    vm = xcalloc(1, sizeof(*vm));
    vm->uuid = xstrdup(uuid);
    tsearch(vm, &published->vms, compare_vms);
    return vm;
}

static void drop_if_empty(struct published *published, struct vm *vm)
{
    if (vm->count == 0) {
        tdelete(vm, &published->vms, compare_vms);
        free_vm(vm);
    }
}

struct published *published_new(void)
{
    return xcalloc(1, sizeof(struct published));
}

void published_clear(struct published *published)
{
    tdestroy(published->vms, free_vm);
    published->vms = NULL;
}

void published_free(struct published *published)
{
    if (published != NULL) {
        published_clear(published);
        free(published);
    }
}

static void sort(struct published_nodes *nodes)
{
    if (nodes->count > 0) {
        qsort(nodes->items, nodes->count, sizeof(*nodes->items), compare_nodes);
    }
}

static void replace_marks(struct vm *vm, struct mark *marks, size_t count)
{
    free_marks(vm->marks, vm->count);
    vm->marks = marks;
    vm->count = count;
}

static void write_node(struct stream *stream, const char *root,
                       const struct published_node *node)
{
    for (size_t i = 0; i < node->keys.count; i++) {
        const struct key *key = &node->keys.items[i];
        char *path = xjoin(root, key->path);

        stream_write(stream, path, key->value);
        free(path);
    }
}

void published_begin(struct published *published, struct stream *stream,
                     const char *root, const char *vm_uuid,
                     struct published_nodes *nodes)
{
    struct vm *vm = find_vm(published, vm_uuid);

    sort(nodes);
    for (size_t i = 0; i < nodes->count; i++) {
        write_node(stream, root, &nodes->items[i]);
    }
    replace_marks(vm, mark_all(nodes), nodes->count);
    drop_if_empty(published, vm);
}

struct published_change {
    struct vm *vm;
    struct mark *marks;
    size_t count;
};

struct published_change *published_plan(struct published *published,
                                        const char *vm_uuid,
                                        struct published_nodes *nodes,
                                        struct keys *ret_changes)
{
    struct published_change *change = xcalloc(1, sizeof(*change));

    sort(nodes);
    change->vm = find_vm(published, vm_uuid);
    change->marks = mark_all(nodes);
    change->count = nodes->count;
    find_changes(change->vm, nodes, change->marks, ret_changes);
    return change;
}

void published_settle(struct published *published,
                      struct published_change *change, bool made)
{
    if (made) {
        replace_marks(change->vm, change->marks, change->count);
    } else {
        free_marks(change->marks, change->count);
    }
    drop_if_empty(published, change->vm);
    free(change);
}
