/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The folders in which domains ask: /local/domain/N/snapshot/requests.
 *
 * A domain that the policy admits gets one, whenever it appears, is renamed or
 * changes its uuid, or the policy does; it goes when the right goes.  Whether
 * it is this or that domain is looked up anew each time: events only say that
 * it is time to.  A policy that is about domain 0 alone costs nothing: then
 * nothing is watched.
 *
 * The folder belongs to the domain, so that it can write there, and nobody else
 * has rights to it; the one above belongs to domain 0.
 */
#ifndef XENSNAPD_DOMAIN_FOLDERS_H
#define XENSNAPD_DOMAIN_FOLDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/config.h"
#include "agent/guest/guests.h"
#include "agent/store/connection.h"

#define DOMAIN_FOLDERS_TOKEN "domain-folders"

struct domain_folders;

/* Its folder was made or found, or it went: `arg` looks at its requests. */
typedef void domain_folders_changed(uint32_t domid, void *arg);

struct domain_folders *domain_folders_new(const struct config *config,
                                          struct guests *guests,
                                          domain_folders_changed *changed,
                                          void *arg);
void domain_folders_free(struct domain_folders *folders);

/* The connection is new, or NULL and lost. */
void domain_folders_connect(struct domain_folders *folders,
                            struct store *store);

/* Domains came or went. */
void domain_folders_sync(struct domain_folders *folders);

/* Everybody is judged anew. */
void domain_folders_policy_changed(struct domain_folders *folders);

/* A watch with DOMAIN_FOLDERS_TOKEN fired for something of the domain's:
 * `rest` is the path below its own.  True if that is the folder of its requests
 * or in it, which is not looked at here. */
bool domain_folders_on_event(struct domain_folders *folders, uint32_t domid,
                             const char *rest);

/* Makes the folder anew where its owner has removed it. */
void domain_folders_restore(struct domain_folders *folders, uint32_t domid);

/* Whether xenstore knows that domain at all. */
bool domain_folders_exists(const struct domain_folders *folders,
                           uint32_t domid);

#endif
