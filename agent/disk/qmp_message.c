/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Framing and telling apart what QEMU sends, with json-c's tokener. */
#include "agent/disk/qmp_message.h"

#include <json-c/json_tokener.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* query-block nests one level for each image of a chain; json-c's own default
 * of 32 would refuse longer chains. */
#define DEPTH_MAX 1024

/* json-c counts in int, and may be handed a whole socket buffer. */
#define PIECE_MAX 65536

struct qmp_parser {
    struct json_tokener *tokener;
    size_t message_bytes; /* taken of the message under way */
};

struct qmp_parser *qmp_parser_new(void)
{
    struct qmp_parser *parser = xcalloc(1, sizeof(*parser));

    parser->tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!parser->tokener)
        abort();
    return parser;
}

void qmp_parser_free(struct qmp_parser *parser)
{
    if (!parser)
        return;
    json_tokener_free(parser->tokener);
    free(parser);
}

static bool has_string(struct json_object *object, const char *key,
                       const char **ret_text)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return false;
    *ret_text = json_object_get_string(value);
    return true;
}

static bool is_error(struct json_object *root, const char **ret_text)
{
    struct json_object *value;

    return json_object_object_get_ex(root, "error", &value) &&
           json_object_is_type(value, json_type_object) &&
           has_string(value, "desc", ret_text);
}

/* Fills all but `root`; false if it is nothing that QMP knows. */
static bool classify(struct json_object *root, struct qmp_message *message)
{
    struct json_object *id;

    if (json_object_object_get_ex(root, "id", &id)) {
        if (!json_object_is_type(id, json_type_int))
            return false;
        message->has_id = true;
        message->id = json_object_get_int64(id);
    }
    if (has_string(root, "event", &message->text)) {
        message->kind = QMP_MESSAGE_EVENT;
        json_object_object_get_ex(root, "data", &message->body);
    } else if (json_object_object_get_ex(root, "return", &message->body)) {
        message->kind = QMP_MESSAGE_RETURN;
    } else if (is_error(root, &message->text)) {
        message->kind = QMP_MESSAGE_ERROR;
    } else if (json_object_object_get_ex(root, "QMP", NULL)) {
        message->kind = QMP_MESSAGE_GREETING;
    } else {
        return false;
    }
    return true;
}

static enum qmp_parsed finish_message(struct qmp_parser *parser,
                                      struct json_object *root,
                                      struct qmp_message *ret_message,
                                      struct error *err)
{
    struct qmp_message message = {.root = root};

    parser->message_bytes = 0;
    if (!classify(root, &message)) {
        json_object_put(root);
        error_set(err, ERR_QMP, "QEMU sent JSON that is not QMP");
        return QMP_PARSED_BAD;
    }
    *ret_message = message;
    return QMP_PARSED_MESSAGE;
}

/* Between messages: passes over line ends; false at what begins no object. */
static bool skip_to_object(const char *data, size_t length, size_t *ret_used)
{
    size_t used = 0;

    while (used < length && data[used] && strchr("\r\n \t", data[used]))
        used++;
    *ret_used = used;
    return used == length || data[used] == '{';
}

enum qmp_parsed qmp_parser_feed(struct qmp_parser *parser, const char *data,
                                size_t length, size_t *ret_used,
                                struct qmp_message *ret_message,
                                struct error *err)
{
    struct json_object *root;
    enum json_tokener_error result;
    size_t used = 0, piece;

    if (parser->message_bytes == 0 && !skip_to_object(data, length, &used))
        goto not_json;
    while (used < length) {
        piece = length - used < PIECE_MAX ? length - used : PIECE_MAX;
        root = json_tokener_parse_ex(parser->tokener, data + used, (int)piece);
        result = json_tokener_get_error(parser->tokener);
        if (result == json_tokener_success) {
            *ret_used = used + json_tokener_get_parse_end(parser->tokener);
            return finish_message(parser, root, ret_message, err);
        }
        if (result != json_tokener_continue)
            goto not_json;
        used += piece;
        parser->message_bytes += piece;
        if (parser->message_bytes > QMP_MESSAGE_MAX) {
            error_set(err, ERR_QMP, "QEMU sent a message of more than %u bytes",
                      QMP_MESSAGE_MAX);
            return QMP_PARSED_BAD;
        }
    }
    *ret_used = used;
    return QMP_PARSED_PART;

not_json:
    error_set(err, ERR_QMP, "QEMU sent what is not JSON");
    return QMP_PARSED_BAD;
}

void qmp_message_dispose(struct qmp_message *message)
{
    json_object_put(message->root);
    *message = (struct qmp_message){0};
}

char *qmp_message_encode(const char *command, struct json_object *arguments,
                         int64_t id)
{
    struct json_object *root = json_object_new_object();
    char *line;

    json_object_object_add(root, "execute", json_object_new_string(command));
    if (arguments)
        json_object_object_add(root, "arguments", arguments);
    json_object_object_add(root, "id", json_object_new_int64(id));
    line = xasprintf("%s\n", json_object_to_json_string_ext(
                                 root, JSON_C_TO_STRING_PLAIN |
                                           JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(root);
    return line;
}
