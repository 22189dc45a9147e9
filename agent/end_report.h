/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What there is to tell of a request once it is over, in one log line:
 *
 *     ended dom=web uuid=... req=ab12 op=create name=s1 result=done ms=84
 *     downtime-ms=21 bytes=134217728 disks=2 depth=3 requester=0
 */
#ifndef XENSNAPD_END_REPORT_H
#define XENSNAPD_END_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/request.h"

struct snapshot;

/* Texts are borrowed; NULL or "" is left out of the line. */
struct end_facts {
    const char *domain;
    const char *uuid;
    const char *id;
    bool known; /* the keys were read: `operation` counts */
    enum request_operation operation;
    const char *name;     /* the snapshot's */
    enum error_code code; /* ERR_NONE: done */
    bool started;
    uint64_t ms;      /* from the start to the end */
    bool stood_still; /* `downtime_ms` is known */
    uint64_t downtime_ms;
    uint64_t memory_bytes; /* saved by a create; 0: none */
    size_t disks;          /* that took part */
    size_t depth;          /* of the longest chain afterwards; 0: not known */
    uint32_t requester;
};

#define END_LINE_MAX 768

/* Pure.  A text with blanks or quotes in it is quoted. */
void end_line_format(char text[END_LINE_MAX], const struct end_facts *facts);

/* "done", "failed" or "cancelled". */
const char *end_result_name(enum error_code code);

/* `err` NULL: done.  Borrows from the snapshot. */
void end_facts_of(const struct snapshot *snapshot, const struct error *err,
                  struct end_facts *ret_facts);

#endif
