/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may come next on a command line. */
#include "client/complete.h"

#include "agent/base/alloc.h"
#include "agent/store/socket.h"
#include "client/command.h"
#include "client/domains.h"
#include "client/requests.h"
#include "client/root.h"
#include "client/snapshots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The word that is being typed: of "--start=b" "b" is matched, and what comes
 * before that stays. */
struct typing {
    const char *word;
    const char *text; /* points into `word` */
};

static void print_before(const struct typing *typed)
{
    printf("%.*s", (int)(typed->text - typed->word), typed->word);
}

static void offer(const struct typing *typed, const char *text)
{
    if (text && strncmp(text, typed->text, strlen(typed->text)) == 0) {
        print_before(typed);
        puts(text);
    }
}

static void offer_commands(const struct typing *typed)
{
    for (const struct command *command = commands; command->name; command++)
        offer(typed, command->name);
    if (typed->text[0] == '-') {
        offer(typed, "--help");
        offer(typed, "--root");
        offer(typed, "--version");
    }
}

static void offer_options(const struct typing *typed,
                          const struct command *command)
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
static void offer_domains(struct xs_handle *xs, const struct typing *typed,
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
        if (vms.list[i].n_snapshots > 0 &&
            (with_snapshots || !vms.list[i].domid))
            offer(typed, vms.list[i].name);
    }
    vms_release(&vms);
}

static void offer_snapshots(struct xs_handle *xs, const struct typing *typed,
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

static void offer_requests(struct xs_handle *xs, const struct typing *typed)
{
    struct request_ids ids;

    request_find_all(xs, &ids);
    for (size_t i = 0; i < ids.n; i++)
        offer(typed, ids.list[i]);
    request_ids_release(&ids);
}

/* The disk alone or, where `formats` are wanted, with each of them. */
static void offer_disk(const struct typing *typed, const char *vdev,
                       bool formats)
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

static void offer_disks(struct xs_handle *xs, const struct typing *typed,
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

static bool is(const char *text, size_t length, const char *wanted)
{
    return strlen(wanted) == length && strncmp(text, wanted, length) == 0;
}

/* `option` need not end behind `length`. */
static bool has_value(const char *option, size_t length)
{
    static const char *const names[] = {
        "--name",  "--memory-path", "--disk",    "--description",
        "--start", "--hold",        "--timeout", "--schedule",
        "--keep",  "--keep-for",    "--format",  "--expires",
        "--root",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (is(option, length, names[i]))
            return true;
    }
    return false;
}

static int offer_path(const struct typing *typed)
{
    print_before(typed);
    putchar('\n');
    return COMPLETE_PATH;
}

/* The disk alone or, behind its '=', where it is now. */
static int offer_disk_or_path(struct xs_handle *xs, struct typing *typed,
                              const struct command *command, const char *domain)
{
    const char *path = strchr(typed->text, '=');

    if (path && strcmp(command->name, "rescan") == 0) {
        typed->text = path + 1;
        return offer_path(typed);
    }
    if (xs && domain)
        offer_disks(xs, typed, domain, false);
    return EXIT_DONE;
}

static int offer_value(struct xs_handle *xs, struct typing *typed,
                       const struct command *command, const char *option,
                       size_t length, const char *domain)
{
    if (is(option, length, "--memory-path"))
        return offer_path(typed);
    if (is(option, length, "--disk"))
        return offer_disk_or_path(xs, typed, command, domain);
    if (is(option, length, "--start")) {
        offer(typed, "as-saved");
        offer(typed, "running");
        offer(typed, "paused");
        offer(typed, "boot");
    } else if (is(option, length, "--quiesce")) {
        offer(typed, "try");
    } else if (xs && domain && is(option, length, "--format")) {
        offer_disks(xs, typed, domain, true);
    }
    return EXIT_DONE;
}

static void offer_argument(struct xs_handle *xs, const struct typing *typed,
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

/* The options' words left out: how many arguments there are, and the first of
 * them, NULL if there is none. */
static int count_arguments(int n, char **words, const char **ret_first)
{
    int position = 0;

    *ret_first = NULL;
    for (int i = 1; i < n - 1; i++) {
        if (strcmp(words[i - 1], "--root") == 0)
            root_set(words[i]);
        else if (strncmp(words[i], "--root=", strlen("--root=")) == 0)
            root_set(words[i] + strlen("--root="));
        if (words[i][0] == '-' || has_value(words[i - 1], strlen(words[i - 1])))
            continue;
        if (position++ == 0)
            *ret_first = words[i];
    }
    return position;
}

static int offer_word(struct xs_handle *xs, const struct command *command,
                      int n, char **words)
{
    struct typing typed = {words[n - 1], words[n - 1]};
    const char *option = n > 2 ? words[n - 2] : "";
    const char *equals = strchr(typed.word, '='), *domain;
    int position = count_arguments(n, words, &domain);

    if (has_value(option, strlen(option)))
        return offer_value(xs, &typed, command, option, strlen(option), domain);
    if (typed.word[0] == '-' && equals) {
        typed.text = equals + 1;
        return offer_value(xs, &typed, command, typed.word,
                           (size_t)(equals - typed.word), domain);
    }
    if (typed.word[0] == '-')
        offer_options(&typed, command);
    else if (xs)
        offer_argument(xs, &typed, command, position, domain);
    return EXIT_DONE;
}

/* --root may stand before the command. How many words it takes; none while it
 * is being typed itself. */
static int take_root(int n, char **words)
{
    if (n > 2 && strcmp(words[0], "--root") == 0) {
        root_set(words[1]);
        return 2;
    }
    if (n > 1 && strncmp(words[0], "--root=", strlen("--root=")) == 0) {
        root_set(words[0] + strlen("--root="));
        return 1;
    }
    return 0;
}

int complete(int n, char **words)
{
    const struct command *command;
    struct typing first;
    struct xs_handle *xs;
    int status, taken;

    while ((taken = take_root(n, words)) != 0) {
        n -= taken;
        words += taken;
    }
    command = n > 1 ? command_find(words[0]) : NULL;
    first.word = first.text = n > 0 ? words[0] : "";
    if (n < 2)
        offer_commands(&first);
    if (!command)
        return EXIT_DONE;
    xs = store_socket_open();
    status = offer_word(xs, command, n, words);
    if (xs)
        xs_close(xs);
    return status;
}
