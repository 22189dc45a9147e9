/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QEMU guest agent's protocol on the wire: lines of JSON.  Pure.
 *
 * What an earlier client left unread, or half written, is in the same stream.
 * So a command is sent behind guest-sync-delimited: both sides forget what they
 * have of a line at a byte 0xFF, and the answer has the number that was sent.
 */
#ifndef XENSNAPD_QUIESCE_QGA_MESSAGE_H
#define XENSNAPD_QUIESCE_QGA_MESSAGE_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "guest-info" is the longest answer of all that are asked for: some 10 KiB. */
#define QGA_LINE_MAX 65536u

enum qga_kind {
    QGA_RETURN,
    QGA_ERROR,
    QGA_NONSENSE /* no answer of a guest agent */
};

struct qga_answer {
    enum qga_kind kind;
    struct json_object *root; /* owns the others */
    struct json_object *ret;  /* QGA_RETURN; may be NULL, as JSON's null is */
    const char *words;        /* QGA_ERROR */
};

/* guest-sync-delimited with `number`, and `command`, which has no arguments;
 * the caller's to free(). */
char *qga_encode(int64_t number, const char *command);

/* Whether `line` ends in the answer to guest-sync-delimited with `number`. */
bool qga_is_sync(const char *line, size_t length, int64_t number);

/* The caller's to qga_answer_dispose(). */
void qga_decode(const char *line, size_t length, struct qga_answer *ret_answer);
void qga_answer_dispose(struct qga_answer *answer);

/* Whether `info`, what guest-info returned, has `command` enabled. */
bool qga_offers(struct json_object *info, const char *command);

#endif
