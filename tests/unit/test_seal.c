/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checksum of small files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/journal/seal.h"

static char *sealed(const char *text, size_t *ret_length)
{
    return seal_add(text, strlen(text), ret_length);
}

/* The CRC's check value is in every book. */
static void the_checksum_is_the_well_known_one(void **state)
{
    size_t length;
    char *text = sealed("123456789", &length);

    (void)state;
    assert_string_equal(text, "123456789\n# crc32 cbf43926\n");
    assert_int_equal(length, strlen(text));
    assert_int_equal(length, 9 + SEAL_LENGTH);
    free(text);
}

static void a_sealed_text_comes_back(void **state)
{
    static const char *const texts[] = {"", "{}", "a: 1\n...\n", "\n\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t length;
        char *text = sealed(texts[i], &length);

        assert_int_equal(seal_take_off(text, &length), SEAL_RIGHT);
        assert_string_equal(text, texts[i]);
        assert_int_equal(length, strlen(texts[i]));
        free(text);
    }
}

static void a_text_without_a_checksum_is_left_as_it_is(void **state)
{
    char text[] = "version: 1\n...\n# a comment\n";
    size_t length = strlen(text);

    (void)state;
    assert_int_equal(seal_take_off(text, &length), SEAL_NONE);
    assert_string_equal(text, "version: 1\n...\n# a comment\n");
    length = 0;
    assert_int_equal(seal_take_off(text, &length), SEAL_NONE);
}

static bool passes(const char *text, size_t length)
{
    char *copy = xcalloc(length + 1, 1);
    struct error err = {0};
    bool ok;

    memcpy(copy, text, length);
    ok = seal_require(copy, length, &err);
    if (!ok) {
        assert_int_equal(err.code, ERR_STORE);
        assert_non_null(strstr(err.message, "it "));
    }
    free(copy);
    return ok;
}

static void every_changed_bit_is_found(void **state)
{
    size_t length;
    char *text =
        sealed("{\"id\":\"ab12\",\"step\":\"make-overlays\"}", &length);

    (void)state;
    assert_true(passes(text, length));
    for (size_t i = 0; i < length; i++) {
        for (unsigned int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ (1 << bit));
            assert_false(passes(text, length));
            text[i] = (char)(text[i] ^ (1 << bit));
        }
    }
    free(text);
}

static void a_text_cut_short_or_longer_is_found(void **state)
{
    size_t length;
    char *text = sealed("{\"id\":\"ab12\"}", &length);

    (void)state;
    for (size_t shorter = 0; shorter < length; shorter++)
        assert_false(passes(text, shorter));
    assert_false(passes(text, length + 1)); /* a zero byte more */
    free(text);
}

static void what_stands_behind_the_checksum_makes_it_wrong(void **state)
{
    char text[] = "123456789\n# crc32 cbf43926\n\n";
    size_t length = strlen(text);

    (void)state;
    assert_int_equal(seal_take_off(text, &length), SEAL_WRONG);
    assert_int_equal(length, strlen(text));
}

static void a_zero_byte_in_a_text_is_refused(void **state)
{
    size_t length;
    char *text = seal_add("{}\0{}", 5, &length);
    struct error err;

    (void)state;
    assert_false(seal_require(text, length, &err));
    assert_non_null(strstr(err.message, "zero byte"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_the_well_known_one),
        cmocka_unit_test(a_sealed_text_comes_back),
        cmocka_unit_test(a_text_without_a_checksum_is_left_as_it_is),
        cmocka_unit_test(every_changed_bit_is_found),
        cmocka_unit_test(a_text_cut_short_or_longer_is_found),
        cmocka_unit_test(what_stands_behind_the_checksum_makes_it_wrong),
        cmocka_unit_test(a_zero_byte_in_a_text_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
