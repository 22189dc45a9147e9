/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking at images: compares with what qemu-img tells of the same files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk/image.h"
#include "tests/unit/images_fixture.h"

static void a_raw_image_is_sized_in_whole_sectors(void **state)
{
    struct image_info info;

    (void)state;
    make_file("disk.img", 1000);
    must_inspect("disk.img", "raw", &info);
    assert_true(info.virtual_bytes == 1024);
    assert_string_equal(info.path, in_folder("disk.img"));
    assert_string_equal(info.format, "raw");
    assert_string_equal(info.backing_path, "");
}

static void a_qcow2_header_inside_a_raw_disk_is_not_believed(void **state)
{
    struct image_info info;

    (void)state;
    make_file("secret.img", 512);
    must_create("disk.img", 10 * GIB, "secret.img", "raw");
    must_inspect("disk.img", "raw", &info);
    assert_string_equal(info.backing_path, "");
    assert_true(info.virtual_bytes == 4 * 65536);
}

static void images_of_every_format_have_the_size_that_qemu_gives_them(
    void **state)
{
    static const struct {
        const char *format, *options;
    } images[] = {
        {"qcow2", "compat=0.10"},
        {"qcow2", "compat=1.1"},
        {"qcow2", "cluster_size=2M,extended_l2=on"},
        {"qcow2", "cluster_size=512"},
        {"qcow2", "compression_type=zstd"},
        {"qcow2", "lazy_refcounts=on"},
        {"qcow", "encryption=off"},
        {"qed", "cluster_size=65536"},
        {"vpc", "subformat=dynamic"},
        {"vpc", "subformat=fixed"},
        {"vpc", "subformat=dynamic,force_size=on"},
        {"vpc", "subformat=fixed,force_size=on"},
    };
    size_t i;

    (void)state;
    needs_qemu_img();
    for (i = 0; i < sizeof(images) / sizeof(images[0]); i++) {
        struct image_info info;

        assert_int_equal(run("qemu-img create -q -f %s -o %s image 40M",
                             images[i].format, images[i].options),
                         0);
        must_inspect("image", images[i].format, &info);
        assert_true(info.virtual_bytes == qemu_size("image", images[i].format));
        assert_string_equal(info.backing_path, "");
        assert_false(info.dirty);
        unlink(in_folder("image"));
    }
}

static void a_relative_backing_file_counts_from_the_images_folder(void **state)
{
    struct image_info info;

    (void)state;
    needs_qemu_img();
    assert_int_equal(run("mkdir sub && qemu-img create -q -f raw base 1M && "
                         "qemu-img create -q -f qcow2 -b ../base -F raw "
                         "sub/over.qcow2"),
                     0);
    must_inspect("sub/over.qcow2", "qcow2", &info);
    assert_string_equal(info.backing_path, in_folder("sub/../base"));
    assert_string_equal(info.backing_format, "raw");
}

/* A header may be long: its name, and an extension before it. */
static void a_backing_file_is_found_far_into_the_header(void **state)
{
    static const uint8_t offset[8] = {0, 0, 0, 0, 0, 0, 0x80, 0};
    static const uint8_t unknown[8] = {0x12, 0x34, 0x56, 0x78, 0, 0, 0x20, 0};
    static const uint8_t format[11] = {0xe2, 0x79, 0x2a, 0xca, 0,  0,
                                       0,    3,    'r',  'a',  'w'};
    struct image_info info;
    const char *base;

    (void)state;
    make_file("base.img", 1 << 20);
    make_file("other.img", 1 << 20);
    must_create("over.qcow2", 1 << 20, "base.img", "raw");
    base = in_folder("other.img");
    patch("over.qcow2", 8, offset, sizeof(offset));
    patch("over.qcow2", 0x8000, base, strlen(base));
    patch("over.qcow2", 16, &(uint8_t[4]){0, 0, 0, (uint8_t)strlen(base)}, 4);
    patch("over.qcow2", 104, unknown, sizeof(unknown));
    patch("over.qcow2", 104 + 8 + 0x2000, format, sizeof(format));
    must_inspect("over.qcow2", "qcow2", &info);
    assert_string_equal(info.backing_path, in_folder("other.img"));
    assert_string_equal(info.backing_format, "raw");
}

static void a_qed_or_qcow_image_names_its_backing_file(void **state)
{
    struct image_info info;

    (void)state;
    needs_qemu_img();
    assert_int_equal(run("qemu-img create -q -f raw base 1M && "
                         "qemu-img create -q -f qed -b base -F raw o.qed && "
                         "qemu-img create -q -f qcow -b base -F raw o.qcow"),
                     0);
    must_inspect("o.qed", "qed", &info);
    assert_string_equal(info.backing_path, in_folder("base"));
    assert_string_equal(info.backing_format, "raw");
    must_inspect("o.qcow", "qcow", &info);
    assert_string_equal(info.backing_path, in_folder("base"));
    assert_string_equal(info.backing_format, "");
}

static void a_block_device_has_the_size_the_kernel_tells(void **state)
{
    struct image_info info;
    struct error err;
    int fd;

    (void)state;
    make_file("disk.img", 1 << 20);
    if (run("losetup -f --show disk.img >loop 2>/dev/null && "
            "ln -s $(cat loop) device") != 0)
        skip();
    /* Detached as soon as nobody has it open: however this test ends. */
    fd = open(in_folder("device"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(run("losetup -d $(cat loop)"), 0);
    if (!image_inspect(in_folder("device"), "raw", &info, &err))
        fail_msg("%s", err.message);
    assert_true(info.virtual_bytes == 1 << 20);
    must_create("over.qcow2", info.virtual_bytes, "device", "raw");
    close(fd);
}

static void what_is_no_image_is_refused_by_name(void **state)
{
    (void)state;
    make_file("empty", 0);
    make_file("zeros", 65536);
    assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
    must_refuse("gone", "raw", ERR_CHAIN_BROKEN, "No such file");
    must_refuse("sub", "raw", ERR_CHAIN_BROKEN, "neither a file");
    must_refuse("fifo", "raw", ERR_CHAIN_BROKEN, "neither a file");
    must_refuse("empty", "qcow2", ERR_CHAIN_BROKEN, "not a qcow2 image");
    must_refuse("zeros", "qcow2", ERR_CHAIN_BROKEN, "not a qcow2 image");
    must_refuse("zeros", "qcow", ERR_CHAIN_BROKEN, "not a qcow image");
    must_refuse("zeros", "qed", ERR_CHAIN_BROKEN, "not a qed image");
    must_refuse("zeros", "vpc", ERR_CHAIN_BROKEN, "not a VHD image");
    must_refuse("zeros", "vmdk", ERR_UNSUPPORTED_DISK, "vmdk");
}

/* Header fields of an otherwise good overlay, one at a time. */
static void hostile_header_fields_are_refused(void **state)
{
    static const struct {
        off_t offset;
        unsigned char value[8];
        size_t length;
        enum error_code code;
        const char *words;
    } cases[] = {
        {4, {0, 0, 0, 9}, 4, ERR_UNSUPPORTED_DISK, "version 9"},
        {8, {0, 0, 0, 0, 0x7f, 0, 0, 0}, 8, ERR_CHAIN_BROKEN, "within"},
        {8,
         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
         8,
         ERR_CHAIN_BROKEN,
         "within"},
        {16, {0, 0, 4, 0}, 4, ERR_CHAIN_BROKEN, "1024 bytes"},
        {16, {0xff, 0xff, 0xff, 0xff}, 4, ERR_CHAIN_BROKEN, "bytes long"},
        {16, {0, 0, 0, 0}, 4, ERR_CHAIN_BROKEN, "0 bytes"},
        {20, {0, 0, 0, 8}, 4, ERR_CHAIN_BROKEN, "cluster size"},
        {20, {0, 0, 0, 63}, 4, ERR_CHAIN_BROKEN, "cluster size"},
        {24, {0x80}, 1, ERR_CHAIN_BROKEN, "out of bounds"},
        {32, {0, 0, 0, 2}, 4, ERR_UNSUPPORTED_DISK, "encrypted"},
        {79, {2}, 1, ERR_CHAIN_BROKEN, "corrupt"},
        {79, {4}, 1, ERR_UNSUPPORTED_DISK, "another file"},
        {79, {0x40}, 1, ERR_UNSUPPORTED_DISK, "unknown"},
        {100, {0, 0, 0, 8}, 4, ERR_CHAIN_BROKEN, "header length"},
        {100, {0xff, 0xff, 0xff, 0xf8}, 4, ERR_CHAIN_BROKEN, "header length"},
        {108, {0, 0, 0, 16}, 4, ERR_CHAIN_BROKEN, "format's name"},
        {108, {0xff, 0xff, 0xff, 0xff}, 4, ERR_CHAIN_BROKEN, "extension"},
    };
    size_t i;

    (void)state;
    make_file("base.img", 512);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        must_create("over.qcow2", 512, "base.img", "raw");
        patch("over.qcow2", cases[i].offset, cases[i].value, cases[i].length);
        must_refuse("over.qcow2", "qcow2", cases[i].code, cases[i].words);
        unlink(in_folder("over.qcow2"));
    }
}

static void a_backing_name_that_is_no_path_is_refused(void **state)
{
    static const char *const names[] = {
        "json:{\"driver\":\"nbd\"}", "nbd://host/x", "file:/etc/passwd", "a:b"};
    size_t i;

    (void)state;
    make_file("base.img", 512);
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unsigned char length[4] = {0, 0, 0, (unsigned char)strlen(names[i])};

        must_create("over.qcow2", 512, "base.img", "raw");
        patch("over.qcow2", 16, length, 4);
        patch("over.qcow2", 136, names[i], strlen(names[i]));
        must_refuse("over.qcow2", "qcow2", ERR_UNSUPPORTED_DISK,
                    "not a plain path");
        unlink(in_folder("over.qcow2"));
    }
    must_create("over.qcow2", 512, "base.img", "raw");
    patch("over.qcow2", 138, "\0", 1);
    must_refuse("over.qcow2", "qcow2", ERR_CHAIN_BROKEN, "zero byte");
}

static void a_colon_inside_a_path_is_allowed(void **state)
{
    struct image_info info;

    (void)state;
    make_file("a:b", 512);
    must_create("over.qcow2", 512, "a:b", "raw");
    must_inspect("over.qcow2", "qcow2", &info);
    assert_string_equal(info.backing_path, in_folder("a:b"));
}

static void control_bytes_of_a_header_do_not_reach_messages(void **state)
{
    struct image_info info;
    struct error err;

    (void)state;
    make_file("base.img", 512);
    must_create("over.qcow2", 512, "base.img", "raw");
    patch("over.qcow2", 136, "x\033[2J:", 6);
    assert_false(image_inspect(in_folder("over.qcow2"), "qcow2", &info, &err));
    assert_null(strchr(err.message, '\033'));
}

static void a_qcow2_image_with_external_data_is_refused(void **state)
{
    (void)state;
    needs_qemu_img();
    assert_int_equal(
        run("qemu-img create -q -f qcow2 -o data_file=data image 1M"), 0);
    must_refuse("image", "qcow2", ERR_UNSUPPORTED_DISK, "another file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_raw_image_is_sized_in_whole_sectors),
        TEST(a_qcow2_header_inside_a_raw_disk_is_not_believed),
        TEST(images_of_every_format_have_the_size_that_qemu_gives_them),
        TEST(a_relative_backing_file_counts_from_the_images_folder),
        TEST(a_backing_file_is_found_far_into_the_header),
        TEST(a_qed_or_qcow_image_names_its_backing_file),
        TEST(a_block_device_has_the_size_the_kernel_tells),
        TEST(what_is_no_image_is_refused_by_name),
        TEST(hostile_header_fields_are_refused),
        TEST(a_backing_name_that_is_no_path_is_refused),
        TEST(a_colon_inside_a_path_is_allowed),
        TEST(control_bytes_of_a_header_do_not_reach_messages),
        TEST(a_qcow2_image_with_external_data_is_refused),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
