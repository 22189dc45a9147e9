/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors: a code that programs act on and a sentence that people read. */
#include "agent/base/error.h"

#undef error_set
#undef error_set_errno
#undef error_prefix

#include "agent/base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const code_names[ERR_COUNT] = {
    [ERR_NONE] = "none",
    [ERR_INVALID_REQUEST] = "invalid-request",
    [ERR_UNSUPPORTED_OPERATION] = "unsupported-operation",
    [ERR_PERMISSION_DENIED] = "permission-denied",
    [ERR_PATH_NOT_ALLOWED] = "path-not-allowed",
    [ERR_NO_SUCH_DOMAIN] = "no-such-domain",
    [ERR_DOMAIN_INACTIVE] = "domain-inactive",
    [ERR_NO_SUCH_DISK] = "no-such-disk",
    [ERR_UNSUPPORTED_DISK] = "unsupported-disk",
    [ERR_NO_SUCH_SNAPSHOT] = "no-such-snapshot",
    [ERR_SNAPSHOT_EXISTS] = "snapshot-exists",
    [ERR_SNAPSHOT_IN_USE] = "snapshot-in-use",
    [ERR_NO_MEMORY_STATE] = "no-memory-state",
    [ERR_LIVE_NOT_SUPPORTED] = "live-not-supported",
    [ERR_GUEST_UNRESPONSIVE] = "guest-unresponsive",
    [ERR_CHAIN_BROKEN] = "chain-broken",
    [ERR_NO_SPACE] = "no-space",
    [ERR_NOT_OWNED] = "not-owned",
    [ERR_BUSY] = "busy",
    [ERR_TIMEOUT] = "timeout",
    [ERR_CANCELLED] = "cancelled",
    [ERR_INTERRUPTED] = "interrupted",
    [ERR_QMP] = "qmp-error",
    [ERR_LIBXL] = "libxl-error",
    [ERR_HOOK_FAILED] = "hook-failed",
    [ERR_STORE] = "store-error",
    [ERR_INTERNAL] = "internal-error",
};

/* Into a buffer of its own first: the arguments may include the old message. */
static __attribute__((format(printf, 3, 0))) void set_message(
    struct error *err, enum error_code code, const char *format, va_list args)
{
    char message[sizeof(err->message)];

    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): callers start it */
    vsnprintf(message, sizeof(message), format, args);
    memcpy(err->message, message, sizeof(message));
    err->code = code;
}

/* Appends as much of `text` as fits. */
static void append(struct error *err, const char *text)
{
    size_t length = strlen(err->message);

    snprintf(err->message + length, sizeof(err->message) - length, "%s", text);
}

bool error_set(struct error *err, enum error_code code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_message(err, code, format, args);
    va_end(args);
    return false;
}

bool error_set_errno(struct error *err, enum error_code code, int errnum,
                     const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_message(err, code, format, args);
    va_end(args);
    append(err, ": ");
    append(err, strerror(errnum));
    return false;
}

bool error_prefix(struct error *err, const char *format, ...)
{
    char old[sizeof(err->message)];
    va_list args;

    memcpy(old, err->message, sizeof(old));
    va_start(args, format);
    set_message(err, err->code, format, args);
    va_end(args);
    append(err, old);
    return false;
}

enum error_code error_code_of_errno(int errnum, enum error_code otherwise)
{
    return errnum == ENOSPC || errnum == EDQUOT ? ERR_NO_SPACE : otherwise;
}

const char *error_code_name(enum error_code code)
{
    assert((unsigned int)code < ERR_COUNT);
    return code_names[code];
}

const char *error_sanitise(char *buffer, unsigned int size, const char *text)
{
    size_t used = 0;

    assert(size > 0);
    while (*text) {
        size_t length = text_plain_length(text);
        size_t taken = length ? length : 1;

        if (used + taken >= size)
            break;
        memcpy(buffer + used, length ? text : "?", taken);
        used += taken;
        text += taken;
    }
    buffer[used] = '\0';
    return buffer;
}
