/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "agent/disk/job_in_way.h"

/* A mirror of "top", which lies over "base", and a backup of "other". */
static const char graph[] =
    "{\"nodes\": ["
    "{\"id\": 1, \"type\": \"block-backend\", \"name\": \"\"},"
    "{\"id\": 2, \"type\": \"block-driver\", \"name\": \"#block1\"},"
    "{\"id\": 3, \"type\": \"block-driver\", \"name\": \"top\"},"
    "{\"id\": 4, \"type\": \"block-driver\", \"name\": \"base\"},"
    "{\"id\": 5, \"type\": \"block-job\", \"name\": \"theirs\"},"
    "{\"id\": 6, \"type\": \"block-driver\", \"name\": \"other\"},"
    "{\"id\": 7, \"type\": \"block-job\", \"name\": \"xensnapd-1\"},"
    "{\"id\": 8, \"type\": \"block-driver\", \"name\": \"idle\"}],"
    "\"edges\": ["
    "{\"parent\": 3, \"child\": 4}, {\"parent\": 5, \"child\": 2},"
    "{\"parent\": 2, \"child\": 3}, {\"parent\": 1, \"child\": 2},"
    "{\"parent\": 7, \"child\": 6}, {\"parent\": 1, \"child\": 8}]}";

static struct error ask(const char *text, const char *node)
{
    struct json_object *object = json_tokener_parse(text);
    struct error err;

    assert_non_null(object);
    error_set(&err, ERR_QMP, "QEMU refused it");
    job_in_way_tell(object, node, &err);
    json_object_put(object);
    return err;
}

static void assert_in_way(const char *node, const char *id, const char *whose)
{
    struct error err = ask(graph, node);

    assert_int_equal(err.code, ERR_BUSY);
    assert_non_null(strstr(err.message, id));
    assert_non_null(strstr(err.message, whose));
    assert_non_null(strstr(err.message, "(QEMU refused it)"));
}

static void assert_stays(const char *text, const char *node)
{
    struct error err = ask(text, node);

    assert_int_equal(err.code, ERR_QMP);
    assert_string_equal(err.message, "QEMU refused it");
}

static void a_job_of_somebody_elses_is_named(void **state)
{
    (void)state;
    assert_in_way("top", "\"theirs\"", "xensnapd did not begin");
}

static void one_that_holds_an_image_over_it_is_as_well(void **state)
{
    (void)state;
    assert_in_way("base", "\"theirs\"", "xensnapd did not begin");
}

static void one_of_ours_is_told_as_that(void **state)
{
    (void)state;
    assert_in_way("other", "\"xensnapd-1\"", "an earlier xensnapd");
}

static void without_a_job_on_it_the_refusal_stands(void **state)
{
    (void)state;
    assert_stays(graph, "idle");
    assert_stays(graph, "unknown");
}

static void so_it_does_where_the_answer_is_none(void **state)
{
    (void)state;
    assert_stays("[]", "top");
    assert_stays("{\"nodes\": [], \"edges\": []}", "top");
    assert_stays("{\"nodes\": [1, {}, null], \"edges\": [2, {}]}", "top");
    assert_stays("{\"nodes\": 7}", "top");
}

/* As no graph of QEMU's is. */
static void a_loop_is_no_trap(void **state)
{
    (void)state;
    assert_stays("{\"nodes\": ["
                 "{\"id\": 1, \"type\": \"block-driver\", \"name\": \"a\"},"
                 "{\"id\": 2, \"type\": \"block-driver\", \"name\": \"b\"}],"
                 "\"edges\": [{\"parent\": 1, \"child\": 2},"
                 "{\"parent\": 2, \"child\": 1}]}",
                 "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_of_somebody_elses_is_named),
        cmocka_unit_test(one_that_holds_an_image_over_it_is_as_well),
        cmocka_unit_test(one_of_ours_is_told_as_that),
        cmocka_unit_test(without_a_job_on_it_the_refusal_stands),
        cmocka_unit_test(so_it_does_where_the_answer_is_none),
        cmocka_unit_test(a_loop_is_no_trap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
