/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What images hold that qemu-img and qemu-io wrote, and tables that are
 * damaged. */
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
#include "agent/disk/image_content.h"
#include "tests/unit/image_fixture.h"

/* Where a qcow2 header has the number of entries of the map in use, and its
 * place. */
#define MAP_ENTRIES 36
#define MAP         40

/* What lies behind one entry of the map is 2 MiB then. */
#define SMALL_CLUSTERS "-o cluster_size=4k"

static void apply(const char *name)
{
    char *program = xasprintf("qemu-img snapshot -a %s", name);

    run(program, "");
    free(program);
}

static void io(const char *command)
{
    char *program = xasprintf("qemu-io -f qcow2 -c '%s'", command);

    run(program, ">/dev/null");
    free(program);
}

static void write_at(const char *place)
{
    char *command = xasprintf("write -P 1 %s 4k", place);

    io(command);
    free(command);
}

/* With the two that the others compare with: "old", and "own" from before. */
static void make_snapshots(void)
{
    make_image(SMALL_CLUSTERS, "8M");
    write_at("0");
    make_snapshot("own");
    write_at("0");
    write_at("2M");
    make_snapshot("old");
}

static void assert_content(enum image_content expected)
{
    enum image_content content;
    struct error err;

    if (!image_content_tell(image, "old", "own", &content, &err)) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(content, expected);
}

static void assert_damaged(void)
{
    enum image_content content;
    struct error err;

    assert_false(image_content_tell(image, "old", "own", &content, &err));
    assert_int_equal(err.code, ERR_CHAIN_BROKEN);
    assert_non_null(strstr(err.message, image));
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

static void what_was_kept_last_is_what_it_holds(void **state)
{
    (void)state;
    make_snapshots();
    assert_content(CONTENT_FIRST);
}

static void what_was_applied_is_what_it_holds(void **state)
{
    (void)state;
    make_snapshots();
    apply("own");
    assert_content(CONTENT_SECOND);
    apply("own"); /* once more */
    assert_content(CONTENT_SECOND);
    apply("old");
    assert_content(CONTENT_FIRST);
}

static void what_was_written_is_seen(void **state)
{
    static const char *const places[] = {"0", "1M", "2M", "4M", "7M"};

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        make_snapshots();
        write_at(places[i]);
        assert_content(CONTENT_NEW);
        make_snapshots();
        apply("own");
        write_at(places[i]);
        assert_content(CONTENT_NEW);
    }
}

static void what_was_discarded_is_seen(void **state)
{
    (void)state;
    make_snapshots();
    io("discard 2M 4k");
    assert_content(CONTENT_NEW);
}

static void what_was_only_read_is_the_same(void **state)
{
    (void)state;
    make_snapshots();
    apply("own");
    io("read 0 8M");
    assert_content(CONTENT_SECOND);
}

/* Applying writes the map at once, but a disk does sectors. */
static void a_map_of_which_half_was_written_is_of_the_second(void **state)
{
    uint8_t place[8];
    uint64_t entry;

    (void)state;
    make_snapshots();
    read_at(MAP, place, sizeof(place));
    read_at((off_t)bytes_be64(place) + 8, &entry, sizeof(entry));
    apply("own");
    patch((off_t)bytes_be64(place) + 8, &entry, sizeof(entry));
    assert_content(CONTENT_SECOND);
}

static void maps_may_have_other_lengths(void **state)
{
    (void)state;
    make_image(SMALL_CLUSTERS, "8M");
    write_at("0");
    make_snapshot("own");
    io("truncate 1G");
    write_at("1000M");
    make_snapshot("old");
    assert_content(CONTENT_FIRST);
    apply("own");
    assert_content(CONTENT_SECOND);
    apply("old");
    assert_content(CONTENT_FIRST);
    write_at("999M");
    assert_content(CONTENT_NEW);
}

static void an_empty_disk_is_told_as_well(void **state)
{
    (void)state;
    make_image(SMALL_CLUSTERS, "8M");
    make_snapshot("own");
    make_snapshot("old");
    assert_content(CONTENT_FIRST);
    write_at("0");
    assert_content(CONTENT_NEW);
}

static void a_snapshot_that_is_not_there_is_told(void **state)
{
    enum image_content content;
    struct error err;

    (void)state;
    make_image(SMALL_CLUSTERS, "8M");
    make_snapshot("own");
    assert_false(image_content_tell(image, "old", "own", &content, &err));
    assert_int_equal(err.code, ERR_NO_SUCH_SNAPSHOT);
}

static void what_is_no_image_is_damaged(void **state)
{
    (void)state;
    assert_damaged(); /* not there */
    make_snapshots();
    assert_int_equal(truncate(image, 40), 0);
    assert_damaged();
}

static void a_map_that_is_not_in_the_file_is_damaged(void **state)
{
    static const uint64_t places[] = {UINT64_C(1) << 40, INT64_MAX,
                                      UINT64_C(1) << 63, UINT64_MAX};
    static const uint32_t counts[] = {UINT32_MAX, (UINT32_C(4) << 20) + 1,
                                      UINT32_C(4) << 20};
    uint8_t old[8];

    (void)state;
    make_snapshots();
    read_at(MAP, old, sizeof(old));
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        uint64_t place = htobe64(places[i]);

        patch(MAP, &place, sizeof(place));
        assert_damaged();
    }
    patch(MAP, old, sizeof(old));
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        uint32_t count = htobe32(counts[i]);

        patch(MAP_ENTRIES, &count, sizeof(count));
        assert_damaged();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_kept_last_is_what_it_holds),
        TEST(what_was_applied_is_what_it_holds),
        TEST(what_was_written_is_seen),
        TEST(what_was_discarded_is_seen),
        TEST(what_was_only_read_is_the_same),
        TEST(a_map_of_which_half_was_written_is_of_the_second),
        TEST(maps_may_have_other_lengths),
        TEST(an_empty_disk_is_told_as_well),
        TEST(a_snapshot_that_is_not_there_is_told),
        TEST(what_is_no_image_is_damaged),
        TEST(a_map_that_is_not_in_the_file_is_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
