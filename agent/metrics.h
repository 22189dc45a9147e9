/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metrics for Prometheus' node exporter: a file that its textfile collector
 * reads, `metrics.file` of the settings.
 *
 * It is written only after something changed, and no more often than every
 * `metrics.interval`, so an idle agent does not wake.  Where its folder does
 * not exist, nothing is: nobody reads there.  It goes with the agent.
 */
#ifndef XENSNAPD_METRICS_H
#define XENSNAPD_METRICS_H

#include "agent/agent.h"
#include "agent/chains.h"
#include "agent/end_report.h"

struct metrics *metrics_new(struct agent *agent);
/* Removes the file.  NULL is allowed. */
void metrics_free(struct metrics *metrics);

/* Something that is looked up when the file is written: the queue, records,
 * settings. */
void metrics_changed(struct metrics *metrics);

/* A request is over. */
void metrics_count_end(struct metrics *metrics, const struct end_facts *facts);

/* The chains of a VM as they are now; copied. */
void metrics_set_chains(struct metrics *metrics, const char *vm_uuid,
                        const struct chain *chains, size_t count);

void metrics_set_leftovers(struct metrics *metrics, size_t count);

#endif
