/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions about a VM's snapshots. */
#include "agent/snapshot_tree_change.h"
#include "tests/unit/tree_fixture.h"

/* ---- the image that the disk was on last ---- */

static void the_last_image_is_the_overlay_over_the_current_snapshot(
    void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_last(fixture, "two.qcow2", "qcow2");
    set_current(fixture, "one");
    assert_last(fixture, "one.qcow2", "qcow2");
    assert_text(tree_last_image(fixture->records, VM_A, "xvda", NULL),
                at(fixture, "one.qcow2"));
}

static void of_several_overlays_the_last_one_counts(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    change_xvda(fixture, "two", add_second_overlay);
    assert_last(fixture, "again.qcow2", "qcow2");
}

static void put_elsewhere(struct fixture *fixture, struct record_disk *disk)
{
    disk->active = xstrdup(at(fixture, "elsewhere.img"));
    disk->active_format = xstrdup("raw");
}

static void where_a_toolstack_has_put_the_domain_counts_more(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    change_xvda(fixture, "two", put_elsewhere);
    assert_last(fixture, "elsewhere.img", "raw");
}

static void a_disk_with_internal_snapshots_stays_on_its_image(void **state)
{
    struct fixture *fixture = *state;

    add_internal(fixture, "one", 1, NULL, "disk.qcow2");
    assert_last(fixture, "disk.qcow2", "qcow2");
}

static void a_disk_that_the_current_snapshot_lacks_is_its_ancestors(
    void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add_child(fixture, VM_A, "three", 3, "two");
    add_child(fixture, VM_A, "four", 4, "three");
    assert_last(fixture, "two.qcow2", "qcow2");
}

static void go_on_with_one(struct fixture *fixture, struct record_disk *disk)
{
    disk->active = xstrdup(at(fixture, "one.qcow2"));
    disk->active_format = xstrdup("qcow2");
}

static void the_domain_may_have_gone_on_with_a_state(void **state)
{
    struct fixture *fixture = *state;

    assert_false(went_on_with(fixture, NULL, "one.qcow2")); /* no snapshot */
    make_chain(fixture);
    assert_true(went_on_with(fixture, NULL, "two.qcow2"));
    assert_false(went_on_with(fixture, NULL, "one.qcow2"));
    change_xvda(fixture, "two", go_on_with_one);
    assert_true(went_on_with(fixture, NULL, "one.qcow2"));
    assert_false(went_on_with(fixture, NULL, "two.qcow2"));
    assert_false(went_on_with(fixture, "storage", "one.qcow2"));
    change_xvda(fixture, "two", move_to_storage);
    assert_true(went_on_with(fixture, "storage", "one.qcow2"));
    assert_false(went_on_with(fixture, "other", "one.qcow2"));
    assert_false(went_on_with(fixture, NULL, "one.qcow2"));
}

static const char *last_over(const struct fixture *fixture, const char *name)
{
    return tree_last_image_over(fixture->records, VM_A, name, "xvda");
}

static void the_last_image_lies_over_one_state(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_text(last_over(fixture, "two"), at(fixture, "two.qcow2"));
    assert_null(last_over(fixture, "one"));
    change_xvda(fixture, "two", go_on_with_one);
    assert_null(last_over(fixture, "two")); /* it is the state itself */
    set_current(fixture, NULL);
    assert_null(last_over(fixture, "two"));
}

static void a_disk_that_nobody_knows_has_no_last_image(void **state)
{
    struct fixture *fixture = *state;
    const char *format = "untouched";

    assert_last(fixture, NULL, "none"); /* no snapshot */
    make_chain(fixture);
    assert_null(tree_last_image(fixture->records, VM_A, "hdc", &format));
    assert_null(tree_last_image(fixture->records, VM_B, "xvda", &format));
    assert_string_equal(format, "untouched");
    set_current(fixture, NULL);
    assert_last(fixture, NULL, "none");
}

static void a_parent_that_is_gone_ends_the_search(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add_child(fixture, VM_A, "three", 3, "gone");
    assert_last(fixture, NULL, "none");
}

static void parents_that_run_in_a_circle_end_somewhere(void **state)
{
    struct fixture *fixture = *state;

    add_child(fixture, VM_A, "one", 1, "two");
    add_child(fixture, VM_A, "two", 2, "one");
    assert_last(fixture, NULL, "none");
}

/* ---- the image over another ---- */

static void assert_over(const struct fixture *fixture, const char *path,
                        const char *except, const char *expected)
{
    assert_text(tree_image_over(fixture->records, VM_A, at(fixture, path),
                                except == NULL ? NULL : at(fixture, except)),
                expected == NULL ? "none" : at(fixture, expected));
}

static void the_image_over_another_is_found_by_its_header(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_over(fixture, "base.img", NULL, "one.qcow2");
    assert_over(fixture, "one.qcow2", NULL, "two.qcow2");
    assert_over(fixture, "two.qcow2", NULL, NULL);
    assert_over(fixture, "nobody.img", NULL, NULL);
}

static void an_image_that_is_excepted_does_not_count(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    make_overlay(fixture, "again.qcow2", "one.qcow2", "qcow2");
    change_xvda(fixture, "two", add_second_overlay);
    assert_over(fixture, "one.qcow2", NULL, "two.qcow2");
    assert_over(fixture, "one.qcow2", "two.qcow2", "again.qcow2");
    assert_over(fixture, "one.qcow2", "again.qcow2", "two.qcow2");
    assert_over(fixture, "base.img", "one.qcow2", NULL);
}

static void an_image_that_is_gone_or_damaged_lies_over_nothing(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_int_equal(unlink(at(fixture, "two.qcow2")), 0);
    assert_over(fixture, "one.qcow2", NULL, NULL);
    assert_int_equal(truncate(at(fixture, "one.qcow2"), 10), 0);
    assert_over(fixture, "base.img", NULL, NULL);
}

static void add_foreign(struct fixture *fixture, struct record_disk *disk)
{
    record_disk_add_foreign(disk, at(fixture, "foreign.qcow2"));
}

static void an_image_that_a_toolstack_made_counts(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    make_overlay(fixture, "foreign.qcow2", "two.qcow2", "qcow2");
    assert_over(fixture, "two.qcow2", NULL, NULL);
    change_xvda(fixture, "two", add_foreign);
    assert_over(fixture, "two.qcow2", NULL, "foreign.qcow2");
}

static void a_raw_state_is_not_taken_for_an_overlay(void **state)
{
    struct fixture *fixture = *state;

    /* A guest can write any header into a raw disk. */
    make_base(fixture, "secret.img");
    make_overlay(fixture, "base.img", "secret.img", "raw");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    assert_over(fixture, "secret.img", NULL, NULL);
}

static void images_of_another_vm_do_not_count(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add(fixture, VM_B, "one", 1);
    assert_null(
        tree_image_over(fixture->records, VM_B, at(fixture, "base.img"), NULL));
    assert_null(
        tree_any_image_over(fixture->records, VM_B, at(fixture, "base.img")));
}

static void keep_for_restore(struct fixture *fixture, struct record_disk *disk)
{
    disk->restore_overlay = xstrdup(at(fixture, "restore.qcow2"));
}

static void overlays_kept_for_restore_count_only_where_asked_for(void **state)
{
    struct fixture *fixture = *state;

    make_base(fixture, "base.img");
    make_overlay(fixture, "restore.qcow2", "base.img", "raw");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    change_xvda(fixture, "one", keep_for_restore);
    assert_over(fixture, "base.img", NULL, NULL);
    assert_text(
        tree_any_image_over(fixture->records, VM_A, at(fixture, "base.img")),
        at(fixture, "restore.qcow2"));
    make_overlay(fixture, "one.qcow2", "base.img", "raw");
    assert_over(fixture, "base.img", NULL, "one.qcow2");
    assert_text(
        tree_any_image_over(fixture->records, VM_A, at(fixture, "base.img")),
        at(fixture, "one.qcow2"));
}

/* They have the same paths, in another domain. */
static void images_of_a_driver_domain_are_none_here(void **state)
{
    struct fixture *fixture = *state;
    const char *base, *over;
    const struct record *record;
    struct error err = {0};

    make_base(fixture, "base.img");
    make_overlay(fixture, "one.qcow2", "base.img", "raw");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    change_xvda(fixture, "one", move_to_storage);
    base = at(fixture, "base.img");
    over = at(fixture, "one.qcow2");
    assert_over(fixture, "base.img", NULL, NULL);
    assert_false(records_owns_file(fixture->records, VM_A, over));
    assert_true(
        tree_move_states(fixture->records, VM_A, base, over, "qcow2", &err));
    assert_true(tree_forget_image(fixture->records, VM_A, over, &err));
    record = records_find(fixture->records, VM_A, "one");
    assert_string_equal(record->disks[0].path, at(fixture, "base.img"));
    assert_int_equal(record->disks[0].overlay_count, 1);
    /* What must stay is taken for more rather than for less. */
    assert_string_equal(tree_snapshot_in(fixture->records, VM_A, NULL,
                                         at(fixture, "base.img"), false, NULL),
                        "one");
}

static void an_overlay_kept_for_restore_is_known_as_one(void **state)
{
    struct fixture *fixture = *state;
    const struct records *records;

    make_chain(fixture);
    change_xvda(fixture, "one", keep_for_restore);
    records = fixture->records;
    assert_true(
        tree_is_restore_overlay(records, VM_A, at(fixture, "restore.qcow2")));
    assert_false(
        tree_is_restore_overlay(records, VM_A, at(fixture, "one.qcow2")));
    assert_false(
        tree_is_restore_overlay(records, VM_B, at(fixture, "restore.qcow2")));
}

/* ---- the snapshot in an image ---- */

static void assert_in(const struct fixture *fixture, const char *image,
                      bool internal, const char *except, const char *expected)
{
    assert_text(tree_snapshot_in(fixture->records, VM_A, NULL,
                                 at(fixture, image), internal, except),
                expected);
}

static void a_snapshot_whose_state_is_the_image_is_found(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_in(fixture, "base.img", false, NULL, "one");
    assert_in(fixture, "one.qcow2", false, NULL, "two");
    assert_in(fixture, "two.qcow2", false, NULL, "none"); /* only active */
    assert_in(fixture, "base.img", false, "one", "none");
    assert_in(fixture, "base.img", false, "two", "one");
    assert_in(fixture, "base.img", true, NULL, "none");
}

static void a_snapshot_that_lies_inside_the_image_is_found(void **state)
{
    struct fixture *fixture = *state;

    add_internal(fixture, "one", 1, NULL, "disk.qcow2");
    add_internal(fixture, "two", 2, "one", "disk.qcow2");
    assert_in(fixture, "disk.qcow2", true, "two", "one");
    assert_in(fixture, "disk.qcow2", true, "one", "two");
    assert_in(fixture, "disk.qcow2", false, NULL, "none");
    assert_in(fixture, "other.qcow2", true, NULL, "none");
}

static void both_kinds_in_one_image_are_told_apart(void **state)
{
    struct fixture *fixture = *state;

    add_internal(fixture, "inside", 1, NULL, "disk.qcow2");
    add_external(fixture, "outside", 2, "inside", "disk.qcow2", "qcow2",
                 "over.qcow2");
    assert_in(fixture, "disk.qcow2", true, NULL, "inside");
    assert_in(fixture, "disk.qcow2", false, NULL, "outside");
    assert_in(fixture, "disk.qcow2", true, "inside", "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(the_last_image_is_the_overlay_over_the_current_snapshot),
        WITH_STORE(of_several_overlays_the_last_one_counts),
        WITH_STORE(where_a_toolstack_has_put_the_domain_counts_more),
        WITH_STORE(a_disk_with_internal_snapshots_stays_on_its_image),
        WITH_STORE(a_disk_that_the_current_snapshot_lacks_is_its_ancestors),
        WITH_STORE(the_domain_may_have_gone_on_with_a_state),
        WITH_STORE(the_last_image_lies_over_one_state),
        WITH_STORE(a_disk_that_nobody_knows_has_no_last_image),
        WITH_STORE(a_parent_that_is_gone_ends_the_search),
        WITH_STORE(parents_that_run_in_a_circle_end_somewhere),
        WITH_STORE(the_image_over_another_is_found_by_its_header),
        WITH_STORE(an_image_that_is_excepted_does_not_count),
        WITH_STORE(an_image_that_is_gone_or_damaged_lies_over_nothing),
        WITH_STORE(an_image_that_a_toolstack_made_counts),
        WITH_STORE(a_raw_state_is_not_taken_for_an_overlay),
        WITH_STORE(images_of_another_vm_do_not_count),
        WITH_STORE(overlays_kept_for_restore_count_only_where_asked_for),
        WITH_STORE(an_overlay_kept_for_restore_is_known_as_one),
        WITH_STORE(images_of_a_driver_domain_are_none_here),
        WITH_STORE(a_snapshot_whose_state_is_the_image_is_found),
        WITH_STORE(a_snapshot_that_lies_inside_the_image_is_found),
        WITH_STORE(both_kinds_in_one_image_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
