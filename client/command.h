/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands of the command line: their arguments and their help. */
#ifndef XENSNAP_COMMAND_H
#define XENSNAP_COMMAND_H

#include "client/request.h"

struct command {
    const char *name;
    const char *help;
    int min_arguments;
    int max_arguments;
    const char *options;     /* letters of the table in options.c */
    bool domain_is_optional; /* in a domain: it is that one */
};

/* NULL if there is none of that name. */
const struct command *command_find(const char *name);

/* All of them in the order of the help; the last has no name. */
extern const struct command commands[];

/* The help of all of them together. */
extern const char general_help[];

/*
 * Reads the options behind a command into the request and moves the arguments
 * to the front; gives their number. Ends the program (EXIT_USAGE) where they
 * are wrong, and for --help and --version.
 */
int options_read(const struct command *command, int argc, char **argv,
                 struct request *request);

/* The name of option `i` of those that a command takes, with "--"; NULL behind
 * the last. The caller frees it. */
char *options_name(const struct command *command, size_t i);

/* Ends the program, EXIT_USAGE. */
_Noreturn void usage_error(const struct command *command, const char *format,
                           ...) __attribute__((format(printf, 2, 3)));

#endif
