/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot's record to YAML and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/journal/record.h"
#include "agent/journal/record_fields.h"

#define UUID      "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define FILE_NAME "/store/before.yaml"

/* ---- help ---- */

static void fill_disks(struct record *record)
{
    struct record_disk *disks = xcalloc(2, sizeof(*disks));

    disks[0].vdev = xstrdup("xvda");
    disks[0].driver = xstrdup("storage \"1\"");
    disks[0].external = true;
    disks[0].path = xstrdup("/images/web.qcow2");
    disks[0].format = xstrdup("qcow2");
    record_disk_add_overlay(&disks[0], "/images/web.before.qcow2");
    record_disk_add_overlay(&disks[0], "/images/web.before.1.qcow2");
    disks[0].restore_overlay = xstrdup("/images/web.before.restore.qcow2");
    disks[0].merging = xstrdup("/images/web.before.qcow2");
    disks[0].copied = xstrdup("/images/web.before.qcow2");
    disks[0].merged = xstrdup("/images/web.before.qcow2");
    disks[0].virtual_bytes = 10737418240;
    disks[1].vdev = xstrdup("xvdb");
    disks[1].path = xstrdup("/images/data.qcow2");
    disks[1].format = xstrdup("qcow2");
    disks[1].snapshot = xstrdup("before");
    record->disks = disks;
    record->disk_count = 2;
}

/* A record with every key. */
static struct record full_record(void)
{
    struct record record = {
        .vm_uuid = xstrdup(UUID),
        .name = xstrdup("before"),
        .domain_name = xstrdup("web"),
        .created_at = xstrdup("2026-11-24T07:12:03.123Z"),
        .parent = xstrdup("1.0"),
        .description = xstrdup("before the upgrade"),
        .schedule = xstrdup("daily"),
        .expires_at = xstrdup("2026-12-24T07:12:03.000Z"),
        .consistency = xstrdup("full"),
        .memory = true,
        .live = true,
        .deleting = true,
        .deleting_domid = 7,
        .memory_path = xstrdup("/memory/web.before.save"),
        .memory_bytes = UINT64_MAX,
        .config = xstrdup("{\n    \"c_info\": {\n        \"name\": \"web\"\n"
                          "    }\n}\n"),
    };

    fill_disks(&record);
    return record;
}

static void set(char **text, const char *value)
{
    free(*text);
    *text = value ? xstrdup(value) : NULL;
}

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
    assert_text_equal(a->copied, b->copied);
    assert_text_equal(a->merged, b->merged);
    assert_true(a->virtual_bytes == b->virtual_bytes);
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
    assert_text_equal(a->memory_path, b->memory_path);
    assert_true(a->memory_bytes == b->memory_bytes);
    assert_text_equal(a->config, b->config);
    assert_int_equal(a->disk_count, b->disk_count);
    for (i = 0; i < a->disk_count; i++)
        assert_disk_equal(&a->disks[i], &b->disks[i]);
}

/* The YAML form, terminated: the caller's to free(). */
static char *encode(const struct record *record)
{
    struct error err = {0};
    size_t length;
    char *text;

    if (!record_encode(record, &text, &length, &err))
        fail_msg("%s", err.message);
    text = xrealloc(text, length + 1, 1);
    text[length] = '\0';
    return text;
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

static void assert_not_encoded(struct record *record, const char *words)
{
    struct error err = {0};
    size_t length = 0;
    char *text = NULL;

    assert_false(record_encode(record, &text, &length, &err));
    assert_int_equal(err.code, ERR_STORE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_null(text);
    record_dispose(record);
}

/* ---- what comes back ---- */

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
        .vm_uuid = xstrdup(UUID),
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
        set(&record.description, texts[i]);
        assert_round_trip(&record);
        set(&record.config, *texts[i] ? texts[i] : "{}");
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
    set(&record.description, text);
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
    set(&record.config, config);
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

/* ---- what is refused ---- */

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
    assert_edit_refused("\"full\"", "\"\\e[31m\\u00e9\"", "\"?[31m??\"");
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

        set(&record.description, texts[i]);
        assert_not_encoded(&record, "description: it is not UTF-8");
    }
}

static void what_cannot_be_read_back_is_not_written(void **state)
{
    struct record record = full_record();

    (void)state;
    set(&record.disks[1].path, "/images/\xff");
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
    set(&record.config, NULL);
    assert_not_encoded(&record, "config is missing");
    record = full_record();
    set(&record.vm_uuid, "..");
    assert_not_encoded(&record, "vm-uuid: ");
    record = full_record();
    set(&record.disks[0].vdev, "");
    assert_not_encoded(&record, "disks: vdev: ");
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
