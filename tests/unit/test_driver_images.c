/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which images of a driver domain's disk nothing needs any more. */
#include "agent/driver_images.h"
#include "agent/kept_images.h"
#include "agent/snapshot_tree.h"
#include "agent/snapshot_tree_change.h"
#include "tests/unit/records_fixture.h"

/* A snapshot of a disk in "storage" whose state is `state`, with overlays over
 * it; NULL ends them. */
static void add_snapshot(struct fixture *fixture, const char *name, int second,
                         const char *state, const char *const *overlays)
{
    struct record record = make_record(VM_A, name, second);

    record.disks = xcalloc(1, sizeof(*record.disks));
    record.disk_count = 1;
    record.disks[0] = (struct record_disk){
        .vdev = xstrdup("xvda"),
        .driver = xstrdup("storage"),
        .external = true,
        .path = xstrdup(state),
        .format = xstrdup("qcow2"),
        .restore_overlay = xasprintf("%s.restore", state),
        .virtual_bytes = 1048576,
    };
    for (; *overlays != NULL; overlays++) {
        record_disk_add_overlay(&record.disks[0], *overlays);
    }
    add_record(fixture, record);
}

static bool is_needless(const struct fixture *fixture, const char *path)
{
    return driver_image_is_needless(fixture->records, VM_A, "xvda", "storage",
                                    path);
}

/* /base <- /one <- /two, and /branch over /base. */
static void make_tree(struct fixture *fixture)
{
    static const char *const over_base[] = {"/one", "/branch", NULL};
    static const char *const over_one[] = {"/two", NULL};

    add_snapshot(fixture, "s1", 1, "/base", over_base);
    add_snapshot(fixture, "s2", 2, "/one", over_one);
}

static void an_overlay_that_holds_no_state_is_needless(void **state)
{
    struct fixture *fixture = *state;

    make_tree(fixture);
    assert_true(is_needless(fixture, "/two"));
    assert_true(is_needless(fixture, "/branch"));
}

static void a_state_and_what_is_not_ours_are_needed(void **state)
{
    struct fixture *fixture = *state;

    make_tree(fixture);
    assert_false(is_needless(fixture, "/base"));
    assert_false(is_needless(fixture, "/one"));
    assert_false(is_needless(fixture, "/one.restore"));
    assert_false(is_needless(fixture, "/other"));
}

static void the_same_path_elsewhere_is_another_image(void **state)
{
    struct fixture *fixture = *state;

    make_tree(fixture);
    assert_false(driver_image_is_needless(fixture->records, VM_A, "xvda",
                                          "other", "/two"));
    assert_false(driver_image_is_needless(fixture->records, VM_A, "xvdb",
                                          "storage", "/two"));
}

/* The record is gone that said that /deep lies over /two. */
static void where_a_state_may_lie_over_anything_all_are_needed(void **state)
{
    static const char *const over_deep[] = {"/deeper", NULL};
    struct fixture *fixture = *state;

    make_tree(fixture);
    add_snapshot(fixture, "s4", 4, "/deep", over_deep);
    assert_false(is_needless(fixture, "/two"));
    assert_false(is_needless(fixture, "/deeper"));
}

static void with_a_record_that_cannot_be_read_all_are_needed(void **state)
{
    struct fixture *fixture = *state;

    make_tree(fixture);
    put_file(fixture, VM_A, "s3.yaml", "damaged\n");
    reopen(fixture);
    assert_false(is_needless(fixture, "/two"));
}

static void what_is_removed_there_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};

    make_tree(fixture);
    assert_true(tree_forget_driver_image(fixture->records, VM_A, "other",
                                         "/branch", &err));
    assert_true(is_needless(fixture, "/branch"));
    assert_true(tree_forget_driver_image(fixture->records, VM_A, "storage",
                                         "/branch", &err));
    assert_false(is_needless(fixture, "/branch"));
    assert_true(is_needless(fixture, "/two"));
}

static enum driver_state state_of(const struct fixture *fixture,
                                  const char *name)
{
    const struct record *record = records_find(fixture->records, VM_A, name);

    return driver_state_of(fixture->records, VM_A, &record->disks[0]);
}

static void a_state_that_nothing_lies_over_goes(void **state)
{
    static const char *const none[] = {NULL};
    struct fixture *fixture = *state;

    make_tree(fixture);
    add_snapshot(fixture, "s3", 3, "/two", none);
    assert_int_equal(state_of(fixture, "s1"), DRIVER_STATE_NEEDED);
    assert_int_equal(state_of(fixture, "s2"), DRIVER_STATE_NEEDED);
    assert_int_equal(state_of(fixture, "s3"), DRIVER_STATE_GOES);
    /* Two of the same state need it both. */
    add_snapshot(fixture, "s4", 4, "/two", none);
    assert_int_equal(state_of(fixture, "s3"), DRIVER_STATE_NEEDED);
}

static void a_state_that_is_not_ours_stays(void **state)
{
    static const char *const none[] = {NULL};
    struct fixture *fixture = *state;

    add_snapshot(fixture, "s1", 1, "/base", none);
    assert_int_equal(state_of(fixture, "s1"), DRIVER_STATE_STAYS);
}

/* As behind a delete that ended before its record was removed. */
static void a_state_that_is_forgotten_keeps_no_record(void **state)
{
    static const char *const none[] = {NULL};
    struct fixture *fixture = *state;
    struct error err = {0};

    make_tree(fixture);
    add_snapshot(fixture, "s3", 3, "/two", none);
    assert_true(tree_forget_driver_image(fixture->records, VM_A, "storage",
                                         "/two", &err));
    assert_int_equal(state_of(fixture, "s3"), DRIVER_STATE_STAYS);
    assert_int_equal(state_of(fixture, "s2"), DRIVER_STATE_NEEDED);
}

static void a_state_that_something_may_lie_over_is_needed(void **state)
{
    static const char *const none[] = {NULL};
    struct fixture *fixture = *state;

    make_tree(fixture);
    add_snapshot(fixture, "s3", 3, "/two", none);
    add_snapshot(fixture, "s4", 4, "/deep", none);
    assert_int_equal(state_of(fixture, "s3"), DRIVER_STATE_NEEDED);
}

static void assert_foreign(const struct record_disk *disk, size_t index,
                           const char *path)
{
    assert_true(index < disk->foreign_count);
    assert_string_equal(disk->foreign[index], path);
}

static void what_kept_images_lie_over_is_needed(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    const struct record_disk *disk;
    const char *format;

    make_tree(fixture);
    assert_true(tree_forget_driver_image(fixture->records, VM_A, "storage",
                                         "/branch", &err));
    for (int times = 0; times < 2; times++) {
        assert_true(kept_images_note(fixture->records, VM_A, "s2", &err));
    }
    assert_true(records_remove(fixture->records, VM_A, "s2", &err));
    assert_false(is_needless(fixture, "/one"));
    assert_int_equal(state_of(fixture, "s1"), DRIVER_STATE_NEEDED);
    disk = &records_find(fixture->records, VM_A, "s1")->disks[0];
    assert_int_equal(disk->overlay_count, 0);
    assert_foreign(disk, 0, "/one");
    assert_foreign(disk, 1, "/two");
    assert_foreign(disk, 2, "/one.restore");
    assert_int_equal(disk->foreign_count, 3);
    assert_string_equal(tree_last_image_of(disk, &format), "/two");
    assert_string_equal(format, "qcow2");
}

static void what_lies_beside_kept_images_is_needless_still(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    const struct record_disk *disk;
    const char *format;

    make_tree(fixture);
    assert_true(kept_images_note(fixture->records, VM_A, "s2", &err));
    assert_true(records_remove(fixture->records, VM_A, "s2", &err));
    assert_false(is_needless(fixture, "/one"));
    assert_true(is_needless(fixture, "/branch"));
    /* The domain had gone on there. */
    disk = &records_find(fixture->records, VM_A, "s1")->disks[0];
    assert_string_equal(tree_last_image_of(disk, &format), "/branch");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(an_overlay_that_holds_no_state_is_needless),
        WITH_STORE(a_state_and_what_is_not_ours_are_needed),
        WITH_STORE(the_same_path_elsewhere_is_another_image),
        WITH_STORE(where_a_state_may_lie_over_anything_all_are_needed),
        WITH_STORE(with_a_record_that_cannot_be_read_all_are_needed),
        WITH_STORE(what_is_removed_there_is_forgotten),
        WITH_STORE(a_state_that_nothing_lies_over_goes),
        WITH_STORE(a_state_that_is_not_ours_stays),
        WITH_STORE(a_state_that_is_forgotten_keeps_no_record),
        WITH_STORE(a_state_that_something_may_lie_over_is_needed),
        WITH_STORE(what_kept_images_lie_over_is_needed),
        WITH_STORE(what_lies_beside_kept_images_is_needless_still),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
