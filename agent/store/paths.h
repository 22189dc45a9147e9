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
char *path_request(const char *root, const char *id);
char *path_status(const char *root);
char *path_snapshots(const char *root);
char *path_chains(const char *root);

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
