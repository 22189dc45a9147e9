/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What follows, in several of a VM's records, from what has become of an image
 * or of a snapshot. */
#include "agent/snapshot_tree_change.h"
#include "agent/snapshot_tree_times.h"
#include "tests/unit/tree_fixture.h"

/* ---- an image that a revert has left ---- */

static void note_left(struct fixture *fixture, const char *image,
                      uint64_t written_ns)
{
    struct error err;

    assert_done(fixture,
                tree_note_left(fixture->records, VM_A, at(fixture, image),
                               written_ns, &err),
                &err);
}

static void what_is_left_is_noted_with_the_internal_snapshots_in_it(
    void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add_internal(fixture, "in", 3, "two", "two.qcow2");
    add_internal(fixture, "too", 4, "in", "two.qcow2");
    add_internal(fixture, "elsewhere", 5, "two", "one.qcow2");
    note_left(fixture, "two.qcow2", 1234567890);
    assert_int_equal(xvda_of(fixture, "in")->written_ns, 1234567890);
    assert_int_equal(xvda_of(fixture, "too")->written_ns, 1234567890);
    assert_int_equal(xvda_of(fixture, "elsewhere")->written_ns, 0);
    note_left(fixture, "two.qcow2", 0);
    assert_int_equal(xvda_of(fixture, "in")->written_ns, 0);
}

static void an_external_state_is_not_left(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    note_left(fixture, "one.qcow2", 1234567890);
    assert_int_equal(xvda_of(fixture, "two")->written_ns, 0);
}

/* ---- images ---- */

static void a_forgotten_image_is_out_of_the_list(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "two", add_second_overlay);
    assert_done(fixture,
                tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "two.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 1);
    assert_string_equal(xvda_of(fixture, "two")->overlays[0],
                        at(fixture, "again.qcow2"));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 1);
    assert_current(fixture, VM_A, "two");
}

static void forgetting_the_only_overlay_leaves_none(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    assert_done(fixture,
                tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "two.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 0);
    assert_last(fixture, "one.qcow2", "qcow2"); /* on the state itself */
}

static void forgetting_an_image_that_nobody_lists_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    const char *overlay;
    struct error err;

    make_chain(fixture);
    overlay = at(fixture, "two.qcow2");
    assert_true(tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "base.img"), &err));
    assert_true(tree_forget_image(fixture->records, VM_B, overlay, &err));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 1);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 1);
}

static void an_image_that_takes_anothers_place_is_listed_beside_it(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    set_current(fixture, "one");
    assert_done(fixture,
                tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "one.qcow2"),
                                 at(fixture, "two.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 3);
    assert_string_equal(xvda_of(fixture, "one")->overlays[1],
                        at(fixture, "two.qcow2"));
    assert_last(fixture, "again.qcow2", "qcow2");
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 1);

    /* Doing it again changes nothing, and what goes leaves every list. */
    assert_true(tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "one.qcow2"),
                                 at(fixture, "two.qcow2"), &err));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 3);
    assert_true(tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "two.qcow2"), &err));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 2);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 0);
}

static void the_image_that_the_domain_is_on_is_listed_last(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    assert_true(tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "one.qcow2"),
                                 at(fixture, "two.qcow2"), &err));
    assert_string_equal(xvda_of(fixture, "one")->overlays[2],
                        at(fixture, "two.qcow2"));
    set_current(fixture, "one");
    assert_last(fixture, "two.qcow2", "qcow2");
}

static void every_state_in_an_image_moves_with_it(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    add_internal(fixture, "inside", 3, "two", "two.qcow2");
    add_external(fixture, "outside", 4, "inside", "two.qcow2", "qcow2",
                 "over.qcow2");
    assert_done(fixture,
                tree_move_states(fixture->records, VM_A,
                                 at(fixture, "two.qcow2"),
                                 at(fixture, "base.img"), "raw", &err),
                &err);
    assert_string_equal(xvda_of(fixture, "inside")->path,
                        at(fixture, "base.img"));
    assert_string_equal(xvda_of(fixture, "outside")->path,
                        at(fixture, "base.img"));
    assert_string_equal(xvda_of(fixture, "outside")->format, "raw");
    assert_string_equal(xvda_of(fixture, "outside")->overlays[0],
                        at(fixture, "over.qcow2"));
    assert_string_equal(xvda_of(fixture, "two")->path,
                        at(fixture, "one.qcow2"));
    assert_current(fixture, VM_A, "outside");
}

static void moving_states_that_are_nowhere_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    assert_done(fixture,
                tree_move_states(fixture->records, VM_A,
                                 at(fixture, "two.qcow2"),
                                 at(fixture, "base.img"), "raw", &err),
                &err);
    assert_string_equal(xvda_of(fixture, "one")->path, at(fixture, "base.img"));
    assert_string_equal(xvda_of(fixture, "two")->path,
                        at(fixture, "one.qcow2"));
}

/* ---- a disk that a snapshot no longer has ---- */

static void add_with_three_disks(struct fixture *fixture)
{
    struct record record = make_record(VM_A, "one", 1);

    add_disk(&record, "xvda", at(fixture, "a.img"), "raw");
    record_disk_add_overlay(
        add_disk(&record, "xvdb", at(fixture, "b.img"), "raw"),
        at(fixture, "b.qcow2"));
    add_disk(&record, "xvdc", at(fixture, "c.img"), "raw");
    add_record(fixture, record);
}

static void drop(struct fixture *fixture, const char *vdev)
{
    struct error err;

    assert_done(fixture,
                tree_drop_disk(fixture->records, VM_A, "one", vdev, &err),
                &err);
}

static void a_dropped_disk_is_gone_and_the_others_stay(void **state)
{
    struct fixture *fixture = *state;

    add_with_three_disks(fixture);
    drop(fixture, "xvdb");
    assert_int_equal(find(fixture, "one")->disk_count, 2);
    assert_null(tree_disk(find(fixture, "one"), "xvdb"));
    assert_string_equal(tree_disk(find(fixture, "one"), "xvdc")->path,
                        at(fixture, "c.img"));
    assert_string_equal(xvda_of(fixture, "one")->path, at(fixture, "a.img"));
    assert_false(
        records_owns_file(fixture->records, VM_A, at(fixture, "b.qcow2")));
}

static void every_disk_can_be_dropped_and_one_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;

    add_with_three_disks(fixture);
    drop(fixture, "xvdd");
    assert_int_equal(find(fixture, "one")->disk_count, 3);
    drop(fixture, "xvdc");
    drop(fixture, "xvda");
    drop(fixture, "xvdb");
    assert_int_equal(find(fixture, "one")->disk_count, 0);
}

/* ---- children of a snapshot that goes ---- */

static void assert_parent(const struct fixture *fixture, const char *name,
                          const char *expected)
{
    assert_text(find(fixture, name)->parent, expected);
}

static void adopt(struct fixture *fixture, const char *name)
{
    struct error err;

    assert_done(fixture,
                tree_adopt_children(fixture->records, VM_A, name, &err), &err);
}

static void children_become_their_grandparents(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "two", 2, "one");
    add_child(fixture, VM_A, "left", 3, "two");
    add_child(fixture, VM_A, "right", 4, "two");
    add_child(fixture, VM_A, "below", 5, "left");
    add_child(fixture, VM_B, "other", 6, "two");
    adopt(fixture, "two");
    assert_parent(fixture, "left", "one");
    assert_parent(fixture, "right", "one");
    assert_parent(fixture, "below", "left");
    assert_parent(fixture, "two", "one");
    assert_text(records_find(fixture->records, VM_B, "other")->parent, "two");
    assert_current(fixture, VM_A, "below");
}

static void children_of_the_first_become_the_first_of_trees(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "left", 2, "one");
    add_child(fixture, VM_A, "right", 3, "one");
    adopt(fixture, "one");
    assert_parent(fixture, "left", "none");
    assert_parent(fixture, "right", "none");
}

static void a_snapshot_without_children_has_none_to_adopt(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "two", 2, "one");
    adopt(fixture, "two");
    assert_parent(fixture, "two", "one");
    assert_lists(fixture, "a/one a/two ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(what_is_left_is_noted_with_the_internal_snapshots_in_it),
        WITH_STORE(an_external_state_is_not_left),
        WITH_STORE(a_forgotten_image_is_out_of_the_list),
        WITH_STORE(forgetting_the_only_overlay_leaves_none),
        WITH_STORE(forgetting_an_image_that_nobody_lists_changes_nothing),
        WITH_STORE(an_image_that_takes_anothers_place_is_listed_beside_it),
        WITH_STORE(the_image_that_the_domain_is_on_is_listed_last),
        WITH_STORE(every_state_in_an_image_moves_with_it),
        WITH_STORE(moving_states_that_are_nowhere_changes_nothing),
        WITH_STORE(a_dropped_disk_is_gone_and_the_others_stay),
        WITH_STORE(every_disk_can_be_dropped_and_one_that_is_not_there),
        WITH_STORE(children_become_their_grandparents),
        WITH_STORE(children_of_the_first_become_the_first_of_trees),
        WITH_STORE(a_snapshot_without_children_has_none_to_adopt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
