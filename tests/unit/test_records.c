/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store of records: what is kept, found and removed. */
#include "tests/unit/records_fixture.h"

/* ---- adding ---- */

static void a_new_store_is_empty_and_private(void **state)
{
    struct fixture *fixture = *state;
    char *path = xasprintf("%s/below", fixture->path);
    struct error err = {0};
    struct records *records = records_open(path, &err);
    struct stat st;

    assert_non_null(records);
    assert_null(records_find(records, VM_A, "one"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    records_close(records);
    free(path);
}

static void a_store_that_cannot_be_made_is_reported(void **state)
{
    struct error err = {0};

    (void)state;
    assert_null(records_open("/proc/no-such-folder", &err));
    assert_int_equal(err.code, ERR_STORE);
    assert_non_null(strstr(err.message, "/proc/no-such-folder: "));
}

static void an_added_record_is_there_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    const struct record *record;

    add(fixture, VM_A, "one", 1);
    assert_true(known(fixture, VM_A, "one"));
    reopen(fixture);
    record = records_find(fixture->records, VM_A, "one");
    assert_non_null(record);
    assert_string_equal(record->config, "{\n    \"c_info\": {}\n}\n");
    assert_null(records_find(fixture->records, VM_A, "two"));
    assert_null(records_find(fixture->records, VM_B, "one"));
}

static void the_content_is_taken_over(void **state)
{
    struct fixture *fixture = *state;
    struct record record = make_record(VM_A, "one", 1);
    static const struct record empty;
    struct error err = {0};

    assert_true(records_add(fixture->records, &record, &err));
    assert_memory_equal(&record, &empty, sizeof(record));
}

static void files_are_for_their_owner_only(void **state)
{
    struct fixture *fixture = *state;
    char *folder = path_of(fixture, VM_A, "");
    char *file = path_of(fixture, VM_A, "one.yaml");
    struct stat st;

    add(fixture, VM_A, "one", 1);
    assert_int_equal(lstat(folder, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(lstat(file, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    free(folder);
    free(file);
}

static void a_name_can_be_taken_once_in_each_vm(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_B, "one", 2);
    assert_add_fails(fixture, make_record(VM_A, "one", 3), ERR_SNAPSHOT_EXISTS,
                     "web has a snapshot of the name one");
    assert_lists(fixture, "a/one b/one ");
}

static void a_record_that_cannot_be_written_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct record record = make_record(VM_A, "one", 1);

    free(record.config);
    record.config = NULL;
    assert_add_fails(fixture, record, ERR_STORE, "config is missing");
    record = make_record(VM_A, "one", 1);
    record.description = xstrdup("\xff");
    assert_add_fails(fixture, record, ERR_STORE, "description: ");
    record = make_record("../..", "one", 1);
    assert_add_fails(fixture, record, ERR_STORE, "vm-uuid: ");
    assert_false(exists(fixture, VM_A, ""));
}

/* ---- current ---- */

static void the_record_last_added_is_current_also_after_a_restart(void **state)
{
    struct fixture *fixture = *state;

    assert_current(fixture, VM_A, "none");
    add(fixture, VM_A, "one", 1);
    assert_current(fixture, VM_A, "one");
    add(fixture, VM_A, "two", 2);
    reopen(fixture);
    assert_current(fixture, VM_A, "two");
    assert_link(fixture, VM_A, "two.yaml");
    assert_current(fixture, VM_B, "none");
}

static void current_can_be_set_to_any_record_or_none(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    assert_true(records_set_current(fixture->records, VM_A, "one", &err));
    reopen(fixture);
    assert_current(fixture, VM_A, "one");
    assert_true(records_set_current(fixture->records, VM_A, NULL, &err));
    assert_current(fixture, VM_A, "none");
    reopen(fixture);
    assert_current(fixture, VM_A, "none");
    assert_true(records_set_current(fixture->records, VM_B, NULL, &err));
}

static void current_cannot_be_a_record_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};

    add(fixture, VM_A, "one", 1);
    assert_false(records_set_current(fixture->records, VM_A, "two", &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
    assert_false(records_set_current(fixture->records, VM_B, "one", &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
    assert_current(fixture, VM_A, "one");
}

static void a_link_to_nowhere_is_no_current(void **state)
{
    struct fixture *fixture = *state;
    char *file = path_of(fixture, VM_A, "two.yaml");

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    assert_int_equal(unlink(file), 0);
    reopen(fixture);
    assert_current(fixture, VM_A, "none");
    assert_true(known(fixture, VM_A, "one"));
    free(file);
}

static void a_link_out_of_the_folder_is_no_current(void **state)
{
    struct fixture *fixture = *state;
    char *link = path_of(fixture, VM_A, "current");

    add(fixture, VM_A, "one", 1);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("../" VM_A "/one.yaml", link), 0);
    reopen(fixture);
    assert_current(fixture, VM_A, "none");
    free(link);
}

/* ---- replacing ---- */

static void a_replaced_record_is_the_new_one_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    struct record changed;

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    record_copy(records_find(fixture->records, VM_A, "one"), &changed);
    changed.description = xstrdup("changed");
    assert_true(records_replace(fixture->records, &changed, &err));
    assert_string_equal(
        records_find(fixture->records, VM_A, "one")->description, "changed");
    reopen(fixture);
    assert_string_equal(
        records_find(fixture->records, VM_A, "one")->description, "changed");
    assert_current(fixture, VM_A, "two");
}

static void only_a_record_that_is_there_can_be_replaced(void **state)
{
    struct fixture *fixture = *state;
    struct record record = make_record(VM_A, "one", 1);
    struct error err = {0};

    assert_false(records_replace(fixture->records, &record, &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
    assert_false(exists(fixture, VM_A, ""));
    record_dispose(&record);
}

static void a_replacement_that_cannot_be_written_leaves_the_old(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    struct record changed;

    add(fixture, VM_A, "one", 1);
    record_copy(records_find(fixture->records, VM_A, "one"), &changed);
    changed.description = xstrdup("\xff");
    assert_false(records_replace(fixture->records, &changed, &err));
    record_dispose(&changed);
    assert_null(records_find(fixture->records, VM_A, "one")->description);
    reopen(fixture);
    assert_true(known(fixture, VM_A, "one"));
}

/* ---- removing ---- */

static void a_removed_record_stays_away_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    remove_record(fixture, VM_A, "one");
    assert_false(known(fixture, VM_A, "one"));
    reopen(fixture);
    assert_lists(fixture, "a/two ");
    assert_current(fixture, VM_A, "two");
    assert_false(records_remove(fixture->records, VM_A, "one", &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
}

static void removing_the_current_record_makes_its_parent_current(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "two", 2, "one");
    remove_record(fixture, VM_A, "two");
    assert_current(fixture, VM_A, "one");
    assert_link(fixture, VM_A, "one.yaml");
}

static void removing_the_current_record_without_parent_leaves_none(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "two", 2, "gone");
    remove_record(fixture, VM_A, "two");
    assert_current(fixture, VM_A, "none");
    assert_link(fixture, VM_A, "none");
    assert_true(known(fixture, VM_A, "one"));
}

static void the_folder_goes_with_its_last_record(void **state)
{
    struct fixture *fixture = *state;
    const struct record *record;
    struct error err = {0};

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_B, "one", 2);
    /* By its own strings, as a visitor of the records would. */
    record = records_find(fixture->records, VM_A, "one");
    assert_true(
        records_remove(fixture->records, record->vm_uuid, record->name, &err));
    assert_false(exists(fixture, VM_A, ""));
    assert_true(exists(fixture, VM_B, "one.yaml"));
    add(fixture, VM_A, "one", 3);
    assert_current(fixture, VM_A, "one");
}

/* ---- looking up ---- */

static void records_come_by_uuid_then_by_creation(void **state)
{
    struct fixture *fixture = *state;
    char list[200] = "";

    add(fixture, VM_B, "first", 5);
    add(fixture, VM_A, "last", 9);
    add(fixture, VM_A, "zero", 1);
    add(fixture, VM_A, "middle", 4);
    assert_lists(fixture, "a/zero a/middle a/last b/first ");
    reopen(fixture);
    assert_lists(fixture, "a/zero a/middle a/last b/first ");
    records_each_of_vm(fixture->records, VM_B, list_name, list);
    records_each_of_vm(fixture->records, "none", list_name, list);
    assert_string_equal(list, "b/first ");
}

static void a_vm_is_known_by_uuid_and_by_its_newest_domain_name(void **state)
{
    struct fixture *fixture = *state;
    struct record renamed = make_record(VM_A, "two", 2);
    const char *uuid = NULL;

    free(renamed.domain_name);
    renamed.domain_name = xstrdup("mail");
    add_record(fixture, renamed);
    add(fixture, VM_A, "one", 1); /* when it was "web" */
    assert_false(records_knows_vm(fixture->records, "web", &uuid));
    assert_null(uuid);
    assert_true(records_knows_vm(fixture->records, "mail", &uuid));
    assert_string_equal(uuid, VM_A);
    uuid = NULL;
    assert_true(records_knows_vm(fixture->records, VM_A, &uuid));
    assert_string_equal(uuid, VM_A);
    assert_true(records_knows_vm(
        fixture->records, "AAAAAAAA-0000-0000-0000-000000000001", &uuid));
    assert_string_equal(uuid, VM_A);
    assert_false(records_knows_vm(fixture->records, VM_B, &uuid));
}

static void a_vms_records_are_counted(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(records_count_of_vm(fixture->records, VM_A), 0);
    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    add(fixture, VM_B, "one", 3);
    assert_int_equal(records_count_of_vm(fixture->records, VM_A), 2);
    reopen(fixture);
    assert_int_equal(records_count_of_vm(fixture->records, VM_A), 2);
    remove_record(fixture, VM_A, "one");
    assert_int_equal(records_count_of_vm(fixture->records, VM_A), 1);
}

static struct record record_with_files(void)
{
    struct record record = make_record(VM_A, "one", 1);
    struct record_disk *disk = xcalloc(1, sizeof(*disk));

    disk->vdev = xstrdup("xvda");
    disk->external = true;
    disk->path = xstrdup("/images/web.qcow2");
    disk->format = xstrdup("qcow2");
    disk->restore_overlay = xstrdup("/images/web.restore.qcow2");
    record_disk_add_overlay(disk, "/images/web.one.qcow2");
    record_disk_add_overlay(disk, "/images/web.one.1.qcow2");
    record.disks = disk;
    record.disk_count = 1;
    record.memory = true;
    record.memory_path = xstrdup("/memory/web.one.save");
    return record;
}

static void the_files_that_we_made_are_known_to_be_ours(void **state)
{
    static const char *const ours[] = {
        "/images/web.one.qcow2",
        "/images/web.one.1.qcow2",
        "/images/web.restore.qcow2",
        "/memory/web.one.save",
    };
    struct fixture *fixture = *state;
    size_t i;

    add_record(fixture, record_with_files());
    add(fixture, VM_A, "two", 2);
    add(fixture, VM_B, "one", 3);
    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        assert_true(records_owns_file(fixture->records, VM_A, ours[i]));
        assert_false(records_owns_file(fixture->records, VM_B, ours[i]));
    }
    remove_record(fixture, VM_A, "one");
    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        assert_false(records_owns_file(fixture->records, VM_A, ours[i]));
}

static void a_file_that_we_did_not_make_is_not_ours(void **state)
{
    struct fixture *fixture = *state;

    add_record(fixture, record_with_files());
    assert_false(
        records_owns_file(fixture->records, VM_A, "/images/web.qcow2"));
    assert_false(records_owns_file(fixture->records, VM_A, "/images/web.one"));
    assert_false(records_owns_file(fixture->records, VM_A, ""));
    assert_false(
        records_owns_file(fixture->records, "none", "/images/web.one.qcow2"));
}

static void of_two_vms_of_one_name_the_newest_counts(void **state)
{
    struct fixture *fixture = *state;
    const char *uuid = NULL;

    add(fixture, VM_A, "one", 7);
    add(fixture, VM_B, "one", 3);
    assert_true(records_knows_vm(fixture->records, "web", &uuid));
    assert_string_equal(uuid, VM_A);
    add(fixture, VM_B, "two", 8);
    assert_true(records_knows_vm(fixture->records, "web", &uuid));
    assert_string_equal(uuid, VM_B);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_new_store_is_empty_and_private),
        WITH_STORE(a_store_that_cannot_be_made_is_reported),
        WITH_STORE(an_added_record_is_there_after_a_restart),
        WITH_STORE(the_content_is_taken_over),
        WITH_STORE(files_are_for_their_owner_only),
        WITH_STORE(a_name_can_be_taken_once_in_each_vm),
        WITH_STORE(a_record_that_cannot_be_written_leaves_nothing),
        WITH_STORE(the_record_last_added_is_current_also_after_a_restart),
        WITH_STORE(current_can_be_set_to_any_record_or_none),
        WITH_STORE(current_cannot_be_a_record_that_is_not_there),
        WITH_STORE(a_link_to_nowhere_is_no_current),
        WITH_STORE(a_link_out_of_the_folder_is_no_current),
        WITH_STORE(a_replaced_record_is_the_new_one_after_a_restart),
        WITH_STORE(only_a_record_that_is_there_can_be_replaced),
        WITH_STORE(a_replacement_that_cannot_be_written_leaves_the_old),
        WITH_STORE(a_removed_record_stays_away_after_a_restart),
        WITH_STORE(removing_the_current_record_makes_its_parent_current),
        WITH_STORE(removing_the_current_record_without_parent_leaves_none),
        WITH_STORE(the_folder_goes_with_its_last_record),
        WITH_STORE(records_come_by_uuid_then_by_creation),
        WITH_STORE(a_vm_is_known_by_uuid_and_by_its_newest_domain_name),
        WITH_STORE(of_two_vms_of_one_name_the_newest_counts),
        WITH_STORE(a_vms_records_are_counted),
        WITH_STORE(the_files_that_we_made_are_known_to_be_ours),
        WITH_STORE(a_file_that_we_did_not_make_is_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
