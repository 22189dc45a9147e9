/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line for each snapshot. */
#include "client/list.h"

#include "agent/base/alloc.h"
#include "client/damaged.h"
#include "client/domains.h"
#include "client/human.h"
#include "client/identity.h"
#include "client/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool list_load(struct xs_handle *xs, const char *domain, struct vms *ret_vms)
{
    char *uuid = domain ? domains_find(xs, domain) : NULL;
    bool found = !domain || uuid;

    if (found)
        vms_load(xs, uuid, ret_vms);
    free(uuid);
    return found;
}

static void add_expiry(char *text, size_t size, const struct snapshot *snapshot)
{
    char when[HUMAN_MAX];
    int64_t seconds;

    if (snapshot->expires_at &&
        human_parse_time(snapshot->expires_at, &seconds)) {
        human_time(when, seconds);
        snprintf(text, size, ", until %s", when);
    }
}

char *list_kind(const struct snapshot *snapshot)
{
    const char *kind = !snapshot->memory ? "disks only"
                       : snapshot->live  ? "memory, live"
                                         : "memory";
    const char *mark = "";
    char expiry[HUMAN_MAX + 16] = "";

    add_expiry(expiry, sizeof(expiry), snapshot);
    for (size_t i = 0; i < snapshot->n_images; i++) {
        if (snapshot->images[i].missing)
            mark = " (images missing)";
    }
    if (snapshot->deleting)
        mark = " (no longer whole)";
    return xasprintf("%s%s%s", kind, expiry, mark);
}

char *list_size(const struct snapshot *snapshot)
{
    char text[HUMAN_MAX] = "-";
    uint64_t bytes;

    if (snapshot_disk_bytes(snapshot, &bytes))
        human_bytes(text, bytes);
    return xstrdup(text);
}

static char *created(const struct snapshot *snapshot)
{
    char text[HUMAN_MAX] = "-";
    int64_t seconds;

    if (snapshot->created_at &&
        human_parse_time(snapshot->created_at, &seconds))
        human_time(text, seconds);
    return xstrdup(text);
}

/* Takes over `size`, which is NULL where there is no such column. */
static void add_row(struct table *table, const struct vm *vm,
                    const struct snapshot *snapshot, char *size)
{
    char *cells[TABLE_COLUMNS] = {
        xstrdup(vm_is_current(vm, snapshot) ? "*" : " "),
        xstrdup(vm->name),
        xstrdup(snapshot->name),
        created(snapshot),
    };
    size_t n = 4;

    if (size)
        cells[n++] = size;
    cells[n++] = xstrdup(snapshot->parent ? snapshot->parent : "-");
    cells[n] = list_kind(snapshot);
    table_add(table, cells);
}

void list_remainders(const struct vms *vms)
{
    for (size_t i = 0; i < vms->n; i++) {
        const struct vm *vm = &vms->list[i];

        for (size_t k = 0; k < vm->n_snapshots; k++) {
            if (vm->snapshots[k].deleting)
                printf("'%s' can only be deleted: xensnap delete %s %s\n",
                       vm->snapshots[k].name, vm->name, vm->snapshots[k].name);
        }
    }
}

static void print_list(const struct vms *vms, bool sizes)
{
    static const char *const with[] = {
        " ", "DOMAIN", "NAME", "CREATED", "SIZE", "PARENT", "KIND",
    };
    static const char *const without[] = {
        " ", "DOMAIN", "NAME", "CREATED", "PARENT", "KIND",
    };
    struct table table = {.n_columns = sizes ? 7 : 6};

    table_add_heading(&table, sizes ? with : without);
    for (size_t i = 0; i < vms->n; i++) {
        const struct vm *vm = &vms->list[i];

        for (size_t k = 0; k < vm->n_snapshots; k++)
            add_row(&table, vm, &vm->snapshots[k],
                    sizes ? list_size(&vm->snapshots[k]) : NULL);
    }
    table_print(&table);
    table_release(&table);
}

enum exit_status list_snapshots(struct xs_handle *xs, const char *domain,
                                bool json)
{
    struct vms vms;

    if (!list_load(xs, domain, &vms))
        return EXIT_FAILED;
    if (json) {
        list_json(xs, &vms);
    } else {
        print_list(&vms, !in_domain(xs));
        list_remainders(&vms);
    }
    damaged_warn(xs, domain ? vms.list[0].uuid : NULL);
    vms_release(&vms);
    return EXIT_DONE;
}
