/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What notes of operations are called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/journal/note_name.h"

#define ALICE "11111111-2222-3333-4444-555555555555"
#define BOB   "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

static void a_note_is_named_by_its_id_and_its_domain(void **state)
{
    struct snapshot snapshot = {.id = "nightly", .guest.uuid = ALICE};
    char *name = note_name(&snapshot);

    (void)state;
    assert_string_equal(name, "op-nightly." ALICE ".json");
    free(name);
}

static void one_of_an_earlier_version_keeps_its_name(void **state)
{
    struct snapshot snapshot = {
        .id = "nightly", .guest.uuid = ALICE, .noted_by_id = true};
    char *name = note_name(&snapshot);

    (void)state;
    assert_string_equal(name, "op-nightly.json");
    assert_true(note_name_is_valid(name));
    assert_null(note_name_uuid(name));
    free(name);
}

static void only_what_is_called_so_is_taken_up(void **state)
{
    (void)state;
    assert_true(note_name_is_valid("op-nightly." ALICE ".json"));
    assert_true(note_name_is_valid("op-n.json"));
    assert_false(note_name_is_valid("op-nightly." ALICE ".json.aside"));
    assert_false(note_name_is_valid("op-.json"));
    assert_false(note_name_is_valid("op-"));
    assert_false(note_name_is_valid(".json"));
    assert_false(note_name_is_valid("hold-nightly.json"));
}

static void a_domain_finds_its_notes_those_set_aside_too(void **state)
{
    (void)state;
    assert_true(note_name_is_of("op-nightly." ALICE ".json", ALICE));
    assert_true(note_name_is_of("op-nightly." ALICE ".json.aside", ALICE));
    assert_false(note_name_is_of("op-nightly." BOB ".json", ALICE));
    assert_false(note_name_is_of("op-nightly.json", ALICE));
    assert_false(note_name_is_of("my-nightly." ALICE ".json", ALICE));
}

static void the_name_tells_whose_note_it_is(void **state)
{
    char *uuid = note_name_uuid("op-nightly." ALICE ".json");

    (void)state;
    assert_string_equal(uuid, ALICE);
    assert_null(note_name_uuid("op-n.json"));
    assert_null(note_name_uuid(
        "op-an-id-that-is-as-long-as-the-uuid-of-a-domain-and-none.json"));
    free(uuid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_is_named_by_its_id_and_its_domain),
        cmocka_unit_test(one_of_an_earlier_version_keeps_its_name),
        cmocka_unit_test(only_what_is_called_so_is_taken_up),
        cmocka_unit_test(a_domain_finds_its_notes_those_set_aside_too),
        cmocka_unit_test(the_name_tells_whose_note_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
