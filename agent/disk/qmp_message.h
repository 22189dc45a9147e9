/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP on the wire: a stream of JSON objects.  Pure.
 *
 * QEMU sends a greeting, then, in the order of the commands, a reply to each,
 * with events in between.  The parser takes the stream in pieces of any size.
 * What does not look like QMP, or a message of more than QMP_MESSAGE_MAX
 * bytes, is an error after which the stream cannot be used any more.
 */
#ifndef XENSNAPD_DISK_QMP_MESSAGE_H
#define XENSNAPD_DISK_QMP_MESSAGE_H

#include <json-c/json_object.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"

#define QMP_MESSAGE_MAX (16u * 1024 * 1024)

enum qmp_message_kind {
    QMP_MESSAGE_GREETING,
    QMP_MESSAGE_RETURN,
    QMP_MESSAGE_ERROR,
    QMP_MESSAGE_EVENT
};

struct qmp_message {
    enum qmp_message_kind kind;
    struct json_object *root; /* owns all below */
    struct json_object
        *body;        /* the return value, or the event's data, or NULL */
    const char *text; /* the event's name, or the error's description */
    bool has_id;
    int64_t id;
};

struct qmp_parser;

enum qmp_parsed { QMP_PARSED_MESSAGE, QMP_PARSED_PART, QMP_PARSED_BAD };

struct qmp_parser *qmp_parser_new(void);
void qmp_parser_free(struct qmp_parser *parser);

/*
 * Takes bytes up to the end of one message at most; `*ret_used` says how many.
 * With QMP_PARSED_MESSAGE `ret_message` is the caller's to
 * qmp_message_dispose(); with QMP_PARSED_PART all bytes were taken and more are
 * needed; with QMP_PARSED_BAD `err` (ERR_QMP) is set.
 */
enum qmp_parsed qmp_parser_feed(struct qmp_parser *parser, const char *data,
                                size_t length, size_t *ret_used,
                                struct qmp_message *ret_message,
                                struct error *err);

void qmp_message_dispose(struct qmp_message *message);

/* The line that asks for `command`, the caller's to free(); takes over
 * `arguments`, which may be NULL. */
char *qmp_message_encode(const char *command, struct json_object *arguments,
                         int64_t id);

#endif
