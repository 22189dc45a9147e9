/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a request, for people; as JSON, for programs. */
#ifndef XENSNAP_REPORT_H
#define XENSNAP_REPORT_H

#include "client/json.h"
#include "client/request.h"

/* The result on standard output; false if there was nothing to tell. */
bool report_result(struct xs_handle *xs, const char *id);

/* What can be done with it, likewise; behind an empty line, where something
 * was `told` before. */
void report_next(struct xs_handle *xs, const struct request *request,
                 bool told);

/*
 * The whole answer as JSON, whatever came of it. It is put together in memory,
 * for the request is gone by the time that all is known; the end writes it to
 * standard output. Between them `json` may get members.
 */
struct report_json {
    struct json json;
    char *text;
    size_t size;
};

void report_json_begin(struct report_json *report, struct xs_handle *xs,
                       const char *id);
void report_json_end(struct report_json *report, enum exit_status status);

/* What came of an old snapshot's removal: an entry of the array that is open.
 */
void report_json_removal(struct report_json *report, struct xs_handle *xs,
                         const char *id, const char *name);

/* A warning that a result brought with it, on standard error. */
void report_warning(struct xs_handle *xs, const char *id);

/* Code, message and the way out, on standard error. */
void report_error(struct xs_handle *xs, const char *id);

#endif
