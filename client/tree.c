/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came from what. */
#include "client/list.h"

#include "agent/base/alloc.h"
#include "client/human.h"
#include "client/style.h"
#include "client/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pieces that branches are drawn with. */
struct lines {
    const char *branch;
    const char *last;
    const char *pass;
    const char *blank;
};

/* A line before it is known how wide the first column must be. */
struct line {
    char *prefix;
    char *label;
    char *facts;
    enum style style;
};

struct drawing {
    const struct vm *vm;
    const struct lines *pieces;
    struct line *lines;
    size_t n;
    bool *drawn; /* by snapshot */
};

static const struct lines *choose_lines(void)
{
    static const struct lines unicode = {
        "\u251c\u2500 ",
        "\u2514\u2500 ",
        "\u2502  ",
        "   ",
    };
    static const struct lines ascii = {"|- ", "`- ", "|  ", "   "};

    return style_has_unicode() ? &unicode : &ascii;
}

static void add_line(struct drawing *drawing, char *prefix, char *label,
                     char *facts, enum style style)
{
    drawing->lines =
        xrealloc(drawing->lines, drawing->n + 1, sizeof(drawing->lines[0]));
    drawing->lines[drawing->n++] = (struct line){prefix, label, facts, style};
}

/* ---- what stands behind a name ---- */

static char *snapshot_facts(const struct vm *vm,
                            const struct snapshot *snapshot)
{
    char *size = list_size(snapshot), *kind = list_kind(snapshot), *facts;
    char age[HUMAN_MAX] = "-";
    int64_t seconds;

    if (snapshot_age(snapshot, &seconds))
        human_age(age, seconds);
    facts = xasprintf("%-12s %9s  depth %-2u %s", age, size,
                      snapshot_depth(vm, snapshot), kind);
    free(size);
    free(kind);
    return facts;
}

/* An internal snapshot is in the very image that goes on. */
static bool goes_on_above(const struct snapshot *current)
{
    for (size_t i = 0; current && i < current->n_images; i++) {
        if (current->images[i].active && !current->images[i].tag)
            return true;
    }
    return false;
}

static char *running_facts(const struct vm *vm)
{
    const struct snapshot *current = vm_find(vm, vm->current);
    char size[HUMAN_MAX] = "-";
    uint64_t bytes;

    if (vm_active_bytes(vm, &bytes))
        human_bytes(size, bytes);
    return xasprintf("%-12s %9s  depth %-2u %s", "now", size,
                     snapshot_depth(vm, current) + goes_on_above(current),
                     vm->domid ? "runs" : "does not run");
}

/* ---- the shape ---- */

static bool is_root(const struct vm *vm, const struct snapshot *snapshot)
{
    return !vm_find(vm, snapshot->parent);
}

static bool is_child(const struct vm *vm, const struct snapshot *snapshot,
                     const struct snapshot *parent)
{
    return parent
               ? snapshot->parent && strcmp(snapshot->parent, parent->name) == 0
               : is_root(vm, snapshot);
}

static void draw_below(struct drawing *drawing, const struct snapshot *parent,
                       const char *indent);

/* With parents that go in a circle, a snapshot could come up twice. */
static void draw_snapshot(struct drawing *drawing,
                          const struct snapshot *snapshot, const char *indent,
                          bool last)
{
    const struct lines *pieces = drawing->pieces;
    bool *drawn = &drawing->drawn[snapshot - drawing->vm->snapshots];
    char *below;

    if (*drawn)
        return;
    *drawn = true;
    add_line(drawing,
             xasprintf("%s%s", indent, last ? pieces->last : pieces->branch),
             xstrdup(snapshot->name), snapshot_facts(drawing->vm, snapshot),
             snapshot->deleting ? STYLE_RED : STYLE_BOLD);
    below = xasprintf("%s%s", indent, last ? pieces->blank : pieces->pass);
    draw_below(drawing, snapshot, below);
    free(below);
}

static void draw_below(struct drawing *drawing, const struct snapshot *parent,
                       const char *indent)
{
    const struct vm *vm = drawing->vm;
    bool runs_here = parent && vm_is_current(vm, parent);
    size_t left = 0;

    for (size_t i = 0; i < vm->n_snapshots; i++)
        left += is_child(vm, &vm->snapshots[i], parent);
    if (runs_here)
        add_line(
            drawing,
            xasprintf("%s%s", indent,
                      left ? drawing->pieces->branch : drawing->pieces->last),
            xstrdup("(current state)"), running_facts(vm), STYLE_GREEN);
    for (size_t i = 0; i < vm->n_snapshots; i++) {
        if (is_child(vm, &vm->snapshots[i], parent))
            draw_snapshot(drawing, &vm->snapshots[i], indent, --left == 0);
    }
}

/* ---- printing ---- */

static void print_lines(struct drawing *drawing)
{
    int widest = 0;

    for (size_t i = 0; i < drawing->n; i++) {
        const struct line *line = &drawing->lines[i];
        int columns = text_columns(line->prefix) + text_columns(line->label);

        if (columns > widest)
            widest = columns;
    }
    for (size_t i = 0; i < drawing->n; i++) {
        struct line *line = &drawing->lines[i];
        int columns = text_columns(line->prefix) + text_columns(line->label);

        printf("%s%s%s%s%*s  %s\n", line->prefix, style_begin(line->style),
               line->label, style_end(line->style), widest - columns, "",
               line->facts);
        free(line->prefix);
        free(line->label);
        free(line->facts);
    }
    free(drawing->lines);
}

static void print_vm(const struct vm *vm, const struct lines *pieces)
{
    struct drawing drawing = {.vm = vm, .pieces = pieces};

    drawing.drawn = xcalloc(vm->n_snapshots + 1, sizeof(drawing.drawn[0]));
    printf("%s%s%s  %s  ", style_begin(STYLE_BOLD), vm->name,
           style_end(STYLE_BOLD), vm->uuid);
    if (vm->domid)
        printf("domid %s\n", vm->domid);
    else
        puts("does not run");
    draw_below(&drawing, NULL, "");
    /* What no root leads to hangs in a circle; it is shown all the same. */
    for (size_t i = 0; i < vm->n_snapshots; i++)
        draw_snapshot(&drawing, &vm->snapshots[i], "", true);
    print_lines(&drawing);
    if (vm->n_snapshots == 0)
        printf("%sno snapshots\n", pieces->last);
    free(drawing.drawn);
}

enum exit_status list_tree(struct xs_handle *xs, const char *domain, bool json)
{
    const struct lines *pieces = choose_lines();
    struct vms vms;

    if (!list_load(xs, domain, &vms))
        return EXIT_FAILED;
    if (json) {
        list_json(xs, &vms);
    } else {
        for (size_t i = 0; i < vms.n; i++) {
            if (i > 0)
                putchar('\n');
            print_vm(&vms.list[i], pieces);
        }
    }
    vms_release(&vms);
    return EXIT_DONE;
}
