/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is no snapshot's record: not read, and not written. */
#include "agent/journal/record_fields.h"
#include "tests/unit/record_fixture.h"

#define FILE_NAME "/store/before.yaml"

/* The message of a refusal must hold the file's name and `words`. */
static void assert_bytes_refused(const char *text, size_t length,
                                 const char *words)
{
    static const struct record untouched;
    struct record back = untouched;
    struct error err = {0};

    if (record_decode(text, length, FILE_NAME, &back, &err))
        fail_msg("taken for a record:\n%s", text);
    assert_int_equal(err.code, ERR_STORE);
    if (!strstr(err.message, FILE_NAME ": ") || !strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_memory_equal(&back, &untouched, sizeof(back));
}

static void assert_refused(const char *text, const char *words)
{
    assert_bytes_refused(text, strlen(text), words);
}

/* The full record with `old`, which must be there, replaced. */
static char *edited(const char *old, const char *replacement)
{
    struct record record = full_record();
    char *text = encode(&record);
    char *place = strstr(text, old);
    char *changed;

    if (!place)
        fail_msg("no \"%s\" in:\n%s", old, text);
    changed = xasprintf("%.*s%s%s", (int)(place - text), text, replacement,
                        place + strlen(old));
    free(text);
    record_dispose(&record);
    return changed;
}

static void assert_edit_refused(const char *old, const char *replacement,
                                const char *words)
{
    char *text = edited(old, replacement);

    assert_refused(text, words);
    free(text);
}

static void an_unknown_key_is_refused_by_name_and_line(void **state)
{
    (void)state;
    assert_edit_refused("live: true", "colour: red", "line 10: colour: ");
    assert_edit_refused("external: true", "external: true\n  size: 3",
                        "size: there is no such key");
    assert_edit_refused("overlays:", "overlay: \"/a\"\n  overlays:",
                        "overlay: there is no such key");
}

static void a_newer_version_is_refused_as_one(void **state)
{
    (void)state;
    assert_edit_refused("version: 1", "version: 2",
                        "version 2 is newer than this program knows (1)");
    assert_refused("version: 2\nother: [1, 2]\n", "line 1: version 2 is newer");
}

static void a_version_that_is_none_is_refused(void **state)
{
    (void)state;
    assert_edit_refused("version: 1", "version: 0", "line 1: version: ");
    assert_edit_refused("version: 1", "version: one", "line 1: version: ");
    assert_edit_refused("version: 1\n", "", "line 1: the key version");
}

static void a_missing_key_is_named(void **state)
{
    (void)state;
    assert_edit_refused("name: \"before\"\n", "", "name is missing");
    assert_edit_refused("memory-bytes: 18446744073709551615\n", "",
                        "memory-bytes is missing");
    assert_edit_refused("memory-path: \"/memory/web.before.save\"\n", "",
                        "memory-path is missing");
    assert_edit_refused("deleting: true\n", "", "deleting is missing");
    assert_edit_refused("  snapshot: \"before\"\n", "", "snapshot is missing");
    assert_edit_refused("  overlays: []\n", "", "overlays is missing");
    assert_edit_refused("  path: \"/images/data.qcow2\"\n", "",
                        "path is missing");
}

static void a_key_given_twice_is_refused(void **state)
{
    (void)state;
    assert_edit_refused("live: true", "live: true\nlive: true",
                        "line 11: live: this key stands here a second time");
}

static void overlays_that_are_no_list_of_paths_are_refused(void **state)
{
    (void)state;
    assert_edit_refused("overlays: []", "overlays: \"/a\"",
                        "a list of overlays is expected");
    assert_edit_refused("overlays: []", "overlays: {a: \"/a\"}",
                        "a list of overlays is expected");
    assert_edit_refused("overlays: []", "overlays: [\"/a\"]",
                        "overlays: there are none where external is false");
    assert_edit_refused("- \"/images/web.before.1.qcow2\"", "- [\"/a\"]",
                        "an overlay's path is expected");
    assert_edit_refused("\"/images/web.before.1.qcow2\"", "images/a.qcow2",
                        "overlays: \"images/a.qcow2\" is not an absolute");
    assert_edit_refused("\"/images/web.before.1.qcow2\"", "\"/a\\0b\"",
                        "an overlay's path is expected");
}

static void more_overlays_than_the_limit_are_refused(void **state)
{
    char *list = xstrdup("overlays:\n");
    int i;

    (void)state;
    for (i = 0; i < RECORD_OVERLAYS_MAX; i++) {
        char *longer = xasprintf("%s  - \"/images/%d.qcow2\"\n", list, i);

        free(list);
        list = longer;
    }
    /* With the two that are there. */
    assert_edit_refused("overlays:\n", list, "there are more than 256");
    free(list);
}

static void a_disk_named_twice_is_refused(void **state)
{
    (void)state;
    assert_edit_refused("xvdb", "xvda", "xvda stands there twice");
}

static void values_of_the_wrong_form_are_refused_by_key_and_line(void **state)
{
    static const char *const edits[][3] = {
        {"0a1b", "0A1B", "line 2: vm-uuid: "},
        {"e8f9\"", "e8f\"", "line 2: vm-uuid: "},
        {"e8f9\"", "e8f90\"", "line 2: vm-uuid: "},
        {"name: \"before\"", "name: \"../before\"", "line 3: name: "},
        {"name: \"before\"", "name: \"\"", "line 3: name: "},
        {"name: \"before\"", "name: [before]", "line 3: a value is expected"},
        {"domain-name: \"web\"", "domain-name: \"\"", "line 4: domain-name: "},
        {"07:12:03.123Z", "07:12:03Z", "line 5: created-at: "},
        {"parent: \"1.0\"", "parent: \".x\"", "line 6: parent: "},
        {"parent: \"1.0\"", "parent: \"before\"", "parent: it is the record"},
        {"\"full\"", "\"half\"", "line 8: consistency: "},
        {"deleting: true", "deleting: 1", "line 11: deleting: "},
        {"live: true", "live: yes", "line 10: live: \"yes\" is not true"},
        {"\"/memory/", "\"memory/", "memory-path: "},
        {"memory: true", "memory: false", "memory-path: "},
        {"18446744073709551615", "18446744073709551616", "memory-bytes: "},
        {"18446744073709551615", "-1", "memory-bytes: "},
        {"18446744073709551615", "0x1", "memory-bytes: "},
        {"\"/images/web.qcow2\"", "web.qcow2", "path: "},
        {"external: true", "external: 1", "external: "},
        {"format: \"qcow2\"", "format: \"qcow2,file=x\"", "format: "},
        {"external: false", "external: true", "snapshot: "},
        {"disks:", "disks: many\ndisks:", "a list of disks is expected"},
        {"- vdev: \"xvda\"", "- xvdc\n- vdev: \"xvda\"",
         "a disk's keys is expected"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(edits) / sizeof(edits[0]); i++)
        assert_edit_refused(edits[i][0], edits[i][1], edits[i][2]);
}

static void a_value_is_shown_without_its_control_characters(void **state)
{
    (void)state;
    assert_edit_refused("\"full\"", "\"\\e[31m\\u00e9\"", "\"?[31m\xc3\xa9\"");
}

static void a_zero_byte_in_a_value_does_not_hide_the_rest(void **state)
{
    (void)state;
    assert_edit_refused("name: \"before\"", "name: \"before\\0../x\"",
                        "line 3: a value is expected");
}

static void anchors_and_aliases_are_no_values(void **state)
{
    (void)state;
    assert_edit_refused("name: \"before\"", "name: &a \"before\"\nparent: *a",
                        "a value is expected");
}

static void broken_yaml_is_refused_by_line(void **state)
{
    (void)state;
    assert_edit_refused("name: \"before\"", "name: \"before", "line ");
    assert_edit_refused("live: true", "live: true: true", "line 10: ");
    assert_edit_refused("before the", "before \xff the", "line 7: ");
    assert_refused("", "a record is expected");
    assert_refused("just words", "a record is expected");
    assert_refused("[[[[[[[[[[", "line 1: ");
}

static void more_behind_the_end_is_refused(void **state)
{
    struct record record = full_record();
    char *text = encode(&record);
    char *longer = xasprintf("%s---\nversion: 1\n", text);

    (void)state;
    assert_refused(longer, "the file's end is expected");
    free(longer);
    free(text);
    record_dispose(&record);
}

static void a_record_cut_short_anywhere_is_refused(void **state)
{
    struct record record = full_record();
    char *text = encode(&record);
    size_t length = strlen(text);
    size_t cut;

    (void)state;
    /* The last newline may go: the three dots before it are the end. */
    for (cut = 0; cut + 1 < length; cut++)
        assert_bytes_refused(text, cut, "line ");
    free(text);
    record_dispose(&record);
}

static void a_description_that_is_not_utf8_is_not_written(void **state)
{
    static const char *const texts[] = {
        "caf\xe9",
        "\xc3",
        "\xc0\x80",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf6\x91\x9e\x8d",
        "\xf8\x88\x80\x80",
        "\xff",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct record record = full_record();

        set_text(&record.description, texts[i]);
        assert_not_encoded(&record, "description: it is not UTF-8");
    }
}

static void what_cannot_be_read_back_is_not_written(void **state)
{
    struct record record = full_record();

    (void)state;
    set_text(&record.disks[1].path, "/images/\xff");
    assert_not_encoded(&record, "path: it is not UTF-8");
    record = full_record();
    record_disk_add_overlay(&record.disks[0], "/images/\xff");
    assert_not_encoded(&record, "overlays: it is not UTF-8");
    record = full_record();
    record_disk_add_overlay(&record.disks[0], "a.qcow2");
    assert_not_encoded(&record, "disks: overlays: ");
    record = full_record();
    record_disk_add_overlay(&record.disks[1], "/images/a.qcow2");
    assert_not_encoded(&record, "overlays: there are none");
    record = full_record();
    set_text(&record.config, NULL);
    assert_not_encoded(&record, "config is missing");
    record = full_record();
    set_text(&record.vm_uuid, "..");
    assert_not_encoded(&record, "vm-uuid: ");
    record = full_record();
    set_text(&record.disks[0].vdev, "");
    assert_not_encoded(&record, "disks: vdev: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_key_is_refused_by_name_and_line),
        cmocka_unit_test(a_newer_version_is_refused_as_one),
        cmocka_unit_test(a_version_that_is_none_is_refused),
        cmocka_unit_test(a_missing_key_is_named),
        cmocka_unit_test(a_key_given_twice_is_refused),
        cmocka_unit_test(overlays_that_are_no_list_of_paths_are_refused),
        cmocka_unit_test(more_overlays_than_the_limit_are_refused),
        cmocka_unit_test(a_disk_named_twice_is_refused),
        cmocka_unit_test(values_of_the_wrong_form_are_refused_by_key_and_line),
        cmocka_unit_test(a_value_is_shown_without_its_control_characters),
        cmocka_unit_test(a_zero_byte_in_a_value_does_not_hide_the_rest),
        cmocka_unit_test(anchors_and_aliases_are_no_values),
        cmocka_unit_test(broken_yaml_is_refused_by_line),
        cmocka_unit_test(more_behind_the_end_is_refused),
        cmocka_unit_test(a_record_cut_short_anywhere_is_refused),
        cmocka_unit_test(a_description_that_is_not_utf8_is_not_written),
        cmocka_unit_test(what_cannot_be_read_back_is_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
