/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/qga_message.h"

#include <inttypes.h>
#include <json-c/json_tokener.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

#define DELIMITER '\xff'

/* guest-info nests three levels. */
#define DEPTH_MAX 16

char *qga_encode(int64_t number, const char *command)
{
    return xasprintf("%c{\"execute\":\"guest-sync-delimited\","
                     "\"arguments\":{\"id\":%" PRId64 "}}\n"
                     "{\"execute\":\"%s\"}\n",
                     DELIMITER, number, command);
}

/* Nothing but one JSON value; NULL for anything else. */
static struct json_object *parse(const char *line, size_t length)
{
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    struct json_object *root;

    if (tokener == NULL) {
        abort();
    }
    root = length > QGA_LINE_MAX
               ? NULL
               : json_tokener_parse_ex(tokener, line, (int)length);
    json_tokener_free(tokener);
    return root;
}

static bool has_words(struct json_object *error, const char **ret_words)
{
    struct json_object *words;

    if (!json_object_is_type(error, json_type_object) ||
        !json_object_object_get_ex(error, "desc", &words) ||
        !json_object_is_type(words, json_type_string)) {
        return false;
    }
    *ret_words = json_object_get_string(words);
    return true;
}

void qga_decode(const char *line, size_t length, struct qga_answer *ret_answer)
{
    struct json_object *error;

    *ret_answer = (struct qga_answer){.kind = QGA_NONSENSE};
    ret_answer->root = parse(line, length);
    if (!json_object_is_type(ret_answer->root, json_type_object)) {
        return;
    }
    if (json_object_object_get_ex(ret_answer->root, "return",
                                  &ret_answer->ret)) {
        ret_answer->kind = QGA_RETURN;
    } else if (json_object_object_get_ex(ret_answer->root, "error", &error) &&
               has_words(error, &ret_answer->words)) {
        ret_answer->kind = QGA_ERROR;
    }
}

void qga_answer_dispose(struct qga_answer *answer)
{
    json_object_put(answer->root);
    *answer = (struct qga_answer){.kind = QGA_NONSENSE};
}

bool qga_is_sync(const char *line, size_t length, int64_t number)
{
    const char *mark = memrchr(line, DELIMITER, length);
    struct qga_answer answer;
    bool is;

    if (mark == NULL) {
        return false;
    }
    mark++;
    qga_decode(mark, length - (size_t)(mark - line), &answer);
    is = answer.kind == QGA_RETURN &&
         json_object_is_type(answer.ret, json_type_int) &&
         json_object_get_int64(answer.ret) == number;
    qga_answer_dispose(&answer);
    return is;
}

static bool is_enabled(struct json_object *command, const char *name)
{
    struct json_object *value;

    return json_object_is_type(command, json_type_object) &&
           json_object_object_get_ex(command, "name", &value) &&
           json_object_is_type(value, json_type_string) &&
           strcmp(json_object_get_string(value), name) == 0 &&
           json_object_object_get_ex(command, "enabled", &value) &&
           json_object_get_boolean(value);
}

bool qga_offers(struct json_object *info, const char *command)
{
    struct json_object *commands;

    if (!json_object_is_type(info, json_type_object) ||
        !json_object_object_get_ex(info, "supported_commands", &commands) ||
        !json_object_is_type(commands, json_type_array)) {
        return false;
    }
    for (size_t i = 0; i < json_object_array_length(commands); i++) {
        if (is_enabled(json_object_array_get_idx(commands, i), command)) {
            return true;
        }
    }
    return false;
}
