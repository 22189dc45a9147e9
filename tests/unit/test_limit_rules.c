/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounds of what a VM may have, and which snapshot is named as the way out. */
#include "records_fixture.h"

#include "agent/limit_rules.h"

/* The next snapshot of VM A, with an overlay over xvda. */
static void make_of(struct fixture *fixture, const char *name,
                    const char *schedule)
{
    size_t count = records_count_of_vm(fixture->records, VM_A);
    struct record record = make_record(VM_A, name, (int)count);
    const char *current = records_current(fixture->records, VM_A);
    struct error err;

    record.parent = current ? xstrdup(current) : NULL;
    record.schedule = schedule ? xstrdup(schedule) : NULL;
    record.disks = xcalloc(1, sizeof(*record.disks));
    record.disk_count = 1;
    record.disks[0] = (struct record_disk){
        .vdev = xstrdup("xvda"),
        .external = true,
        .path = xstrdup("/images/a.qcow2"),
        .format = xstrdup("qcow2"),
    };
    assert_true(records_add(fixture->records, &record, &err));
}

static void make(struct fixture *fixture, const char *name)
{
    make_of(fixture, name, NULL);
}

static void assert_suggested(const struct fixture *fixture, const char *vdev,
                             const char *name)
{
    const char *suggestion = limit_suggestion(fixture->records, VM_A, vdev);

    if (name)
        assert_string_equal(suggestion, name);
    else
        assert_null(suggestion);
}

static void the_oldest_snapshot_of_the_line_is_suggested(void **state)
{
    struct fixture *fixture = *state;

    assert_suggested(fixture, NULL, NULL);
    make(fixture, "one");
    make(fixture, "two");
    assert_suggested(fixture, NULL, "one");
    assert_suggested(fixture, "xvda", "one");
    assert_suggested(fixture, "xvdz", NULL);
}

static void what_a_schedule_made_is_suggested_first(void **state)
{
    struct fixture *fixture = *state;

    make(fixture, "one");
    make_of(fixture, "two", "daily");
    make_of(fixture, "three", "daily");
    assert_suggested(fixture, NULL, "two");
    assert_suggested(fixture, "xvda", "two");
}

static void none_where_branches_part_is_suggested(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make(fixture, "one");
    make(fixture, "two");
    assert_true(records_set_current(fixture->records, VM_A, "one", &err));
    assert_suggested(fixture, NULL, "one");
    make(fixture, "three");
    assert_suggested(fixture, NULL, "three");
    assert_suggested(fixture, "xvda", "three");
}

static void a_vm_may_have_as_many_snapshots_as_the_bound_says(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};

    make(fixture, "one");
    assert_true(limit_snapshots(fixture->records, VM_A, 0, &err));
    assert_true(limit_snapshots(fixture->records, VM_A, 2, &err));
    assert_false(limit_snapshots(fixture->records, VM_A, 1, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message,
                        "the domain has as many snapshots as "
                        "limits.max-snapshots allows, 1; delete a snapshot "
                        "first, \"one\" for one");
    assert_true(limit_snapshots(fixture->records, VM_B, 1, &err));
}

static void a_chain_may_be_as_long_as_the_bound_says(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};

    assert_true(limit_depth(fixture->records, VM_A, "xvda", 4, 5, &err));
    assert_false(limit_depth(fixture->records, VM_A, "xvda", 5, 5, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message,
                        "disk xvda is on a chain of 5 images, and "
                        "limits.max-depth is 5; delete a snapshot first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            the_oldest_snapshot_of_the_line_is_suggested, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_schedule_made_is_suggested_first,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(none_where_branches_part_is_suggested,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_vm_may_have_as_many_snapshots_as_the_bound_says, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_chain_may_be_as_long_as_the_bound_says, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
