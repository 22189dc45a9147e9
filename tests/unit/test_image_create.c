/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making overlays, which qemu-img and qemu-io must take for their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json-c/json.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/disk/image.h"
#include "tests/unit/images_fixture.h"

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

int main(void)
{
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
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
