/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains of images, followed to their base, and what breaks one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/disk/image.h"
#include "tests/unit/images_fixture.h"

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
    const struct CMUnitTest tests[] = {
        TEST(a_chain_is_read_down_to_its_base),
        TEST(a_missing_image_breaks_the_chain_and_is_named),
        TEST(an_image_that_is_not_what_the_one_above_names_breaks_the_chain),
        TEST(a_chain_that_loops_is_noticed),
        TEST(an_image_that_does_not_record_its_backing_format_breaks_the_chain),
        TEST(a_chain_may_be_256_images_long_and_no_longer),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
