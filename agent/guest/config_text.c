/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/config_text.h"

#include "agent/base/alloc.h"
#include "agent/base/log.h"

/* What libxl complained of, in words that are safe to pass on. */
static bool refuse(struct error *err, const char *what)
{
    const char *first = log_first_complaint();
    char words[256] = "";

    return error_set(err, ERR_LIBXL, "%s: %s", what,
                     first ? error_sanitise(words, sizeof(words), first)
                           : "libxl does not say why");
}

bool config_text_parse(struct guests *guests, const char *json,
                       libxl_domain_config *ret_config, struct error *err)
{
    libxl_domain_config_init(ret_config);
    log_forget_complaint();
    if (!libxl_domain_config_from_json(guests_libxl(guests), ret_config, json))
        return true;
    libxl_domain_config_dispose(ret_config);
    return refuse(err, "libxl does not understand the configuration");
}

char *config_text_name(struct guests *guests, const char *json)
{
    libxl_domain_config config;
    struct error ignored;
    char *name;

    if (!config_text_parse(guests, json, &config, &ignored))
        return NULL;
    name = config.c_info.name ? xstrdup(config.c_info.name) : NULL;
    libxl_domain_config_dispose(&config);
    return name;
}

char *config_text_format(struct guests *guests, libxl_domain_config *config,
                         struct error *err)
{
    char *json;

    log_forget_complaint();
    json = libxl_domain_config_to_json(guests_libxl(guests), config);
    if (!json)
        refuse(err, "libxl cannot write the configuration");
    return json;
}
