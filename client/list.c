/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line for each snapshot. */
#include "client/list.h"

#include "agent/base/alloc.h"
#include "client/domains.h"
#include "client/human.h"
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
        mark = " (half deleted)";
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

static void add_vm(struct table *table, const struct vm *vm)
{
    for (size_t i = 0; i < vm->n_snapshots; i++) {
        const struct snapshot *snapshot = &vm->snapshots[i];
        char *cells[] = {
            xstrdup(vm_is_current(vm, snapshot) ? "*" : " "),
            xstrdup(vm->name),
            xstrdup(snapshot->name),
            created(snapshot),
            list_size(snapshot),
            xstrdup(snapshot->parent ? snapshot->parent : "-"),
            list_kind(snapshot),
        };

        table_add(table, cells);
    }
}

static void print_list(const struct vms *vms)
{
    static const char *const heading[] = {
        " ", "DOMAIN", "NAME", "CREATED", "SIZE", "PARENT", "KIND",
    };
    struct table table = {.n_columns = sizeof(heading) / sizeof(heading[0])};

    table_add_heading(&table, heading);
    for (size_t i = 0; i < vms->n; i++)
        add_vm(&table, &vms->list[i]);
    table_print(&table);
    table_release(&table);
}

enum exit_status list_snapshots(struct xs_handle *xs, const char *domain,
                                bool json)
{
    struct vms vms;

    if (!list_load(xs, domain, &vms))
        return EXIT_FAILED;
    if (json)
        list_json(xs, &vms);
    else
        print_list(&vms);
    vms_release(&vms);
    return EXIT_DONE;
}
