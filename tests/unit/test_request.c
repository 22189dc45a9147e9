/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a requester may write, and what it is told when it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/request.h"

static struct request request;
static struct error err;

/* Parses pairs of key and value, up to a NULL. */
static bool parse_as(uint32_t requester, va_list args)
{
    struct raw_request raw = {.id = "r1", .requester = requester};
    const char *key;
    bool ok;

    while ((key = va_arg(args, const char *))) {
        raw.pairs = xrealloc(raw.pairs, raw.count + 1, sizeof(*raw.pairs));
        raw.pairs[raw.count].key = xstrdup(key);
        raw.pairs[raw.count++].value = xstrdup(va_arg(args, const char *));
    }
    request_dispose(&request);
    memset(&request, 0, sizeof(request));
    err.code = ERR_NONE;
    ok = request_parse(&raw, &request, &err);
    raw_request_dispose(&raw);
    return ok;
}

static bool parse_list(uint32_t requester, ...)
{
    va_list args;
    bool ok;

    va_start(args, requester);
    ok = parse_as(requester, args);
    va_end(args);
    return ok;
}

#define PARSE(...)  parse_list(0, __VA_ARGS__, NULL)
#define CREATE(...) PARSE("operation", "create", "domain", __VA_ARGS__)
#define RESCAN(...) PARSE("operation", "rescan", "domain", __VA_ARGS__)
#define REVERT(...)                                                            \
    PARSE("operation", "revert", "name", "s", "domain", __VA_ARGS__)

static void assert_refusal(enum error_code code, const char *message)
{
    assert_int_equal(err.code, code);
    assert_string_equal(err.message, message);
}

static int forget_request(void **state)
{
    (void)state;
    request_dispose(&request);
    return 0;
}

static void a_create_with_nothing_else_means_all_disks_and_memory(void **state)
{
    (void)state;
    assert_true(CREATE("web"));
    assert_string_equal(request.id, "r1");
    assert_int_equal(request.operation, REQUEST_CREATE);
    assert_string_equal(request.domain, "web");
    assert_true(request.memory);
    assert_int_equal(request.live, REQUEST_LIVE_AUTO);
    assert_int_equal(request.quiesce, REQUEST_QUIESCE_NO);
    assert_false(request.disks_named);
    assert_int_equal(request.disk_count, 0);
    assert_string_equal(request.name, "");
    assert_int_equal(request.timeout_ms, 0);
    assert_int_equal(request.notify_port, 0);
}

static void every_key_of_create_is_read(void **state)
{
    (void)state;
    assert_true(CREATE(
        "web", "name", "nightly", "memory-path", "/srv/m.save", "live", "1",
        "quiesce", "try", "description", "vor dem \xc3\x9c", "schedule",
        "daily", "timeout", "90", "notify-port", "17", "cancel", "x", "disks",
        "xvda  xvdb ", "disks/xvda/format", "qcow2", "disks/xvda/path",
        "/srv/a.qcow2", "disks/xvdb/external", "no", "disks/xvdb/name", "tag"));
    assert_string_equal(request.name, "nightly");
    assert_string_equal(request.memory_path, "/srv/m.save");
    assert_int_equal(request.live, REQUEST_LIVE_YES);
    assert_int_equal(request.quiesce, REQUEST_QUIESCE_TRY);
    assert_string_equal(request.description, "vor dem \xc3\x9c");
    assert_string_equal(request.schedule, "daily");
    assert_int_equal(request.timeout_ms, 90000);
    assert_int_equal(request.notify_port, 17);
    assert_true(request.disks_named);
    assert_int_equal(request.disk_count, 2);
    assert_string_equal(request.disks[0].vdev, "xvda");
    assert_true(request.disks[0].named && request.disks[0].external);
    assert_string_equal(request.disks[0].format, "qcow2");
    assert_string_equal(request.disks[0].path, "/srv/a.qcow2");
    assert_string_equal(request.disks[1].vdev, "xvdb");
    assert_false(request.disks[1].external);
    assert_string_equal(request.disks[1].name, "tag");
}

static void a_guest_is_quiesced_as_it_is_asked(void **state)
{
    (void)state;
    assert_true(CREATE("web", "quiesce", "1"));
    assert_int_equal(request.quiesce, REQUEST_QUIESCE_YES);
    assert_true(CREATE("web", "quiesce", "no", "memory", "0"));
    assert_int_equal(request.quiesce, REQUEST_QUIESCE_NO);
    assert_false(CREATE("web", "quiesce", "auto"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "quiesce: \"auto\" is not one of 0, 1, try, true, false, "
                   "yes, no");
}

static void delete_and_revert_are_read(void **state)
{
    (void)state;
    assert_true(PARSE("operation", "delete", "domain", "7", "name", "s",
                      "keep-files", "yes"));
    assert_int_equal(request.operation, REQUEST_DELETE);
    assert_true(request.keep_files);
    assert_true(REVERT("web", "keep-current", "0"));
    assert_int_equal(request.start, REQUEST_START_AS_SAVED);
    assert_true(REVERT("web", "start", "boot", "keep-current", "true"));
    assert_int_equal(request.operation, REQUEST_REVERT);
    assert_int_equal(request.start, REQUEST_START_BOOT);
    assert_true(request.keep_current);
    assert_true(REVERT("web", "start", "running"));
    assert_int_equal(request.start, REQUEST_START_RUNNING);
    assert_true(REVERT("web", "start", "paused"));
    assert_int_equal(request.start, REQUEST_START_PAUSED);
}

static void rescan_and_its_phases_are_read(void **state)
{
    (void)state;
    assert_true(RESCAN("web"));
    assert_int_equal(request.phase, REQUEST_PHASE_NONE);
    assert_true(
        RESCAN("web", "phase", "prepare", "hold", "20", "disks", "xvda"));
    assert_int_equal(request.phase, REQUEST_PHASE_PREPARE);
    assert_int_equal(request.hold_ms, 20000);
    assert_true(RESCAN("web", "phase", "complete", "disks/xvda/path",
                       "/n.qcow2", "disks/xvda/format", "qcow2"));
    assert_int_equal(request.phase, REQUEST_PHASE_COMPLETE);
    assert_string_equal(request.disks[0].path, "/n.qcow2");
    assert_true(RESCAN("web", "phase", "abort"));
    assert_int_equal(request.phase, REQUEST_PHASE_ABORT);
}

static void the_booleans_are_the_documented_ones(void **state)
{
    (void)state;
    assert_true(CREATE("web", "memory", "0") && !request.memory);
    assert_true(CREATE("web", "memory", "false") && !request.memory);
    assert_true(CREATE("web", "memory", "no") && !request.memory);
    assert_true(CREATE("web", "memory", "1") && request.memory);
    assert_true(CREATE("web", "memory", "true") && request.memory);
    assert_true(CREATE("web", "memory", "yes") && request.memory);
    assert_true(CREATE("web", "live", "0"));
    assert_int_equal(request.live, REQUEST_LIVE_NO);
    assert_false(CREATE("web", "memory", "Maybe\n"));
    assert_refusal(ERR_INVALID_REQUEST, "memory: \"Maybe?\" is not one of 1, "
                                        "0, true, false, yes, no");
    assert_false(CREATE("web", "quiesce", "2"));
    assert_false(CREATE("web", "live", ""));
    assert_false(CREATE("web", "memory", "auto"));
}

static void a_missing_or_unknown_operation_is_refused(void **state)
{
    (void)state;
    assert_false(PARSE("domain", "web"));
    assert_refusal(ERR_INVALID_REQUEST, "operation: is missing");
    assert_false(PARSE("domain", "web", "operation", "clone"));
    assert_refusal(ERR_UNSUPPORTED_OPERATION,
                   "operation: \"clone\" is not one of create, delete, revert, "
                   "rescan");
}

static void dom0_must_name_a_domain_and_others_mean_themselves(void **state)
{
    (void)state;
    assert_false(PARSE("operation", "create"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "domain: is missing; give a name, domid or uuid");
    assert_true(parse_list(7, "operation", "create", NULL));
    assert_int_equal(request.requester, 7);
    assert_string_equal(request.domain, "7");
    assert_false(PARSE("operation", "create", "domain", ""));
    assert_false(PARSE("operation", "create", "domain", "a\033b"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "domain: \"a?b\" is not a domain's name, domid or uuid");
}

static void delete_and_revert_need_a_name(void **state)
{
    (void)state;
    assert_false(PARSE("operation", "delete", "domain", "web"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "name: is missing; say which snapshot to delete");
    assert_false(PARSE("operation", "revert", "domain", "web"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "name: is missing; say which snapshot to revert");
}

static void an_unknown_key_is_refused_with_those_there_are(void **state)
{
    (void)state;
    assert_false(CREATE("web", "colour", "red"));
    assert_refusal(
        ERR_INVALID_REQUEST,
        "colour: there is no such key; create takes operation, "
        "domain, timeout, notify-port, cancel, name, memory, "
        "memory-path, live, quiesce, description, schedule, expires, disks, "
        "disks/<vdev>/external, disks/<vdev>/format, "
        "disks/<vdev>/path, disks/<vdev>/name");
    assert_false(CREATE("web", "disks/xvda/size", "1"));
    assert_memory_equal(err.message, "disks/xvda/size: there is no", 28);
    assert_false(CREATE("web", "disks/xvda/path/x", "1"));
    assert_false(CREATE("web", "disks/xvda", "1"));
    assert_false(CREATE("web", "name/x", "1"));
}

static void a_key_of_another_operation_is_refused(void **state)
{
    (void)state;
    assert_false(CREATE("web", "keep-files", "1"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "keep-files: belongs to delete, not to create");
    assert_false(RESCAN("web", "name", "x"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "name: belongs to create, delete, revert, not to rescan");
    assert_false(RESCAN("web", "disks/xvda/external", "1"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks/xvda/external: belongs to create, not to rescan");
    assert_false(REVERT("web", "disks", "xvda"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks: belongs to create, rescan, not to revert");
    assert_false(REVERT("web", "disks", "", "disks/xvda/path", "/a"));
}

static void output_keys_left_in_the_folder_are_skipped(void **state)
{
    (void)state;
    assert_true(CREATE("web", "state", "done", "step", "x", "progress", "7",
                       "error", "", "error/code", "busy", "result", "",
                       "result/disks/xvda/path", "x", "queued-at", "x",
                       "started-at", "x", "finished-at", "x"));
    assert_int_equal(request.disk_count, 0);
    assert_false(CREATE("web", "states", "done"));
}

static void disk_keys_alone_do_not_choose_disks(void **state)
{
    (void)state;
    assert_true(CREATE("web", "disks", "", "disks/xvdb", "", "disks/xvdb/path",
                       "/b", "disks/xvda/path", "/a"));
    assert_false(request.disks_named);
    assert_int_equal(request.disk_count, 2);
    assert_string_equal(request.disks[0].vdev, "xvdb");
    assert_false(request.disks[0].named);
}

static void a_disk_key_outside_the_given_disks_is_refused(void **state)
{
    (void)state;
    assert_false(CREATE("web", "disks/xvdb/path", "/b", "disks", "xvda"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks/xvdb/path: disks does not name xvdb");
}

static void a_disks_list_must_name_each_disk_once(void **state)
{
    (void)state;
    assert_false(CREATE("web", "disks", "  "));
    assert_refusal(ERR_INVALID_REQUEST, "disks: names no disk; leave the key "
                                        "out to take every writable one");
    assert_false(CREATE("web", "disks", ""));
    assert_false(CREATE("web", "disks", "xvda xvdb xvda"));
    assert_refusal(ERR_INVALID_REQUEST, "disks: xvda stands there twice");
}

static void a_vdev_is_a_short_word(void **state)
{
    static const char *const bad[] = {"XVDA",  "a",     "0xvda",
                                      "xv/da", "xvda,", "abcdefghijklmnopq"};
    size_t i;

    (void)state;
    assert_true(
        CREATE("web", "disks", "xvda hda sdb2 d0p0 xvdzz abcdefghijklmnop"));
    assert_int_equal(request.disk_count, 6);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(CREATE("web", "disks", bad[i]));
        assert_non_null(strstr(err.message, "is not a vdev"));
    }
    assert_false(CREATE("web", "disks/../path", "/a"));
    assert_false(CREATE("web", "disks//path", "/a"));
    assert_false(CREATE("web", "disks/XVDA/path", "/a"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks: \"XVDA\" is not a vdev such as xvda");
}

static void too_many_disks_are_refused(void **state)
{
    char list[REQUEST_DISKS_MAX * 8] = "";
    size_t length = 0;
    int i;

    (void)state;
    for (i = 0; i <= REQUEST_DISKS_MAX; i++)
        length +=
            (size_t)snprintf(list + length, sizeof(list) - length, "xv%d ", i);
    assert_false(CREATE("web", "disks", list));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks: xv64 is one too many; at most 64 are allowed");
    list[length - strlen("xv64 ")] = '\0';
    assert_true(CREATE("web", "disks", list));
}

static void more_keys_than_any_request_has_are_refused(void **state)
{
    struct raw_request raw = {.id = "ab12", .cut = true};

    (void)state;
    assert_false(request_parse(&raw, &request, &err));
    assert_refusal(
        ERR_INVALID_REQUEST,
        "there are more than 320 keys (64 in a domain's own folder); no "
        "request has as many");
}

static void numbers_are_whole_and_bounded(void **state)
{
    (void)state;
    assert_true(CREATE("web", "timeout", "86400"));
    assert_int_equal(request.timeout_ms, 86400000);
    assert_false(CREATE("web", "timeout", "86401"));
    assert_refusal(ERR_INVALID_REQUEST, "timeout: \"86401\" is not a whole "
                                        "number from 1 to 86400");
    assert_false(CREATE("web", "timeout", "0"));
    assert_false(CREATE("web", "timeout", ""));
    assert_false(CREATE("web", "timeout", "-1"));
    assert_false(CREATE("web", "timeout", "1.5"));
    assert_false(CREATE("web", "timeout", " 1"));
    assert_false(CREATE("web", "timeout", "4294967297"));
    assert_false(CREATE("web", "timeout", "99999999999999999999999"));
    assert_true(CREATE("web", "notify-port", "131071"));
    assert_false(CREATE("web", "notify-port", "131072"));
    assert_false(CREATE("web", "notify-port", "0"));
}

static void contradictions_are_refused(void **state)
{
    (void)state;
    assert_false(CREATE("web", "memory", "0", "memory-path", "/m"));
    assert_refusal(ERR_INVALID_REQUEST, "memory-path: contradicts memory=0");
    assert_false(CREATE("web", "live", "1", "memory", "0"));
    assert_refusal(ERR_INVALID_REQUEST, "live=1: contradicts memory=0");
    assert_true(CREATE("web", "live", "0", "memory", "0"));
    assert_false(
        CREATE("web", "disks/xvda/external", "0", "disks/xvda/path", "/a"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks/xvda/path: an internal snapshot (external=0) has no "
                   "path of its own");
    assert_true(CREATE("web", "disks/xvda/external", "0", "disks/xvda/format",
                       "qcow2"));
    assert_false(CREATE("web", "disks/xvda/name", "tag"));
    assert_false(RESCAN("web", "hold", "5"));
    assert_refusal(ERR_INVALID_REQUEST, "hold: belongs to phase=prepare only");
    assert_false(RESCAN("web", "phase", "abort", "disks/xvda/path", "/a"));
    assert_false(RESCAN("web", "phase", "prepare", "disks/xvda/format", "raw"));
}

/* "/<length times x>" and what is behind it. */
static const char *long_path(int length, const char *behind)
{
    static char path[512];

    snprintf(path, sizeof(path), "/%0*d%s", length, 0, behind);
    return path;
}

static void a_file_name_has_255_bytes_at_most(void **state)
{
    (void)state;
    assert_true(CREATE("web", "disks/xvda/path", long_path(255, "")));
    assert_true(RESCAN("web", "disks/xvda/path", long_path(255, "/a")));
    assert_false(CREATE("web", "disks/xvda/path", long_path(256, "")));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks/xvda/path: a file name has at most 255 bytes, and "
                   "one of the path's parts has 256; choose a shorter one");
    assert_false(RESCAN("web", "disks/xvda/path", long_path(300, "/a")));
    assert_false(CREATE("web", "memory-path", long_path(256, "/a")));
    assert_refusal(ERR_INVALID_REQUEST,
                   "memory-path: a file name has at most 255 bytes, and one of "
                   "the path's parts has 256; choose a shorter one");
}

/* Until it is whole, ".partial" is behind it. */
static void a_memory_file_s_name_has_247_bytes_at_most(void **state)
{
    (void)state;
    assert_true(CREATE("web", "memory-path", long_path(247, "")));
    assert_true(CREATE("web", "memory-path", long_path(255, "/a")));
    assert_false(CREATE("web", "memory-path", long_path(248, "")));
    assert_refusal(ERR_INVALID_REQUEST,
                   "memory-path: the file's name has 248 bytes; at most 247 "
                   "are allowed, for .partial is added until the file is "
                   "whole");
}

static void two_things_cannot_have_one_path(void **state)
{
    (void)state;
    assert_false(
        CREATE("web", "disks/xvda/path", "/a", "disks/xvdb/path", "/a"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks/xvdb/path: is the same as disks/xvda/path");
    assert_false(CREATE("web", "disks/xvda/path", "/a", "memory-path", "/a"));
    assert_refusal(ERR_INVALID_REQUEST,
                   "disks/xvda/path: is the same as memory-path");
}

static void paths_must_be_plain_and_absolute(void **state)
{
    static const char *const bad[] = {
        "",       "a",       "./a",   "/",     "/a/",    "/a//b",
        "/./a",   "/a/..",   "/../a", "/a\nb", "/a\x7f", "/a\xff",
        "nbd:/a", "json:{}", "//a",   " /a",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(request_path_is_plain(bad[i]));
        assert_false(CREATE("web", "memory-path", bad[i]));
        assert_int_equal(err.code, ERR_PATH_NOT_ALLOWED);
        assert_false(CREATE("web", "disks/xvda/path", bad[i]));
        assert_int_equal(err.code, ERR_PATH_NOT_ALLOWED);
    }
    assert_true(request_path_is_plain("/a:b/..c/d../.e/\xc3\xa9 f"));
}

static void a_path_is_no_longer_than_a_qcow2_header_can_name(void **state)
{
    char path[1025];

    (void)state;
    memset(path, 'a', sizeof(path));
    for (size_t i = 0; i < sizeof(path); i += 128)
        path[i] = '/';
    path[1024] = '\0';
    assert_false(request_path_is_plain(path));
    path[1023] = '\0';
    assert_true(request_path_is_plain(path));
    assert_true(CREATE("web", "memory-path", path));
}

static void names_are_safe_in_file_names(void **state)
{
    char name[SNAPSHOT_NAME_MAX + 2];

    (void)state;
    assert_true(snapshot_name_is_valid("2026-11-24_07.12-x"));
    assert_false(snapshot_name_is_valid(""));
    assert_false(snapshot_name_is_valid(".x"));
    assert_false(snapshot_name_is_valid("-x"));
    assert_false(snapshot_name_is_valid("a/b"));
    assert_false(snapshot_name_is_valid("a b"));
    assert_false(snapshot_name_is_valid("\xc3\xa9"));
    memset(name, 'a', sizeof(name));
    name[SNAPSHOT_NAME_MAX + 1] = '\0';
    assert_false(snapshot_name_is_valid(name));
    name[SNAPSHOT_NAME_MAX] = '\0';
    assert_true(snapshot_name_is_valid(name));
    assert_false(CREATE("web", "name", ".."));
    assert_refusal(ERR_INVALID_REQUEST,
                   "name: \"..\" is not a snapshot's name: 1 to 64 of A-Z a-z "
                   "0-9 _ . -, not beginning with . or -, and not \"current\"");
    assert_false(CREATE("web", "name", "current"));
    assert_true(request_id_is_valid("-.x"));
    assert_false(request_id_is_valid(""));
    assert_false(request_id_is_valid("a/b"));
}

static void an_end_is_a_number_of_seconds_or_a_time(void **state)
{
    static const char *const wrong[] = {
        "",
        "0",
        "-1",
        "+5",
        "1.5",
        "30d",
        "315360001",
        "99999999999",
        "2026-12-31",
        "2026-12-31T23:59:59",
        "2026-12-31T23:59:59+01:00",
        "2026-02-30T00:00:00Z",
        "2026-12-31T23:59:59.5Z",
        " 2026-12-31T23:59:59Z",
        "2026-12-31t23:59:59Z",
        "tomorrow",
        "1969-12-31T23:59:59Z",
    };

    (void)state;
    assert_true(CREATE("web", "expires", "315360000"));
    assert_int_equal(request.expires.after_s, 315360000);
    assert_int_equal(request.expires.at_s, 0);
    assert_true(CREATE("web", "expires", "2026-12-31T23:59:59Z"));
    assert_int_equal(request.expires.at_s, 1798761599);
    assert_int_equal(request.expires.after_s, 0);
    assert_true(CREATE("web", "expires", "2026-12-31T23:59:59.000Z"));
    assert_int_equal(request.expires.at_s, 1798761599);
    assert_true(CREATE("web", "expires", "2026-12-31T23:59:59.001Z"));
    assert_int_equal(request.expires.at_s, 1798761600);
    assert_true(CREATE("web", "expires", "2026-12-31T23:59:59.999Z"));
    assert_int_equal(request.expires.at_s, 1798761600);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(CREATE("web", "expires", wrong[i]));
        assert_int_equal(err.code, ERR_INVALID_REQUEST);
    }
}

static void a_description_is_text_of_bounded_length(void **state)
{
    char text[REQUEST_DESCRIPTION_MAX + 2];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[REQUEST_DESCRIPTION_MAX + 1] = '\0';
    assert_false(CREATE("web", "description", text));
    assert_non_null(strstr(err.message, "is 1025 bytes long; at most 1024"));
    text[REQUEST_DESCRIPTION_MAX] = '\0';
    assert_true(CREATE("web", "description", text));
    assert_true(CREATE("web", "description", ""));
    assert_false(CREATE("web", "description", "two\nlines"));
    assert_false(CREATE("web", "description", "\xff"));
}

static void a_format_is_a_word(void **state)
{
    (void)state;
    assert_true(CREATE("web", "disks/xvda/format", "raw"));
    assert_false(CREATE("web", "disks/xvda/format", ""));
    assert_false(CREATE("web", "disks/xvda/format", "qcow2,x=y"));
    assert_false(CREATE("web", "disks/xvda/format", "averylongformatname"));
}

/* What only whoever copies it can see. */
static void a_copy_that_may_be_anothers_is_refused(void **state)
{
    struct raw_pair pair = {(char *)(uintptr_t) "operation",
                            (char *)(uintptr_t) "create"};
    struct raw_request raw = {
        .id = "r1", .requester = 7, .pairs = &pair, .count = 1};

    (void)state;
    assert_true(request_parse(&raw, &request, &err));
    request_dispose(&request);
    strcpy(raw.shared_key, "na\033me");
    assert_false(request_parse(&raw, &request, &err));
    assert_refusal(ERR_PERMISSION_DENIED,
                   "na?me: not only domain 7 has rights to this node, so that "
                   "another may have written it; let no permission entry name "
                   "others");
    raw.shared_key[0] = '\0';
    raw.restless = true;
    assert_false(request_parse(&raw, &request, &err));
    assert_refusal(ERR_INVALID_REQUEST,
                   "the request was being changed while it was read; write "
                   "operation last, or all in one transaction");
    raw.restless = false;
    raw.cut = true;
    assert_false(request_parse(&raw, &request, &err));
    assert_refusal(
        ERR_INVALID_REQUEST,
        "there are more than 320 keys (64 in a domain's own folder); no "
        "request has as many");
}

static void a_refused_request_leaves_the_result_alone(void **state)
{
    (void)state;
    assert_false(CREATE("web", "disks", "xvda xvdb", "memory", "x"));
    assert_null(request.disks);
    assert_int_equal(request.disk_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_that_may_be_anothers_is_refused),
        cmocka_unit_test(a_create_with_nothing_else_means_all_disks_and_memory),
        cmocka_unit_test(every_key_of_create_is_read),
        cmocka_unit_test(a_guest_is_quiesced_as_it_is_asked),
        cmocka_unit_test(delete_and_revert_are_read),
        cmocka_unit_test(rescan_and_its_phases_are_read),
        cmocka_unit_test(the_booleans_are_the_documented_ones),
        cmocka_unit_test(a_missing_or_unknown_operation_is_refused),
        cmocka_unit_test(dom0_must_name_a_domain_and_others_mean_themselves),
        cmocka_unit_test(delete_and_revert_need_a_name),
        cmocka_unit_test(an_unknown_key_is_refused_with_those_there_are),
        cmocka_unit_test(a_key_of_another_operation_is_refused),
        cmocka_unit_test(output_keys_left_in_the_folder_are_skipped),
        cmocka_unit_test(disk_keys_alone_do_not_choose_disks),
        cmocka_unit_test(a_disk_key_outside_the_given_disks_is_refused),
        cmocka_unit_test(a_disks_list_must_name_each_disk_once),
        cmocka_unit_test(a_vdev_is_a_short_word),
        cmocka_unit_test(too_many_disks_are_refused),
        cmocka_unit_test(more_keys_than_any_request_has_are_refused),
        cmocka_unit_test(numbers_are_whole_and_bounded),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(a_file_name_has_255_bytes_at_most),
        cmocka_unit_test(a_memory_file_s_name_has_247_bytes_at_most),
        cmocka_unit_test(two_things_cannot_have_one_path),
        cmocka_unit_test(paths_must_be_plain_and_absolute),
        cmocka_unit_test(a_path_is_no_longer_than_a_qcow2_header_can_name),
        cmocka_unit_test(names_are_safe_in_file_names),
        cmocka_unit_test(an_end_is_a_number_of_seconds_or_a_time),
        cmocka_unit_test(a_description_is_text_of_bounded_length),
        cmocka_unit_test(a_format_is_a_word),
        cmocka_unit_test(a_refused_request_leaves_the_result_alone),
    };

    return cmocka_run_group_tests(tests, NULL, forget_request);
}
