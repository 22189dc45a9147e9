/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store of records on a full disk: small file systems, mounted where only
 * this process sees them. */
#include <sched.h>
#include <sys/mount.h>

#include "tests/unit/records_fixture.h"

/* ---- a full disk ---- */

/* Opens the store in a small file system of its own; false where that is not
 * allowed. */
static bool mount_small(struct fixture *fixture, const char *options)
{
    static bool own_mounts;

    if (!own_mounts) {
        if (unshare(CLONE_NEWNS) < 0 ||
            mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
            return false;
        own_mounts = true;
    }
    records_close(fixture->records);
    fixture->records = NULL;
    if (mount("none", fixture->path, "tmpfs", 0, options) < 0)
        return false;
    reopen(fixture);
    return true;
}

static void unmount(struct fixture *fixture)
{
    records_close(fixture->records);
    fixture->records = NULL;
    assert_int_equal(umount(fixture->path), 0);
}

static void a_record_that_does_not_fit_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct record big = make_record(VM_A, "big", 1);

    big.config = xrealloc(big.config, 200001, 1);
    memset(big.config, 'x', 200000);
    big.config[200000] = '\0';
    if (!mount_small(fixture, "size=64k")) {
        record_dispose(&big);
        skip();
    }
    assert_add_fails(fixture, big, ERR_NO_SPACE, "/big.yaml: cannot write: ");
    assert_false(exists(fixture, VM_A, ""));
    add(fixture, VM_A, "small", 1);
    reopen(fixture);
    assert_lists(fixture, "a/small ");
    unmount(fixture);
}

/* Room for the store's two folders, a VM's and the link, not for a record. */
static void a_record_that_does_not_fit_takes_its_link_with_it(void **state)
{
    struct fixture *fixture = *state;

    if (!mount_small(fixture, "nr_inodes=4"))
        skip();
    assert_add_fails(fixture, make_record(VM_A, "one", 1), ERR_NO_SPACE,
                     "/one.yaml: cannot write: ");
    assert_false(exists(fixture, VM_A, ""));
    assert_lists(fixture, "");
    unmount(fixture);
}

/* Room for one VM's record and link, and one of the two once more. */
static void a_second_record_that_does_not_fit_leaves_current_alone(void **state)
{
    struct fixture *fixture = *state;

    if (!mount_small(fixture, "nr_inodes=6"))
        skip();
    add(fixture, VM_A, "one", 1);
    assert_add_fails(fixture, make_record(VM_A, "two", 2), ERR_NO_SPACE,
                     "/two.yaml: cannot write: ");
    assert_false(exists(fixture, VM_A, "two.yaml"));
    assert_false(exists(fixture, VM_A, ".tmp-current"));
    assert_current(fixture, VM_A, "one");
    assert_link(fixture, VM_A, "one.yaml");
    reopen(fixture);
    assert_lists(fixture, "a/one ");
    assert_current(fixture, VM_A, "one");
    unmount(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_record_that_does_not_fit_leaves_nothing),
        WITH_STORE(a_record_that_does_not_fit_takes_its_link_with_it),
        WITH_STORE(a_second_record_that_does_not_fit_leaves_current_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
