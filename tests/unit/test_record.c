/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot's record to YAML and back. */
#include "agent/journal/record_fields.h"
#include "tests/unit/record_fixture.h"

#define FILE_NAME "/store/before.yaml"

static void assert_text_equal(const char *a, const char *b)
{
    if (a && b)
        assert_string_equal(a, b);
    else
        assert_ptr_equal(a, b);
}

static void assert_disk_equal(const struct record_disk *a,
                              const struct record_disk *b)
{
    size_t i;

    assert_text_equal(a->vdev, b->vdev);
    assert_text_equal(a->driver, b->driver);
    assert_int_equal(a->external, b->external);
    assert_text_equal(a->path, b->path);
    assert_text_equal(a->format, b->format);
    assert_text_equal(a->snapshot, b->snapshot);
    assert_text_equal(a->restore_overlay, b->restore_overlay);
    assert_text_equal(a->merging, b->merging);
    assert_text_equal(a->copied_into, b->copied_into);
    assert_text_equal(a->copied, b->copied);
    assert_text_equal(a->merged, b->merged);
    assert_true(a->virtual_bytes == b->virtual_bytes);
    assert_true(a->written_ns == b->written_ns);
    assert_int_equal(a->overlay_count, b->overlay_count);
    for (i = 0; i < a->overlay_count; i++)
        assert_text_equal(a->overlays[i], b->overlays[i]);
    assert_text_equal(a->active, b->active);
    assert_text_equal(a->active_format, b->active_format);
    assert_int_equal(a->foreign_count, b->foreign_count);
    for (i = 0; i < a->foreign_count; i++)
        assert_text_equal(a->foreign[i], b->foreign[i]);
}

static void assert_record_equal(const struct record *a, const struct record *b)
{
    size_t i;

    assert_text_equal(a->vm_uuid, b->vm_uuid);
    assert_text_equal(a->name, b->name);
    assert_text_equal(a->domain_name, b->domain_name);
    assert_text_equal(a->created_at, b->created_at);
    assert_text_equal(a->parent, b->parent);
    assert_text_equal(a->description, b->description);
    assert_text_equal(a->schedule, b->schedule);
    assert_text_equal(a->expires_at, b->expires_at);
    assert_text_equal(a->consistency, b->consistency);
    assert_int_equal(a->memory, b->memory);
    assert_int_equal(a->live, b->live);
    assert_int_equal(a->deleting, b->deleting);
    assert_true(a->deleting_domid == b->deleting_domid);
    assert_text_equal(a->deleting_boot, b->deleting_boot);
    assert_text_equal(a->memory_path, b->memory_path);
    assert_true(a->memory_bytes == b->memory_bytes);
    assert_text_equal(a->config, b->config);
    assert_int_equal(a->disk_count, b->disk_count);
    for (i = 0; i < a->disk_count; i++)
        assert_disk_equal(&a->disks[i], &b->disks[i]);
}

static void assert_round_trip(const struct record *record)
{
    struct error err = {0};
    char *text = encode(record);
    struct record back;

    if (!record_decode(text, strlen(text), FILE_NAME, &back, &err))
        fail_msg("%s\n%s", err.message, text);
    assert_record_equal(record, &back);
    record_dispose(&back);
    free(text);
}

static void a_record_with_every_key_comes_back_exactly(void **state)
{
    struct record record = full_record();

    (void)state;
    assert_round_trip(&record);
    record_dispose(&record);
}

static void a_record_with_the_least_comes_back_exactly(void **state)
{
    struct record record = {
        .vm_uuid = xstrdup(RECORD_UUID),
        .name = xstrdup("s"),
        .domain_name = xstrdup("d"),
        .created_at = xstrdup("2026-11-24T07:12:03.123Z"),
        .consistency = xstrdup("crash"),
        .config = xstrdup("{}"),
    };

    (void)state;
    assert_round_trip(&record);
    record_dispose(&record);
}

static void a_disk_without_overlays_left_comes_back_exactly(void **state)
{
    struct record record = full_record();
    struct record_disk *disk = &record.disks[0];

    (void)state;
    while (disk->overlay_count > 0)
        free(disk->overlays[--disk->overlay_count]);
    assert_round_trip(&record);
    record_dispose(&record);
}

static void any_overlay_path_comes_back_exactly(void **state)
{
    static const char *const paths[] = {
        "/",
        "/images/a: b #c",
        "/images/\"quoted\" \\",
        "/images/two\nlines\n",
        "/images/ \t",
        "/images/gr\xc3\xbcn.qcow2",
    };
    struct record record = full_record();
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        record_disk_add_overlay(&record.disks[0], paths[i]);
    assert_round_trip(&record);
    record_dispose(&record);
}

static void overlays_come_back_up_to_their_limit(void **state)
{
    struct record record = full_record();
    struct record_disk *disk = &record.disks[0];

    (void)state;
    while (disk->overlay_count < RECORD_OVERLAYS_MAX)
        record_disk_add_overlay(disk, "/images/more.qcow2");
    assert_round_trip(&record);
    record_disk_add_overlay(disk, "/images/too-many.qcow2");
    assert_not_encoded(&record, "overlays: there are more than 256");
}

static void images_of_a_toolstack_come_back_exactly(void **state)
{
    struct record record = full_record();
    struct record_disk *disk = &record.disks[0];

    (void)state;
    disk->active = xstrdup("/images/flat.raw");
    assert_not_encoded(&record, "active and active-format go together");
    record = full_record();
    disk = &record.disks[0];
    disk->active = xstrdup("/images/flat.raw");
    disk->active_format = xstrdup("raw");
    record_disk_add_foreign(disk, "/images/lower.qcow2");
    record_disk_add_foreign(disk, "/images/upper.qcow2");
    record_disk_add_foreign(disk, "/images/lower.qcow2");
    assert_int_equal(disk->foreign_count, 2);
    assert_round_trip(&record);
    /* The domain goes on elsewhere; what lies there stays known. */
    record_disk_add_overlay(disk, "/images/new.qcow2");
    assert_null(disk->active);
    assert_null(disk->active_format);
    assert_int_equal(disk->foreign_count, 2);
    assert_round_trip(&record);
    record_dispose(&record);
}

static void any_utf8_description_comes_back_exactly(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "  both ends  ",
        "\n",
        "\n\n",
        "a\n",
        "a\n\n",
        "\na",
        " a\nb",
        "a \nb",
        "a\n b",
        "a\n\n  b\n",
        "\t",
        "a\tb\nc",
        "a\r\nb\r",
        "#",
        "- a",
        "a: b",
        "a #b",
        "'",
        "\"",
        "\\",
        "\\n",
        "%",
        "@",
        "`",
        "...",
        "---",
        "---\n...\n",
        "null",
        "~",
        "true",
        "1.0",
        "0x10",
        "1e3",
        "<<",
        "!t",
        "&a",
        "*a",
        "{",
        "[",
        "?",
        ":",
        "\x01\x07\x1b[31m\x7f",
        "\xc2\x80\xc2\x85\xc2\x9f\xc2\xa0", /* C1, NEL, no-break */
        "a\xe2\x80\xa8"
        "b\xe2\x80\xa9"
        "c\n", /* line separators */
        "\xef\xbb\xbf"
        "bom",                                  /* byte order mark */
        "\xef\xbf\xbe\xef\xbf\xbf\xef\xb7\x90", /* noncharacters */
        "\xf0\x9f\x93\xb8\xf4\x8f\xbf\xbf",     /* beyond 16 bits */
        "gr\xc3\xbc\xc3\x9f\x65 \xe6\x97\xa5\xe6\x9c\xac\n\xe8\xaa\x9e",
    };
    struct record record = full_record();
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        set_text(&record.description, texts[i]);
        assert_round_trip(&record);
        set_text(&record.config, *texts[i] ? texts[i] : "{}");
        assert_round_trip(&record);
    }
    record_dispose(&record);
}

static void a_long_line_of_words_comes_back_exactly(void **state)
{
    struct record record = full_record();
    char text[1025];
    size_t i;

    (void)state;
    for (i = 0; i + 1 < sizeof(text); i++)
        text[i] = i % 7 == 0 ? ' ' : 'x';
    text[i] = '\0';
    set_text(&record.description, text);
    assert_round_trip(&record);
    record_dispose(&record);
}

static void a_configuration_of_many_kilobytes_comes_back_exactly(void **state)
{
    struct record record = full_record();
    char *config = xstrdup("{\n");
    int i;

    (void)state;
    for (i = 0; i < 1000; i++) {
        char *longer = xasprintf(
            "%s    \"key%d\": \"a \\\"value\\\" \\n\",\n\n", config, i);

        free(config);
        config = longer;
    }
    set_text(&record.config, config);
    assert_round_trip(&record);
    free(config);
    record_dispose(&record);
}

/* Of the configuration the usual form is read past libyaml: whatever form it
 * is written in, it is what YAML makes of it. */
static void a_configuration_is_what_yaml_makes_of_it(void **state)
{
    static const char *const forms[][2] = {
        {"|\n  {\n      \"a\": 1\n  }\n", "{\n    \"a\": 1\n}\n"},
        {"|\n  {\n\n  }\n", "{\n\n}\n"},
        {"|\n  {\n     \n  }\n", "{\n   \n}\n"},
        {"|\n  {\n \n  }\n", "{\n\n}\n"},
        {"|\n  {}\n\n\n", "{}\n"},
        {"|\n  {}\n  \n", "{}\n"},
        {"|\n   {\n   }\n", "{\n}\n"},
        {"|\n  {\n\t}\n", NULL},
        {"|\n  {\n  \xc3\xa9}\n", "{\n\xc3\xa9}\n"},
        {"|\n  {}\n# by hand\n", "{}\n"},
        {"|-\n  {}\n", "{}"},
        {"\"{}\"\n", "{}"},
        {"|\n  {\n }\n", NULL},
        {"|\n  {}\nschedule: x\n", "{}\n"},
    };
    static const char head[] =
        "version: 1\nvm-uuid: \"6a7f3a0e-9f3f-4f0e-8d8e-0d6f6a1f6b11\"\n"
        "name: \"s1\"\ndomain-name: \"web\"\n"
        "created-at: \"2026-01-02T03:04:05.678Z\"\nconsistency: \"crash\"\n"
        "memory: false\nlive: false\ndeleting: false\nmemory-bytes: 0\n"
        "disks: []\nconfig: ";
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char *text = xasprintf("%s%s...\n", head, forms[i][0]);
        struct record record = {0};
        struct error err;
        bool ok = record_decode(text, strlen(text), "here", &record, &err);

        assert_int_equal(ok, forms[i][1] != NULL);
        assert_text_equal(record.config, forms[i][1]);
        record_dispose(&record);
        free(text);
    }
}

static void a_configuration_is_legible_in_the_file(void **state)
{
    struct record record = full_record();
    char *text = encode(&record);

    (void)state;
    assert_non_null(strstr(text, "\n      \"c_info\": {\n"));
    assert_ptr_equal(strstr(text, "version: 1\n"), text);
    free(text);
    record_dispose(&record);
}

static void a_copy_shares_nothing_with_its_original(void **state)
{
    struct record record = full_record();
    struct record expected = full_record();
    struct record copy;

    (void)state;
    record_copy(&record, &copy);
    record.name[0] = 'B';
    record.disks[0].vdev[0] = 'X';
    record.disks[0].overlays[1][0] = 'X';
    record_disk_add_overlay(&record.disks[0], "/images/web.before.2.qcow2");
    record.disks[1].external = true;
    record_dispose(&record);
    assert_record_equal(&copy, &expected);
    record_dispose(&copy);
    record_dispose(&expected);
}

static void disposing_of_an_empty_record_is_fine(void **state)
{
    struct record record = {0};

    (void)state;
    record_dispose(&record);
    record_dispose(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_with_every_key_comes_back_exactly),
        cmocka_unit_test(a_record_with_the_least_comes_back_exactly),
        cmocka_unit_test(a_disk_without_overlays_left_comes_back_exactly),
        cmocka_unit_test(any_overlay_path_comes_back_exactly),
        cmocka_unit_test(overlays_come_back_up_to_their_limit),
        cmocka_unit_test(images_of_a_toolstack_come_back_exactly),
        cmocka_unit_test(any_utf8_description_comes_back_exactly),
        cmocka_unit_test(a_long_line_of_words_comes_back_exactly),
        cmocka_unit_test(a_configuration_of_many_kilobytes_comes_back_exactly),
        cmocka_unit_test(a_configuration_is_what_yaml_makes_of_it),
        cmocka_unit_test(a_configuration_is_legible_in_the_file),
        cmocka_unit_test(a_copy_shares_nothing_with_its_original),
        cmocka_unit_test(disposing_of_an_empty_record_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
