/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All that is known of one snapshot. */
#include "client/list.h"

#include "client/damaged.h"
#include "client/failure.h"
#include "client/human.h"
#include "client/identity.h"
#include "client/style.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void row(const char *label, const char *value)
{
    if (value)
        printf("%-13s%s\n", label, value);
}

static void show_times(const struct snapshot *snapshot)
{
    char when[HUMAN_MAX], age[HUMAN_MAX];
    int64_t seconds, made;

    if (!snapshot_age(snapshot, &seconds) ||
        !human_parse_time(snapshot->created_at, &made))
        return;
    human_time(when, made);
    human_age(age, seconds);
    printf("%-13s%s (%s)\n", "created", when, age);
}

static void show_expiry(const struct snapshot *snapshot)
{
    char when[HUMAN_MAX];
    int64_t seconds;

    if (snapshot->expires_at &&
        human_parse_time(snapshot->expires_at, &seconds)) {
        human_time(when, seconds);
        row("expires", when);
    }
}

static void show_children(const struct vm *vm, const struct snapshot *snapshot)
{
    const char *label = "children";

    for (size_t i = 0; i < vm->n_snapshots; i++) {
        const struct snapshot *other = &vm->snapshots[i];

        if (snapshot_is_child(other, snapshot)) {
            row(label, other->name);
            label = "";
        }
    }
}

static void show_chain(const struct chains *chains, const char *vdev)
{
    const struct chain *chain = chains_find(chains, vdev);
    char *text = chain ? chain_text(chains, chain) : NULL;

    if (text)
        printf(
            "  %-11s%s%s%s\n", "chain now",
            style_begin(chain_is_long(chains, chain) ? STYLE_RED : STYLE_PLAIN),
            text,
            style_end(chain_is_long(chains, chain) ? STYLE_RED : STYLE_PLAIN));
    free(text);
}

static void show_images(const struct vm *vm, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->n_images; i++) {
        const struct image *image = &snapshot->images[i];

        printf("disk %s:\n", image->vdev);
        printf("  %-11s%s (%s)%s\n", "state in",
               image->path ? image->path : "-",
               image->format ? image->format : "-",
               image->missing ? ", which is missing" : "");
        if (image->driver_domain)
            printf("  %-11s%s\n", "served by", image->driver_domain);
        if (image->tag)
            printf("  %-11s%s\n", "internal", image->tag);
        if (image->active)
            printf("  %-11s%s\n", "goes on in", image->active);
        if (vm_is_current(vm, snapshot))
            show_chain(&vm->chains, image->vdev);
    }
}

static void show_next(const struct vm *vm, const struct snapshot *snapshot)
{
    if (snapshot->deleting)
        printf("\nIt is no longer whole; delete it: xensnap delete %s %s\n",
               vm->name, snapshot->name);
    else
        printf("\nGo back to it: xensnap revert %s %s%s\n", vm->name,
               snapshot->name, snapshot->memory ? "" : " --start boot");
}

static void show(const struct vm *vm, const struct snapshot *snapshot)
{
    char *kind = list_kind(snapshot), *size = list_size(snapshot);

    row("name", snapshot->name);
    row("domain", vm->name);
    row("uuid", vm->uuid);
    row("description", snapshot->description);
    row("schedule", snapshot->schedule);
    show_times(snapshot);
    show_expiry(snapshot);
    row("kind", kind);
    row("consistency", snapshot->consistency);
    if (!snapshot->elsewhere)
        row("on disk", size);
    row("parent", snapshot->parent);
    show_children(vm, snapshot);
    if (vm_is_current(vm, snapshot))
        row("current", "yes: the running state descends from it");
    row("memory", snapshot->memory_path);
    show_images(vm, snapshot);
    show_next(vm, snapshot);
    free(kind);
    free(size);
}

enum exit_status list_one(struct xs_handle *xs, const char *domain,
                          const char *name, bool json)
{
    const struct snapshot *snapshot;
    struct vms vms;
    bool there;

    if (!domain)
        domain = own_domid(xs);
    if (!list_load(xs, domain, &vms))
        return EXIT_FAILED;
    snapshot = vm_find(vms.list, name);
    there = snapshot && (!json || list_json_one(xs, vms.list, snapshot));
    if (!there)
        failure_tell("no-such-snapshot", "'xensnap list' shows what there is.",
                     "domain '%s' has no snapshot '%s'", domain, name);
    else if (!json)
        show(vms.list, snapshot);
    damaged_warn(xs, vms.list[0].uuid);
    vms_release(&vms);
    return there ? EXIT_DONE : EXIT_FAILED;
}
