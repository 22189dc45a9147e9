/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors that the agent did not answer with. */
#include "client/failure.h"

#include "agent/base/alloc.h"
#include "client/json.h"

#include <stdarg.h>
#include <stdlib.h>

static struct {
    bool json;
    bool on_one_line;
    const char *code; /* NULL: there is none */
    const char *next;
    char *message;
} last;

void failure_wants_json(bool json, bool on_one_line)
{
    last.json = json;
    last.on_one_line = on_one_line;
}

void failure_forget(void)
{
    free(last.message);
    last.message = NULL;
    last.code = NULL;
}

void failure_keep(const char *code, const char *next, const char *message)
{
    failure_forget();
    last.code = code;
    last.next = next;
    last.message = xstrdup(message);
}

void failure_tell(const char *code, const char *next, const char *format, ...)
{
    va_list args;
    char *message;

    va_start(args, format);
    message = xvasprintf(format, args);
    va_end(args);
    complain("%s: %s", code, message);
    if (next)
        complain("%s", next);
    failure_keep(code, next, message);
    free(message);
}

void failure_answer(enum exit_status status)
{
    struct json json = {.out = stdout, .on_one_line = last.on_one_line};

    if (!last.json || !last.code)
        return;
    json_open_object(&json, NULL);
    json_open_object(&json, "error");
    json_put_string(&json, "code", last.code);
    json_put_string(&json, "message", last.message);
    json_put_string(&json, "next", last.next);
    json_close_object(&json);
    json_put_number(&json, "exit-status", status);
    json_close_object(&json);
    json_end(&json);
    failure_forget();
}
