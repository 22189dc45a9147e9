/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Overlays that were written to, by qemu-io, and overlays that were not. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/disk/image.h"

#define MIB UINT64_C(1048576)

/* Where a qcow2 header has the size and the place of its L1 table. */
#define L1_SIZE  36
#define L1_TABLE 40

static char folder[64];
static char *base, *over;

static int set_up(void **state)
{
    int fd;

    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/test_image_empty.XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    base = xasprintf("%s/base.img", folder);
    over = xasprintf("%s/over.qcow2", folder);
    fd = open(base, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)(64 * MIB)) != 0) {
        return -1;
    }
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(base);
    unlink(over);
    rmdir(folder);
    free(base);
    free(over);
    return 0;
}

static void make_overlay(uint64_t bytes)
{
    struct error err;

    if (!image_create_overlay(NULL, over, bytes, base, "raw", &err)) {
        fail_msg("%s", err.message);
    }
}

static void needs_qemu_io(void)
{
    if (system("command -v qemu-img qemu-io >/dev/null") != 0) {
        skip();
    }
}

static void on_overlay(const char *program)
{
    char *command = xasprintf("%s %s >/dev/null", program, over);

    assert_int_equal(system(command), 0);
    free(command);
}

static void patch(off_t offset, const void *data, size_t length)
{
    int fd = open(over, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, length, offset), (ssize_t)length);
    close(fd);
}

/* ---- empty ---- */

static void a_fresh_overlay_is_empty(void **state)
{
    (void)state;
    make_overlay(64 * MIB);
    assert_true(image_overlay_is_empty(over));
}

static void a_fresh_overlay_of_any_size_is_empty(void **state)
{
    static const uint64_t sizes[] = {512, 512 * MIB, 512 * MIB + 512,
                                     UINT64_C(64) << 40};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        make_overlay(sizes[i]);
        assert_true(image_overlay_is_empty(over));
        unlink(over);
    }
}

static void an_overlay_that_is_not_there_is_empty(void **state)
{
    (void)state;
    assert_true(image_overlay_is_empty(over));
}

static void reading_through_an_overlay_leaves_it_empty(void **state)
{
    (void)state;
    needs_qemu_io();
    make_overlay(64 * MIB);
    on_overlay("qemu-io -f qcow2 -c 'read 0 1M' -c flush");
    assert_true(image_overlay_is_empty(over));
}

/* ---- not empty ---- */

static void a_written_overlay_is_not_empty(void **state)
{
    (void)state;
    needs_qemu_io();
    make_overlay(64 * MIB);
    on_overlay("qemu-io -f qcow2 -c 'write -P 1 1M 512'");
    assert_false(image_overlay_is_empty(over));
}

static void zeroes_that_were_written_count(void **state)
{
    (void)state;
    needs_qemu_io();
    make_overlay(64 * MIB);
    on_overlay("qemu-io -f qcow2 -c 'write -z 0 64k'");
    assert_false(image_overlay_is_empty(over));
}

static void a_write_at_the_very_end_of_a_large_overlay_counts(void **state)
{
    (void)state;
    needs_qemu_io();
    make_overlay(UINT64_C(64) << 40);
    on_overlay("qemu-io -f qcow2 -c 'write -P 1 67108863M 1M'");
    assert_false(image_overlay_is_empty(over));
}

/* ---- no telling, so not empty: it may hold data ---- */

static void what_is_no_qcow2_file_is_not_empty(void **state)
{
    (void)state;
    assert_false(image_overlay_is_empty(base));
    assert_false(image_overlay_is_empty(folder));
}

static void a_file_cut_short_is_not_empty(void **state)
{
    static const off_t lengths[] = {0, 3, 47, 48, 512};

    (void)state;
    make_overlay(64 * MIB);
    for (size_t i = sizeof(lengths) / sizeof(lengths[0]); i-- > 0;) {
        assert_int_equal(truncate(over, lengths[i]), 0);
        assert_false(image_overlay_is_empty(over));
    }
}

static void a_header_with_an_impossible_table_is_not_empty(void **state)
{
    static const uint8_t far[8] = {0x80};
    static const uint8_t most[8] = {0xff, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xff};

    (void)state;
    make_overlay(64 * MIB);
    patch(L1_TABLE, far, sizeof(far));
    assert_false(image_overlay_is_empty(over));
    patch(L1_TABLE, most, sizeof(most));
    assert_false(image_overlay_is_empty(over));
    unlink(over);
    make_overlay(64 * MIB);
    patch(L1_SIZE, most, 4);
    assert_false(image_overlay_is_empty(over));
}

static void a_file_that_cannot_be_looked_at_is_not_empty(void **state)
{
    (void)state;
    assert_int_equal(symlink("over.qcow2", over), 0); /* to itself */
    assert_false(image_overlay_is_empty(over));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_fresh_overlay_is_empty),
        TEST(a_fresh_overlay_of_any_size_is_empty),
        TEST(an_overlay_that_is_not_there_is_empty),
        TEST(reading_through_an_overlay_leaves_it_empty),
        TEST(a_written_overlay_is_not_empty),
        TEST(zeroes_that_were_written_count),
        TEST(a_write_at_the_very_end_of_a_large_overlay_counts),
        TEST(what_is_no_qcow2_file_is_not_empty),
        TEST(a_file_cut_short_is_not_empty),
        TEST(a_header_with_an_impossible_table_is_not_empty),
        TEST(a_file_that_cannot_be_looked_at_is_not_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
