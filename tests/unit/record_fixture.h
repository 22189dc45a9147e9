/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A record with every key, and its YAML form.  Inline: no test uses all of it.
 */
#ifndef XENSNAPD_TESTS_RECORD_FIXTURE_H
#define XENSNAPD_TESTS_RECORD_FIXTURE_H

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

#define RECORD_UUID "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"

static inline void fill_disks(struct record *record)
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
    disks[0].written_ns = 1795849923123456789;
    disks[1].vdev = xstrdup("xvdb");
    disks[1].path = xstrdup("/images/data.qcow2");
    disks[1].format = xstrdup("qcow2");
    disks[1].snapshot = xstrdup("before");
    record->disks = disks;
    record->disk_count = 2;
}

/* A record with every key. */
static inline struct record full_record(void)
{
    struct record record = {
        .vm_uuid = xstrdup(RECORD_UUID),
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
        .deleting_boot = xstrdup("6f2d1f5e-3f0a-4a7e-9d0f-2c1b7a5e4d3c"),
        .memory_path = xstrdup("/memory/web.before.save"),
        .memory_bytes = UINT64_MAX,
        .config = xstrdup("{\n    \"c_info\": {\n        \"name\": \"web\"\n"
                          "    }\n}\n"),
    };

    fill_disks(&record);
    return record;
}

static inline void set_text(char **text, const char *value)
{
    free(*text);
    *text = value ? xstrdup(value) : NULL;
}

/* The YAML form, terminated: the caller's to free(). */
static inline char *encode(const struct record *record)
{
    struct error err = {0};
    size_t length;
    char *text, *terminated;

    if (!record_encode(record, &text, &length, &err))
        fail_msg("%s", err.message);
    terminated = xstrndup(text, length);
    free(text);
    return terminated;
}

static inline void assert_not_encoded(struct record *record, const char *words)
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

#endif
