/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What settings must not say together, and what cannot be where they say.  For
 * config.c.  `path` is the settings' file, which messages begin with.
 */
#ifndef XENSNAPD_BASE_CONFIG_CHECK_H
#define XENSNAPD_BASE_CONFIG_CHECK_H

#include "agent/base/config.h"

/* Pure. */
bool config_check(const struct config *config, const char *path,
                  struct error *err);

/* Looks at the file system. */
bool config_check_files(const struct config *config, const char *path,
                        struct error *err);

#endif
