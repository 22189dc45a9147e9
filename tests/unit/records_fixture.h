/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A store of records in a real folder, and what tests do with one.  Inline: no
 * test uses all of it. */
#ifndef XENSNAPD_TESTS_RECORDS_FIXTURE_H
#define XENSNAPD_TESTS_RECORDS_FIXTURE_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/base/alloc.h"
#include "agent/journal/records.h"

#define VM_A "aaaaaaaa-0000-0000-0000-000000000001"
#define VM_B "bbbbbbbb-0000-0000-0000-000000000002"

/* ---- a store ---- */

struct fixture {
    char path[64];
    struct records *records;
};

static inline int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    struct error err;

    strcpy(fixture->path, "/tmp/test_records.XXXXXX");
    if (!mkdtemp(fixture->path))
        return -1;
    fixture->records = records_open(fixture->path, &err);
    *state = fixture;
    return fixture->records ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *st,
                               int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;

    records_close(fixture->records);
    nftw(fixture->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(fixture);
    return 0;
}

/* As after a restart of the agent. */
static inline void reopen(struct fixture *fixture)
{
    struct error err = {0};

    records_close(fixture->records);
    fixture->records = records_open(fixture->path, &err);
    if (!fixture->records)
        fail_msg("%s", err.message);
}

static inline char *path_of(const struct fixture *fixture, const char *vm,
                            const char *file)
{
    return xasprintf("%s/snapshots/%s%s%s", fixture->path, vm, *file ? "/" : "",
                     file);
}

static inline bool exists(const struct fixture *fixture, const char *vm,
                          const char *file)
{
    char *path = path_of(fixture, vm, file);
    struct stat st;
    bool found = lstat(path, &st) == 0;

    free(path);
    return found;
}

static inline void put_file(const struct fixture *fixture, const char *vm,
                            const char *name, const char *text)
{
    char *path = path_of(fixture, vm, name);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(path);
}

static inline char *link_target(const struct fixture *fixture, const char *vm)
{
    char *path = path_of(fixture, vm, "current");
    char target[128] = "";

    if (readlink(path, target, sizeof(target) - 1) < 0)
        strcpy(target, "none");
    free(path);
    return xstrdup(target);
}

static inline void assert_link(const struct fixture *fixture, const char *vm,
                               const char *expected)
{
    char *target = link_target(fixture, vm);

    assert_string_equal(target, expected);
    free(target);
}

/* ---- records ---- */

/* Made in the second `second` of some minute. */
static inline struct record make_record(const char *vm, const char *name,
                                        int second)
{
    struct record record = {
        .vm_uuid = xstrdup(vm),
        .name = xstrdup(name),
        .domain_name = xstrdup("web"),
        .created_at = xasprintf("2026-11-24T07:12:%02d.000Z", second),
        .consistency = xstrdup("crash"),
        .config = xstrdup("{\n    \"c_info\": {}\n}\n"),
    };

    return record;
}

static inline void add_record(struct fixture *fixture, struct record record)
{
    struct error err = {0};

    if (!records_add(fixture->records, &record, &err))
        fail_msg("%s", err.message);
    record_dispose(&record);
}

static inline void add(struct fixture *fixture, const char *vm,
                       const char *name, int second)
{
    add_record(fixture, make_record(vm, name, second));
}

static inline void add_child(struct fixture *fixture, const char *vm,
                             const char *name, int second, const char *parent)
{
    struct record record = make_record(vm, name, second);

    record.parent = xstrdup(parent);
    add_record(fixture, record);
}

static inline void assert_add_fails(struct fixture *fixture,
                                    struct record record, enum error_code code,
                                    const char *words)
{
    struct error err = {0};

    assert_false(records_add(fixture->records, &record, &err));
    assert_string_equal(error_code_name(err.code), error_code_name(code));
    if (!strstr(err.message, words))
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_non_null(record.name); /* still the caller's */
    record_dispose(&record);
}

static inline void remove_record(struct fixture *fixture, const char *vm,
                                 const char *name)
{
    struct error err = {0};

    if (!records_remove(fixture->records, vm, name, &err))
        fail_msg("%s", err.message);
}

static inline bool known(const struct fixture *fixture, const char *vm,
                         const char *name)
{
    const struct record *record = records_find(fixture->records, vm, name);

    return record && !strcmp(record->vm_uuid, vm) &&
           !strcmp(record->name, name);
}

static inline void assert_current(const struct fixture *fixture, const char *vm,
                                  const char *expected)
{
    const char *current = records_current(fixture->records, vm);

    assert_string_equal(current ? current : "none", expected);
}

static inline void list_name(const struct record *record, void *arg)
{
    char *list = arg;
    size_t length = strlen(list);

    snprintf(list + length, 200 - length, "%c/%s ", record->vm_uuid[0],
             record->name);
}

static inline void assert_lists(const struct fixture *fixture,
                                const char *expected)
{
    char list[200] = "";

    records_each(fixture->records, list_name, list);
    assert_string_equal(list, expected);
}

#define WITH_STORE(test)                                                       \
    cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
