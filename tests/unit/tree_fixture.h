/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A VM's snapshots, with records in a real store and overlays beside them.
 * Inline: no test uses all of it. */
#ifndef XENSNAPD_TESTS_TREE_FIXTURE_H
#define XENSNAPD_TESTS_TREE_FIXTURE_H

#include <fcntl.h>

#include "agent/disk/image.h"
#include "agent/snapshot_tree.h"
#include "tests/unit/records_fixture.h"

#define BYTES 1048576u

/* ---- images ---- */

/* A path in the store's folder; forgotten after eight more. */
static inline const char *at(const struct fixture *fixture, const char *name)
{
    static char paths[8][128];
    static unsigned int turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", fixture->path, name);
    return path;
}

static inline void make_base(const struct fixture *fixture, const char *name)
{
    int fd = open(at(fixture, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BYTES), 0);
    close(fd);
}

static inline void make_overlay(const struct fixture *fixture, const char *name,
                                const char *under, const char *format)
{
    struct error err;

    if (!image_create_overlay(NULL, at(fixture, name), BYTES,
                              at(fixture, under), format, &err)) {
        fail_msg("%s", err.message);
    }
}

/* ---- records with disks ---- */

static inline struct record_disk *add_disk(struct record *record,
                                           const char *vdev, const char *path,
                                           const char *format)
{
    struct record_disk *disk;

    record->disks =
        xrealloc(record->disks, record->disk_count + 1, sizeof(*record->disks));
    disk = &record->disks[record->disk_count++];
    *disk = (struct record_disk){
        .vdev = xstrdup(vdev),
        .external = true,
        .path = xstrdup(path),
        .format = xstrdup(format),
        .virtual_bytes = BYTES,
    };
    return disk;
}

/* A snapshot of xvda whose state is the image `state`, with the domain going
 * on in `overlay`. */
static inline void add_external(struct fixture *fixture, const char *name,
                                int second, const char *parent,
                                const char *state, const char *format,
                                const char *overlay)
{
    struct record record = make_record(VM_A, name, second);
    struct record_disk *disk =
        add_disk(&record, "xvda", at(fixture, state), format);

    record.parent = parent == NULL ? NULL : xstrdup(parent);
    record_disk_add_overlay(disk, at(fixture, overlay));
    add_record(fixture, record);
}

static inline void add_internal(struct fixture *fixture, const char *name,
                                int second, const char *parent,
                                const char *image)
{
    struct record record = make_record(VM_A, name, second);
    struct record_disk *disk =
        add_disk(&record, "xvda", at(fixture, image), "qcow2");

    disk->external = false;
    disk->snapshot = xstrdup(name);
    record.parent = parent == NULL ? NULL : xstrdup(parent);
    add_record(fixture, record);
}

/* base.img <- one.qcow2 <- two.qcow2, with the snapshots "one" and "two". */
static inline void make_chain(struct fixture *fixture)
{
    make_base(fixture, "base.img");
    make_overlay(fixture, "one.qcow2", "base.img", "raw");
    make_overlay(fixture, "two.qcow2", "one.qcow2", "qcow2");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    add_external(fixture, "two", 2, "one", "one.qcow2", "qcow2", "two.qcow2");
}

static inline const struct record *find(const struct fixture *fixture,
                                        const char *name)
{
    const struct record *record = records_find(fixture->records, VM_A, name);

    assert_non_null(record);
    return record;
}

static inline const struct record_disk *xvda_of(const struct fixture *fixture,
                                                const char *name)
{
    const struct record_disk *disk = tree_disk(find(fixture, name), "xvda");

    assert_non_null(disk);
    return disk;
}

/* Changes a record's xvda as a toolstack, or another request, has. */
static inline void change_xvda(struct fixture *fixture, const char *name,
                               void (*change)(struct fixture *fixture,
                                              struct record_disk *disk))
{
    struct record changed = {0};
    struct error err;

    record_copy(find(fixture, name), &changed);
    change(fixture, &changed.disks[0]);
    if (!records_replace(fixture->records, &changed, &err)) {
        fail_msg("%s", err.message);
    }
}

static inline void assert_text(const char *text, const char *expected)
{
    assert_string_equal(text == NULL ? "none" : text, expected);
}

static inline void set_current(struct fixture *fixture, const char *name)
{
    struct error err;

    assert_true(records_set_current(fixture->records, VM_A, name, &err));
}

/* A change, and that it is still there after a restart. */
static inline void assert_done(struct fixture *fixture, bool ok,
                               const struct error *err)
{
    if (!ok) {
        fail_msg("%s", err->message);
    }
    reopen(fixture);
}

/* ---- what becomes of a disk ---- */

static inline void add_second_overlay(struct fixture *fixture,
                                      struct record_disk *disk)
{
    record_disk_add_overlay(disk, at(fixture, "again.qcow2"));
}

static inline void move_to_storage(struct fixture *fixture,
                                   struct record_disk *disk)
{
    (void)fixture;
    disk->driver = xstrdup("storage");
}

static inline void assert_last(const struct fixture *fixture, const char *image,
                               const char *format)
{
    const char *found_format = "none";

    assert_text(tree_last_image(fixture->records, VM_A, "xvda", &found_format),
                image == NULL ? "none" : at(fixture, image));
    assert_string_equal(found_format, format);
}

static inline bool went_on_with(const struct fixture *fixture,
                                const char *driver, const char *image)
{
    return tree_went_on_with(fixture->records, VM_A, "xvda", driver,
                             at(fixture, image));
}

#endif
