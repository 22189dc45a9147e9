/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store of records: what a start finds after a crash or damage. */
#include <time.h>
#include <valgrind/valgrind.h>

#include "agent/journal/records_load.h"
#include "tests/unit/records_fixture.h"

/* ---- what a start finds ---- */

static void what_a_crash_left_is_removed_at_the_start(void **state)
{
    struct fixture *fixture = *state;
    char *link = path_of(fixture, VM_A, ".tmp-current");

    add(fixture, VM_A, "one", 1);
    put_file(fixture, VM_A, ".tmp-two.yaml", "version: 1\nvm-uu");
    assert_int_equal(symlink("two.yaml", link), 0);
    reopen(fixture);
    assert_false(exists(fixture, VM_A, ".tmp-two.yaml"));
    assert_false(exists(fixture, VM_A, ".tmp-current"));
    assert_lists(fixture, "a/one ");
    free(link);
}

/* Killed between the two renames. */
static void a_record_that_was_to_be_current_is_at_the_start(void **state)
{
    struct fixture *fixture = *state;
    char *link = path_of(fixture, VM_A, ".tmp-current");
    struct error err = {0};

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    assert_true(records_set_current(fixture->records, VM_A, "one", &err));
    assert_int_equal(symlink("two.yaml", link), 0);
    reopen(fixture);
    assert_false(exists(fixture, VM_A, ".tmp-current"));
    assert_current(fixture, VM_A, "two");
    assert_link(fixture, VM_A, "two.yaml");
    free(link);
}

/* A start at which the link that stands ready cannot be put in place: a folder
 * is in the way. */
static void start_in_vain(struct fixture *fixture, const char *link,
                          const char *in_the_way)
{
    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    assert_int_equal(symlink("two.yaml", link), 0);
    assert_int_equal(unlink(in_the_way), 0);
    assert_int_equal(mkdir(in_the_way, 0700), 0);
    reopen(fixture);
    assert_current(fixture, VM_A, "two");
    assert_true(exists(fixture, VM_A, ".tmp-current"));
    assert_int_equal(rmdir(in_the_way), 0);
}

static void what_cannot_be_made_current_at_the_start_is_at_the_next(
    void **state)
{
    struct fixture *fixture = *state;
    char *link = path_of(fixture, VM_A, ".tmp-current");
    char *current = path_of(fixture, VM_A, "current");
    struct error err = {0};

    start_in_vain(fixture, link, current);
    reopen(fixture);
    assert_false(exists(fixture, VM_A, ".tmp-current"));
    assert_current(fixture, VM_A, "two");
    assert_link(fixture, VM_A, "two.yaml");

    remove_record(fixture, VM_A, "one");
    remove_record(fixture, VM_A, "two");
    start_in_vain(fixture, link, current);
    assert_true(records_set_current(fixture->records, VM_A, NULL, &err));
    reopen(fixture);
    assert_current(fixture, VM_A, "none");
    free(current);
    free(link);
}

static void a_folder_without_a_record_is_removed_at_the_start(void **state)
{
    struct fixture *fixture = *state;
    char *folder = path_of(fixture, VM_B, "");

    assert_int_equal(mkdir(folder, 0700), 0);
    put_file(fixture, VM_B, ".tmp-one.yaml", "");
    reopen(fixture);
    assert_false(exists(fixture, VM_B, ""));
    free(folder);
}

static void a_damaged_record_is_left_alone_and_the_others_are_fine(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_B, "one", 1);
    add(fixture, VM_B, "two", 2);
    put_file(fixture, VM_A, "one.yaml", "version: 1\nvm-uuid: \"aaaa");
    put_file(fixture, VM_B, "two.yaml", "version: 9\nnew-key: 1\n...\n");
    reopen(fixture);
    assert_lists(fixture, "b/one ");
    assert_true(exists(fixture, VM_A, "one.yaml"));
    assert_true(exists(fixture, VM_B, "two.yaml"));
    assert_current(fixture, VM_B, "none");
}

/* Replaces the first occurrence of a text in a file, by one as long. */
static void change_file(const struct fixture *fixture, const char *vm,
                        const char *name, const char *from, const char *to)
{
    char *path = path_of(fixture, vm, name);
    char text[4096] = "";
    FILE *file = fopen(path, "r+e");
    char *place;

    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    place = strstr(text, from);
    assert_non_null(place);
    assert_int_equal(fseek(file, place - text, SEEK_SET), 0);
    fputs(to, file);
    fclose(file);
    free(path);
}

/* It is a record like any other, only not the one that was written. */
static void a_record_whose_checksum_is_wrong_is_not_offered(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    reopen(fixture);
    assert_lists(fixture, "a/one a/two ");
    assert_null(records_unreadable(fixture->records, VM_A, NULL));
    change_file(fixture, VM_A, "one.yaml", "crash", "crasH");
    reopen(fixture);
    assert_lists(fixture, "a/two ");
    assert_true(exists(fixture, VM_A, "one.yaml"));
    assert_string_equal(records_unreadable(fixture->records, VM_A, NULL),
                        "one");
    assert_string_equal(records_unreadable(fixture->records, VM_A, "one"),
                        "one");
    assert_null(records_unreadable(fixture->records, VM_A, "two"));
    assert_null(records_unreadable(fixture->records, VM_B, NULL));
    assert_string_equal(records_unreadable(fixture->records, NULL, NULL),
                        "one");
}

/* Else what they need would pass for nobody's, and an operation that an agent
 * which died had recorded for one that came to nothing. */
static void of_a_folder_that_cannot_be_read_no_record_counts_as_missing(
    void **state)
{
    struct fixture *fixture = *state;
    char *path = xasprintf("%s/snapshots/" VM_B, fixture->path);
    FILE *file;

    add(fixture, VM_A, "one", 1);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    reopen(fixture);
    assert_lists(fixture, "a/one ");
    assert_non_null(records_unreadable(fixture->records, VM_B, NULL));
    assert_non_null(records_unreadable(fixture->records, VM_B, "any"));
    assert_non_null(records_unreadable(fixture->records, NULL, NULL));
    assert_null(records_unreadable(fixture->records, VM_A, NULL));
    assert_int_equal(unlink(path), 0);
    free(path);
}

/* As somebody does who mends it by hand; the agent gives it a checksum when it
 * next writes it. */
static void a_record_without_a_checksum_is_taken(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    change_file(fixture, VM_A, "one.yaml", "\n# crc32 ", "\n#       ");
    reopen(fixture);
    assert_lists(fixture, "a/one ");
    assert_null(records_unreadable(fixture->records, VM_A, NULL));
}

static void a_damaged_record_is_not_overwritten_by_a_new_one(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    put_file(fixture, VM_A, "one.yaml", "damaged");
    reopen(fixture);
    assert_add_fails(fixture, make_record(VM_A, "one", 2), ERR_SNAPSHOT_EXISTS,
                     "could not be read");
    add(fixture, VM_A, "two", 2);
    remove_record(fixture, VM_A, "two");
    assert_true(exists(fixture, VM_A, "one.yaml"));
}

static void a_record_in_the_wrong_place_is_not_offered(void **state)
{
    struct fixture *fixture = *state;
    char *one = path_of(fixture, VM_A, "one.yaml");
    char *copy = path_of(fixture, VM_A, "copy.yaml");
    char *elsewhere = path_of(fixture, VM_B, "one.yaml");
    char *linked = path_of(fixture, VM_A, "linked.yaml");

    add(fixture, VM_A, "one", 1);
    add(fixture, VM_B, "two", 2);
    assert_int_equal(link(one, copy), 0);
    assert_int_equal(link(one, elsewhere), 0);
    assert_int_equal(symlink("one.yaml", linked), 0);
    reopen(fixture);
    assert_lists(fixture, "a/one b/two ");
    free(one);
    free(copy);
    free(elsewhere);
    free(linked);
}

static void what_is_no_record_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    char *folder = path_of(fixture, "lost+found", "");

    add(fixture, VM_A, "one", 1);
    put_file(fixture, VM_A, "notes.txt", "mine");
    assert_int_equal(mkdir(folder, 0700), 0);
    reopen(fixture);
    assert_lists(fixture, "a/one ");
    assert_true(exists(fixture, VM_A, "notes.txt"));
    assert_true(exists(fixture, "lost+found", ""));
    remove_record(fixture, VM_A, "one");
    assert_true(exists(fixture, VM_A, "notes.txt"));
    free(folder);
}

/* ---- many ---- */

/* 3 kB, as libxl's JSON of a domain with a few disks. */
static char *typical_config(void)
{
    char *config = xstrdup("{\n");
    int i;

    for (i = 0; i < 80; i++) {
        char *longer = xasprintf("%s        \"key%02d\": \"some value %d\",\n",
                                 config, i, i);

        free(config);
        config = longer;
    }
    return config;
}

/* Not with records_add(): thirty thousand flushes are not what is tested. */
static void put_many(const struct fixture *fixture, int vms, int each)
{
    char vm[40], name[40];
    struct error err;
    int i, j;

    for (i = 0; i < vms; i++) {
        char *folder;

        snprintf(vm, sizeof(vm), "%08x-0000-0000-0000-000000000000", i);
        folder = path_of(fixture, vm, "");
        assert_int_equal(mkdir(folder, 0700), 0);
        free(folder);
        for (j = 0; j < each; j++) {
            struct record record;
            size_t length;
            char *text;

            snprintf(name, sizeof(name), "snapshot-%d", j);
            record = make_record(vm, name, j % 60);
            free(record.config);
            record.config = typical_config();
            assert_true(record_encode(&record, &text, &length, &err));
            text = xrealloc(text, length + 1, 1);
            text[length] = '\0';
            snprintf(name, sizeof(name), "snapshot-%d.yaml", j);
            put_file(fixture, vm, name, text);
            free(text);
            record_dispose(&record);
        }
    }
}

static void count_record(const struct record *record, void *arg)
{
    (void)record;
    ++*(int *)arg;
}

static void ten_thousand_records_are_loaded(void **state)
{
    struct fixture *fixture = *state;
    /* Valgrind takes minutes for so many, and sees no more than in a few. */
    int vms = RUNNING_ON_VALGRIND ? 10 : 1000;
    int count = 0;
    char last[40];
    clock_t begin;

    put_many(fixture, vms, 10);
    begin = clock();
    reopen(fixture);
    print_message("loaded in %.0f ms of processor time\n",
                  (double)(clock() - begin) * 1000 / CLOCKS_PER_SEC);
    begin = clock();
    records_each(fixture->records, count_record, &count);
    print_message("visited in %.1f ms\n",
                  (double)(clock() - begin) * 1000 / CLOCKS_PER_SEC);
    assert_int_equal(count, vms * 10);
    snprintf(last, sizeof(last), "%08x-0000-0000-0000-000000000000", vms - 1);
    assert_true(known(fixture, last, "snapshot-9"));
}

/* ---- beside the agent ---- */

static bool peek(const struct fixture *fixture, const char *vm,
                 size_t *ret_count, struct error *err)
{
    struct record_index index = {0};
    bool ok = records_peek(fixture->path, vm, &index, err);
    const struct record_vm *found = record_index_find(&index, vm);

    *ret_count = found ? found->count : 0;
    record_index_dispose(&index);
    return ok;
}

static void another_program_sees_the_records_of_one_vm(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    size_t count;

    assert_true(peek(fixture, VM_A, &count, &err));
    assert_int_equal(count, 0);
    add(fixture, VM_A, "one", 1);
    add(fixture, VM_A, "two", 2);
    add(fixture, VM_B, "three", 3);
    assert_true(peek(fixture, VM_A, &count, &err));
    assert_int_equal(count, 2);
}

/* It may be what the agent is about to rename. */
static void another_program_removes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    size_t count;

    add(fixture, VM_A, "one", 1);
    put_file(fixture, VM_A, ".tmp-one.yaml", "half a record");
    assert_true(peek(fixture, VM_A, &count, &err));
    assert_int_equal(count, 1);
    assert_true(exists(fixture, VM_A, ".tmp-one.yaml"));
}

static void another_program_is_told_of_a_damaged_record(void **state)
{
    struct fixture *fixture = *state;
    struct error err = {0};
    size_t count;

    add(fixture, VM_A, "one", 1);
    put_file(fixture, VM_A, "two.yaml", "damaged");
    assert_false(peek(fixture, VM_A, &count, &err));
    assert_non_null(strstr(err.message, "two.yaml"));
    assert_true(exists(fixture, VM_A, "two.yaml"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(what_a_crash_left_is_removed_at_the_start),
        WITH_STORE(a_record_that_was_to_be_current_is_at_the_start),
        WITH_STORE(what_cannot_be_made_current_at_the_start_is_at_the_next),
        WITH_STORE(a_folder_without_a_record_is_removed_at_the_start),
        WITH_STORE(a_damaged_record_is_left_alone_and_the_others_are_fine),
        WITH_STORE(a_record_whose_checksum_is_wrong_is_not_offered),
        WITH_STORE(of_a_folder_that_cannot_be_read_no_record_counts_as_missing),
        WITH_STORE(a_record_without_a_checksum_is_taken),
        WITH_STORE(a_damaged_record_is_not_overwritten_by_a_new_one),
        WITH_STORE(a_record_in_the_wrong_place_is_not_offered),
        WITH_STORE(what_is_no_record_is_left_alone),
        WITH_STORE(ten_thousand_records_are_loaded),
        WITH_STORE(another_program_sees_the_records_of_one_vm),
        WITH_STORE(another_program_removes_nothing),
        WITH_STORE(another_program_is_told_of_a_damaged_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
