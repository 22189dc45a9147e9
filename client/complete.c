/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may come next on a command line. */
#include "client/complete.h"

#include "agent/base/alloc.h"
#include "agent/store/socket.h"
#include "client/command.h"
#include "client/domains.h"
#include "client/snapshots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is typed of the word. */
static void offer(const char *typed, const char *word)
{
    if (word && strncmp(word, typed, strlen(typed)) == 0)
        puts(word);
}

static void offer_commands(const char *typed)
{
    for (const struct command *command = commands; command->name; command++)
        offer(typed, command->name);
    if (typed[0] == '-') {
        offer(typed, "--help");
        offer(typed, "--version");
    }
}

static void offer_options(const char *typed, const struct command *command)
{
    char *name;

    for (size_t i = 0; (name = options_name(command, i)); i++) {
        offer(typed, name);
        if (strcmp(name, "--quiesce") == 0)
            offer(typed, "--quiesce=try");
        free(name);
    }
}

/* ---- from xenstore ---- */

/* Those that run, but for domain 0, and those that have snapshots. A domain
 * that is both comes once. */
static void offer_domains(struct xs_handle *xs, const char *typed,
                          bool with_snapshots)
{
    unsigned int n;
    char **domids = store_list(xs, XBT_NULL, &n, "/local/domain");
    struct vms vms = {0};

    for (unsigned int i = 0; i < n && !with_snapshots; i++) {
        char *name =
            store_read(xs, XBT_NULL, "/local/domain/%s/name", domids[i]);

        if (strcmp(domids[i], "0") != 0)
            offer(typed, name);
        free(name);
    }
    free(domids);
    vms_load(xs, NULL, &vms);
    for (size_t i = 0; i < vms.n; i++) {
        if (with_snapshots || !vms.list[i].domid)
            offer(typed, vms.list[i].name);
    }
    vms_release(&vms);
}

static void offer_snapshots(struct xs_handle *xs, const char *typed,
                            const char *domain)
{
    char *uuid = domains_look_up(xs, domain);
    struct vms vms;

    if (!uuid)
        return;
    vms_load(xs, uuid, &vms);
    for (size_t i = 0; i < vms.list[0].n_snapshots; i++)
        offer(typed, vms.list[0].snapshots[i].name);
    vms_release(&vms);
    free(uuid);
}

static void offer_requests(struct xs_handle *xs, const char *typed)
{
    unsigned int n;
    char **ids = store_list(xs, XBT_NULL, &n, ROOT "/requests");

    for (unsigned int i = 0; i < n; i++)
        offer(typed, ids[i]);
    free(ids);
}

/* The disk alone or, where `formats` are wanted, with each of them. */
static void offer_disk(const char *typed, const char *vdev, bool formats)
{
    static const char *const names[] = {"raw", "qcow2", "vhd"};

    if (!formats) {
        offer(typed, vdev);
        return;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *word = xasprintf("%s=%s", vdev, names[i]);

        offer(typed, word);
        free(word);
    }
}

static void offer_disks(struct xs_handle *xs, const char *typed,
                        const char *domain, bool formats)
{
    char *uuid = domains_look_up(xs, domain);
    char *domid = uuid ? domains_domid(xs, uuid) : NULL;
    unsigned int n = 0;
    char **devids =
        domid ? store_list(xs, XBT_NULL, &n, "/libxl/%s/device/vbd", domid)
              : NULL;

    for (unsigned int i = 0; i < n; i++) {
        char *backend = store_read(
            xs, XBT_NULL, "/libxl/%s/device/vbd/%s/backend", domid, devids[i]);
        char *vdev =
            backend ? store_read(xs, XBT_NULL, "%s/dev", backend) : NULL;

        if (vdev)
            offer_disk(typed, vdev, formats);
        free(vdev);
        free(backend);
    }
    free(devids);
    free(domid);
    free(uuid);
}

/* ---- which of them ---- */

static bool has_value(const char *option)
{
    static const char *const names[] = {
        "--name",  "--memory-path", "--disk",    "--description",
        "--start", "--hold",        "--timeout", "--schedule",
        "--keep",  "--keep-for",    "--format",  "--expires",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], option) == 0)
            return true;
    }
    return false;
}

static void offer_value(struct xs_handle *xs, const char *typed,
                        const char *option, const char *domain)
{
    if (strcmp(option, "--start") == 0) {
        offer(typed, "as-saved");
        offer(typed, "running");
        offer(typed, "paused");
        offer(typed, "boot");
    } else if (xs && domain && strcmp(option, "--disk") == 0) {
        offer_disks(xs, typed, domain, false);
    } else if (xs && domain && strcmp(option, "--format") == 0) {
        offer_disks(xs, typed, domain, true);
    }
}

static void offer_argument(struct xs_handle *xs, const char *typed,
                           const struct command *command, int position,
                           const char *domain)
{
    bool by_name = command->max_arguments == 2;

    if (position >= command->max_arguments)
        return;
    if (strcmp(command->name, "cancel") == 0 ||
        strcmp(command->name, "watch") == 0)
        offer_requests(xs, typed);
    else if (position == 0)
        offer_domains(xs, typed, by_name);
    else if (domain)
        offer_snapshots(xs, typed, domain);
}

enum exit_status complete(int n, char **words)
{
    const char *typed = n > 0 ? words[n - 1] : "", *domain = NULL;
    const char *option = n > 2 ? words[n - 2] : "";
    const struct command *command = n > 1 ? command_find(words[0]) : NULL;
    struct xs_handle *xs;
    int position = 0;

    if (n < 2) {
        offer_commands(typed);
        return EXIT_DONE;
    }
    if (!command)
        return EXIT_DONE;
    for (int i = 1; i < n - 1; i++) {
        if (words[i][0] == '-' || has_value(words[i - 1]))
            continue;
        if (position++ == 0)
            domain = words[i];
    }
    xs = store_socket_open();
    if (has_value(option))
        offer_value(xs, typed, option, domain);
    else if (typed[0] == '-')
        offer_options(typed, command);
    else if (xs)
        offer_argument(xs, typed, command, position, domain);
    if (xs)
        xs_close(xs);
    return EXIT_DONE;
}
