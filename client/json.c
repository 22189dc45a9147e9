/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing JSON (RFC 8259). */
#include "client/json.h"

#include "agent/base/text.h"

#include <inttypes.h>
#include <string.h>

/* How many bytes the UTF-8 sequence at `text` has; 0 if it is none. Overlong
 * forms, surrogates and what is beyond U+10FFFF are none (RFC 3629). */
static size_t utf8_length(const unsigned char *text)
{
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    size_t length;

    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        length = 2;
    else if (first >= 0xe0 && first <= 0xef)
        length = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        length = 4;
    else
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++) {
        if (text[i] < low || text[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* Of a sequence of one to three bytes. */
static unsigned int code_point(const unsigned char *text, size_t length)
{
    if (length == 1)
        return text[0];
    if (length == 2)
        return (text[0] & 0x1fu) << 6 | (text[1] & 0x3fu);
    return (text[0] & 0x0fu) << 12 | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu);
}

/* What would control a terminal, or move the text around it, is escaped: none
 * of it has four bytes. */
static void write_text(FILE *out, const char *value)
{
    const unsigned char *text = (const unsigned char *)value;

    fputc('"', out);
    while (*text) {
        size_t length = utf8_length(text);

        if (length == 0)
            fputs("\\ufffd", out);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if (length < 4 && text_plain_length((const char *)text) == 0)
            fprintf(out, "\\u%04x", code_point(text, length));
        else
            fwrite(text, 1, length, out);
        text += length ? length : 1;
    }
    fputc('"', out);
}

static void new_line(const struct json *json)
{
    if (!json->on_one_line)
        fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
}

static void begin_member(struct json *json, const char *key)
{
    if (json->has_members)
        fputs(json->on_one_line ? ", " : ",", json->out);
    if (json->depth > 0)
        new_line(json);
    if (key) {
        write_text(json->out, key);
        fputs(": ", json->out);
    }
    json->has_members = true;
}

static void open_any(struct json *json, const char *key, char bracket)
{
    begin_member(json, key);
    fputc(bracket, json->out);
    json->depth++;
    json->has_members = false;
}

static void close_any(struct json *json, char bracket)
{
    json->depth--;
    if (json->has_members)
        new_line(json);
    fputc(bracket, json->out);
    json->has_members = true;
}

void json_open_object(struct json *json, const char *key)
{
    open_any(json, key, '{');
}

void json_close_object(struct json *json)
{
    close_any(json, '}');
}

void json_open_array(struct json *json, const char *key)
{
    open_any(json, key, '[');
}

void json_close_array(struct json *json)
{
    close_any(json, ']');
}

void json_put_string(struct json *json, const char *key, const char *value)
{
    if (!value)
        return;
    begin_member(json, key);
    write_text(json->out, value);
}

void json_put_number(struct json *json, const char *key, int64_t value)
{
    begin_member(json, key);
    fprintf(json->out, "%" PRId64, value);
}

void json_put_bool(struct json *json, const char *key, bool value)
{
    begin_member(json, key);
    fputs(value ? "true" : "false", json->out);
}

void json_end(struct json *json)
{
    fputc('\n', json->out);
    json->has_members = false;
}
