/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Watch events, against a xenstored that is the other end of a socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/store/watches.h"

struct fixture {
    struct event_base *loop;
    struct watches *watches;
    int peer;       /* xenstored's end */
    char seen[256]; /* "path token;" of each event */
    int lost;
    const char *add_in_event; /* a path to watch from within the first */
};

static void on_event(const char *path, const char *token, void *arg)
{
    struct fixture *fixture = arg;
    size_t length = strlen(fixture->seen);
    const char *add = fixture->add_in_event;

    snprintf(fixture->seen + length, sizeof(fixture->seen) - length, "%s %s;",
             path, token);
    fixture->add_in_event = NULL;
    if (add) {
        assert_true(watches_add(fixture->watches, add, "inner"));
    }
}

static void on_lost(void *arg)
{
    struct fixture *fixture = arg;

    fixture->lost++;
    watches_free(fixture->watches);
    fixture->watches = NULL;
}

static const struct watches_listener listener = {
    .on_event = on_event,
    .on_lost = on_lost,
};

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fixture->loop = event_base_new();
    fixture->peer = ends[1];
    fixture->watches = watches_new(fixture->loop, ends[0], &listener, fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    watches_free(fixture->watches);
    close(fixture->peer);
    event_base_free(fixture->loop);
    free(fixture);
    return 0;
}

/* ---- what xenstored says ---- */

static void say(struct fixture *fixture, uint32_t type, const char *payload,
                size_t length)
{
    struct xsd_sockmsg header = {.type = type, .len = (uint32_t)length};

    assert_int_equal(write(fixture->peer, &header, sizeof(header)),
                     (ssize_t)sizeof(header));
    assert_int_equal(write(fixture->peer, payload, length), (ssize_t)length);
}

/* The literal's own end is the token's. */
#define SAY_EVENT(fixture, words)                                              \
    say(fixture, XS_WATCH_EVENT, words, sizeof(words))

static void run_loop(struct fixture *fixture)
{
    event_base_loop(fixture->loop, EVLOOP_NONBLOCK);
}

/* Waits for a request, says that event, and answers. */
static void *attend(void *arg)
{
    struct fixture *fixture = arg;
    char request[64];

    assert_true(read(fixture->peer, request, sizeof(request)) > 0);
    SAY_EVENT(fixture, "/b\0two");
    say(fixture, XS_WATCH, "OK", 3);
    return NULL;
}

/* ---- tests ---- */

static void test_events_that_wait_together_come_in_their_order(void **state)
{
    struct fixture *fixture = *state;

    SAY_EVENT(fixture, "/a\0one");
    SAY_EVENT(fixture, "/b\0two");
    SAY_EVENT(fixture, "@releaseDomain\0three");
    run_loop(fixture);
    assert_string_equal(fixture->seen, "/a one;/b two;@releaseDomain three;");
    assert_int_equal(fixture->lost, 0);
}

static void test_an_event_may_come_byte_by_byte(void **state)
{
    struct fixture *fixture = *state;
    static const char words[] = "/a\0one";
    struct xsd_sockmsg header = {.type = XS_WATCH_EVENT, .len = sizeof(words)};
    char whole[sizeof(header) + sizeof(words)];

    memcpy(whole, &header, sizeof(header));
    memcpy(whole + sizeof(header), words, sizeof(words));
    for (size_t i = 0; i < sizeof(whole); i++) {
        assert_string_equal(fixture->seen, "");
        assert_int_equal(write(fixture->peer, &whole[i], 1), 1);
        run_loop(fixture);
    }
    assert_string_equal(fixture->seen, "/a one;");
}

static void test_a_request_is_as_xenstored_reads_it(void **state)
{
    struct fixture *fixture = *state;
    struct xsd_sockmsg header;
    char payload[16];

    say(fixture, XS_UNWATCH, "OK", 3);
    assert_true(watches_remove(fixture->watches, "/a", "token"));
    assert_int_equal(read(fixture->peer, &header, sizeof(header)),
                     (ssize_t)sizeof(header));
    assert_int_equal(header.type, XS_UNWATCH);
    assert_int_equal(header.tx_id, 0);
    assert_int_equal(header.len, 9);
    assert_int_equal(read(fixture->peer, payload, sizeof(payload)), 9);
    assert_memory_equal(payload, "/a\0token", 9);
}

static void test_events_before_an_answer_are_kept(void **state)
{
    struct fixture *fixture = *state;

    SAY_EVENT(fixture, "/a\0one");
    say(fixture, XS_WATCH, "OK", 3);
    SAY_EVENT(fixture, "/b\0two");
    assert_true(watches_add(fixture->watches, "/c", "three"));
    assert_string_equal(fixture->seen, "");
    run_loop(fixture);
    assert_string_equal(fixture->seen, "/a one;/b two;");
}

static void test_a_watch_may_be_set_while_events_are_told(void **state)
{
    struct fixture *fixture = *state;
    pthread_t xenstored;

    fixture->add_in_event = "/c";
    SAY_EVENT(fixture, "/a\0one");
    assert_int_equal(pthread_create(&xenstored, NULL, attend, fixture), 0);
    run_loop(fixture);
    pthread_join(xenstored, NULL);
    run_loop(fixture);
    assert_string_equal(fixture->seen, "/a one;/b two;");
}

static void test_a_refusal_tells_why(void **state)
{
    struct fixture *fixture = *state;

    say(fixture, XS_ERROR, "EEXIST", 7);
    assert_false(watches_add(fixture->watches, "/a", "one"));
    assert_int_equal(errno, EEXIST);
    run_loop(fixture);
    assert_int_equal(fixture->lost, 0);
}

static void test_the_end_is_told_once_after_what_came_before(void **state)
{
    struct fixture *fixture = *state;

    SAY_EVENT(fixture, "/a\0one");
    shutdown(fixture->peer, SHUT_RDWR);
    run_loop(fixture);
    run_loop(fixture);
    assert_string_equal(fixture->seen, "/a one;");
    assert_int_equal(fixture->lost, 1);
}

static void test_an_end_instead_of_an_answer_fails_and_is_told(void **state)
{
    struct fixture *fixture = *state;

    shutdown(fixture->peer, SHUT_RDWR);
    assert_false(watches_add(fixture->watches, "/a", "one"));
    assert_int_equal(fixture->lost, 0);
    run_loop(fixture);
    assert_int_equal(fixture->lost, 1);
}

static void test_what_cannot_be_xenstored_ends_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct xsd_sockmsg header = {.type = XS_WATCH_EVENT,
                                 .len = XENSTORE_PAYLOAD_MAX + 1};

    assert_int_equal(write(fixture->peer, &header, sizeof(header)),
                     (ssize_t)sizeof(header));
    run_loop(fixture);
    assert_int_equal(fixture->lost, 1);
}

static void test_an_event_without_a_token_is_none(void **state)
{
    struct fixture *fixture = *state;

    say(fixture, XS_WATCH_EVENT, "/a", 3);
    say(fixture, XS_WATCH_EVENT, "", 0);
    SAY_EVENT(fixture, "/b\0two");
    run_loop(fixture);
    assert_string_equal(fixture->seen, "/b two;");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events_that_wait_together_come_in_their_order),
        TEST(test_an_event_may_come_byte_by_byte),
        TEST(test_a_request_is_as_xenstored_reads_it),
        TEST(test_events_before_an_answer_are_kept),
        TEST(test_a_watch_may_be_set_while_events_are_told),
        TEST(test_a_refusal_tells_why),
        TEST(test_the_end_is_told_once_after_what_came_before),
        TEST(test_an_end_instead_of_an_answer_fails_and_is_told),
        TEST(test_what_cannot_be_xenstored_ends_the_connection),
        TEST(test_an_event_without_a_token_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
