/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notifying a requester, with an event channel library of our own in place of
 * libxenevtchn. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xenevtchn.h>

#include <cmocka.h>

#include "agent/notify.h"

#define LOCAL_PORT 77

static struct {
    char calls[512]; /* what was called, in order */
    const char *failing;
} library;

/* Notes a call; -1 with errno set if it is to fail. */
static int call(const char *name, uint32_t first, uint32_t second)
{
    size_t length = strlen(library.calls);

    snprintf(library.calls + length, sizeof(library.calls) - length,
             "%s(%u,%u) ", name, first, second);
    if (!library.failing || strcmp(library.failing, name))
        return 0;
    errno = ENOENT;
    return -1;
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger,
                                 unsigned int flags)
{
    static char handle;

    (void)logger;
    return call("open", flags, 0) < 0 ? NULL : (void *)&handle;
}

int xenevtchn_close(xenevtchn_handle *handle)
{
    return handle ? call("close", 0, 0) : 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle,
                                                     uint32_t domid,
                                                     evtchn_port_t port)
{
    assert_non_null(handle);
    return call("bind", domid, port) < 0 ? -1 : LOCAL_PORT;
}

int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port)
{
    assert_non_null(handle);
    return call("notify", port, 0);
}

int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port)
{
    assert_non_null(handle);
    return call("unbind", port, 0);
}

static int set_up(void **state)
{
    (void)state;
    notify_close();
    memset(&library, 0, sizeof(library));
    return 0;
}

static void a_requester_is_notified_and_its_port_let_go(void **state)
{
    (void)state;
    notify_requester(5, 12);
    assert_string_equal(library.calls,
                        "open(0,0) bind(5,12) notify(77,0) unbind(77,0) ");
}

static void the_device_is_opened_once_and_closed_once(void **state)
{
    (void)state;
    notify_requester(5, 12);
    library.calls[0] = '\0';
    notify_requester(6, 13);
    assert_string_equal(library.calls, "bind(6,13) notify(77,0) unbind(77,0) ");
    library.calls[0] = '\0';
    notify_close();
    notify_close();
    assert_string_equal(library.calls, "close(0,0) ");
}

static void a_device_that_is_not_there_is_tried_again_next_time(void **state)
{
    (void)state;
    library.failing = "open";
    notify_requester(5, 12);
    assert_string_equal(library.calls, "open(0,0) ");
    library.failing = NULL;
    library.calls[0] = '\0';
    notify_requester(5, 12);
    assert_string_equal(library.calls,
                        "open(0,0) bind(5,12) notify(77,0) unbind(77,0) ");
}

static void a_port_that_cannot_be_bound_is_not_notified(void **state)
{
    (void)state;
    library.failing = "bind";
    notify_requester(5, 12);
    assert_string_equal(library.calls, "open(0,0) bind(5,12) ");
}

static void a_port_is_let_go_also_when_notifying_fails(void **state)
{
    (void)state;
    library.failing = "notify";
    notify_requester(5, 12);
    assert_string_equal(library.calls,
                        "open(0,0) bind(5,12) notify(77,0) unbind(77,0) ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_requester_is_notified_and_its_port_let_go,
                               set_up),
        cmocka_unit_test_setup(the_device_is_opened_once_and_closed_once,
                               set_up),
        cmocka_unit_test_setup(
            a_device_that_is_not_there_is_tried_again_next_time, set_up),
        cmocka_unit_test_setup(a_port_that_cannot_be_bound_is_not_notified,
                               set_up),
        cmocka_unit_test_setup(a_port_is_let_go_also_when_notifying_fails,
                               set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
