/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Internal snapshots that qemu-img made, and tables that are damaged. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/disk/image_bytes.h"
#include "agent/disk/image_snapshots.h"
#include "tests/unit/image_fixture.h"

/* Where a qcow2 header has the number of snapshots and the place of their
 * table, and where an entry of that has its lengths. */
#define COUNT        60
#define TABLE        64
#define ID_LENGTH    12
#define NAME_LENGTH  14
#define EXTRA_LENGTH 36

static void assert_holds(const char *name)
{
    struct error err;

    if (!image_holds_snapshot(image, name, &err)) {
        fail_msg("%s", err.message);
    }
}

static void assert_refused(const char *name, enum error_code code)
{
    struct error err = {0};

    assert_false(image_holds_snapshot(image, name, &err));
    assert_string_equal(error_code_name(err.code), error_code_name(code));
    assert_non_null(strstr(err.message, image));
}

static void assert_holds_no(const char *name)
{
    assert_refused(name, ERR_NO_SUCH_SNAPSHOT);
}

static void assert_damaged(const char *name)
{
    assert_refused(name, ERR_CHAIN_BROKEN);
}

static void read_at(off_t offset, void *data, size_t length)
{
    int fd = open(image, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, data, length, offset), (ssize_t)length);
    close(fd);
}

static void patch(off_t offset, const void *data, size_t length)
{
    int fd = open(image, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, length, offset), (ssize_t)length);
    close(fd);
}

static off_t table(void)
{
    uint8_t offset[8];

    read_at(TABLE, offset, sizeof(offset));
    return (off_t)bytes_be64(offset);
}

/* ---- found and not found ---- */

static void every_one_of_several_snapshots_is_found(void **state)
{
    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    make_snapshot("before.upgrade");
    make_snapshot("x");
    make_snapshot("1234567");  /* entries of every length that padding */
    make_snapshot("12345678"); /* can make of them */
    make_snapshot("last");
    assert_holds("one");
    assert_holds("before.upgrade");
    assert_holds("x");
    assert_holds("1234567");
    assert_holds("12345678");
    assert_holds("last");
}

static void a_missing_name_is_told_by_name_and_image(void **state)
{
    struct error err;
    char *expected;

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    make_snapshot("two");
    assert_false(image_holds_snapshot(image, "three", &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
    expected =
        xasprintf("%s holds no internal snapshot named \"three\"", image);
    assert_string_equal(err.message, expected);
    free(expected);
}

static void the_whole_name_must_be_the_same(void **state)
{
    (void)state;
    make_image("", "1M");
    make_snapshot("snapshot");
    assert_holds_no("snap");
    assert_holds_no("snapshots");
    assert_holds_no("Snapshot");
    assert_holds_no("");
}

static void an_id_is_no_name(void **state)
{
    (void)state;
    make_image("", "1M");
    make_snapshot("one"); /* QEMU gives it the id 1 */
    assert_holds_no("1");
}

static void the_id_is_that_of_the_name(void **state)
{
    struct error err = {0};
    char *id;

    (void)state;
    make_image("", "1M");
    make_snapshot("2");
    make_snapshot("1");
    id = image_snapshot_id(image, "1", &err);
    assert_string_equal(id, "2");
    free(id);
    id = image_snapshot_id(image, "2", &err);
    assert_string_equal(id, "1");
    free(id);
    assert_null(image_snapshot_id(image, "3", &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
}

static void an_image_without_snapshots_holds_none(void **state)
{
    (void)state;
    make_image("", "1M");
    assert_holds_no("one");
}

static void a_deleted_snapshot_is_no_longer_found(void **state)
{
    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    make_snapshot("two");
    make_snapshot("three");
    run("qemu-img snapshot -d two", "");
    assert_holds("one");
    assert_holds_no("two");
    assert_holds("three");
}

static void an_image_of_the_old_version_is_read_too(void **state)
{
    (void)state;
    make_image("-o compat=0.10", "1M");
    make_snapshot("one");
    make_snapshot("two");
    assert_holds("two");
    assert_holds_no("three");
}

static void assert_first(const char *prefix, const char *expected)
{
    char *found = image_find_snapshot(image, prefix);

    if (expected == NULL) {
        assert_null(found);
    } else {
        assert_non_null(found);
        assert_string_equal(found, expected);
    }
    free(found);
}

static void one_is_found_by_the_beginning_of_its_name(void **state)
{
    (void)state;
    assert_first("s", NULL); /* there is no image */
    make_image("", "1M");
    assert_first("s", NULL);
    make_snapshot("one");
    make_snapshot("snap-1");
    make_snapshot("snap-2");
    assert_first("snap-", "snap-1");
    assert_first("snap-2", "snap-2");
    assert_first("snap-22", NULL);
    assert_first("nap", NULL);
}

/* ---- damaged ---- */

static void what_is_not_there_or_no_qcow2_file_is_told(void **state)
{
    static const char zeros[4096];
    int fd;

    (void)state;
    assert_damaged("one"); /* not there */
    fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_damaged("one"); /* empty */
    patch(0, zeros, sizeof(zeros));
    assert_damaged("one"); /* a raw disk */
}

static void a_table_that_is_not_in_the_file_is_damaged(void **state)
{
    static const uint64_t places[] = {UINT64_C(1) << 40, INT64_MAX,
                                      UINT64_C(1) << 63, UINT64_MAX,
                                      UINT64_MAX - 40};

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint64_t place = htobe64(places[i]);

        patch(TABLE, &place, sizeof(place));
        assert_damaged("one");
    }
}

static void a_table_cut_short_is_damaged_behind_the_cut(void **state)
{
    off_t place;

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    make_snapshot("two");
    place = table();
    assert_int_equal(truncate(image, place + 39 + 64), 0);
    assert_holds("one");
    assert_damaged("two");
    assert_int_equal(truncate(image, place + 20), 0);
    assert_damaged("one");
}

static void more_snapshots_than_qemu_allows_are_damage(void **state)
{
    uint32_t count = htobe32(65537);

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    patch(COUNT, &count, sizeof(count));
    assert_damaged("one");
}

static void an_entry_with_too_much_extra_data_is_damaged(void **state)
{
    uint32_t extra = htobe32(1025);

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    patch(table() + EXTRA_LENGTH, &extra, sizeof(extra));
    assert_damaged("one");
    extra = UINT32_MAX;
    patch(table() + EXTRA_LENGTH, &extra, sizeof(extra));
    assert_damaged("one");
}

/* Everything behind the entry is then looked for in the wrong place: whatever
 * stands there, it ends, and does not find the name. */
static void a_name_of_another_length_hides_it_and_does_no_harm(void **state)
{
    static const uint16_t lengths[] = {0, 1, 4, 255, 256, 32768, 65535};

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint16_t length = htobe16(lengths[i]);
        struct error err = {0};

        patch(table() + NAME_LENGTH, &length, sizeof(length));
        assert_false(image_holds_snapshot(image, "one", &err));
        assert_int_not_equal(err.code, ERR_NONE);
    }
}

static void an_id_longer_than_the_file_is_damaged(void **state)
{
    static const uint8_t longest[2] = {0xff, 0xff};

    (void)state;
    make_image("", "1M");
    make_snapshot("one");
    assert_int_equal(truncate(image, table() + 128), 0);
    patch(table() + ID_LENGTH, longest, sizeof(longest));
    assert_damaged("one");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_one_of_several_snapshots_is_found),
        TEST(a_missing_name_is_told_by_name_and_image),
        TEST(the_whole_name_must_be_the_same),
        TEST(an_id_is_no_name),
        TEST(the_id_is_that_of_the_name),
        TEST(an_image_without_snapshots_holds_none),
        TEST(a_deleted_snapshot_is_no_longer_found),
        TEST(an_image_of_the_old_version_is_read_too),
        TEST(one_is_found_by_the_beginning_of_its_name),
        TEST(what_is_not_there_or_no_qcow2_file_is_told),
        TEST(a_table_that_is_not_in_the_file_is_damaged),
        TEST(a_table_cut_short_is_damaged_behind_the_cut),
        TEST(more_snapshots_than_qemu_allows_are_damage),
        TEST(an_entry_with_too_much_extra_data_is_damaged),
        TEST(a_name_of_another_length_hides_it_and_does_no_harm),
        TEST(an_id_longer_than_the_file_is_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
