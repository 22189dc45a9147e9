/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/qmp_message.h"

static enum qmp_parsed parse(const char *text, struct qmp_message *message,
                             struct error *err)
{
    struct qmp_parser *parser = qmp_parser_new();
    size_t used;
    enum qmp_parsed parsed =
        qmp_parser_feed(parser, text, strlen(text), &used, message, err);

    qmp_parser_free(parser);
    return parsed;
}

static struct qmp_message must_parse(const char *text)
{
    struct qmp_message message = {0};
    struct error err;

    assert_int_equal(parse(text, &message, &err), QMP_PARSED_MESSAGE);
    return message;
}

static void must_refuse(const char *text)
{
    struct qmp_message message;
    struct error err;

    if (parse(text, &message, &err) != QMP_PARSED_BAD)
        fail_msg("taken: %s", text);
    assert_int_equal(err.code, ERR_QMP);
}

static void the_four_kinds_of_message_are_told_apart(void **state)
{
    struct qmp_message message;

    (void)state;
    message = must_parse("{\"QMP\": {\"version\": {}, \"capabilities\": []}}");
    assert_int_equal(message.kind, QMP_MESSAGE_GREETING);
    qmp_message_dispose(&message);

    message = must_parse("{\"return\": {\"a\": 1}, \"id\": 7}");
    assert_int_equal(message.kind, QMP_MESSAGE_RETURN);
    assert_true(message.has_id);
    assert_int_equal(message.id, 7);
    assert_true(json_object_object_get_ex(message.body, "a", NULL));
    qmp_message_dispose(&message);

    message = must_parse("{\"error\": {\"class\": \"GenericError\", "
                         "\"desc\": \"No such node\"}}");
    assert_int_equal(message.kind, QMP_MESSAGE_ERROR);
    assert_false(message.has_id);
    assert_string_equal(message.text, "No such node");
    qmp_message_dispose(&message);

    message = must_parse("{\"timestamp\": {}, \"event\": \"STOP\"}");
    assert_int_equal(message.kind, QMP_MESSAGE_EVENT);
    assert_string_equal(message.text, "STOP");
    assert_null(message.body);
    qmp_message_dispose(&message);
}

static void a_stream_may_be_cut_anywhere(void **state)
{
    static const char stream[] =
        "{\"return\": {}, \"id\": 1}\r\n"
        "{\"event\": \"E\", \"data\": {\"x\": \"}\"}}\n"
        "{\"return\": [], \"id\": 2}\r\n";
    size_t piece, length = strlen(stream);

    (void)state;
    for (piece = 1; piece <= length; piece++) {
        struct qmp_parser *parser = qmp_parser_new();
        size_t at = 0, used, count = 0;

        while (at < length) {
            size_t size = length - at < piece ? length - at : piece;
            struct qmp_message message;
            struct error err;
            enum qmp_parsed parsed = qmp_parser_feed(parser, stream + at, size,
                                                     &used, &message, &err);

            assert_int_not_equal(parsed, QMP_PARSED_BAD);
            if (parsed == QMP_PARSED_PART)
                assert_int_equal(used, size);
            else
                qmp_message_dispose(&message);
            count += parsed == QMP_PARSED_MESSAGE;
            at += used;
        }
        assert_int_equal(count, 3);
        qmp_parser_free(parser);
    }
}

static void what_is_not_qmp_is_refused(void **state)
{
    (void)state;
    must_refuse("HTTP/1.1 400 Bad Request\r\n");
    must_refuse("[1, 2]");
    must_refuse("{\"return\" 1}");
    must_refuse("{}");
    must_refuse("{\"return\": 1, \"id\": \"x\"}");
    must_refuse("{\"error\": \"text\"}");
    must_refuse("{\"error\": {\"class\": \"GenericError\"}}");
    must_refuse("{\"event\": 5}");
}

static void a_zero_byte_is_refused(void **state)
{
    struct qmp_parser *parser = qmp_parser_new();
    struct qmp_message message;
    struct error err;
    size_t used;

    (void)state;
    assert_int_equal(
        qmp_parser_feed(parser, "\0{\"return\":1}", 13, &used, &message, &err),
        QMP_PARSED_BAD);
    qmp_parser_free(parser);
}

static void a_message_without_end_is_given_up(void **state)
{
    struct qmp_parser *parser = qmp_parser_new();
    char *filler = xcalloc(1, 1 << 20);
    enum qmp_parsed parsed = QMP_PARSED_PART;
    struct qmp_message message;
    struct error err;
    size_t used, megabytes = 0;

    (void)state;
    memset(filler, 'x', 1 << 20);
    memcpy(filler, "{\"a\": \"", 7);
    while (parsed == QMP_PARSED_PART && megabytes < 100) {
        parsed =
            qmp_parser_feed(parser, filler, 1 << 20, &used, &message, &err);
        memset(filler, 'x', 7);
        megabytes++;
    }
    assert_int_equal(parsed, QMP_PARSED_BAD);
    assert_int_equal(megabytes, 17);
    free(filler);
    qmp_parser_free(parser);
}

/* As query-block shows the chain of a disk. */
static void a_chain_of_256_images_can_be_read(void **state)
{
    char *text = xcalloc(1, 65536);
    struct qmp_message message;
    int i;

    (void)state;
    strcpy(text, "{\"return\": [{\"inserted\": {\"image\": ");
    for (i = 0; i < 256; i++)
        strcat(text, "{\"backing-image\": ");
    strcat(text, "{}");
    for (i = 0; i < 256; i++)
        strcat(text, "}");
    strcat(text, "}}]}");
    message = must_parse(text);
    assert_int_equal(message.kind, QMP_MESSAGE_RETURN);
    qmp_message_dispose(&message);
    free(text);
}

static void nesting_without_end_is_refused(void **state)
{
    char *text = xcalloc(1, 100001);

    (void)state;
    memset(text, '[', 100000);
    memcpy(text, "{\"a\":", 5);
    must_refuse(text);
    free(text);
}

static void a_command_is_one_line(void **state)
{
    struct json_object *arguments = json_object_new_object();
    char *line;

    (void)state;
    json_object_object_add(arguments, "path",
                           json_object_new_string("/a/\"b\"\n"));
    line = qmp_message_encode("qom-get", arguments, 3);
    assert_string_equal(line,
                        "{\"execute\":\"qom-get\",\"arguments\":{\"path\":"
                        "\"/a/\\\"b\\\"\\n\"},\"id\":3}\n");
    free(line);
    line = qmp_message_encode("cont", NULL, 4);
    assert_string_equal(line, "{\"execute\":\"cont\",\"id\":4}\n");
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_four_kinds_of_message_are_told_apart),
        cmocka_unit_test(a_stream_may_be_cut_anywhere),
        cmocka_unit_test(what_is_not_qmp_is_refused),
        cmocka_unit_test(a_zero_byte_is_refused),
        cmocka_unit_test(a_message_without_end_is_given_up),
        cmocka_unit_test(a_chain_of_256_images_can_be_read),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(a_command_is_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
