/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What came of a request, for people; as JSON, for programs. */
#ifndef XENSNAP_REPORT_H
#define XENSNAP_REPORT_H

#include "client/request.h"

/* The result on standard output. */
void report_result(struct xs_handle *xs, const char *id);

/* What can be done with it, likewise. */
void report_next(struct xs_handle *xs, const struct request *request);

/* The whole answer, whatever came of it, on standard output. */
void report_json(struct xs_handle *xs, const char *id);

/* A warning that a result brought with it, on standard error. */
void report_warning(struct xs_handle *xs, const char *id);

/* Code, message and the way out, on standard error. */
void report_error(struct xs_handle *xs, const char *id);

#endif
