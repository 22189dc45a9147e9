/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log line at the end of a request. */
#include "agent/end_report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/log_field.h"

struct line {
    char *text; /* END_LINE_MAX */
    size_t length;
};

static __attribute__((format(printf, 2, 3))) void append(struct line *line,
                                                         const char *format,
                                                         ...)
{
    size_t room = END_LINE_MAX - line->length;
    va_list args;
    int length;

    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): started above */
    length = vsnprintf(line->text + line->length, room, format, args);
    va_end(args);
    line->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void append_text(struct line *line, const char *key, const char *text)
{
    log_field_append(line->text, END_LINE_MAX, key, text);
    line->length = strlen(line->text);
}

static void append_number(struct line *line, const char *key, uint64_t number)
{
    append(line, " %s=%" PRIu64, key, number);
}

const char *end_result_name(enum error_code code)
{
    if (code == ERR_NONE) {
        return "done";
    }
    return code == ERR_CANCELLED ? "cancelled" : "failed";
}

void end_line_format(char text[END_LINE_MAX], const struct end_facts *facts)
{
    struct line line = {.text = text};

    append(&line, "ended");
    append_text(&line, "dom", facts->domain);
    append_text(&line, "uuid", facts->uuid);
    append_text(&line, "req", facts->id);
    if (facts->known) {
        append_text(&line, "op", request_operation_name(facts->operation));
    }
    append_text(&line, "name", facts->name);
    append_text(&line, "result", end_result_name(facts->code));
    if (facts->code != ERR_NONE) {
        append_text(&line, "code", error_code_name(facts->code));
    }
    if (facts->started) {
        append_number(&line, "ms", facts->ms);
    }
    if (facts->stood_still) {
        append_number(&line, "downtime-ms", facts->downtime_ms);
    }
    if (facts->memory_bytes != 0) {
        append_number(&line, "bytes", facts->memory_bytes);
    }
    if (facts->disks != 0) {
        append_number(&line, "disks", facts->disks);
    }
    if (facts->depth != 0) {
        append_number(&line, "depth", facts->depth);
    }
    append_number(&line, "requester", facts->requester);
}
