/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether libvirt runs a domain, and asks before it restarts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/libvirt_guard.h"

#define UUID  "6f1c2d3e-0000-4000-8000-000000000001"
#define OTHER "6f1c2d3e-0000-4000-8000-000000000002"

static const struct guest web = {.domid = 3, .name = "web", .uuid = UUID};

static int make_folder(void **state)
{
    char *folder = xstrdup("/tmp/libvirt-guard-XXXXXX");

    *state = mkdtemp(folder);
    return *state != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    char *command = xasprintf("rm -r '%s'", (char *)*state);
    int status = system(command);

    free(command);
    free(*state);
    return status;
}

static void put_state(const char *folder, const char *uuid)
{
    char *path = xasprintf("%s/web.xml", folder);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "<domstatus>\n<uuid>%s</uuid>\n</domstatus>\n", uuid);
    fclose(file);
    free(path);
}

/* State files and marks are in one folder here. */
static bool check(const char *folder)
{
    struct error err = {0};
    bool ok = libvirt_guard_check(folder, folder, &web, &err);

    assert_int_equal(err.code, ok ? ERR_NONE : ERR_HOOK_FAILED);
    return ok;
}

static void a_domain_of_another_toolstack_needs_no_guard(void **state)
{
    assert_true(check(*state));
}

static void a_domain_that_libvirt_runs_unasked_is_refused(void **state)
{
    put_state(*state, UUID);
    assert_false(check(*state));
}

static void one_whose_start_the_hook_has_seen_is_not(void **state)
{
    struct error err;

    put_state(*state, UUID);
    assert_true(libvirt_guard_mark(*state, UUID, &err));
    assert_true(libvirt_guard_mark(*state, UUID, &err));
    assert_true(check(*state));
}

static void the_mark_goes_with_the_domain(void **state)
{
    struct error err;

    put_state(*state, UUID);
    assert_true(libvirt_guard_mark(*state, UUID, &err));
    libvirt_guard_unmark(*state, UUID);
    assert_false(check(*state));
    libvirt_guard_unmark(*state, UUID);
}

static void the_mark_of_another_domain_does_not_count(void **state)
{
    struct error err;

    put_state(*state, UUID);
    assert_true(libvirt_guard_mark(*state, OTHER, &err));
    assert_false(check(*state));
}

static void the_state_of_an_earlier_domain_of_that_name_does_not_count(
    void **state)
{
    put_state(*state, OTHER);
    assert_true(check(*state));
}

static void a_mark_that_cannot_be_made_is_told(void **state)
{
    struct error err = {0};

    (void)state;
    assert_false(libvirt_guard_mark("/proc/none", UUID, &err));
    assert_int_not_equal(err.code, ERR_NONE);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_domain_of_another_toolstack_needs_no_guard),
        TEST(a_domain_that_libvirt_runs_unasked_is_refused),
        TEST(one_whose_start_the_hook_has_seen_is_not),
        TEST(the_mark_goes_with_the_domain),
        TEST(the_mark_of_another_domain_does_not_count),
        TEST(the_state_of_an_earlier_domain_of_that_name_does_not_count),
        TEST(a_mark_that_cannot_be_made_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
