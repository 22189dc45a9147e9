/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions about a VM's snapshots, and changes to several of their records,
 * with records in a real store and overlays beside them. */
#include <fcntl.h>

#include "agent/disk/image.h"
#include "agent/snapshot_tree.h"
#include "tests/unit/records_fixture.h"

#define BYTES 1048576u

/* ---- images ---- */

/* A path in the store's folder; forgotten after eight more. */
static const char *at(const struct fixture *fixture, const char *name)
{
    static char paths[8][128];
    static unsigned int turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", fixture->path, name);
    return path;
}

static void make_base(const struct fixture *fixture, const char *name)
{
    int fd = open(at(fixture, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BYTES), 0);
    close(fd);
}

static void make_overlay(const struct fixture *fixture, const char *name,
                         const char *under, const char *format)
{
    struct error err;

    if (!image_create_overlay(NULL, at(fixture, name), BYTES,
                              at(fixture, under), format, &err)) {
        fail_msg("%s", err.message);
    }
}

/* ---- records with disks ---- */

static struct record_disk *add_disk(struct record *record, const char *vdev,
                                    const char *path, const char *format)
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
static void add_external(struct fixture *fixture, const char *name, int second,
                         const char *parent, const char *state,
                         const char *format, const char *overlay)
{
    struct record record = make_record(VM_A, name, second);
    struct record_disk *disk =
        add_disk(&record, "xvda", at(fixture, state), format);

    record.parent = parent == NULL ? NULL : xstrdup(parent);
    record_disk_add_overlay(disk, at(fixture, overlay));
    add_record(fixture, record);
}

static void add_internal(struct fixture *fixture, const char *name, int second,
                         const char *parent, const char *image)
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
static void make_chain(struct fixture *fixture)
{
    make_base(fixture, "base.img");
    make_overlay(fixture, "one.qcow2", "base.img", "raw");
    make_overlay(fixture, "two.qcow2", "one.qcow2", "qcow2");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    add_external(fixture, "two", 2, "one", "one.qcow2", "qcow2", "two.qcow2");
}

static const struct record *find(const struct fixture *fixture,
                                 const char *name)
{
    const struct record *record = records_find(fixture->records, VM_A, name);

    assert_non_null(record);
    return record;
}

static const struct record_disk *xvda_of(const struct fixture *fixture,
                                         const char *name)
{
    const struct record_disk *disk = tree_disk(find(fixture, name), "xvda");

    assert_non_null(disk);
    return disk;
}

/* Changes a record's xvda as a toolstack, or another request, has. */
static void change_xvda(struct fixture *fixture, const char *name,
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

static void assert_text(const char *text, const char *expected)
{
    assert_string_equal(text == NULL ? "none" : text, expected);
}

static void set_current(struct fixture *fixture, const char *name)
{
    struct error err;

    assert_true(records_set_current(fixture->records, VM_A, name, &err));
}

/* A change, and that it is still there after a restart. */
static void assert_done(struct fixture *fixture, bool ok,
                        const struct error *err)
{
    if (!ok) {
        fail_msg("%s", err->message);
    }
    reopen(fixture);
}

/* ---- the image that the disk was on last ---- */

static void assert_last(const struct fixture *fixture, const char *image,
                        const char *format)
{
    const char *found_format = "none";

    assert_text(tree_last_image(fixture->records, VM_A, "xvda", &found_format),
                image == NULL ? "none" : at(fixture, image));
    assert_string_equal(found_format, format);
}

static void the_last_image_is_the_overlay_over_the_current_snapshot(
    void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_last(fixture, "two.qcow2", "qcow2");
    set_current(fixture, "one");
    assert_last(fixture, "one.qcow2", "qcow2");
    assert_text(tree_last_image(fixture->records, VM_A, "xvda", NULL),
                at(fixture, "one.qcow2"));
}

static void add_second_overlay(struct fixture *fixture,
                               struct record_disk *disk)
{
    record_disk_add_overlay(disk, at(fixture, "again.qcow2"));
}

static void of_several_overlays_the_last_one_counts(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    change_xvda(fixture, "two", add_second_overlay);
    assert_last(fixture, "again.qcow2", "qcow2");
}

static void put_elsewhere(struct fixture *fixture, struct record_disk *disk)
{
    disk->active = xstrdup(at(fixture, "elsewhere.img"));
    disk->active_format = xstrdup("raw");
}

static void where_a_toolstack_has_put_the_domain_counts_more(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    change_xvda(fixture, "two", put_elsewhere);
    assert_last(fixture, "elsewhere.img", "raw");
}

static void a_disk_with_internal_snapshots_stays_on_its_image(void **state)
{
    struct fixture *fixture = *state;

    add_internal(fixture, "one", 1, NULL, "disk.qcow2");
    assert_last(fixture, "disk.qcow2", "qcow2");
}

static void a_disk_that_the_current_snapshot_lacks_is_its_ancestors(
    void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add_child(fixture, VM_A, "three", 3, "two");
    add_child(fixture, VM_A, "four", 4, "three");
    assert_last(fixture, "two.qcow2", "qcow2");
}

static void a_disk_that_nobody_knows_has_no_last_image(void **state)
{
    struct fixture *fixture = *state;
    const char *format = "untouched";

    assert_last(fixture, NULL, "none"); /* no snapshot */
    make_chain(fixture);
    assert_null(tree_last_image(fixture->records, VM_A, "hdc", &format));
    assert_null(tree_last_image(fixture->records, VM_B, "xvda", &format));
    assert_string_equal(format, "untouched");
    set_current(fixture, NULL);
    assert_last(fixture, NULL, "none");
}

static void a_parent_that_is_gone_ends_the_search(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add_child(fixture, VM_A, "three", 3, "gone");
    assert_last(fixture, NULL, "none");
}

static void parents_that_run_in_a_circle_end_somewhere(void **state)
{
    struct fixture *fixture = *state;

    add_child(fixture, VM_A, "one", 1, "two");
    add_child(fixture, VM_A, "two", 2, "one");
    assert_last(fixture, NULL, "none");
}

/* ---- the image over another ---- */

static void assert_over(const struct fixture *fixture, const char *path,
                        const char *except, const char *expected)
{
    assert_text(tree_image_over(fixture->records, VM_A, at(fixture, path),
                                except == NULL ? NULL : at(fixture, except)),
                expected == NULL ? "none" : at(fixture, expected));
}

static void the_image_over_another_is_found_by_its_header(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_over(fixture, "base.img", NULL, "one.qcow2");
    assert_over(fixture, "one.qcow2", NULL, "two.qcow2");
    assert_over(fixture, "two.qcow2", NULL, NULL);
    assert_over(fixture, "nobody.img", NULL, NULL);
}

static void an_image_that_is_excepted_does_not_count(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    make_overlay(fixture, "again.qcow2", "one.qcow2", "qcow2");
    change_xvda(fixture, "two", add_second_overlay);
    assert_over(fixture, "one.qcow2", NULL, "two.qcow2");
    assert_over(fixture, "one.qcow2", "two.qcow2", "again.qcow2");
    assert_over(fixture, "one.qcow2", "again.qcow2", "two.qcow2");
    assert_over(fixture, "base.img", "one.qcow2", NULL);
}

static void an_image_that_is_gone_or_damaged_lies_over_nothing(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_int_equal(unlink(at(fixture, "two.qcow2")), 0);
    assert_over(fixture, "one.qcow2", NULL, NULL);
    assert_int_equal(truncate(at(fixture, "one.qcow2"), 10), 0);
    assert_over(fixture, "base.img", NULL, NULL);
}

static void add_foreign(struct fixture *fixture, struct record_disk *disk)
{
    record_disk_add_foreign(disk, at(fixture, "foreign.qcow2"));
}

static void an_image_that_a_toolstack_made_counts(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    make_overlay(fixture, "foreign.qcow2", "two.qcow2", "qcow2");
    assert_over(fixture, "two.qcow2", NULL, NULL);
    change_xvda(fixture, "two", add_foreign);
    assert_over(fixture, "two.qcow2", NULL, "foreign.qcow2");
}

static void a_raw_state_is_not_taken_for_an_overlay(void **state)
{
    struct fixture *fixture = *state;

    /* A guest can write any header into a raw disk. */
    make_base(fixture, "secret.img");
    make_overlay(fixture, "base.img", "secret.img", "raw");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    assert_over(fixture, "secret.img", NULL, NULL);
}

static void images_of_another_vm_do_not_count(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    add(fixture, VM_B, "one", 1);
    assert_null(
        tree_image_over(fixture->records, VM_B, at(fixture, "base.img"), NULL));
    assert_null(
        tree_any_image_over(fixture->records, VM_B, at(fixture, "base.img")));
}

static void keep_for_restore(struct fixture *fixture, struct record_disk *disk)
{
    disk->restore_overlay = xstrdup(at(fixture, "restore.qcow2"));
}

static void overlays_kept_for_restore_count_only_where_asked_for(void **state)
{
    struct fixture *fixture = *state;

    make_base(fixture, "base.img");
    make_overlay(fixture, "restore.qcow2", "base.img", "raw");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    change_xvda(fixture, "one", keep_for_restore);
    assert_over(fixture, "base.img", NULL, NULL);
    assert_text(
        tree_any_image_over(fixture->records, VM_A, at(fixture, "base.img")),
        at(fixture, "restore.qcow2"));
    make_overlay(fixture, "one.qcow2", "base.img", "raw");
    assert_over(fixture, "base.img", NULL, "one.qcow2");
    assert_text(
        tree_any_image_over(fixture->records, VM_A, at(fixture, "base.img")),
        at(fixture, "one.qcow2"));
}

static void put_into_driver_domain(struct fixture *fixture,
                                   struct record_disk *disk)
{
    (void)fixture;
    disk->driver = xstrdup("storage");
}

/* They have the same paths, in another domain. */
static void images_of_a_driver_domain_are_none_here(void **state)
{
    struct fixture *fixture = *state;
    const char *base, *over;
    const struct record *record;
    struct error err = {0};

    make_base(fixture, "base.img");
    make_overlay(fixture, "one.qcow2", "base.img", "raw");
    add_external(fixture, "one", 1, NULL, "base.img", "raw", "one.qcow2");
    change_xvda(fixture, "one", put_into_driver_domain);
    base = at(fixture, "base.img");
    over = at(fixture, "one.qcow2");
    assert_over(fixture, "base.img", NULL, NULL);
    assert_false(records_owns_file(fixture->records, VM_A, over));
    assert_true(
        tree_move_states(fixture->records, VM_A, base, over, "qcow2", &err));
    assert_true(tree_forget_image(fixture->records, VM_A, over, &err));
    record = records_find(fixture->records, VM_A, "one");
    assert_string_equal(record->disks[0].path, at(fixture, "base.img"));
    assert_int_equal(record->disks[0].overlay_count, 1);
    /* What must stay is taken for more rather than for less. */
    assert_string_equal(tree_snapshot_in(fixture->records, VM_A,
                                         at(fixture, "base.img"), false, NULL),
                        "one");
}

static void an_overlay_kept_for_restore_is_known_as_one(void **state)
{
    struct fixture *fixture = *state;
    const struct records *records;

    make_chain(fixture);
    change_xvda(fixture, "one", keep_for_restore);
    records = fixture->records;
    assert_true(
        tree_is_restore_overlay(records, VM_A, at(fixture, "restore.qcow2")));
    assert_false(
        tree_is_restore_overlay(records, VM_A, at(fixture, "one.qcow2")));
    assert_false(
        tree_is_restore_overlay(records, VM_B, at(fixture, "restore.qcow2")));
}

/* ---- the snapshot in an image ---- */

static void assert_in(const struct fixture *fixture, const char *image,
                      bool internal, const char *except, const char *expected)
{
    assert_text(tree_snapshot_in(fixture->records, VM_A, at(fixture, image),
                                 internal, except),
                expected);
}

static void a_snapshot_whose_state_is_the_image_is_found(void **state)
{
    struct fixture *fixture = *state;

    make_chain(fixture);
    assert_in(fixture, "base.img", false, NULL, "one");
    assert_in(fixture, "one.qcow2", false, NULL, "two");
    assert_in(fixture, "two.qcow2", false, NULL, "none"); /* only active */
    assert_in(fixture, "base.img", false, "one", "none");
    assert_in(fixture, "base.img", false, "two", "one");
    assert_in(fixture, "base.img", true, NULL, "none");
}

static void a_snapshot_that_lies_inside_the_image_is_found(void **state)
{
    struct fixture *fixture = *state;

    add_internal(fixture, "one", 1, NULL, "disk.qcow2");
    add_internal(fixture, "two", 2, "one", "disk.qcow2");
    assert_in(fixture, "disk.qcow2", true, "two", "one");
    assert_in(fixture, "disk.qcow2", true, "one", "two");
    assert_in(fixture, "disk.qcow2", false, NULL, "none");
    assert_in(fixture, "other.qcow2", true, NULL, "none");
}

static void both_kinds_in_one_image_are_told_apart(void **state)
{
    struct fixture *fixture = *state;

    add_internal(fixture, "inside", 1, NULL, "disk.qcow2");
    add_external(fixture, "outside", 2, "inside", "disk.qcow2", "qcow2",
                 "over.qcow2");
    assert_in(fixture, "disk.qcow2", true, NULL, "inside");
    assert_in(fixture, "disk.qcow2", false, NULL, "outside");
    assert_in(fixture, "disk.qcow2", true, "inside", "none");
}

/* ---- changes ---- */

static void a_forgotten_image_is_out_of_the_list(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "two", add_second_overlay);
    assert_done(fixture,
                tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "two.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 1);
    assert_string_equal(xvda_of(fixture, "two")->overlays[0],
                        at(fixture, "again.qcow2"));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 1);
    assert_current(fixture, VM_A, "two");
}

static void forgetting_the_only_overlay_leaves_none(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    assert_done(fixture,
                tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "two.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 0);
    assert_last(fixture, "one.qcow2", "qcow2"); /* on the state itself */
}

static void forgetting_an_image_that_nobody_lists_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    const char *overlay;
    struct error err;

    make_chain(fixture);
    overlay = at(fixture, "two.qcow2");
    assert_true(tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "base.img"), &err));
    assert_true(tree_forget_image(fixture->records, VM_B, overlay, &err));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 1);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 1);
}

static void an_image_that_takes_anothers_place_is_listed_beside_it(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    set_current(fixture, "one");
    assert_done(fixture,
                tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "one.qcow2"),
                                 at(fixture, "two.qcow2"), &err),
                &err);
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 3);
    assert_string_equal(xvda_of(fixture, "one")->overlays[1],
                        at(fixture, "two.qcow2"));
    assert_last(fixture, "again.qcow2", "qcow2");
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 1);

    /* Doing it again changes nothing, and what goes leaves every list. */
    assert_true(tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "one.qcow2"),
                                 at(fixture, "two.qcow2"), &err));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 3);
    assert_true(tree_forget_image(fixture->records, VM_A,
                                  at(fixture, "two.qcow2"), &err));
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 2);
    assert_int_equal(xvda_of(fixture, "two")->overlay_count, 0);
}

static void the_image_that_the_domain_is_on_is_listed_last(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    assert_true(tree_list_beside(fixture->records, VM_A, "xvda",
                                 at(fixture, "one.qcow2"),
                                 at(fixture, "two.qcow2"), &err));
    assert_string_equal(xvda_of(fixture, "one")->overlays[2],
                        at(fixture, "two.qcow2"));
    set_current(fixture, "one");
    assert_last(fixture, "two.qcow2", "qcow2");
}

static void every_state_in_an_image_moves_with_it(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    add_internal(fixture, "inside", 3, "two", "two.qcow2");
    add_external(fixture, "outside", 4, "inside", "two.qcow2", "qcow2",
                 "over.qcow2");
    assert_done(fixture,
                tree_move_states(fixture->records, VM_A,
                                 at(fixture, "two.qcow2"),
                                 at(fixture, "base.img"), "raw", &err),
                &err);
    assert_string_equal(xvda_of(fixture, "inside")->path,
                        at(fixture, "base.img"));
    assert_string_equal(xvda_of(fixture, "outside")->path,
                        at(fixture, "base.img"));
    assert_string_equal(xvda_of(fixture, "outside")->format, "raw");
    assert_string_equal(xvda_of(fixture, "outside")->overlays[0],
                        at(fixture, "over.qcow2"));
    assert_string_equal(xvda_of(fixture, "two")->path,
                        at(fixture, "one.qcow2"));
    assert_current(fixture, VM_A, "outside");
}

static void moving_states_that_are_nowhere_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    assert_done(fixture,
                tree_move_states(fixture->records, VM_A,
                                 at(fixture, "two.qcow2"),
                                 at(fixture, "base.img"), "raw", &err),
                &err);
    assert_string_equal(xvda_of(fixture, "one")->path, at(fixture, "base.img"));
    assert_string_equal(xvda_of(fixture, "two")->path,
                        at(fixture, "one.qcow2"));
}

static void the_remains_of_a_disk_are_found_again_as_our_file(void **state)
{
    struct fixture *fixture = *state;
    const struct record_disk *disk;
    struct error err;

    make_chain(fixture);
    change_xvda(fixture, "one", add_second_overlay);
    assert_done(fixture,
                tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                   at(fixture, "one.qcow2"), &err),
                &err);
    disk = xvda_of(fixture, "one");
    assert_string_equal(disk->path, at(fixture, "one.qcow2"));
    assert_string_equal(disk->format, "qcow2");
    assert_int_equal(disk->overlay_count, 1);
    assert_string_equal(disk->overlays[0], at(fixture, "one.qcow2"));
    assert_true(
        records_owns_file(fixture->records, VM_A, at(fixture, "one.qcow2")));
    assert_string_equal(xvda_of(fixture, "two")->overlays[0],
                        at(fixture, "two.qcow2"));
}

static void leaving_the_same_remains_again_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    make_chain(fixture);
    for (int i = 0; i < 2; i++) {
        assert_done(fixture,
                    tree_leave_remains(fixture->records, VM_A, "one", "xvda",
                                       at(fixture, "one.qcow2"), &err),
                    &err);
    }
    assert_int_equal(xvda_of(fixture, "one")->overlay_count, 1);
}

static void add_with_three_disks(struct fixture *fixture)
{
    struct record record = make_record(VM_A, "one", 1);

    add_disk(&record, "xvda", at(fixture, "a.img"), "raw");
    record_disk_add_overlay(
        add_disk(&record, "xvdb", at(fixture, "b.img"), "raw"),
        at(fixture, "b.qcow2"));
    add_disk(&record, "xvdc", at(fixture, "c.img"), "raw");
    add_record(fixture, record);
}

static void drop(struct fixture *fixture, const char *vdev)
{
    struct error err;

    assert_done(fixture,
                tree_drop_disk(fixture->records, VM_A, "one", vdev, &err),
                &err);
}

static void a_dropped_disk_is_gone_and_the_others_stay(void **state)
{
    struct fixture *fixture = *state;

    add_with_three_disks(fixture);
    drop(fixture, "xvdb");
    assert_int_equal(find(fixture, "one")->disk_count, 2);
    assert_null(tree_disk(find(fixture, "one"), "xvdb"));
    assert_string_equal(tree_disk(find(fixture, "one"), "xvdc")->path,
                        at(fixture, "c.img"));
    assert_string_equal(xvda_of(fixture, "one")->path, at(fixture, "a.img"));
    assert_false(
        records_owns_file(fixture->records, VM_A, at(fixture, "b.qcow2")));
}

static void every_disk_can_be_dropped_and_one_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;

    add_with_three_disks(fixture);
    drop(fixture, "xvdd");
    assert_int_equal(find(fixture, "one")->disk_count, 3);
    drop(fixture, "xvdc");
    drop(fixture, "xvda");
    drop(fixture, "xvdb");
    assert_int_equal(find(fixture, "one")->disk_count, 0);
}

static void assert_parent(const struct fixture *fixture, const char *name,
                          const char *expected)
{
    assert_text(find(fixture, name)->parent, expected);
}

static void adopt(struct fixture *fixture, const char *name)
{
    struct error err;

    assert_done(fixture,
                tree_adopt_children(fixture->records, VM_A, name, &err), &err);
}

static void children_become_their_grandparents(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "two", 2, "one");
    add_child(fixture, VM_A, "left", 3, "two");
    add_child(fixture, VM_A, "right", 4, "two");
    add_child(fixture, VM_A, "below", 5, "left");
    add_child(fixture, VM_B, "other", 6, "two");
    adopt(fixture, "two");
    assert_parent(fixture, "left", "one");
    assert_parent(fixture, "right", "one");
    assert_parent(fixture, "below", "left");
    assert_parent(fixture, "two", "one");
    assert_text(records_find(fixture->records, VM_B, "other")->parent, "two");
    assert_current(fixture, VM_A, "below");
}

static void children_of_the_first_become_the_first_of_trees(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "left", 2, "one");
    add_child(fixture, VM_A, "right", 3, "one");
    adopt(fixture, "one");
    assert_parent(fixture, "left", "none");
    assert_parent(fixture, "right", "none");
}

static void a_snapshot_without_children_has_none_to_adopt(void **state)
{
    struct fixture *fixture = *state;

    add(fixture, VM_A, "one", 1);
    add_child(fixture, VM_A, "two", 2, "one");
    adopt(fixture, "two");
    assert_parent(fixture, "two", "one");
    assert_lists(fixture, "a/one a/two ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STORE(the_last_image_is_the_overlay_over_the_current_snapshot),
        WITH_STORE(of_several_overlays_the_last_one_counts),
        WITH_STORE(where_a_toolstack_has_put_the_domain_counts_more),
        WITH_STORE(a_disk_with_internal_snapshots_stays_on_its_image),
        WITH_STORE(a_disk_that_the_current_snapshot_lacks_is_its_ancestors),
        WITH_STORE(a_disk_that_nobody_knows_has_no_last_image),
        WITH_STORE(a_parent_that_is_gone_ends_the_search),
        WITH_STORE(parents_that_run_in_a_circle_end_somewhere),
        WITH_STORE(the_image_over_another_is_found_by_its_header),
        WITH_STORE(an_image_that_is_excepted_does_not_count),
        WITH_STORE(an_image_that_is_gone_or_damaged_lies_over_nothing),
        WITH_STORE(an_image_that_a_toolstack_made_counts),
        WITH_STORE(a_raw_state_is_not_taken_for_an_overlay),
        WITH_STORE(images_of_another_vm_do_not_count),
        WITH_STORE(overlays_kept_for_restore_count_only_where_asked_for),
        WITH_STORE(an_overlay_kept_for_restore_is_known_as_one),
        WITH_STORE(images_of_a_driver_domain_are_none_here),
        WITH_STORE(a_snapshot_whose_state_is_the_image_is_found),
        WITH_STORE(a_snapshot_that_lies_inside_the_image_is_found),
        WITH_STORE(both_kinds_in_one_image_are_told_apart),
        WITH_STORE(a_forgotten_image_is_out_of_the_list),
        WITH_STORE(forgetting_the_only_overlay_leaves_none),
        WITH_STORE(forgetting_an_image_that_nobody_lists_changes_nothing),
        WITH_STORE(an_image_that_takes_anothers_place_is_listed_beside_it),
        WITH_STORE(the_image_that_the_domain_is_on_is_listed_last),
        WITH_STORE(every_state_in_an_image_moves_with_it),
        WITH_STORE(moving_states_that_are_nowhere_changes_nothing),
        WITH_STORE(the_remains_of_a_disk_are_found_again_as_our_file),
        WITH_STORE(leaving_the_same_remains_again_changes_nothing),
        WITH_STORE(a_dropped_disk_is_gone_and_the_others_stay),
        WITH_STORE(every_disk_can_be_dropped_and_one_that_is_not_there),
        WITH_STORE(children_become_their_grandparents),
        WITH_STORE(children_of_the_first_become_the_first_of_trees),
        WITH_STORE(a_snapshot_without_children_has_none_to_adopt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
