/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's configuration as libxl's JSON, and back.
 */
#ifndef XENSNAPD_GUEST_CONFIG_TEXT_H
#define XENSNAPD_GUEST_CONFIG_TEXT_H

#include "agent/guest/guests.h"

/* More than any configuration that libxl writes. */
#define CONFIG_TEXT_MAX (4u << 20)

/* To be disposed after success only. */
bool config_text_parse(struct guests *guests, const char *json,
                       libxl_domain_config *ret_config, struct error *err);

/* The domain's name in it, the caller's to free(); NULL if it has none. */
char *config_text_name(struct guests *guests, const char *json);

/* The caller's to free(); NULL with `err` set. */
char *config_text_format(struct guests *guests, libxl_domain_config *config,
                         struct error *err);

#endif
