/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the next agent knows of a domain that is held. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/plug_node.h"
#include "agent/hold_note.h"

#define UUID "6f1c8a5e-1f0e-4a3c-9a55-0c1d2e3f4a5b"

static void dispose(struct hold *hold)
{
    for (size_t i = 0; i < hold->disk_count; i++) {
        struct hold_disk *disk = &hold->disks[i];

        for (size_t j = 0; j < disk->depth; j++) {
            free(disk->chain[j].path);
            free(disk->chain[j].format);
        }
        free(disk->chain);
        free(disk->path);
        free(disk->format);
        free(disk->driver);
        free(disk->driver_uuid);
    }
    free(hold->disks);
}

static void fill_image(struct hold_image *image, const char *path)
{
    *image = (struct hold_image){.path = xstrdup(path),
                                 .format = xstrdup("qcow2"),
                                 .device = UINT64_MAX,
                                 .inode = 1234567890123,
                                 .written_ns = 1700000000123456789};
}

static struct hold make(void)
{
    struct hold hold = {.uuid = UUID,
                        .domid = 7,
                        .state = HOLD_HELD,
                        .paused = true,
                        .of_delete = true,
                        .boot = "0c7b6a51-3d5e-4c39-8f0a-5a1b2c3d4e5f",
                        .began_ms = 1000,
                        .deadline_ms = UINT64_C(1) << 40};
    struct hold_disk *disk = xcalloc(1, sizeof(*disk));

    strcpy(disk->vdev, "xvda");
    strcpy(disk->image_node, "xvda-raw");
    strcpy(disk->empty_node, "xvda-held");
    disk->path = xstrdup("/images/\"odd\" name.qcow2");
    disk->format = xstrdup("qcow2");
    disk->virtual_bytes = UINT64_C(1) << 42;
    disk->discard = true;
    disk->chain = xcalloc(2, sizeof(*disk->chain));
    disk->depth = 2;
    fill_image(&disk->chain[0], disk->path);
    fill_image(&disk->chain[1], "/images/base.raw");
    hold.disks = disk;
    hold.disk_count = 1;
    return hold;
}

static void a_hold_comes_back_as_it_was_written(void **state)
{
    struct hold hold = make(), read = {0};
    char *text = hold_note_encode(&hold);
    const struct hold_disk *disk;

    (void)state;
    assert_true(hold_note_decode(text, &read));
    assert_string_equal(read.uuid, UUID);
    assert_int_equal(read.domid, 7);
    assert_int_equal(read.state, HOLD_HELD);
    assert_true(read.paused);
    assert_false(read.was_paused);
    assert_true(read.of_delete);
    assert_true(read.deadline_ms == hold.deadline_ms);
    assert_string_equal(read.boot, hold.boot);
    assert_int_equal(read.disk_count, 1);
    disk = &read.disks[0];
    assert_string_equal(disk->path, hold.disks[0].path);
    assert_string_equal(disk->image_node, "xvda-raw");
    assert_true(disk->virtual_bytes == hold.disks[0].virtual_bytes);
    assert_true(disk->discard);
    assert_false(disk->direct);
    assert_int_equal(disk->depth, 2);
    assert_string_equal(disk->chain[1].path, "/images/base.raw");
    assert_true(disk->chain[1].written_ns == 1700000000123456789);
    assert_true(disk->chain[1].device == UINT64_MAX);
    assert_null(disk->driver);
    free(text);
    dispose(&read);
    dispose(&hold);
}

/* An agent that knows of none must not take such a note up. */
static void with_a_driver_domain_s_disk_it_is_of_another_version(void **state)
{
    struct hold hold = make(), read = {0};
    char *text;

    (void)state;
    hold_set_driver(&hold.disks[0], "storage", UUID);
    hold.waits_ms = 2000;
    text = hold_note_encode(&hold);
    assert_non_null(strstr(text, "\"version\":2"));
    assert_true(hold_note_decode(text, &read));
    assert_string_equal(read.disks[0].driver, "storage");
    assert_string_equal(read.disks[0].driver_uuid, UUID);
    assert_true(read.waits_ms == 2000);
    free(text);
    dispose(&read);
    dispose(&hold);
}

/* Of a hold that expired before all its disks were known. */
static void one_that_has_expired_is_noted_without_disks(void **state)
{
    struct hold hold = make(), read = {0};
    char *text;

    (void)state;
    free(hold.disks[0].path);
    hold.disks[0].path = NULL;
    hold.state = HOLD_EXPIRED;
    text = hold_note_encode(&hold);
    assert_true(hold_note_decode(text, &read));
    assert_int_equal(read.state, HOLD_EXPIRED);
    assert_string_equal(read.uuid, UUID);
    assert_int_equal(read.disk_count, 0);
    free(text);
    dispose(&read);
    dispose(&hold);
}

/* A note is written whole or not at all, so this is another program's. */
static void a_damaged_note_is_refused(void **state)
{
    static const char *const notes[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"version\": 3}",
        "{\"version\": 1, \"uuid\": \"" UUID "\", \"disks\": []}",
        "{\"version\": 1, \"uuid\": \"" UUID "\", \"disks\": [{}]}",
        "{\"version\": 1, \"uuid\": \"" UUID "\", \"state\": 9}",
        "{\"version\": 1, \"uuid\": \"" UUID UUID "\", \"disks\": [3]}",
        "{\"version\": 1, \"uuid\": \"" UUID "\", \"disks\": [{\"vdev\": "
        "\"xvda\", \"path\": \"/a\", \"format\": \"raw\", \"image-node\": "
        "\"a-name-that-is-longer-than-QEMU-takes\"}]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
        struct hold hold = {0};

        assert_false(hold_note_decode(notes[i], &hold));
        dispose(&hold);
    }
}

static void the_node_of_a_disk_is_told_by_its_name(void **state)
{
    (void)state;
    assert_true(plug_node_matches("xvda-raw", "xvda"));
    assert_true(plug_node_matches("xvda-qcow2", "xvda"));
    assert_false(plug_node_matches("xvdab-raw", "xvda"));
    assert_false(plug_node_matches("xvda-held", "xvda"));
    assert_false(plug_node_matches("xvda-snap00c0ffee", "xvda"));
    assert_false(plug_node_matches("xvda", "xvda"));
    assert_false(plug_node_matches("#block123", "xvda"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hold_comes_back_as_it_was_written),
        cmocka_unit_test(with_a_driver_domain_s_disk_it_is_of_another_version),
        cmocka_unit_test(one_that_has_expired_is_noted_without_disks),
        cmocka_unit_test(a_damaged_note_is_refused),
        cmocka_unit_test(the_node_of_a_disk_is_told_by_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
