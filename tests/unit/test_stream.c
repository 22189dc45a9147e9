/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Much that is written, to a xenstored that is the other end of a socket. */
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
#include "agent/store/stream.h"

struct fixture {
    struct wire wire;
    int peer; /* xenstored's end */
    pthread_t xenstored;

    unsigned int refused;  /* this request, counted from 1; 0: none */
    unsigned int ends_at;  /* before it answers this one; 0: never */
    bool answers_last;     /* nothing before it has read all that comes */
    unsigned int expected; /* requests */

    unsigned int requests;
    char last[64]; /* path and value of the last */
};

static int set_up(void **state)
{
    struct fixture *fixture = xcalloc(1, sizeof(*fixture));
    int ends[2], size = 4096;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    /* Both ways are soon full. */
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    fixture->wire = (struct wire){.fd = ends[0]};
    fixture->peer = ends[1];
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    close(fixture->wire.fd);
    close(fixture->peer);
    free(fixture);
    return 0;
}

/* ---- xenstored ---- */

static bool read_all(int fd, void *data, size_t length)
{
    return recv(fd, data, length, MSG_WAITALL) == (ssize_t)length;
}

static void answer(const struct fixture *fixture, unsigned int request)
{
    bool refuses = request == fixture->refused;
    const char *word = refuses ? "ENOSPC" : "OK";
    struct xsd_sockmsg header = {.type = refuses ? XS_ERROR : XS_WRITE,
                                 .len = (uint32_t)strlen(word) + 1};

    send(fixture->peer, &header, sizeof(header), MSG_NOSIGNAL);
    send(fixture->peer, word, header.len, MSG_NOSIGNAL);
}

/* Waits until each answer is taken, unless it answers last. */
static void *serve(void *arg)
{
    struct fixture *fixture = arg;
    struct xsd_sockmsg header;

    while (fixture->requests < fixture->expected &&
           read_all(fixture->peer, &header, sizeof(header)) &&
           header.len < sizeof(fixture->last) &&
           read_all(fixture->peer, fixture->last, header.len)) {
        fixture->last[header.len] = '\0';
        fixture->requests++;
        if (fixture->requests == fixture->ends_at) {
            shutdown(fixture->peer, SHUT_RDWR);
            return NULL;
        }
        if (!fixture->answers_last) {
            answer(fixture, fixture->requests);
        }
    }
    for (unsigned int i = 1; fixture->answers_last && i <= fixture->requests;
         i++) {
        answer(fixture, i);
    }
    return NULL;
}

/* That many requests; how stream_end() ends, with errno. */
static bool write_many(struct fixture *fixture, unsigned int count)
{
    struct stream *stream = stream_begin(&fixture->wire);
    char path[32];
    bool ok;
    int errnum;

    fixture->expected = count;
    assert_int_equal(pthread_create(&fixture->xenstored, NULL, serve, fixture),
                     0);
    for (unsigned int i = 1; i <= count; i++) {
        snprintf(path, sizeof(path), "/a/path/of/some/length/%u", i);
        stream_write(stream, path, "value");
    }
    ok = stream_end(stream);
    errnum = errno;
    pthread_join(fixture->xenstored, NULL);
    errno = errnum;
    return ok;
}

/* ---- tests ---- */

static void test_all_is_written_in_order(void **state)
{
    struct fixture *fixture = *state;

    assert_true(write_many(fixture, 3));
    assert_int_equal(fixture->requests, 3);
    assert_memory_equal(fixture->last, "/a/path/of/some/length/3\0value",
                        sizeof("/a/path/of/some/length/3\0value") - 1);
}

static void test_nothing_to_write_waits_for_nothing(void **state)
{
    struct fixture *fixture = *state;

    assert_true(stream_end(stream_begin(&fixture->wire)));
}

static void test_neither_side_waits_for_the_other_to_read(void **state)
{
    struct fixture *fixture = *state;

    assert_true(write_many(fixture, 20000));
    assert_int_equal(fixture->requests, 20000);
}

static void test_answers_may_come_after_all_requests(void **state)
{
    struct fixture *fixture = *state;

    fixture->answers_last = true;
    assert_true(write_many(fixture, 2000));
}

static void test_a_refusal_is_told_at_the_end(void **state)
{
    struct fixture *fixture = *state;

    fixture->refused = 7;
    assert_false(write_many(fixture, 1000));
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(fixture->requests, 1000);
}

static void test_the_end_of_xenstored_is_told_at_the_end(void **state)
{
    struct fixture *fixture = *state;

    fixture->ends_at = 500;
    assert_false(write_many(fixture, 20000));
    assert_true(errno == EPIPE || errno == ECONNRESET);
}

static void test_what_is_too_long_keeps_nothing_else_from_being_written(
    void **state)
{
    struct fixture *fixture = *state;
    struct stream *stream = stream_begin(&fixture->wire);
    char *value = xcalloc(40000, 1);

    memset(value, 'x', 39999);
    fixture->expected = 1;
    pthread_create(&fixture->xenstored, NULL, serve, fixture);
    stream_write(stream, "/long", value);
    stream_write(stream, "/short", "value");
    assert_false(stream_end(stream));
    assert_int_equal(errno, E2BIG);
    pthread_join(fixture->xenstored, NULL);
    assert_int_equal(fixture->requests, 1);
    free(value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_written_in_order),
        TEST(test_nothing_to_write_waits_for_nothing),
        TEST(test_neither_side_waits_for_the_other_to_read),
        TEST(test_answers_may_come_after_all_requests),
        TEST(test_a_refusal_is_told_at_the_end),
        TEST(test_the_end_of_xenstored_is_told_at_the_end),
        TEST(test_what_is_too_long_keeps_nothing_else_from_being_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
