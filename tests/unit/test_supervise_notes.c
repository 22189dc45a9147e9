/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the supervisor remembers over a restart of the agent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/sealed_file.h"
#include "agent/supervise_notes.h"

#define UUID  "0d5b4c9e-1111-4222-8333-0123456789ab"
#define OTHER "0d5b4c9e-1111-4222-8333-0123456789ac"

struct folder {
    char *run;
    char *notes;
};

static int make_folder(void **state)
{
    struct folder *folder = xcalloc(1, sizeof(*folder));
    struct error err;

    folder->run = xstrdup("/tmp/notes-XXXXXX");
    assert_non_null(mkdtemp(folder->run));
    folder->notes = notes_open(folder->run, &err);
    assert_non_null(folder->notes);
    *state = folder;
    return 0;
}

static int remove_folder(void **state)
{
    struct folder *folder = *state;
    char *command = xasprintf("rm -r '%s'", folder->run);
    int status = system(command);

    free(command);
    free(folder->notes);
    free(folder->run);
    free(folder);
    return status;
}

static void a_note_is_found_by_the_next_agent(void **state)
{
    struct folder *folder = *state;
    struct supervise_note *notes;
    struct error err;

    assert_true(note_write(folder->notes, UUID, 7, &err));
    assert_true(note_write(folder->notes, UUID, 8, &err));
    assert_int_equal(notes_read(folder->notes, &notes), 1);
    assert_string_equal(notes[0].uuid, UUID);
    assert_int_equal(notes[0].domid, 8);
    free(notes);
}

static void write_sealed(const struct folder *folder, const char *name,
                         const char *text)
{
    char *path = xasprintf("%s/%s", folder->notes, name);
    struct error err;

    assert_true(sealed_file_replace(path, text, &err));
    free(path);
}

/* Its domid may be another domain's by now, and nobody asked to start anew what
 * ran then. */
static void a_note_of_another_boot_is_removed(void **state)
{
    struct folder *folder = *state;
    struct supervise_note *notes;
    struct error err;

    write_sealed(folder, UUID, "7\n00000000-0000-4000-8000-000000000000\n");
    assert_true(note_write_config(folder->notes, UUID, "{}", &err));
    assert_int_equal(notes_read(folder->notes, &notes), 0);
    free(notes);
    assert_null(note_read_config(folder->notes, UUID));
}

static void a_note_that_tells_no_boot_counts(void **state)
{
    struct folder *folder = *state;
    struct supervise_note *notes;

    write_sealed(folder, UUID, "7\n");
    assert_int_equal(notes_read(folder->notes, &notes), 1);
    assert_int_equal(notes[0].domid, 7);
    free(notes);
}

static void a_removed_note_takes_its_configuration_along(void **state)
{
    struct folder *folder = *state;
    struct supervise_note *notes;
    struct error err;

    assert_true(note_write(folder->notes, UUID, 7, &err));
    assert_true(note_write_config(folder->notes, UUID, "{}", &err));
    note_remove(folder->notes, UUID);
    assert_int_equal(notes_read(folder->notes, &notes), 0);
    assert_null(note_read_config(folder->notes, UUID));
    note_remove(folder->notes, UUID);
    free(notes);
}

static void a_configuration_is_kept_word_for_word(void **state)
{
    struct folder *folder = *state;
    struct error err;
    char *json;

    assert_null(note_read_config(folder->notes, UUID));
    assert_true(note_write_config(folder->notes, UUID, "{\"a\": 1}\n", &err));
    json = note_read_config(folder->notes, UUID);
    assert_string_equal(json, "{\"a\": 1}\n");
    free(json);
    assert_null(note_read_config(folder->notes, OTHER));
}

static void write_text(const struct folder *folder, const char *name,
                       const char *text)
{
    char *path = xasprintf("%s/%s", folder->notes, name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(path);
}

/* The rest of an interrupted write, an editor's backup, damage. */
static void what_is_no_note_is_left_alone(void **state)
{
    struct folder *folder = *state;
    struct supervise_note *notes;
    struct error err;

    write_text(folder, UUID ".new", "7\n");
    write_text(folder, "README", "7\n");
    write_text(folder, "0d5b4c9e-1111-4222-8333-0123456789xx", "7\n");
    assert_true(note_write_config(folder->notes, UUID, "{}", &err));
    assert_int_equal(notes_read(folder->notes, &notes), 0);
    free(notes);
}

static bool exists(const struct folder *folder, const char *name)
{
    char *path = xasprintf("%s/%s", folder->notes, name);
    bool there = access(path, F_OK) == 0;

    free(path);
    return there;
}

/* One that would name another domain is never used, and does not keep the
 * others from being. */
static void a_damaged_note_is_set_aside(void **state)
{
    struct folder *folder = *state;
    struct supervise_note *notes;
    struct error err;

    assert_true(note_write(folder->notes, UUID, 7, &err));
    write_text(folder, OTHER, "7\n");
    assert_int_equal(notes_read(folder->notes, &notes), 1);
    assert_string_equal(notes[0].uuid, UUID);
    free(notes);
    assert_false(exists(folder, OTHER));
    assert_true(exists(folder, OTHER ".aside"));
}

static void a_damaged_configuration_is_set_aside(void **state)
{
    struct folder *folder = *state;

    write_text(folder, UUID ".json", "{\"c_info\": {}}\n");
    assert_null(note_read_config(folder->notes, UUID));
    assert_false(exists(folder, UUID ".json"));
    assert_true(exists(folder, UUID ".json.aside"));
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    struct folder *folder = *state;
    char *file;
    struct error err;

    write_text(folder, "file", "");
    file = xasprintf("%s/file", folder->notes);
    assert_null(notes_open(file, &err));
    assert_non_null(strstr(err.message, file));
    free(file);
}

#define IN_FOLDER(test)                                                        \
    cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_note_is_found_by_the_next_agent),
        IN_FOLDER(a_note_of_another_boot_is_removed),
        IN_FOLDER(a_note_that_tells_no_boot_counts),
        IN_FOLDER(a_removed_note_takes_its_configuration_along),
        IN_FOLDER(a_configuration_is_kept_word_for_word),
        IN_FOLDER(what_is_no_note_is_left_alone),
        IN_FOLDER(a_damaged_note_is_set_aside),
        IN_FOLDER(a_damaged_configuration_is_set_aside),
        IN_FOLDER(a_folder_that_cannot_be_made_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
