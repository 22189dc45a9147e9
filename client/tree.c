/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What came from what. Snapshots that follow each other stand under each other;
 * only where branches part they are indented, so that a schedule's long row
 * takes no more room than a short one.
 */
#include "client/list.h"

#include "agent/base/alloc.h"
#include "client/damaged.h"
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
        "\u251c\u2500",
        "\u2514\u2500",
        "\u2502 ",
        "  ",
    };
    static const struct lines ascii = {"|-", "`-", "| ", "  "};

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

/* `size` NULL: nobody can tell from here. */
static char *make_facts(const char *age, const char *size, const char *rest)
{
    return size ? xasprintf("%-12s %9s  %s", age, size, rest)
                : xasprintf("%-12s %s", age, rest);
}

static char *snapshot_facts(const struct snapshot *snapshot)
{
    char *size = list_size(snapshot), *kind = list_kind(snapshot), *facts;
    char age[HUMAN_MAX] = "-";
    int64_t seconds;

    if (snapshot_age(snapshot, &seconds))
        human_age(age, seconds);
    facts = make_facts(age, snapshot->elsewhere ? NULL : size, kind);
    free(size);
    free(kind);
    return facts;
}

static char *running_facts(const struct vm *vm)
{
    const struct snapshot *current = vm_find(vm, vm->current);
    char size[HUMAN_MAX] = "-";
    uint64_t bytes;

    if (vm_active_bytes(vm, &bytes))
        human_bytes(size, bytes);
    return make_facts("now", current && current->elsewhere ? NULL : size,
                      vm->held     ? vm->held
                      : vm->domid  ? "runs"
                      : vm->hidden ? ""
                                   : "does not run");
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

/* Where something is drawn, and what comes below it. */
struct place {
    const char *indent;
    const char *own; /* behind `indent`, on its own line */
    const char *below;
};

static struct place place_of(const struct lines *pieces, const char *indent,
                             bool only, bool last)
{
    if (only)
        return (struct place){indent, "", ""};
    return last ? (struct place){indent, pieces->last, pieces->blank}
                : (struct place){indent, pieces->branch, pieces->pass};
}

static void draw_below(struct drawing *drawing, const struct snapshot *parent,
                       const char *indent);

/* With parents that go in a circle, a snapshot could come up twice. */
static void draw_snapshot(struct drawing *drawing,
                          const struct snapshot *snapshot, struct place place)
{
    bool *drawn = &drawing->drawn[snapshot - drawing->vm->snapshots];
    char *below;

    if (*drawn)
        return;
    *drawn = true;
    add_line(drawing, xasprintf("%s%s", place.indent, place.own),
             xasprintf("o %s", snapshot->name), snapshot_facts(snapshot),
             snapshot->deleting ? STYLE_RED : STYLE_BOLD);
    below = xasprintf("%s%s", place.indent, place.below);
    draw_below(drawing, snapshot, below);
    free(below);
}

static void draw_current(struct drawing *drawing, struct place place)
{
    add_line(drawing, xasprintf("%s%s", place.indent, place.own),
             xstrdup("@ (current state)"), running_facts(drawing->vm),
             STYLE_GREEN);
}

static void draw_below(struct drawing *drawing, const struct snapshot *parent,
                       const char *indent)
{
    const struct lines *pieces = drawing->pieces;
    const struct vm *vm = drawing->vm;
    bool runs_here = parent && vm_is_current(vm, parent);
    size_t left = runs_here;
    bool only;

    for (size_t i = 0; i < vm->n_snapshots; i++)
        left += is_child(vm, &vm->snapshots[i], parent);
    only = left == 1;
    if (runs_here)
        draw_current(drawing, place_of(pieces, indent, only, --left == 0));
    for (size_t i = 0; i < vm->n_snapshots; i++) {
        if (is_child(vm, &vm->snapshots[i], parent))
            draw_snapshot(drawing, &vm->snapshots[i],
                          place_of(pieces, indent, only, --left == 0));
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

static void print_chains(const struct chains *chains)
{
    for (size_t i = 0; i < chains->n; i++) {
        const struct chain *chain = &chains->list[i];
        enum style style =
            chain_is_long(chains, chain) ? STYLE_RED : STYLE_PLAIN;
        char *text = chain_text(chains, chain);

        printf("%s now on %s%s%s\n", chain->vdev, style_begin(style), text,
               style_end(style));
        free(text);
    }
}

static void print_vm(const struct vm *vm, const struct lines *pieces)
{
    struct drawing drawing = {.vm = vm, .pieces = pieces};

    drawing.drawn = xcalloc(vm->n_snapshots + 1, sizeof(drawing.drawn[0]));
    printf("%s%s%s  %s", style_begin(STYLE_BOLD), vm->name,
           style_end(STYLE_BOLD), vm->uuid);
    if (vm->domid)
        printf("  domid %s\n", vm->domid);
    else
        puts(vm->hidden ? "" : "  does not run");
    draw_below(&drawing, NULL, "");
    /* What no root leads to hangs in a circle; it is shown all the same. */
    for (size_t i = 0; i < vm->n_snapshots; i++)
        draw_snapshot(&drawing, &vm->snapshots[i],
                      place_of(pieces, "", true, true));
    print_lines(&drawing);
    print_chains(&vm->chains);
    if (vm->n_snapshots == 0)
        puts(vm->damaged ? "no snapshot that can be read" : "no snapshots");
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
        if (vms.n == 0)
            puts("no snapshots");
        for (size_t i = 0; i < vms.n; i++) {
            if (i > 0)
                putchar('\n');
            print_vm(&vms.list[i], pieces);
        }
        list_remainders(&vms);
    }
    damaged_warn(xs, domain ? vms.list[0].uuid : NULL);
    vms_release(&vms);
    return EXIT_DONE;
}
