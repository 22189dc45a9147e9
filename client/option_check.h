/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether values and options can be right, before anything is asked: what is
 * wrong ends the program with EXIT_USAGE and in the words of the command line,
 * where the agent would speak of the request's keys.
 */
#ifndef XENSNAP_OPTION_CHECK_H
#define XENSNAP_OPTION_CHECK_H

#include "client/command.h"

/* A value of a request's key, which `option` (or "DOMAIN", "NAME") gives; by
 * the agent's own table. `key` may be one below disks/<vdev>. */
void option_check_value(const struct command *command, const char *option,
                        const char *key, const char *value);

/* What the options say together, once all are read. */
void option_check_together(const struct command *command,
                           const struct request *request);

#endif
