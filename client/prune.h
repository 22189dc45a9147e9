/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removing the old snapshots of a schedule, after it has made a new one. Those
 * that it did not make are never touched.
 */
#ifndef XENSNAP_PRUNE_H
#define XENSNAP_PRUNE_H

#include "client/report.h"
#include "client/request.h"
#include "client/snapshots.h"

/*
 * Which snapshots of the schedule that `made` belongs to are to go now that it
 * is there, the oldest first; the caller frees the list, which points into
 * `vm`. Never `made` itself, whatever the clock said then. Pure.
 */
size_t prune_choose(const struct vm *vm, const char *made,
                    const struct prune_rule *rule, int64_t now,
                    const struct snapshot ***ret_list);

/*
 * After a create that is done and has `made` that snapshot: asks for the
 * deletion of what its rule does not keep, one after the other. EXIT_NOT_PRUNED
 * if one of them could not be deleted, which standard error explains; the
 * others are all the same. `json`, if not NULL, gets a member `pruned` of what
 * came of each.
 */
enum exit_status prune(struct xs_handle *xs, const struct request *request,
                       const char *made, struct report_json *json);

#endif
