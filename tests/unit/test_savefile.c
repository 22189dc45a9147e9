/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a memory file, against the layout in xl.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/guest/savefile.h"

#define CONFIG "{\"c_info\":{\"name\":\"web\"}}"

/* Offsets of the fields. */
enum {
    AT_BYTE_ORDER = 32,
    AT_MANDATORY = 36,
    AT_OPTIONAL = 40,
    AT_LENGTH = 44,
    AT_CONFIG_LENGTH = 48
};

struct file {
    char *data;
    size_t length;
};

static struct file encode(const char *config)
{
    struct file file;
    struct error err;
    void *data;

    assert_true(savefile_encode(config, &data, &file.length, &err));
    file.data = data;
    return file;
}

static uint32_t field(const struct file *file, size_t offset)
{
    uint32_t value;

    memcpy(&value, file->data + offset, sizeof(value));
    return value;
}

static void set_field(struct file *file, size_t offset, uint32_t value)
{
    memcpy(file->data + offset, &value, sizeof(value));
}

/* Expects a refusal whose message holds `words`; frees the file. */
static void assert_refused(struct file file, const char *words)
{
    struct error err;
    char *config = NULL;
    size_t length = 0;

    assert_false(
        savefile_decode(file.data, file.length, &config, &length, &err));
    assert_int_equal(err.code, ERR_NO_MEMORY_STATE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_null(config);
    assert_int_equal(length, 0);
    free(file.data);
}

static void assert_field_refused(size_t offset, uint32_t value,
                                 const char *words)
{
    struct file file = encode(CONFIG);

    set_field(&file, offset, value);
    assert_refused(file, words);
}

static void a_head_has_the_layout_that_xl_reads(void **state)
{
    static const char magic[32] = "Xen saved domain, xl format\n \0 \r";
    struct file file = encode(CONFIG);
    (void)state;

    assert_int_equal(file.length, 52 + sizeof(CONFIG));
    assert_memory_equal(file.data, magic, sizeof(magic));
    assert_int_equal(field(&file, AT_BYTE_ORDER), 0x01020304);
    assert_int_equal(field(&file, AT_MANDATORY), 3);
    assert_int_equal(field(&file, AT_OPTIONAL), 0);
    assert_int_equal(field(&file, AT_LENGTH), 4 + sizeof(CONFIG));
    assert_int_equal(field(&file, AT_CONFIG_LENGTH), sizeof(CONFIG));
    assert_string_equal(file.data + 52, CONFIG);
    free(file.data);
}

static void what_was_encoded_is_decoded_and_the_stream_follows(void **state)
{
    struct file file = encode(CONFIG);
    size_t head = file.length;
    struct error err;
    char *config;
    size_t length;
    (void)state;

    file.data = xrealloc(file.data, 1, head + 6);
    memcpy(file.data + head, "stream", 6);
    assert_true(savefile_decode(file.data, head + 6, &config, &length, &err));
    assert_string_equal(config, CONFIG);
    assert_int_equal(length, head);
    free(config);
    free(file.data);
}

static void optional_data_of_later_versions_is_skipped(void **state)
{
    struct file file = encode(CONFIG);
    struct error err;
    char *config;
    size_t length;
    (void)state;

    file.data = xrealloc(file.data, 1, file.length + 8);
    memset(file.data + file.length, 'x', 8);
    file.length += 8;
    set_field(&file, AT_LENGTH, 4 + sizeof(CONFIG) + 8);
    set_field(&file, AT_OPTIONAL, 0x80);
    assert_true(
        savefile_decode(file.data, file.length, &config, &length, &err));
    assert_string_equal(config, CONFIG);
    assert_int_equal(length, file.length);
    free(config);
    free(file.data);
}

static void a_file_of_another_kind_is_refused(void **state)
{
    struct file file = {xstrdup("QFI\xfb and so on, for more than 32 bytes"),
                        40};
    (void)state;

    assert_refused(file, "not a memory file");
}

static void an_empty_file_is_refused(void **state)
{
    struct file file = {xstrdup(""), 0};
    (void)state;

    assert_refused(file, "not a memory file");
}

/* A text file may lack only the NUL and the carriage return. */
static void the_whole_magic_counts(void **state)
{
    struct file file = encode(CONFIG);
    (void)state;

    file.data[31] = '\n';
    assert_refused(file, "not a memory file");
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
    (void)state;

    for (size_t length = 0; length < 52 + sizeof(CONFIG); length++) {
        struct file file = encode(CONFIG);

        /* A copy of just that size, for the sanitizer to watch. */
        file.data = xrealloc(file.data, 1, length);
        file.length = length;
        assert_refused(file, length < 32 ? "not a memory file" : "cut short");
    }
}

static void the_other_byte_order_is_named(void **state)
{
    (void)state;
    assert_field_refused(AT_BYTE_ORDER, 0x04030201, "other byte order");
}

static void a_damaged_byte_order_mark_is_named(void **state)
{
    (void)state;
    assert_field_refused(AT_BYTE_ORDER, 0x01020305, "0x01020305");
}

static void unknown_mandatory_flags_are_named(void **state)
{
    (void)state;
    assert_field_refused(AT_MANDATORY, 0x80000007, "0x80000004");
}

static void a_stream_in_the_old_format_is_refused(void **state)
{
    (void)state;
    assert_field_refused(AT_MANDATORY, 1, "before Xen 4.6");
}

static void a_configuration_that_is_not_json_is_refused(void **state)
{
    (void)state;
    assert_field_refused(AT_MANDATORY, 2, "JSON");
}

static void a_file_without_configuration_is_refused(void **state)
{
    (void)state;
    assert_field_refused(AT_LENGTH, 0, "no configuration");
    assert_field_refused(AT_LENGTH, 3, "no configuration");
}

static void lengths_that_cannot_be_true_are_refused(void **state)
{
    (void)state;
    assert_field_refused(AT_LENGTH, UINT32_MAX, "too long");
    assert_field_refused(AT_LENGTH, SAVEFILE_HEAD_MAX - 47, "too long");
    assert_field_refused(AT_LENGTH, SAVEFILE_HEAD_MAX - 48, "cut short");
    assert_field_refused(AT_CONFIG_LENGTH, UINT32_MAX, "damaged");
    assert_field_refused(AT_CONFIG_LENGTH, sizeof(CONFIG) + 1, "damaged");
    assert_field_refused(AT_CONFIG_LENGTH, 0, "damaged");
}

static void a_configuration_without_end_is_refused(void **state)
{
    (void)state;
    assert_field_refused(AT_CONFIG_LENGTH, sizeof(CONFIG) - 1, "damaged");
}

static void a_configuration_with_a_nul_inside_is_refused(void **state)
{
    struct file file = encode(CONFIG);
    (void)state;

    file.data[60] = '\0';
    assert_refused(file, "damaged");
}

static void an_empty_configuration_is_refused(void **state)
{
    (void)state;
    assert_refused(encode(""), "damaged");
}

static void a_configuration_of_the_largest_size_survives(void **state)
{
    size_t length = SAVEFILE_HEAD_MAX - 52 - 1;
    char *config = xcalloc(1, length + 2);
    struct file file;
    struct error err;
    char *decoded;
    void *data;
    (void)state;

    memset(config, ' ', length);
    file = encode(config);
    assert_int_equal(file.length, SAVEFILE_HEAD_MAX);
    assert_true(
        savefile_decode(file.data, file.length, &decoded, &length, &err));
    assert_string_equal(decoded, config);
    free(decoded);
    free(file.data);

    config[strlen(config)] = ' ';
    assert_false(savefile_encode(config, &data, &length, &err));
    assert_int_equal(err.code, ERR_INTERNAL);
    free(config);
}

/* The first record is little-endian, as everything since the options. */
static const unsigned char stream[SAVEFILE_STREAM_HEAD] = {
    'L', 'i', 'b', 'x', 'l', 'F', 'm', 't', 0, 0, 0, 2,
    0,   0,   0,   0,   1,   0,   0,   0,   0, 0, 0, 0,
};

static void assert_stream_refused(size_t offset, unsigned char value,
                                  const char *words)
{
    unsigned char damaged[sizeof(stream)];
    struct error err;

    memcpy(damaged, stream, sizeof(stream));
    damaged[offset] = value;
    assert_false(savefile_check_stream(damaged, sizeof(damaged), &err));
    assert_int_equal(err.code, ERR_NO_MEMORY_STATE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void the_beginning_of_a_stream_is_recognised(void **state)
{
    struct error err;
    (void)state;

    assert_true(savefile_check_stream(stream, sizeof(stream), &err));
}

static void a_stream_that_libxl_would_crash_on_is_refused(void **state)
{
    (void)state;
    assert_stream_refused(7, 'T', "no libxl stream");
    assert_stream_refused(11, 3, "version 3");
    assert_stream_refused(15, 1, "other byte order");
    assert_stream_refused(16, 0, "does not begin with");
    assert_stream_refused(20, 8, "does not begin with");
}

static void a_stream_cut_short_is_refused(void **state)
{
    struct error err;
    (void)state;

    for (size_t length = 0; length < sizeof(stream); length++) {
        assert_false(savefile_check_stream(stream, length, &err));
        assert_int_equal(err.code, ERR_NO_MEMORY_STATE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_has_the_layout_that_xl_reads),
        cmocka_unit_test(what_was_encoded_is_decoded_and_the_stream_follows),
        cmocka_unit_test(optional_data_of_later_versions_is_skipped),
        cmocka_unit_test(a_file_of_another_kind_is_refused),
        cmocka_unit_test(an_empty_file_is_refused),
        cmocka_unit_test(the_whole_magic_counts),
        cmocka_unit_test(a_file_cut_short_anywhere_is_refused),
        cmocka_unit_test(the_other_byte_order_is_named),
        cmocka_unit_test(a_damaged_byte_order_mark_is_named),
        cmocka_unit_test(unknown_mandatory_flags_are_named),
        cmocka_unit_test(a_stream_in_the_old_format_is_refused),
        cmocka_unit_test(a_configuration_that_is_not_json_is_refused),
        cmocka_unit_test(a_file_without_configuration_is_refused),
        cmocka_unit_test(lengths_that_cannot_be_true_are_refused),
        cmocka_unit_test(a_configuration_without_end_is_refused),
        cmocka_unit_test(a_configuration_with_a_nul_inside_is_refused),
        cmocka_unit_test(an_empty_configuration_is_refused),
        cmocka_unit_test(a_configuration_of_the_largest_size_survives),
        cmocka_unit_test(the_beginning_of_a_stream_is_recognised),
        cmocka_unit_test(a_stream_that_libxl_would_crash_on_is_refused),
        cmocka_unit_test(a_stream_cut_short_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
