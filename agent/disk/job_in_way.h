/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which block job is in the way of another.  Pure.
 */
#ifndef XENSNAPD_DISK_JOB_IN_WAY_H
#define XENSNAPD_DISK_JOB_IN_WAY_H

#include <json-c/json_object.h>

#include "agent/base/error.h"

/* How the ids of all block jobs of ours begin. */
#define JOB_ID_PREFIX "xensnapd-"

/*
 * `err` is QEMU's refusal to begin a job on the node of that name, and `graph`
 * its answer to x-debug-query-block-graph.  If another job holds that node, or
 * an image over it, `err` becomes ERR_BUSY and says which, whose, and what to
 * do; else it stays.
 */
void job_in_way_tell(struct json_object *graph, const char *node,
                     struct error *err);

#endif
