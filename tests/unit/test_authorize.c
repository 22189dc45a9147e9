/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may ask for what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/authorize.h"

static void domain_0_may_do_everything(void **state)
{
    struct request request = {.domain = "web"};
    struct error err;
    enum request_operation operation;

    (void)state;
    for (operation = REQUEST_CREATE; operation <= REQUEST_RESCAN; operation++) {
        request.operation = operation;
        assert_true(authorize_request(&request, &err));
    }
}

static void any_other_domain_may_do_nothing_even_to_itself(void **state)
{
    struct request request = {
        .requester = 7, .operation = REQUEST_DELETE, .domain = "7"};
    struct error err;

    (void)state;
    assert_false(authorize_request(&request, &err));
    assert_int_equal(err.code, ERR_PERMISSION_DENIED);
    assert_string_equal(err.message,
                        "domain 7 may not ask for the operation delete on the "
                        "domain \"7\": only domain 0 may");
}

static void the_refusal_does_not_repeat_what_a_terminal_obeys(void **state)
{
    struct request request = {.requester = 7, .domain = "a\033[2Jb"};
    struct error err;

    (void)state;
    assert_false(authorize_request(&request, &err));
    assert_string_equal(err.message,
                        "domain 7 may not ask for the operation create on the "
                        "domain \"a?[2Jb\": only domain 0 may");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domain_0_may_do_everything),
        cmocka_unit_test(any_other_domain_may_do_nothing_even_to_itself),
        cmocka_unit_test(the_refusal_does_not_repeat_what_a_terminal_obeys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
