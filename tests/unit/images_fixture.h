/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images in a folder of the tests' own, to be compared with what qemu-img and
 * qemu-io make of the same files.  Inline: no test uses all of it. */
#ifndef XENSNAPD_TESTS_IMAGES_FIXTURE_H
#define XENSNAPD_TESTS_IMAGES_FIXTURE_H

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/disk/image.h"

#define KIB UINT64_C(1024)
#define GIB (KIB * KIB * KIB)
#define TIB (GIB * KIB)

/* In memory where possible: a disk takes milliseconds for each flush. */
static char folder[64] = "/dev/shm/xensnapd-image-XXXXXX";

static inline const char *in_folder(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned int turn;
    char *path = paths[turn++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

static inline int run(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
static inline int run(const char *format, ...)
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

static inline void needs_qemu_img(void)
{
    if (run("command -v qemu-img qemu-io >/dev/null") != 0)
        skip();
}

/* What `qemu-img info` says, as the raw JSON. */
static inline struct json_object *qemu_info(const char *name,
                                            const char *format)
{
    struct json_object *info;

    assert_int_equal(
        run("qemu-img info -f %s --output=json %s >info.json", format, name),
        0);
    info = json_object_from_file(in_folder("info.json"));
    assert_non_null(info);
    return info;
}

static inline uint64_t qemu_size(const char *name, const char *format)
{
    struct json_object *info = qemu_info(name, format);
    uint64_t size =
        json_object_get_uint64(json_object_object_get(info, "virtual-size"));

    json_object_put(info);
    return size;
}

static inline void make_file(const char *name, off_t bytes)
{
    int fd = open(in_folder(name), O_RDWR | O_CREAT | O_EXCL, 0640);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    close(fd);
}

static inline void patch(const char *name, off_t offset, const void *data,
                         size_t length)
{
    int fd = open(in_folder(name), O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, length, offset), (ssize_t)length);
    close(fd);
}

static inline void must_create(const char *name, uint64_t bytes,
                               const char *backing, const char *format)
{
    struct error err;

    if (!image_create_overlay(NULL, in_folder(name), bytes, in_folder(backing),
                              format, &err))
        fail_msg("%s", err.message);
}

static inline void must_inspect(const char *name, const char *format,
                                struct image_info *info)
{
    struct error err;

    if (!image_inspect(in_folder(name), format, info, &err))
        fail_msg("%s", err.message);
}

static inline void must_refuse(const char *name, const char *format,
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

static inline int setup(void **state)
{
    (void)state;
    assert_int_equal(run("rm -rf ./*"), 0);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

static inline int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ||
                   mkdtemp(strcpy(folder, "/tmp/xensnapd-image-XXXXXX"))
               ? 0
               : -1;
}

static inline int remove_folder(void **state)
{
    (void)state;
    return run("rm -rf %s", folder) == 0 ? 0 : -1;
}

#endif
