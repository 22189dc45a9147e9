/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of the command line, made into a request's keys. */
#include "agent/base/alloc.h"
#include "client/command.h"
#include "client/failure.h"
#include "client/human.h"
#include "client/option_check.h"
#include "client/output.h"
#include "client/root.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VDEV 16

/* Of the snapshots that --keep counts, where no --schedule tells. */
#define DEFAULT_SCHEDULE "default"

/* An option that is a key with a value; NULL: its argument. */
struct option_key {
    int letter;
    const char *key;
    const char *value;
};

static const struct option_key option_keys[] = {
    {'n', "name", NULL},        {'M', "memory", "0"},
    {'m', "memory-path", NULL}, {'l', "live", "1"},
    {'L', "live", "0"},         {'D', "description", NULL},
    {'s', "start", NULL},       {'k', "keep-current", "1"},
    {'K', "keep-files", "1"},   {'p', "phase", "prepare"},
    {'c', "phase", "complete"}, {'a', "phase", "abort"},
    {'H', "hold", NULL},        {'t', "timeout", NULL},
    {'S', "schedule", NULL},
};

/* Every option there is; which a command takes, its letters say. */
static const struct option all_options[] = {
    {"name", required_argument, NULL, 'n'},
    {"no-memory", no_argument, NULL, 'M'},
    {"memory-path", required_argument, NULL, 'm'},
    {"live", no_argument, NULL, 'l'},
    {"no-live", no_argument, NULL, 'L'},
    {"disk", required_argument, NULL, 'd'},
    {"internal", no_argument, NULL, 'i'},
    {"description", required_argument, NULL, 'D'},
    {"schedule", required_argument, NULL, 'S'},
    {"expires", required_argument, NULL, 'E'},
    {"quiesce", optional_argument, NULL, 'Q'},
    {"keep", required_argument, NULL, 'N'},
    {"keep-for", required_argument, NULL, 'A'},
    {"start", required_argument, NULL, 's'},
    {"keep-current", no_argument, NULL, 'k'},
    {"keep-files", no_argument, NULL, 'K'},
    {"prepare", no_argument, NULL, 'p'},
    {"complete", no_argument, NULL, 'c'},
    {"abort", no_argument, NULL, 'a'},
    {"hold", required_argument, NULL, 'H'},
    {"disk", required_argument, NULL, 'r'},
    {"format", required_argument, NULL, 'f'},
    {"no-wait", no_argument, NULL, 'w'},
    {"timeout", required_argument, NULL, 't'},
    {"quiet", no_argument, NULL, 'q'},
    {"json", no_argument, NULL, 'j'},
    {"root", required_argument, NULL, 'R'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
};

#define N_OPTIONS (sizeof(all_options) / sizeof(all_options[0]))

/* Disks that were named, as the protocol's list of them. */
struct disks {
    char *list;
    char *with_format; /* in a list of their own: they may be in both */
    bool internal;
};

_Noreturn void usage_error(const struct command *command, const char *format,
                           ...)
{
    char *message, *next;
    va_list args;

    va_start(args, format);
    message = xvasprintf(format, args);
    va_end(args);
    next = xasprintf("Try 'xensnap %s%s--help'.", command ? command->name : "",
                     command ? " " : "");
    fprintf(stderr, "xensnap: %s\n%s\n", message, next);
    failure_keep("usage", next, message);
    free(message);
    exit((int)output_close(EXIT_USAGE));
}

static bool takes(const struct command *command, int letter)
{
    return strchr("RhV", letter) || strchr(command->options, letter);
}

/* The part of the table that a command takes, so that getopt refuses the rest
 * and finds what is meant by an abbreviation. */
static void choose_options(const struct command *command,
                           struct option chosen[N_OPTIONS + 1])
{
    size_t n = 0;

    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (takes(command, all_options[i].val))
            chosen[n++] = all_options[i];
    }
    memset(&chosen[n], 0, sizeof(chosen[n]));
}

char *options_name(const struct command *command, size_t i)
{
    struct option chosen[N_OPTIONS + 1];

    choose_options(command, chosen);
    for (size_t c = 0; chosen[c].name; c++) {
        if (c == i)
            return xasprintf("--%s", chosen[c].name);
    }
    return NULL;
}

static const char *option_name(int letter)
{
    size_t i = 0;

    while (all_options[i].val != letter)
        i++;
    return all_options[i].name;
}

/* What excludes each other is one key. The caller frees the list. */
static char *options_of_key(const char *key)
{
    char *list = NULL;

    for (size_t i = 0; i < sizeof(option_keys) / sizeof(option_keys[0]); i++) {
        char *before = list;

        if (strcmp(option_keys[i].key, key) != 0)
            continue;
        list = xasprintf("%s%s--%s", before ? before : "", before ? ", " : "",
                         option_name(option_keys[i].letter));
        free(before);
    }
    return list;
}

static void add_key(const struct command *command, struct request *request,
                    int letter, const char *key, const char *value)
{
    char *option = xasprintf("--%s", option_name(letter));

    if (request_has(request, key)) {
        char *list = options_of_key(key);

        usage_error(command, "only one of %s, and only once",
                    list ? list : option);
    }
    option_check_value(command, option, key, value);
    request_add(request, key, value);
    free(option);
}

/* A disk's name becomes a part of xenstore paths. */
static char *read_vdev(const struct command *command, const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789");
    bool ended = text[length] == '\0' ||
                 (text[length] == '=' && strcmp(command->name, "rescan") == 0);

    if (length < 2 || length > MAX_VDEV || !ended)
        usage_error(command, "not a disk such as xvda: '%s'", text);
    return xstrndup(text, length);
}

static void append(char **list, const char *word)
{
    char *before = *list;

    *list = xasprintf("%s%s%s", before ? before : "", before ? " " : "", word);
    free(before);
}

static bool contains(const char *list, const char *wanted)
{
    char *copy = xstrdup(list ? list : ""), *rest = NULL;
    bool found = false;

    for (char *word = strtok_r(copy, " ", &rest); word && !found;
         word = strtok_r(NULL, " ", &rest))
        found = strcmp(word, wanted) == 0;
    free(copy);
    return found;
}

static void add_disk(const struct command *command, struct request *request,
                     struct disks *disks)
{
    char *vdev = read_vdev(command, optarg);
    const char *path = strchr(optarg, '=');

    if (contains(disks->list, vdev))
        usage_error(command, "--disk is repeated: '%s'", vdev);
    append(&disks->list, vdev);
    if (path) {
        char *key = xasprintf("disks/%s/path", vdev);

        option_check_value(command, "--disk", key, path + 1);
        request_add(request, key, path + 1);
        free(key);
    }
    free(vdev);
}

/* Those that QEMU serves for a guest's disk. */
static bool is_format(const char *text)
{
    static const char *const names[] = {"raw", "qcow2", "vhd",
                                        "vpc", "qcow",  "qed"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], text) == 0)
            return true;
    }
    return false;
}

static void add_format(const struct command *command, struct request *request,
                       struct disks *disks)
{
    char *vdev = read_vdev(command, optarg);
    char *key = xasprintf("disks/%s/format", vdev);
    const char *format = strchr(optarg, '=');

    if (!format || !is_format(format + 1))
        usage_error(command,
                    "not a disk and its format (raw, qcow2 or vhd), as "
                    "xvda=qcow2: '%s'",
                    optarg);
    if (request_has(request, key))
        usage_error(command, "--format is repeated: '%s'", optarg);
    request_add(request, key, format + 1);
    append(&disks->with_format, vdev);
    free(key);
    free(vdev);
}

/* A disk whose format is told is named by that. */
static void name_disks_with_format(struct disks *disks)
{
    char *rest = NULL;

    for (char *vdev = strtok_r(disks->with_format, " ", &rest); vdev;
         vdev = strtok_r(NULL, " ", &rest)) {
        if (!contains(disks->list, vdev))
            append(&disks->list, vdev);
    }
    free(disks->with_format);
}

static void add_internal(struct request *request, const char *list)
{
    char *copy = xstrdup(list), *rest = NULL;

    for (char *vdev = strtok_r(copy, " ", &rest); vdev;
         vdev = strtok_r(NULL, " ", &rest)) {
        char *key = xasprintf("disks/%s/external", vdev);

        request_add(request, key, "0");
        free(key);
    }
    free(copy);
}

static void finish_disks(const struct command *command, struct request *request,
                         struct disks *disks)
{
    if (disks->internal && !disks->list)
        usage_error(command, "--internal needs --disk");
    if (disks->with_format)
        name_disks_with_format(disks);
    if (disks->list) {
        request_add(request, "disks", disks->list);
        if (disks->internal)
            add_internal(request, disks->list);
    }
    free(disks->list);
}

/* A span, in the protocol's seconds; a time is the agent's to check. */
static void add_expires(const struct command *command, struct request *request)
{
    char text[24];
    int64_t seconds, at;
    bool span = human_parse_span(optarg, &seconds);

    if (!span && !human_parse_time(optarg, &at))
        usage_error(command,
                    "--expires: '%s' is neither a span from now such "
                    "as " HUMAN_SPANS ", nor a UTC time such as "
                    "2026-12-31T23:59:59Z",
                    optarg);
    if (span)
        snprintf(text, sizeof(text), "%" PRId64, seconds);
    add_key(command, request, 'E', "expires", span ? text : optarg);
}

/* How many are kept: at least the one that is made. */
static void read_keep(const struct command *command, struct request *request)
{
    size_t digits = strspn(optarg, "0123456789");

    if (digits == 0 || digits > 6 || optarg[digits])
        usage_error(command, "--keep: '%s' is not a number of snapshots",
                    optarg);
    request->prune.count = strtoull(optarg, NULL, 10);
    if (request->prune.count == 0)
        usage_error(command, "--keep keeps 1 or more");
}

static void read_keep_for(const struct command *command,
                          struct request *request)
{
    if (!human_parse_span(optarg, &request->prune.seconds))
        usage_error(command,
                    "--keep-for: '%s' is not an age such as " HUMAN_SPANS,
                    optarg);
}

/* Only snapshots of a schedule are ever removed. */
static void finish_schedule(const struct command *command,
                            struct request *request)
{
    if (!prune_is_wanted(&request->prune))
        return;
    if (request->no_wait)
        usage_error(command, "--keep and --keep-for need the result: not with "
                             "--no-wait");
    if (!request_has(request, "schedule"))
        request_add(request, "schedule", DEFAULT_SCHEDULE);
}

static void take_option(const struct command *command, int letter,
                        struct request *request, struct disks *disks)
{
    for (size_t i = 0; i < sizeof(option_keys) / sizeof(option_keys[0]); i++) {
        if (option_keys[i].letter == letter) {
            add_key(command, request, letter, option_keys[i].key,
                    option_keys[i].value ? option_keys[i].value : optarg);
            return;
        }
    }
    switch (letter) {
    case 'd':
    case 'r':
        add_disk(command, request, disks);
        break;
    case 'f':
        add_format(command, request, disks);
        break;
    case 'i':
        disks->internal = true;
        break;
    case 'E':
        add_expires(command, request);
        break;
    case 'Q':
        if (optarg && strcmp(optarg, "try") != 0)
            usage_error(command, "--quiesce or --quiesce=try, not '%s'",
                        optarg);
        add_key(command, request, 'Q', "quiesce", optarg ? optarg : "1");
        break;
    case 'N':
        read_keep(command, request);
        break;
    case 'A':
        read_keep_for(command, request);
        break;
    case 'q':
        request->quiet = true;
        break;
    case 'w':
        request->no_wait = true;
        break;
    case 'j':
        request->json = true;
        break;
    case 'R':
        if (!root_set(optarg))
            usage_error(command, "no path in xenstore: '%s'", optarg);
        break;
    case 'V':
        puts("xensnap " XENSNAPD_VERSION);
        exit((int)output_close(EXIT_DONE));
    case 'h':
        fputs(command->help, stdout);
        exit((int)output_close(EXIT_DONE));
    default:
        break;
    }
}

static _Noreturn void refuse_option(const struct command *command, char **argv)
{
    const char *word = argv[optind - 1];

    if (optopt == 0)
        usage_error(command, "unknown option: '%s'", word);
    /* Else it is a letter, within a word that getopt has not left yet. */
    if (strncmp(word, "--", 2) == 0 && strchr(word, '='))
        usage_error(command, "an option that takes no value: '%s'", word);
    usage_error(command, "unknown option: '-%c'", optopt);
}

int options_read(const struct command *command, int argc, char **argv,
                 struct request *request)
{
    struct option chosen[N_OPTIONS + 1];
    struct disks disks = {0};
    int letter, n;

    choose_options(command, chosen);
    opterr = 0;
    while (
        (letter = getopt_long(argc, argv, takes(command, 'q') ? ":qhV" : ":hV",
                              chosen, NULL)) != -1) {
        if (letter == '?')
            refuse_option(command, argv);
        if (letter == ':')
            usage_error(command, "no argument of '%s'", argv[optind - 1]);
        take_option(command, letter, request, &disks);
    }
    finish_disks(command, request, &disks);
    finish_schedule(command, request);
    option_check_together(command, request);
    failure_wants_json(request->json, strcmp(command->name, "watch") == 0);
    n = argc - optind;
    if (n < command->min_arguments - command->domain_is_optional)
        usage_error(command, "an argument of '%s' is missing", command->name);
    if (n > command->max_arguments)
        usage_error(command, "too many arguments of '%s': '%s'", command->name,
                    argv[optind + command->max_arguments]);
    memmove(argv, argv + optind, (size_t)n * sizeof(argv[0]));
    return n;
}
