/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every xenstore path of the protocol, and how a watch event's path is read.
 * Pure.  Returned strings are the caller's to free().
 */
#ifndef XENSNAPD_STORE_PATHS_H
#define XENSNAPD_STORE_PATHS_H

#include "agent/request.h"

/* `root` is the setting xenstore.root, "/tool/xensnapd". */
char *path_requests(const char *root);

/*
 * A request's key is what the agent knows it by: its id, or "<domid>:<id>" if
 * it is in that domain's own folder.  No id and no name in xenstore has a ':'.
 */
char *path_request(const char *root, const char *key);
char *path_domain(uint32_t domid);          /* "/local/domain/5" */
char *path_domain_requests(uint32_t domid); /* ".../snapshot/requests" */

/* Makes the key of a request; the caller's to free(). */
char *path_key(uint32_t domid, const char *id);

/* Whose folder the key's request is in, 0 for the root's; `*ret_id` (may be
 * NULL) points into it. */
uint32_t path_key_domid(const char *key, const char **ret_id);

/* Whether that is a valid id: of others nothing is kept. */
bool path_key_is_valid(const char *key);

/* "/local/domain/5/name" is of 5, and the rest is "name".  0: of none. */
uint32_t path_split_domain(const char *path, const char **ret_rest);

char *path_status(const char *root);
char *path_snapshots(const char *root);
char *path_chains(const char *root);
char *path_holds(const char *root);
char *path_damaged(const char *root);

/* Relative to the root; `node` is path_snapshot_node()'s, or "current". */
char *path_vm_snapshot(const char *vm_uuid, const char *node);
char *path_vm_chain(const char *vm_uuid, const char *vdev);

/*
 * A snapshot's name as the name of its node: xenstored takes letters, digits
 * and "-/_@" only, so a '.' is written as "@2e".
 */
char *path_snapshot_node(const char *name);

/* Room for a folder name that is no valid id, so that it can be answered. */
#define PATH_ID_SIZE 256

/*
 * Takes an event's path apart: <requests>[/<id>[/<key>]].  False if it is not
 * below `requests` or the id is longer than PATH_ID_SIZE - 1.  Whether the id
 * is a valid one is not looked at.  `ret_id` is "" for the folder of the
 * requests itself; `*ret_key` points into `path`, "" for the request's folder.
 */
bool path_split_request(const char *requests, const char *path,
                        char ret_id[PATH_ID_SIZE], const char **ret_key);

#endif
