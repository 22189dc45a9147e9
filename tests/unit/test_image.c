/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares with what qemu-img and qemu-io make of the same files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/disk/image.h"

#define KIB UINT64_C(1024)
#define GIB (KIB * KIB * KIB)
#define TIB (GIB * KIB)

/* In memory where possible: a disk takes milliseconds for each flush. */
static char folder[64] = "/dev/shm/xensnapd-image-XXXXXX";

/* ---- helpers ---- */

static const char *in_folder(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned int turn;
    char *path = paths[turn++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
    char command[4096];
    va_list args;
    int length;

    length = snprintf(command, sizeof(command), "cd %s && ", folder);
    va_start(args, format);
    vsnprintf(command + length, sizeof(command) - (size_t)length, format, args);
    va_end(args);
    return system(command);
}

static void needs_qemu_img(void)
{
    if (run("command -v qemu-img qemu-io >/dev/null") != 0)
        skip();
}

/* What `qemu-img info` says, as the raw JSON. */
static struct json_object *qemu_info(const char *name, const char *format)
{
    struct json_object *info;

    assert_int_equal(
        run("qemu-img info -f %s --output=json %s >info.json", format, name),
        0);
    info = json_object_from_file(in_folder("info.json"));
    assert_non_null(info);
    return info;
}

static uint64_t qemu_size(const char *name, const char *format)
{
    struct json_object *info = qemu_info(name, format);
    uint64_t size =
        json_object_get_uint64(json_object_object_get(info, "virtual-size"));

    json_object_put(info);
    return size;
}

static void make_file(const char *name, off_t bytes)
{
    int fd = open(in_folder(name), O_RDWR | O_CREAT | O_EXCL, 0640);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    close(fd);
}

static void patch(const char *name, off_t offset, const void *data,
                  size_t length)
{
    int fd = open(in_folder(name), O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, length, offset), (ssize_t)length);
    close(fd);
}

static void must_create(const char *name, uint64_t bytes, const char *backing,
                        const char *format)
{
    struct error err;

    if (!image_create_overlay(NULL, in_folder(name), bytes, in_folder(backing),
                              format, &err))
        fail_msg("%s", err.message);
}

static void must_inspect(const char *name, const char *format,
                         struct image_info *info)
{
    struct error err;

    if (!image_inspect(in_folder(name), format, info, &err))
        fail_msg("%s", err.message);
}

static void must_refuse(const char *name, const char *format,
                        enum error_code code, const char *words)
{
    struct image_info info;
    struct error err;

    assert_false(image_inspect(in_folder(name), format, &info, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.message, words) || !strstr(err.message, name))
        fail_msg("\"%s\" does not name %s and say %s", err.message, name,
                 words);
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(run("rm -rf ./*"), 0);
    return 0;
}

/* ---- making overlays ---- */

static void an_overlay_is_what_qemu_img_takes_for_one(void **state)
{
    static const uint64_t sizes[] = {
        512,      64 * KIB, 512 * KIB * KIB, 512 * KIB * KIB + 512,
        10 * GIB, 8 * TIB,  64 * TIB};
    size_t i;

    (void)state;
    needs_qemu_img();
    make_file("base.img", 512);
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct json_object *info;

        must_create("over.qcow2", sizes[i], "base.img", "raw");
        assert_int_equal(run("qemu-img check -q over.qcow2"), 0);
        info = qemu_info("over.qcow2", "qcow2");
        assert_true(json_object_get_uint64(json_object_object_get(
                        info, "virtual-size")) == sizes[i]);
        assert_string_equal(json_object_get_string(json_object_object_get(
                                info, "backing-filename")),
                            in_folder("base.img"));
        assert_string_equal(json_object_get_string(json_object_object_get(
                                info, "backing-filename-format")),
                            "raw");
        json_object_put(info);
        unlink(in_folder("over.qcow2"));
    }
}

static void a_chain_of_overlays_is_followed_by_qemu_img(void **state)
{
    (void)state;
    needs_qemu_img();
    make_file("base.img", 1 << 20);
    must_create("one.qcow2", 1 << 20, "base.img", "raw");
    must_create("two.qcow2", 1 << 20, "one.qcow2", "qcow2");
    assert_int_equal(run("test $(qemu-img info --backing-chain two.qcow2 | "
                         "grep -c '^image:') = 3"),
                     0);
}

static void writing_to_an_overlay_leaves_the_image_underneath_alone(
    void **state)
{
    (void)state;
    needs_qemu_img();
    assert_int_equal(run("qemu-img create -q -f raw base.img 10M && "
                         "qemu-io -f raw -c 'write -P 1 0 10M' base.img "
                         ">/dev/null && md5sum base.img >sum"),
                     0);
    must_create("over.qcow2", 10 * KIB * KIB, "base.img", "raw");
    assert_int_equal(run("qemu-io -f qcow2 -c 'write -P 2 1M 3M' "
                         "-c 'read -P 1 0 1M' -c 'read -P 2 1M 3M' "
                         "-c 'read -P 1 4M 6M' over.qcow2 >out && "
                         "! grep -i fail out && md5sum -c --quiet sum && "
                         "qemu-img check -q over.qcow2"),
                     0);
}

static void writing_at_the_end_of_a_large_overlay_works(void **state)
{
    (void)state;
    needs_qemu_img();
    make_file("base.img", 512);
    must_create("over.qcow2", 64 * TIB, "base.img", "raw");
    assert_int_equal(run("qemu-io -f qcow2 -c 'write -P 2 67108863M 1M' "
                         "-c 'read -P 2 67108863M 1M' over.qcow2 >out && "
                         "! grep -i fail out && qemu-img check -q over.qcow2"),
                     0);
}

static void an_overlay_takes_little_room(void **state)
{
    struct stat st;

    (void)state;
    make_file("base.img", 512);
    must_create("over.qcow2", 64 * TIB, "base.img", "raw");
    assert_int_equal(stat(in_folder("over.qcow2"), &st), 0);
    assert_true(st.st_blocks * 512 <= 32 * 1024);
}

static void an_overlay_has_the_mode_of_the_image_underneath(void **state)
{
    struct stat st;

    (void)state;
    make_file("base.img", 512);
    assert_int_equal(chmod(in_folder("base.img"), 0464), 0);
    must_create("over.qcow2", 512, "base.img", "raw");
    assert_int_equal(stat(in_folder("over.qcow2"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0664);
}

static void an_overlay_has_the_owner_of_the_image_underneath(void **state)
{
    struct stat st;

    (void)state;
    make_file("base.img", 512);
    if (chown(in_folder("base.img"), 1234, 2345) != 0)
        skip();
    must_create("over.qcow2", 512, "base.img", "raw");
    assert_int_equal(stat(in_folder("over.qcow2"), &st), 0);
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_gid, 2345);
}

static void must_not_create(const char *path, uint64_t bytes,
                            const char *backing, const char *format,
                            enum error_code code)
{
    struct error err;

    assert_false(
        image_create_overlay(NULL, path, bytes, backing, format, &err));
    assert_int_equal(err.code, code);
}

static void an_existing_file_is_left_alone(void **state)
{
    struct stat st;

    (void)state;
    make_file("base.img", 512);
    make_file("mine", 77);
    assert_int_equal(symlink("elsewhere", in_folder("link")), 0);
    must_not_create(in_folder("mine"), 512, in_folder("base.img"), "raw",
                    ERR_INVALID_REQUEST);
    must_not_create(in_folder("link"), 512, in_folder("base.img"), "raw",
                    ERR_INVALID_REQUEST);
    assert_int_equal(stat(in_folder("mine"), &st), 0);
    assert_int_equal(st.st_size, 77);
    assert_int_equal(access(in_folder("elsewhere"), F_OK), -1);
}

static void what_cannot_be_an_overlay_is_refused_and_leaves_no_file(
    void **state)
{
    const char *path = "/nonexistent/over.qcow2";
    char over[PATH_MAX], base[PATH_MAX], long_path[1100];

    (void)state;
    make_file("base.img", 512);
    strcpy(over, in_folder("over.qcow2"));
    strcpy(base, in_folder("base.img"));
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';

    must_not_create(path, 512, base, "raw", ERR_INVALID_REQUEST);
    must_not_create("relative", 512, base, "raw", ERR_INVALID_REQUEST);
    must_not_create(long_path, 512, base, "raw", ERR_INVALID_REQUEST);
    must_not_create(over, 0, base, "raw", ERR_UNSUPPORTED_DISK);
    must_not_create(over, 513, base, "raw", ERR_UNSUPPORTED_DISK);
    must_not_create(over, UINT64_MAX - 511, base, "raw", ERR_UNSUPPORTED_DISK);
    must_not_create(over, 512, "base.img", "raw", ERR_INVALID_REQUEST);
    must_not_create(over, 512, long_path, "raw", ERR_INVALID_REQUEST);
    must_not_create(over, 512, base, "", ERR_INVALID_REQUEST);
    must_not_create(over, 512, base, "a-very-long-format", ERR_INVALID_REQUEST);
    must_not_create(over, 512, in_folder("gone"), "raw", ERR_CHAIN_BROKEN);
    snprintf(long_path, sizeof(long_path), "%s/%0256d", folder, 0);
    must_not_create(long_path, 512, base, "raw", ERR_INVALID_REQUEST);
    assert_int_equal(access(over, F_OK), -1);
}

/* In a mount namespace of its own, so that nothing stays mounted. */
static int try_full_disk(void)
{
    struct error err;

    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", in_folder("small"), "tmpfs", 0, "size=4k") != 0)
        return 2;
    if (image_create_overlay(NULL, in_folder("small/over.qcow2"), 512,
                             in_folder("base.img"), "raw", &err) ||
        err.code != ERR_NO_SPACE)
        return 1;
    return access(in_folder("small/over.qcow2"), F_OK) == 0;
}

static void a_full_disk_leaves_no_file(void **state)
{
    int status;
    pid_t child;

    (void)state;
    make_file("base.img", 512);
    assert_int_equal(mkdir(in_folder("small"), 0700), 0);
    child = fork();
    if (child == 0)
        _exit(try_full_disk());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- looking at images ---- */

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

/* ---- chains ---- */

static void must_not_read_chain(const char *name, const char *words)
{
    struct image_chain chain = {0};
    struct error err;

    assert_false(image_chain_read(in_folder(name), "qcow2", &chain, &err));
    assert_int_equal(err.code, ERR_CHAIN_BROKEN);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say %s", err.message, words);
    assert_null(chain.images);
}

static void a_chain_is_read_down_to_its_base(void **state)
{
    struct image_chain chain;
    struct error err;

    (void)state;
    make_file("base.img", 1 << 20);
    must_create("one.qcow2", 1 << 20, "base.img", "raw");
    must_create("two.qcow2", 2 << 20, "one.qcow2", "qcow2");
    assert_true(
        image_chain_read(in_folder("two.qcow2"), "qcow2", &chain, &err));
    assert_int_equal(chain.depth, 3);
    assert_string_equal(chain.images[0].path, in_folder("two.qcow2"));
    assert_true(chain.images[0].virtual_bytes == 2 << 20);
    assert_string_equal(chain.images[1].path, in_folder("one.qcow2"));
    assert_string_equal(chain.images[2].path, in_folder("base.img"));
    assert_string_equal(chain.images[2].format, "raw");
    image_chain_dispose(&chain);
    assert_null(chain.images);
}

static void a_missing_image_breaks_the_chain_and_is_named(void **state)
{
    (void)state;
    make_file("base.img", 512);
    must_create("one.qcow2", 512, "base.img", "raw");
    must_create("two.qcow2", 512, "one.qcow2", "qcow2");
    unlink(in_folder("base.img"));
    must_not_read_chain("two.qcow2", "base.img");
}

static void an_image_that_is_not_what_the_one_above_names_breaks_the_chain(
    void **state)
{
    (void)state;
    make_file("base.img", 512);
    must_create("over.qcow2", 512, "base.img", "qcow2");
    must_not_read_chain("over.qcow2", "base.img: it is not a qcow2 image");
}

static void a_chain_that_loops_is_noticed(void **state)
{
    (void)state;
    make_file("base.img", 512);
    must_create("one.qcow2", 512, "base.img", "qcow2");
    must_create("two.qcow2", 512, "one.qcow2", "qcow2");
    unlink(in_folder("base.img"));
    assert_int_equal(link(in_folder("two.qcow2"), in_folder("base.img")), 0);
    must_not_read_chain("two.qcow2", "leads back");
}

static void an_image_that_does_not_record_its_backing_format_breaks_the_chain(
    void **state)
{
    (void)state;
    make_file("base.img", 512);
    must_create("over.qcow2", 512, "base.img", "raw");
    /* Turns the extension into one of no known meaning. */
    patch("over.qcow2", 104, "\1\2\3\4", 4);
    must_not_read_chain("over.qcow2", "does not record the format");
}

static void a_chain_may_be_256_images_long_and_no_longer(void **state)
{
    struct image_chain chain;
    struct error err;
    char names[2][32] = {"base.img"};
    unsigned int i;

    (void)state;
    make_file("base.img", 512);
    for (i = 1; i <= 256; i++) {
        snprintf(names[i % 2], sizeof(names[0]), "%u.qcow2", i);
        must_create(names[i % 2], 512, names[(i + 1) % 2],
                    i == 1 ? "raw" : "qcow2");
    }
    assert_true(
        image_chain_read(in_folder("255.qcow2"), "qcow2", &chain, &err));
    assert_int_equal(chain.depth, 256);
    image_chain_dispose(&chain);
    must_not_read_chain("256.qcow2", "longer than 256");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(an_overlay_is_what_qemu_img_takes_for_one),
        TEST(a_chain_of_overlays_is_followed_by_qemu_img),
        TEST(writing_to_an_overlay_leaves_the_image_underneath_alone),
        TEST(writing_at_the_end_of_a_large_overlay_works),
        TEST(an_overlay_takes_little_room),
        TEST(an_overlay_has_the_mode_of_the_image_underneath),
        TEST(an_overlay_has_the_owner_of_the_image_underneath),
        TEST(an_existing_file_is_left_alone),
        TEST(what_cannot_be_an_overlay_is_refused_and_leaves_no_file),
        TEST(a_full_disk_leaves_no_file),
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
        TEST(a_chain_is_read_down_to_its_base),
        TEST(a_missing_image_breaks_the_chain_and_is_named),
        TEST(an_image_that_is_not_what_the_one_above_names_breaks_the_chain),
        TEST(a_chain_that_loops_is_noticed),
        TEST(an_image_that_does_not_record_its_backing_format_breaks_the_chain),
        TEST(a_chain_may_be_256_images_long_and_no_longer),
    };
    int failed;

    if (!mkdtemp(folder) &&
        !mkdtemp(strcpy(folder, "/tmp/xensnapd-image-XXXXXX")))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (run("rm -rf %s", folder) != 0)
        return 1;
    return failed;
}
