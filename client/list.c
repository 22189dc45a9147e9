/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Showing what is published. */
#include "client/list.h"

#include "agent/base/alloc.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define N_COLUMNS 6

/* The texts of a line, each its own allocation. */
struct row {
    char *columns[N_COLUMNS];
};

enum column { MARK, DOMAIN, NAME, CREATED, PARENT, MEMORY };

struct table {
    struct row *rows;
    size_t n;
};

static struct row *add_row(struct table *table)
{
    table->rows = xrealloc(table->rows, table->n + 1, sizeof(table->rows[0]));
    return &table->rows[table->n++];
}

static void print_table(const struct table *table)
{
    int widths[N_COLUMNS] = {0};

    for (size_t i = 0; i < table->n; i++) {
        for (int c = 0; c < N_COLUMNS; c++) {
            int length = (int)strlen(table->rows[i].columns[c]);

            if (length > widths[c])
                widths[c] = length;
        }
    }
    for (size_t i = 0; i < table->n; i++) {
        for (int c = 0; c < N_COLUMNS - 1; c++)
            printf("%-*s%s", widths[c], table->rows[i].columns[c],
                   c == MARK ? " " : "  ");
        printf("%s\n", table->rows[i].columns[N_COLUMNS - 1]);
    }
}

static void release_table(struct table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        for (int c = 0; c < N_COLUMNS; c++)
            free(table->rows[i].columns[c]);
    }
    free(table->rows);
}

/* A value or, where there is none, a text in its place. */
static char *or_else(char *value, const char *otherwise)
{
    return value ? value : xstrdup(otherwise);
}

/* ---- which domain ---- */

/* The uuid of a domain that runs. */
static char *uuid_of_domid(struct xs_handle *xs, const char *domid)
{
    char *vm = store_read(xs, XBT_NULL, "/local/domain/%s/vm", domid);
    char *uuid = NULL;

    if (vm && strncmp(vm, "/vm/", 4) == 0)
        uuid = xstrdup(vm + 4);
    free(vm);
    return uuid;
}

/* The domid of a domain that runs, by its name or uuid (the other is NULL). */
static char *find_running(struct xs_handle *xs, const char *name,
                          const char *uuid)
{
    unsigned int n;
    char **domids = store_list(xs, XBT_NULL, &n, "/local/domain");
    char *found = NULL;

    for (unsigned int i = 0; i < n && !found; i++) {
        char *value =
            name ? store_read(xs, XBT_NULL, "/local/domain/%s/name", domids[i])
                 : uuid_of_domid(xs, domids[i]);

        if (value &&
            (name ? strcmp(value, name) == 0 : strcasecmp(value, uuid) == 0))
            found = xstrdup(domids[i]);
        free(value);
    }
    free(domids);
    return found;
}

/* Whether a VM, which need not run, had that name at one of its snapshots. */
static bool had_name(struct xs_handle *xs, const char *uuid, const char *name)
{
    unsigned int n;
    char **nodes = store_list(xs, XBT_NULL, &n, ROOT "/snapshots/%s", uuid);
    bool found = false;

    for (unsigned int i = 0; i < n && !found; i++) {
        char *value = store_read(
            xs, XBT_NULL, ROOT "/snapshots/%s/%s/domain-name", uuid, nodes[i]);

        found = value && strcmp(value, name) == 0;
        free(value);
    }
    free(nodes);
    return found;
}

/* Among the VMs that have snapshots: by uuid, else by a recorded name. */
static char *find_recorded(struct xs_handle *xs, const char *domain,
                           bool by_uuid)
{
    unsigned int n;
    char **uuids = store_list(xs, XBT_NULL, &n, ROOT "/snapshots");
    char *found = NULL;

    for (unsigned int i = 0; i < n && !found; i++) {
        if (by_uuid ? strcasecmp(uuids[i], domain) == 0
                    : had_name(xs, uuids[i], domain))
            found = xstrdup(uuids[i]);
    }
    free(uuids);
    return found;
}

/* In the order of the protocol: uuid, domid (digits alone), name. NULL if
 * there is none such. */
static char *find_uuid(struct xs_handle *xs, const char *domain)
{
    char *domid, *uuid = find_recorded(xs, domain, true);

    if (uuid)
        return uuid;
    if (domain[strspn(domain, "0123456789")] == '\0')
        return uuid_of_domid(xs, domain);
    domid = find_running(xs, NULL, domain);
    if (!domid)
        domid = find_running(xs, domain, NULL);
    if (!domid)
        return find_recorded(xs, domain, false);
    uuid = uuid_of_domid(xs, domid);
    free(domid);
    return uuid;
}

/* ---- snapshots ---- */

static char *read_key(struct xs_handle *xs, xs_transaction_t transaction,
                      const char *uuid, const char *node, const char *key)
{
    return store_read(xs, transaction, ROOT "/snapshots/%s/%s/%s", uuid, node,
                      key);
}

/* The node's name is not the snapshot's: it cannot hold dots. */
static void add_snapshot(struct xs_handle *xs, xs_transaction_t transaction,
                         const char *uuid, const char *node,
                         const char *current, struct table *table)
{
    char *name = read_key(xs, transaction, uuid, node, "name");
    char *memory, *deleting;
    struct row *row;

    /* `current` is a node among them, and may be a snapshot too. */
    if (!name)
        return;
    memory = read_key(xs, transaction, uuid, node, "memory");
    deleting = read_key(xs, transaction, uuid, node, "deleting");
    row = add_row(table);
    row->columns[MARK] =
        xstrdup(current && strcmp(current, name) == 0 ? "*" : " ");
    row->columns[DOMAIN] =
        or_else(read_key(xs, transaction, uuid, node, "domain-name"), uuid);
    row->columns[NAME] = name;
    row->columns[CREATED] =
        or_else(read_key(xs, transaction, uuid, node, "created-at"), "-");
    row->columns[PARENT] =
        or_else(read_key(xs, transaction, uuid, node, "parent"), "-");
    row->columns[MEMORY] =
        xasprintf("%s%s", memory && *memory == '1' ? "yes" : "no",
                  deleting ? " (half deleted)" : "");
    free(memory);
    free(deleting);
}

static int by_creation(const void *a, const void *b)
{
    const struct row *left = a, *right = b;

    return strcmp(left->columns[CREATED], right->columns[CREATED]);
}

/* Within one transaction, as the agent changes a VM's part in one. */
static void add_snapshots(struct xs_handle *xs, const char *uuid,
                          struct table *table)
{
    xs_transaction_t transaction = xs_transaction_start(xs);
    char *current =
        store_read(xs, transaction, ROOT "/snapshots/%s/current", uuid);
    size_t first = table->n;
    unsigned int n;
    char **nodes = store_list(xs, transaction, &n, ROOT "/snapshots/%s", uuid);

    for (unsigned int i = 0; i < n; i++)
        add_snapshot(xs, transaction, uuid, nodes[i], current, table);
    if (transaction != XBT_NULL)
        xs_transaction_end(xs, transaction, true);
    if (table->n > first)
        qsort(&table->rows[first], table->n - first, sizeof(struct row),
              by_creation);
    free(nodes);
    free(current);
}

static void add_heading(struct table *table)
{
    static const char *const names[N_COLUMNS] = {
        [MARK] = " ",          [DOMAIN] = "DOMAIN", [NAME] = "NAME",
        [CREATED] = "CREATED", [PARENT] = "PARENT", [MEMORY] = "MEMORY",
    };
    struct row *row = add_row(table);

    for (int c = 0; c < N_COLUMNS; c++)
        row->columns[c] = xstrdup(names[c]);
}

enum exit_status list_snapshots(struct xs_handle *xs, const char *domain)
{
    struct table table = {0};
    char *uuid = domain ? find_uuid(xs, domain) : NULL;

    if (domain && !uuid) {
        complain("no-such-domain: there is no domain '%s', and no snapshot of "
                 "one; 'xl list' shows those that run",
                 domain);
        return EXIT_FAILED;
    }
    add_heading(&table);
    if (uuid) {
        add_snapshots(xs, uuid, &table);
    } else {
        unsigned int n;
        char **uuids = store_list(xs, XBT_NULL, &n, ROOT "/snapshots");

        for (unsigned int i = 0; i < n; i++)
            add_snapshots(xs, uuids[i], &table);
        free(uuids);
    }
    print_table(&table);
    release_table(&table);
    free(uuid);
    return EXIT_DONE;
}

/* ---- status ---- */

static char *read_request(struct xs_handle *xs, const char *id, const char *key)
{
    return or_else(store_read(xs, XBT_NULL, ROOT "/requests/%s/%s", id, key),
                   "-");
}

static void print_requests(struct xs_handle *xs)
{
    unsigned int n;
    char **ids = store_list(xs, XBT_NULL, &n, ROOT "/requests");

    for (unsigned int i = 0; i < n; i++) {
        char *operation = read_request(xs, ids[i], "operation");
        char *domain = read_request(xs, ids[i], "domain");
        char *state = read_request(xs, ids[i], "state");

        printf("request     %s: %s of %s, %s\n", ids[i], operation, domain,
               state);
        free(operation);
        free(domain);
        free(state);
    }
    free(ids);
}

enum exit_status list_status(struct xs_handle *xs)
{
    static const char *const keys[] = {
        "state", "version", "protocol", "operations", "pid", "started-at",
    };

    if (!agent_is_ready(xs))
        return EXIT_NO_AGENT;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char *value = store_read(xs, XBT_NULL, ROOT "/status/%s", keys[i]);

        if (value)
            printf("%-12s%s\n", keys[i], value);
        free(value);
    }
    print_requests(xs);
    return EXIT_DONE;
}
