/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The xenstore paths, made and taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/store/paths.h"

#define ROOT     "/tool/xensnapd"
#define REQUESTS ROOT "/requests"

/* ---- making ---- */

static void assert_text(char *text, const char *expected)
{
    assert_string_equal(text, expected);
    free(text);
}

static void every_path_lies_below_the_root(void **state)
{
    (void)state;
    assert_text(path_requests(ROOT), "/tool/xensnapd/requests");
    assert_text(path_request(ROOT, "r1"), "/tool/xensnapd/requests/r1");
    assert_text(path_status(ROOT), "/tool/xensnapd/status");
    assert_text(path_snapshots(ROOT), "/tool/xensnapd/snapshots");
    assert_text(path_vm_snapshot("u-u", "s1"), "snapshots/u-u/s1");
    assert_text(path_vm_chain("u-u", "xvda"), "chains/u-u/xvda");
}

static void a_key_with_a_domid_lies_in_that_domains_folder(void **state)
{
    const char *id;

    (void)state;
    assert_text(path_key(0, "r1"), "r1");
    assert_text(path_key(5, "r1"), "5:r1");
    assert_text(path_request(ROOT, "5:r1"),
                "/local/domain/5/snapshot/requests/r1");
    assert_text(path_domain_requests(12), "/local/domain/12/snapshot/requests");
    assert_text(path_domain(12), "/local/domain/12");
    assert_int_equal(path_key_domid("r1", &id), 0);
    assert_string_equal(id, "r1");
    assert_int_equal(path_key_domid("32751:r1", &id), 32751);
    assert_string_equal(id, "r1");
    assert_true(path_key_is_valid("5:r1"));
    assert_false(path_key_is_valid("5:r@1"));
    assert_false(path_key_is_valid("5:"));
    /* Not an id, so no request of domain 0 is called so. */
    assert_false(request_id_is_valid("5:r1"));
}

static void a_path_of_a_domain_is_told(void **state)
{
    static const struct {
        const char *path;
        uint32_t domid;
        const char *rest;
    } table[] = {
        {"/local/domain/5/name", 5, "name"},
        {"/local/domain/5/snapshot/requests/x", 5, "snapshot/requests/x"},
        {"/local/domain/0/name", 0, NULL},
        {"/local/domain/5", 0, NULL},
        {"/local/domain/5x/name", 0, NULL},
        {"/local/domain/99999/name", 0, NULL},
        {"/local/domain//name", 0, NULL},
        {"/tool/xensnapd", 0, NULL},
        {"@introduceDomain", 0, NULL},
    };
    const char *rest;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(path_split_domain(table[i].path, &rest),
                         table[i].domid);
        if (table[i].rest)
            assert_string_equal(rest, table[i].rest);
    }
}

static void a_dot_in_a_snapshots_name_is_written_so_that_xenstored_takes_it(
    void **state)
{
    (void)state;
    assert_text(path_snapshot_node("v1.2.3"), "v1@2e2@2e3");
    assert_text(path_snapshot_node("a_b-C9"), "a_b-C9");
    assert_text(path_snapshot_node("ends."), "ends@2e");
    assert_text(path_snapshot_node(""), "");
}

static void a_name_of_nothing_but_dots_fits(void **state)
{
    char name[SNAPSHOT_NAME_MAX + 1];
    char *node;

    (void)state;
    memset(name, '.', SNAPSHOT_NAME_MAX);
    name[SNAPSHOT_NAME_MAX] = '\0';
    node = path_snapshot_node(name);
    assert_int_equal(strlen(node), 3 * SNAPSHOT_NAME_MAX);
    assert_int_equal(strspn(node, "@2e"), 3 * SNAPSHOT_NAME_MAX);
    free(node);
}

static void different_names_have_different_nodes(void **state)
{
    char *with_dot = path_snapshot_node("a.b");
    char *without = path_snapshot_node("a2eb");

    (void)state;
    assert_string_not_equal(with_dot, without);
    free(with_dot);
    free(without);
}

/* ---- taking apart ---- */

static void assert_split(const char *path, const char *id, const char *key)
{
    char found_id[PATH_ID_SIZE];
    const char *found_key;

    assert_true(path_split_request(REQUESTS, path, found_id, &found_key));
    assert_string_equal(found_id, id);
    assert_string_equal(found_key, key);
    assert_true(found_key >= path && found_key <= path + strlen(path));
}

static void assert_not_split(const char *path)
{
    char id[PATH_ID_SIZE];
    const char *key;

    assert_false(path_split_request(REQUESTS, path, id, &key));
}

static void an_events_path_is_taken_apart(void **state)
{
    (void)state;
    assert_split(REQUESTS, "", "");
    assert_split(REQUESTS "/r1", "r1", "");
    assert_split(REQUESTS "/r1/operation", "r1", "operation");
    assert_split(REQUESTS "/r1/disks/xvda/path", "r1", "disks/xvda/path");
}

static void empty_parts_are_no_ids_and_no_keys(void **state)
{
    (void)state;
    assert_split(REQUESTS "/", "", "");
    assert_split(REQUESTS "/r1/", "r1", "");
    assert_split(REQUESTS "//operation", "", "operation");
}

static void an_id_that_is_not_valid_is_still_told(void **state)
{
    (void)state;
    assert_split(REQUESTS "/@@ not an id", "@@ not an id", "");
    assert_split(REQUESTS "/../operation", "..", "operation");
}

static void what_is_not_below_the_requests_is_refused(void **state)
{
    (void)state;
    assert_not_split("");
    assert_not_split("/");
    assert_not_split("@releaseDomain");
    assert_not_split(ROOT);
    assert_not_split(ROOT "/request");
    assert_not_split(ROOT "/requests-of-others/r1");
    assert_not_split("/local/domain/1/requests/r1");
}

static void an_id_is_taken_up_to_its_full_length_and_no_longer(void **state)
{
    char id[PATH_ID_SIZE + 1];
    char *path;

    (void)state;
    memset(id, 'x', sizeof(id));
    id[PATH_ID_SIZE - 1] = '\0';
    path = xasprintf(REQUESTS "/%s/operation", id);
    assert_split(path, id, "operation");
    free(path);

    id[PATH_ID_SIZE - 1] = 'x';
    id[PATH_ID_SIZE] = '\0';
    path = xasprintf(REQUESTS "/%s/operation", id);
    assert_not_split(path);
    free(path);
    path = xasprintf(REQUESTS "/%s", id);
    assert_not_split(path);
    free(path);
}

static void what_was_made_comes_apart_again(void **state)
{
    char *path = path_request(ROOT, "r.1-x_Y");

    (void)state;
    assert_split(path, "r.1-x_Y", "");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_lies_below_the_root),
        cmocka_unit_test(a_key_with_a_domid_lies_in_that_domains_folder),
        cmocka_unit_test(a_path_of_a_domain_is_told),
        cmocka_unit_test(
            a_dot_in_a_snapshots_name_is_written_so_that_xenstored_takes_it),
        cmocka_unit_test(a_name_of_nothing_but_dots_fits),
        cmocka_unit_test(different_names_have_different_nodes),
        cmocka_unit_test(an_events_path_is_taken_apart),
        cmocka_unit_test(empty_parts_are_no_ids_and_no_keys),
        cmocka_unit_test(an_id_that_is_not_valid_is_still_told),
        cmocka_unit_test(what_is_not_below_the_requests_is_refused),
        cmocka_unit_test(an_id_is_taken_up_to_its_full_length_and_no_longer),
        cmocka_unit_test(what_was_made_comes_apart_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
