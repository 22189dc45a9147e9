/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The note of an operation under way: there and back, and what is no note. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "agent/base/alloc.h"
#include "agent/journal/operation_state.h"

#define UUID "aaaaaaaa-0000-0000-0000-000000000001"

static void fill_request(struct snapshot *snapshot)
{
    struct request *request = &snapshot->request;

    strcpy(snapshot->id, "ab12");
    snapshot->requester = 7;
    strcpy(snapshot->queued_at, "2026-11-24T07:12:03.123Z");
    strcpy(snapshot->started_at, "2026-11-24T07:12:04.123Z");
    strcpy(snapshot->created_at, "2026-11-24T07:12:05.123Z");
    request->operation = REQUEST_REVERT;
    strcpy(request->name, "asked-for");
    request->notify_port = UINT32_MAX;
    request->memory = true;
    strcpy(request->memory_path, "/var/given.save");
    request->keep_files = true;
    snapshot->freezes = true;
    snapshot->of_libvirt = true;
    request->start = REQUEST_START_BOOT;
    request->keep_current = true;
}

static void fill_domain(struct snapshot *snapshot)
{
    strcpy(snapshot->name, "before.upgrade");
    snapshot->running = true;
    snapshot->noted_boot = xstrdup("6f2d1f5e-3f0a-4a7e-9d0f-2c1b7a5e4d3c");
    snapshot->guest.domid = 42;
    strcpy(snapshot->guest.uuid, UUID);
    strcpy(snapshot->guest.name, "w\"eb\\ \xc3\xa4");
    snapshot->guest.type = GUEST_HVM;
    snapshot->live = true;
    snapshot->memory_path = xstrdup("/var/memory.save");
    snapshot->memory_temporary = xstrdup("/var/.tmp-memory");
    snapshot->memory_linked = true;
    snapshot->stream_offset = (off_t)1 << 40;
    snapshot->rescue_path = xstrdup("/var/rescue");
    snapshot->rescued = true;
    snapshot->internal_applied = true;
    snapshot->kept_name = xstrdup("kept");
    snapshot->new_domid = 43;
    snapshot->attempt = 2;
    error_set(&snapshot->failure, ERR_NO_MEMORY_STATE, "it is not there");
    snapshot->config_json = xstrdup("{\"c_info\": {}}\n");
    snapshot->job_id = xstrdup("0123456789abcdef");
    strcpy(snapshot->noted_step, "keep-running-state");
}

/* One with everything, one with nothing that may be missing. */
static void fill_disks(struct snapshot *snapshot)
{
    struct snapshot_disk *disk;

    snapshot->disk_count = 2;
    snapshot->disks = xcalloc(2, sizeof(*snapshot->disks));
    disk = &snapshot->disks[0];
    strcpy(disk->vdev, "xvda");
    disk->path = xstrdup("/images/a.qcow2");
    disk->format = xstrdup("qcow2");
    disk->driver = xstrdup("storage");
    disk->driver_uuid = xstrdup(UUID);
    disk->skipped = xstrdup("read-only");
    disk->external = true;
    disk->internal_name = xstrdup("tag");
    disk->virtual_bytes = UINT64_MAX;
    disk->overlay = xstrdup("/images/a.over.qcow2");
    disk->restore_overlay = xstrdup("/images/a.restore.qcow2");
    disk->abandoned = xstrdup("/images/a.old.qcow2");
    disk->copied = true;
    disk->merged = true;
    disk->overlay_stays = true;
    strcpy(snapshot->disks[1].vdev, "hdc");
}

static struct snapshot *full_snapshot(void)
{
    struct snapshot *snapshot = snapshot_new();

    fill_request(snapshot);
    fill_domain(snapshot);
    fill_disks(snapshot);
    return snapshot;
}

static struct snapshot *there_and_back(const struct snapshot *snapshot)
{
    struct snapshot *back = snapshot_new();
    char *text = operation_state_encode(snapshot);
    struct error err;

    if (!operation_state_decode(text, back, &err)) {
        fail_msg("%s: %s", err.message, text);
    }
    free(text);
    return back;
}

/* ---- there and back ---- */

static void the_request_comes_back(void **state)
{
    struct snapshot *snapshot = full_snapshot();
    struct snapshot *back = there_and_back(snapshot);

    (void)state;
    assert_string_equal(back->noted_step, "keep-running-state");
    assert_string_equal(back->id, "ab12");
    assert_int_equal(back->requester, 7);
    assert_string_equal(back->queued_at, snapshot->queued_at);
    assert_true(back->of_libvirt);
    assert_string_equal(back->started_at, snapshot->started_at);
    assert_string_equal(back->created_at, snapshot->created_at);
    assert_int_equal(back->request.operation, REQUEST_REVERT);
    assert_string_equal(back->request.name, "asked-for");
    assert_true(back->request.notify_port == UINT32_MAX);
    assert_true(back->request.memory);
    assert_string_equal(back->request.memory_path, "/var/given.save");
    assert_true(back->request.keep_files);
    assert_true(back->freezes);
    assert_int_equal(back->request.start, REQUEST_START_BOOT);
    assert_true(back->request.keep_current);
    snapshot_free(snapshot);
    snapshot_free(back);
}

static void the_domain_and_its_memory_come_back(void **state)
{
    struct snapshot *snapshot = full_snapshot();
    struct snapshot *back = there_and_back(snapshot);

    (void)state;
    assert_string_equal(back->name, "before.upgrade");
    assert_true(back->running);
    assert_int_equal(back->guest.domid, 42);
    assert_string_equal(back->guest.uuid, UUID);
    assert_string_equal(back->guest.name, snapshot->guest.name);
    assert_int_equal(back->guest.type, GUEST_HVM);
    assert_true(back->live);
    assert_string_equal(back->memory_path, "/var/memory.save");
    assert_string_equal(back->memory_temporary, "/var/.tmp-memory");
    assert_true(back->memory_linked);
    assert_true(back->stream_offset == (off_t)1 << 40);
    assert_string_equal(back->rescue_path, "/var/rescue");
    assert_true(back->rescued);
    assert_true(back->internal_applied);
    assert_string_equal(back->kept_name, "kept");
    assert_string_equal(back->noted_boot,
                        "6f2d1f5e-3f0a-4a7e-9d0f-2c1b7a5e4d3c");
    assert_int_equal(back->new_domid, 43);
    assert_int_equal(back->attempt, 2);
    assert_int_equal(back->failure.code, ERR_NO_MEMORY_STATE);
    assert_string_equal(back->failure.message, "it is not there");
    assert_string_equal(back->config_json, "{\"c_info\": {}}\n");
    assert_string_equal(back->job_id, "0123456789abcdef");
    snapshot_free(snapshot);
    snapshot_free(back);
}

static void the_disks_come_back(void **state)
{
    struct snapshot *snapshot = full_snapshot();
    struct snapshot *back = there_and_back(snapshot);
    const struct snapshot_disk *disk;

    (void)state;
    assert_int_equal(back->disk_count, 2);
    disk = &back->disks[0];
    assert_string_equal(disk->vdev, "xvda");
    assert_string_equal(disk->path, "/images/a.qcow2");
    assert_string_equal(disk->format, "qcow2");
    assert_string_equal(disk->driver, "storage");
    assert_string_equal(disk->driver_uuid, UUID);
    assert_string_equal(disk->skipped, "read-only");
    assert_true(disk->external);
    assert_string_equal(disk->internal_name, "tag");
    assert_true(disk->virtual_bytes == UINT64_MAX);
    assert_string_equal(disk->overlay, "/images/a.over.qcow2");
    assert_string_equal(disk->restore_overlay, "/images/a.restore.qcow2");
    assert_string_equal(disk->abandoned, "/images/a.old.qcow2");
    assert_true(disk->copied);
    assert_true(disk->merged);
    assert_true(disk->overlay_stays);
    disk = &back->disks[1];
    assert_string_equal(disk->vdev, "hdc");
    assert_null(disk->path);
    assert_null(disk->driver);
    assert_null(disk->driver_uuid);
    assert_null(disk->skipped);
    assert_false(disk->external);
    assert_null(disk->overlay);
    assert_null(disk->restore_overlay);
    assert_null(disk->abandoned);
    assert_false(disk->copied);
    assert_false(disk->merged);
    assert_false(disk->overlay_stays);
    snapshot_free(snapshot);
    snapshot_free(back);
}

static void what_is_not_there_comes_back_as_not_there(void **state)
{
    struct snapshot *snapshot = snapshot_new();
    struct snapshot *back = there_and_back(snapshot);

    (void)state;
    assert_string_equal(back->noted_step, "");
    assert_int_equal(back->request.operation, REQUEST_CREATE);
    assert_string_equal(back->id, "");
    assert_null(back->memory_path);
    assert_null(back->memory_temporary);
    assert_null(back->rescue_path);
    assert_null(back->config_json);
    assert_int_equal(back->failure.code, ERR_NONE);
    assert_int_equal(back->disk_count, 0);
    snapshot_free(snapshot);
    snapshot_free(back);
}

static void only_a_revert_keeps_the_configuration(void **state)
{
    static const enum request_operation others[] = {
        REQUEST_CREATE, REQUEST_DELETE, REQUEST_RESCAN};
    struct snapshot *snapshot = full_snapshot();

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct snapshot *back;

        snapshot->request.operation = others[i];
        back = there_and_back(snapshot);
        assert_int_equal(back->request.operation, others[i]);
        assert_null(back->config_json);
        snapshot_free(back);
    }
    snapshot_free(snapshot);
}

static void what_came_back_is_written_the_same_again(void **state)
{
    struct snapshot *snapshot = full_snapshot();
    struct snapshot *back;
    char *first, *second;

    (void)state;
    back = there_and_back(snapshot);
    first = operation_state_encode(snapshot);
    second = operation_state_encode(back);
    assert_string_equal(first, second);
    free(first);
    free(second);
    snapshot_free(snapshot);
    snapshot_free(back);
}

/* A field that came later: whoever reads has said what it means to miss it. */
static void what_an_earlier_version_did_not_tell_is_left_as_it_is(void **state)
{
    struct snapshot *snapshot = full_snapshot();
    char *text = operation_state_encode(snapshot);
    struct json_object *note = json_tokener_parse(text);

    (void)state;
    json_object_object_del(note, "memory-linked");
    for (int told = 0; told < 2; told++) {
        struct snapshot *back = snapshot_new();
        struct error err;

        back->memory_linked = told == 1;
        assert_true(operation_state_decode(json_object_to_json_string(note),
                                           back, &err));
        assert_int_equal(back->memory_linked, told == 1);
        snapshot_free(back);
    }
    json_object_put(note);
    free(text);
    snapshot_free(snapshot);
}

/* ---- what is no note ---- */

static bool decodes(const char *text)
{
    struct snapshot *snapshot = snapshot_new();
    struct error err = {0};
    bool ok = operation_state_decode(text, snapshot, &err);

    if (!ok) {
        assert_int_equal(err.code, ERR_STORE);
        assert_true(strstr(err.message, "it is damaged") != NULL ||
                    strstr(err.message, "it was written by") != NULL);
    }
    snapshot_free(snapshot);
    return ok;
}

static struct json_object *good_note(void)
{
    struct snapshot *snapshot = full_snapshot();
    char *text = operation_state_encode(snapshot);
    struct json_object *note = json_tokener_parse(text);

    free(text);
    snapshot_free(snapshot);
    assert_non_null(note);
    return note;
}

static struct json_object *first_disk(struct json_object *note)
{
    return json_object_array_get_idx(json_object_object_get(note, "disks"), 0);
}

static bool note_decodes(struct json_object *note)
{
    return decodes(json_object_to_json_string(note));
}

/* A good note, but for one value (JSON; NULL: none), of its own or of its first
 * disk. */
static bool decodes_with(bool in_disk, const char *key, const char *value)
{
    struct json_object *note = good_note();
    struct json_object *place = in_disk ? first_disk(note) : note;
    bool ok;

    json_object_object_del(place, key);
    if (value != NULL) {
        json_object_object_add(place, key, json_tokener_parse(value));
    }
    ok = note_decodes(note);
    json_object_put(note);
    return ok;
}

static void a_note_cut_short_anywhere_is_refused(void **state)
{
    struct snapshot *snapshot = full_snapshot();
    char *text = operation_state_encode(snapshot);

    (void)state;
    assert_true(decodes(text));
    for (size_t length = strlen(text); length-- > 0;) {
        text[length] = '\0';
        assert_false(decodes(text));
    }
    free(text);
    snapshot_free(snapshot);
}

static void what_is_no_object_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "null",
                                        "1",
                                        "\"text\"",
                                        "[]",
                                        "{}",
                                        "{\"version\": 2}",
                                        "version: 1\n",
                                        "\xff\xfe"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(decodes(texts[i]));
    }
}

static void another_version_is_refused(void **state)
{
    (void)state;
    assert_true(decodes_with(false, "version", "2"));
    assert_false(decodes_with(false, "version", "0"));
    assert_false(decodes_with(false, "version", "1"));
    assert_false(decodes_with(false, "version", "3"));
    assert_false(decodes_with(false, "version", "null"));
    assert_false(decodes_with(false, "version", "[1]"));
    assert_false(decodes_with(false, "version", NULL));
}

static void who_wrote_another_version_is_told(void **state)
{
    struct snapshot *snapshot = snapshot_new();
    struct error err;

    (void)state;
    assert_false(operation_state_decode(
        "{\"version\": 7, \"program\": \"9.9\"}", snapshot, &err));
    assert_string_equal(err.message,
                        "it was written by xensnapd 9.9, in version 7 of its "
                        "form; this one knows version 2");
    snapshot_free(snapshot);
}

/* Whatever place it has in another version's recipe. */
static void a_step_is_written_by_its_name(void **state)
{
    static const struct step steps[] = {
        {.name = "first"}, {.name = "second"}, {.name = NULL}};
    struct snapshot *snapshot = full_snapshot();
    struct snapshot *back;

    (void)state;
    snapshot->operation.steps = steps;
    snapshot->operation.current = 1;
    back = there_and_back(snapshot);
    assert_string_equal(back->noted_step, "second");
    snapshot_free(snapshot);
    snapshot_free(back);
}

static void a_step_with_a_name_too_long_is_refused(void **state)
{
    (void)state;
    assert_true(
        decodes_with(false, "step", "\"1234567890123456789012345678901\""));
    assert_false(
        decodes_with(false, "step", "\"12345678901234567890123456789012\""));
}

static void an_operation_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    assert_true(decodes_with(false, "operation", "\"rescan\""));
    assert_false(decodes_with(false, "operation", "\"merge\""));
    assert_false(decodes_with(false, "operation", "\"\""));
}

static void an_error_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    assert_true(decodes_with(false, "failure-code", "\"none\""));
    assert_true(decodes_with(false, "failure-code", "\"internal-error\""));
    assert_false(decodes_with(false, "failure-code", "\"from-the-future\""));
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    char longest[SNAPSHOT_NAME_MAX + 4];

    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[0] = '"';
    longest[SNAPSHOT_NAME_MAX + 1] = '"';
    longest[SNAPSHOT_NAME_MAX + 2] = '\0';
    assert_true(decodes_with(false, "name", longest));
    longest[SNAPSHOT_NAME_MAX + 1] = 'x';
    longest[SNAPSHOT_NAME_MAX + 2] = '"';
    longest[SNAPSHOT_NAME_MAX + 3] = '\0';
    assert_false(decodes_with(false, "name", longest));
    assert_false(decodes_with(true, "vdev",
                              "\"a-virtual-device-with-a-name-too-long\""));
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    assert_true(decodes_with(false, "domid", "4294967295"));
    assert_false(decodes_with(false, "domid", "4294967296"));
    assert_false(decodes_with(false, "domid", "-1"));
    assert_false(decodes_with(true, "virtual-bytes", "-1"));
}

static bool is_of_type(const char *value, enum json_type type)
{
    struct json_object *object = json_tokener_parse(value);
    bool right = json_object_is_type(object, type);

    json_object_put(object);
    return right;
}

static void try_types(bool in_disk)
{
    static const char *const values[] = {"null",     "true", "1", "1.5",
                                         "\"text\"", "[]",   "{}"};
    struct json_object *note = good_note();

    json_object_object_foreach(in_disk ? first_disk(note) : note, key, original)
    {
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            if (strcmp(key, "program") != 0 && /* for people */
                !is_of_type(values[i], json_object_get_type(original)) &&
                decodes_with(in_disk, key, values[i])) {
                fail_msg("%s: %s", key, values[i]);
            }
        }
    }
    json_object_put(note);
}

static void a_value_of_another_type_is_refused(void **state)
{
    (void)state;
    try_types(false);
    try_types(true);
}

static bool may_be_missing(struct json_object *original, const char *key)
{
    static const char *const needed[] = {
        "id",           "queued-at",         "started-at", "created-at",
        "request-name", "memory-path-given", "name",       "uuid",
        "domain-name",  "failure",           "vdev",       "step",
        "operation",    "failure-code"};

    if (!json_object_is_type(original, json_type_string)) {
        return strcmp(key, "copied") == 0 || strcmp(key, "merged") == 0 ||
               strcmp(key, "overlay-stays") == 0 ||
               strcmp(key, "memory-linked") == 0 ||
               strcmp(key, "freezes") == 0 || strcmp(key, "of-libvirt") == 0;
    }
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (strcmp(key, needed[i]) == 0) {
            return false;
        }
    }
    return true;
}

static void try_without(bool in_disk)
{
    struct json_object *note = good_note();

    json_object_object_foreach(in_disk ? first_disk(note) : note, key, original)
    {
        if (decodes_with(in_disk, key, NULL) != may_be_missing(original, key)) {
            fail_msg("%s is missing", key);
        }
    }
    json_object_put(note);
}

static void only_what_is_not_always_there_may_be_missing(void **state)
{
    (void)state;
    try_without(false);
    try_without(true);
}

static void disks_that_are_none_are_refused(void **state)
{
    (void)state;
    assert_true(decodes_with(false, "disks", "[]"));
    assert_false(decodes_with(false, "disks", "[null]"));
    assert_false(decodes_with(false, "disks", "[1]"));
    assert_false(decodes_with(false, "disks", "[[]]"));
    assert_false(decodes_with(false, "disks", "[{}]"));
    assert_false(decodes_with(false, "disks", "[{\"vdev\": \"xvda\"}]"));
}

static void more_disks_than_any_domain_has_are_refused(void **state)
{
    struct json_object *note = good_note();
    struct json_object *disks = json_object_object_get(note, "disks");
    struct json_object *disk = first_disk(note);

    (void)state;
    while (json_object_array_length(disks) < 4096) {
        json_object_array_add(disks, json_object_get(disk));
    }
    assert_true(note_decodes(note));
    json_object_array_add(disks, json_object_get(disk));
    assert_false(note_decodes(note));
    json_object_put(note);
}

static void keys_that_nobody_knows_are_passed_over(void **state)
{
    (void)state;
    assert_true(decodes_with(false, "from-the-future", "[1, {}]"));
    assert_true(decodes_with(true, "from-the-future", "null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_comes_back),
        cmocka_unit_test(the_domain_and_its_memory_come_back),
        cmocka_unit_test(the_disks_come_back),
        cmocka_unit_test(what_is_not_there_comes_back_as_not_there),
        cmocka_unit_test(only_a_revert_keeps_the_configuration),
        cmocka_unit_test(what_came_back_is_written_the_same_again),
        cmocka_unit_test(what_an_earlier_version_did_not_tell_is_left_as_it_is),
        cmocka_unit_test(a_note_cut_short_anywhere_is_refused),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(who_wrote_another_version_is_told),
        cmocka_unit_test(a_step_is_written_by_its_name),
        cmocka_unit_test(a_step_with_a_name_too_long_is_refused),
        cmocka_unit_test(an_operation_that_does_not_exist_is_refused),
        cmocka_unit_test(an_error_that_does_not_exist_is_refused),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(a_value_of_another_type_is_refused),
        cmocka_unit_test(only_what_is_not_always_there_may_be_missing),
        cmocka_unit_test(disks_that_are_none_are_refused),
        cmocka_unit_test(more_disks_than_any_domain_has_are_refused),
        cmocka_unit_test(keys_that_nobody_knows_are_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
