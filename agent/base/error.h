/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors: a code that programs act on and a sentence that people read.
 *
 * The last argument of whatever can fail is a `struct error *`, owned by the
 * caller and of fixed size, so that reporting an error cannot itself fail.
 * Codes are a closed set; error_code_name() gives the stable string that
 * appears in xenstore as `error/code` (schema/xenstore-paths.md lists them).
 *
 * A function either returns an error or logs it, never both.
 */
#ifndef XENSNAPD_BASE_ERROR_H
#define XENSNAPD_BASE_ERROR_H

#include <stdbool.h>

enum error_code {
    ERR_NONE,
    ERR_INVALID_REQUEST,
    ERR_UNSUPPORTED_OPERATION,
    ERR_PERMISSION_DENIED,
    ERR_PATH_NOT_ALLOWED,
    ERR_NO_SUCH_DOMAIN,
    ERR_DOMAIN_INACTIVE,
    ERR_NO_SUCH_DISK,
    ERR_UNSUPPORTED_DISK,
    ERR_NO_SUCH_SNAPSHOT,
    ERR_SNAPSHOT_EXISTS,
    ERR_SNAPSHOT_IN_USE,
    ERR_NO_MEMORY_STATE,
    ERR_LIVE_NOT_SUPPORTED,
    ERR_GUEST_UNRESPONSIVE,
    ERR_CHAIN_BROKEN,
    ERR_NO_SPACE,
    ERR_NOT_OWNED,
    ERR_BUSY,
    ERR_TIMEOUT,
    ERR_CANCELLED,
    ERR_INTERRUPTED,
    ERR_QMP,
    ERR_LIBXL,
    ERR_HOOK_FAILED,
    ERR_STORE,
    ERR_INTERNAL,
    ERR_COUNT /* not a code: how many there are */
};

struct error {
    enum error_code code;
    char message[512]; /* one sentence, cut to fit, always terminated */
};

/*
 * Sets code and message; returns false, so that a failing function can say
 * `return error_set(err, ...)`.  `err` must not be NULL.
 */
bool error_set(struct error *err, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Like error_set(), with ": " and the text of `errnum` (an errno) appended. */
bool error_set_errno(struct error *err, enum error_code code, int errnum,
                     const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts text in front of the message already there; returns false. */
bool error_prefix(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The analyzer does not look into another file to see what they return. */
#ifdef __clang_analyzer__
#define error_set(...)       ((void)(error_set)(__VA_ARGS__), false)
#define error_set_errno(...) ((void)(error_set_errno)(__VA_ARGS__), false)
#define error_prefix(...)    ((void)(error_prefix)(__VA_ARGS__), false)
#endif

/*
 * The code for a failed file operation: ERR_NO_SPACE for ENOSPC and EDQUOT,
 * otherwise `otherwise`.
 */
enum error_code error_code_of_errno(int errnum, enum error_code otherwise);

/* "no-space" and the like; never NULL. */
const char *error_code_name(enum error_code code);

/*
 * Copies text that a guest, QEMU or a file wrote, for use in a message or a
 * log line: each byte of a control character, or of what is not UTF-8 or would
 * be drawn elsewhere, becomes '?', and what does not fit is cut between
 * characters.  Returns `buffer`.
 */
const char *error_sanitise(char *buffer, unsigned int size, const char *text);

#endif
