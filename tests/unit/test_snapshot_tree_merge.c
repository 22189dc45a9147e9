/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What records say of a merge, and of what remains of it. */
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_merge.h"
#include "tests/unit/tree_fixture.h"

/* ---- where the domain is, when the record that tells it goes ---- */

/* The domain was on one.qcow2's younger sister, and is on the older branch. */
static void make_branches(struct fixture *fixture)
{
    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    set_current(fixture, "two");
}

static void hand_on(struct fixture *fixture, const char *name,
                    const char *merged)
{
    struct error err;

    assert_done(fixture,
                tree_hand_on_place(fixture->records, VM_A, name, "xvda",
                                   merged == NULL ? NULL : at(fixture, merged),
                                   tree_is_gone_here, NULL, &err),
                &err);
}

static void the_record_that_becomes_current_tells_where_the_domain_is(
    void **state)
{
    struct fixture *fixture = *state;

    make_branches(fixture);
    hand_on(fixture, "two", "two.qcow2");
    assert_text(xvda_of(fixture, "one")->active, at(fixture, "one.qcow2"));
    assert_text(xvda_of(fixture, "one")->active_format, "qcow2");
    hand_on(fixture, "two", NULL);
    assert_text(xvda_of(fixture, "one")->active, at(fixture, "two.qcow2"));
}

static void a_place_that_is_gone_was_merged_into_the_state(void **state)
{
    struct fixture *fixture = *state;

    make_branches(fixture);
    assert_int_equal(unlink(at(fixture, "two.qcow2")), 0);
    hand_on(fixture, "two", NULL);
    assert_text(xvda_of(fixture, "one")->active, at(fixture, "one.qcow2"));
}

static void one_that_tells_it_already_stays_as_it_is(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    hand_on(fixture, "two", "two.qcow2");
    assert_null(xvda_of(fixture, "one")->active);
}

static void of_a_record_that_does_not_tell_it_nothing_is_handed_on(void **state)
{
    struct fixture *fixture = *state;

    make_branches(fixture);
    set_current(fixture, "one");
    hand_on(fixture, "two", "two.qcow2");
    hand_on(fixture, "one", NULL); /* there is no ancestor */
    assert_null(xvda_of(fixture, "one")->active);
    set_current(fixture, "two");
    change_xvda(fixture, "two", move_to_storage); /* nor is it there */
    hand_on(fixture, "two", NULL);
    assert_null(xvda_of(fixture, "one")->active);
}

static void what_is_forgotten_is_not_where_the_domain_is(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_branches(fixture);
    hand_on(fixture, "two", "two.qcow2");
    assert_done(fixture,
                tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "one.qcow2"), &err),
                &err);
    assert_null(xvda_of(fixture, "one")->active);
    assert_null(xvda_of(fixture, "one")->active_format);
}

static void what_is_listed_in_its_place_does_not_move_the_domain(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_branches(fixture);
    hand_on(fixture, "two", "two.qcow2");
    set_current(fixture, "one");
    assert_done(fixture,
                tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "again.qcow2"),
                                 at(fixture, "new.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 3);
    assert_last(fixture, "one.qcow2", "qcow2");
}

/* ---- what remains of a disk ---- */

static void the_remains_of_a_disk_are_found_again_as_our_file(void **state)
{
    struct fixture *fixture = *state;
    const struct record_disk *disk;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    assert_done(fixture,
                tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                   at(fixture, "one.qcow2"), &err),
                &err);
    disk = xvda_of(fixture, "one");
    assert_string_equal(disk->path, at(fixture, "one.qcow2"));
    assert_string_equal(disk->format, "qcow2");
    assert_int_equal(disk->overlay_count, 1);
    assert_string_equal(disk->overlays[0], at(fixture, "one.qcow2"));
    assert_true(
        records_owns_file(fixture->records, VM_A, at(fixture, "one.qcow2")));
    assert_string_equal(xvda_of(fixture, "two")->overlays[0],
                        at(fixture, "two.qcow2"));
}

static void remains_can_be_taken_back(void **state)
{
    struct fixture *fixture = *state;
    const struct record_disk *disk;
    struct error err;

    make_chain(fixture);
    assert_done(fixture,
                tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                   at(fixture, "one.qcow2"), &err),
                &err);
    assert_done(fixture,
                tree_take_remains_back(fixture->records, VM_A, "one", "xvda",
                                       at(fixture, "base.img"), "raw", &err),
                &err);
    disk = xvda_of(fixture, "one");
    assert_string_equal(disk->path, at(fixture, "base.img"));
    assert_string_equal(disk->format, "raw");
    assert_string_equal(disk->merging, at(fixture, "one.qcow2"));
    assert_int_equal(disk->overlay_count, 1);
    assert_string_equal(disk->overlays[0], at(fixture, "one.qcow2"));
}

static void leaving_the_same_remains_again_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    for (int i = 0; i < 2; i++) {
        assert_done(fixture,
                    tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                       at(fixture, "one.qcow2"), &err),
                    &err);
    }
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 1);
}

static const char *last_image(const struct fixture *fixture)
{
    return tree_last_image(fixture->records, VM_A, "xvda", NULL);
}

static void the_guest_goes_on_with_the_state_that_remains_were_merged_into(
    void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    assert_true(went_on_with(fixture, NULL, "one.qcow2"));
    assert_done(fixture,
                tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                   at(fixture, "one.qcow2"), &err),
                &err);
    assert_false(went_on_with(fixture, NULL, "one.qcow2"));
    assert_true(went_on_with(fixture, NULL, "base.img"));
    assert_done(fixture,
                tree_take_remains_back(fixture->records, VM_A, "one", "xvda",
                                       at(fixture, "base.img"), "raw", &err),
                &err);
    assert_true(went_on_with(fixture, NULL, "one.qcow2"));
}

static void the_guest_stays_on_an_image_over_the_remains(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    change_xvda(fixture, "one", add_second_overlay);
    assert_done(fixture,
                tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                   at(fixture, "one.qcow2"), &err),
                &err);
    assert_string_equal(last_image(fixture), at(fixture, "again.qcow2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(the_record_that_becomes_current_tells_where_the_domain_is),
        WITH_STORE(a_place_that_is_gone_was_merged_into_the_state),
        WITH_STORE(one_that_tells_it_already_stays_as_it_is),
        WITH_STORE(of_a_record_that_does_not_tell_it_nothing_is_handed_on),
        WITH_STORE(what_is_forgotten_is_not_where_the_domain_is),
        WITH_STORE(what_is_listed_in_its_place_does_not_move_the_domain),
        WITH_STORE(the_remains_of_a_disk_are_found_again_as_our_file),
        WITH_STORE(remains_can_be_taken_back),
        WITH_STORE(
            the_guest_goes_on_with_the_state_that_remains_were_merged_into),
        WITH_STORE(the_guest_stays_on_an_image_over_the_remains),
        WITH_STORE(leaving_the_same_remains_again_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
