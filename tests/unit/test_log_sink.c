/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Log lines that nobody takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "agent/base/log_sink.h"

#define LINE "a line of a log, of a usual length\n"

/* Far more than anything holds; whoever waits here is ended by the alarm. */
static size_t write_until_full(const struct log_sink *sink)
{
    size_t count = 0;

    alarm(20);
    while (count < 100000 && log_sink_write(sink, LINE, strlen(LINE))) {
        count++;
    }
    alarm(0);
    assert_in_range(count, 1, 99999);
    return count;
}

/* All of it: each line as it was written. */
static void drain(int fd, size_t count)
{
    char line[sizeof(LINE)];

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(read(fd, line, strlen(LINE)), (ssize_t)strlen(LINE));
        assert_memory_equal(line, LINE, strlen(LINE));
    }
}

static void test_a_pipe_that_nobody_reads(void **state)
{
    struct log_sink sink;
    int ends[2];
    size_t count;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    sink = log_sink_of(ends[1]);
    count = write_until_full(&sink);
    drain(ends[0], count);
    assert_true(log_sink_write(&sink, LINE, strlen(LINE)));
    /* Others that share it notice nothing. */
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    log_sink_close(&sink);
    assert_int_not_equal(fcntl(ends[1], F_GETFD), -1);
    close(ends[0]);
    close(ends[1]);
}

static void test_a_terminal_that_is_stopped(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    struct log_sink sink;
    int terminal;

    (void)state;
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    sink = log_sink_of(terminal);
    write_until_full(&sink);
    log_sink_close(&sink);
    close(terminal);
    close(master);
}

static void test_a_journal_that_does_not_read(void **state)
{
    struct log_sink sink;
    int ends[2];
    size_t count;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    sink = log_sink_of(ends[1]);
    count = write_until_full(&sink);
    drain(ends[0], count);
    assert_true(log_sink_write(&sink, LINE, strlen(LINE)));
    close(ends[0]);
    assert_false(log_sink_write(&sink, LINE, strlen(LINE)));
    log_sink_close(&sink);
    close(ends[1]);
}

static void test_a_file_is_added_to(void **state)
{
    char path[] = "/tmp/test_log_sink.XXXXXX", text[64] = "";
    int fd = mkstemp(path);
    struct log_sink sink;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "before\n", 7), 7);
    sink = log_sink_of(fd);
    assert_true(log_sink_write(&sink, "ours\n", 5));
    assert_int_equal(write(fd, "after\n", 6), 6);
    log_sink_close(&sink);
    assert_int_equal(pread(fd, text, sizeof(text) - 1, 0), 18);
    assert_string_equal(text, "before\nours\nafter\n");
    close(fd);
    unlink(path);
}

static void test_what_is_closed_takes_nothing(void **state)
{
    struct log_sink sink = log_sink_of(1000);

    (void)state;
    assert_false(log_sink_write(&sink, LINE, strlen(LINE)));
    log_sink_close(&sink);
}

/* ---- syslog ---- */

static char folder[] = "/tmp/test_log_sink.XXXXXX";
static char path[64];

static int listen_as_syslogd(int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type, 0);

    strcpy(address.sun_path, path);
    assert_int_equal(
        bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/log", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void expect_message(int fd, const char *text)
{
    char message[256] = "", end[64];
    ssize_t length = recv(fd, message, sizeof(message) - 1, 0);

    assert_true(length > 0);
    assert_memory_equal(message, "<27>", 4);
    snprintf(end, sizeof(end), " xensnapd[%d]: %s", (int)getpid(), text);
    assert_string_equal(message + strlen(message) - strlen(end), end);
}

static void test_a_message_is_as_syslog_writes_it(void **state)
{
    int syslogd = listen_as_syslogd(SOCK_DGRAM);
    struct log_sink sink = log_sink_of_syslog(path);

    (void)state;
    assert_true(log_sink_tell_syslog(&sink, path, LOG_DAEMON | LOG_ERR, "hm"));
    expect_message(syslogd, "hm");
    log_sink_close(&sink);
    close(syslogd);
}

static void test_a_syslogd_that_does_not_read(void **state)
{
    int syslogd = listen_as_syslogd(SOCK_DGRAM);
    struct log_sink sink = log_sink_of_syslog(path);
    size_t count = 0;

    (void)state;
    alarm(20);
    while (count < 100000 &&
           log_sink_tell_syslog(&sink, path, LOG_DAEMON, "")) {
        count++;
    }
    alarm(0);
    assert_in_range(count, 1, 99999);
    log_sink_close(&sink);
    close(syslogd);
}

static void test_a_syslogd_that_was_started_anew(void **state)
{
    int syslogd = listen_as_syslogd(SOCK_DGRAM);
    struct log_sink sink = log_sink_of_syslog(path);

    (void)state;
    close(syslogd);
    unlink(path);
    assert_false(log_sink_tell_syslog(&sink, path, LOG_DAEMON, "nobody"));
    syslogd = listen_as_syslogd(SOCK_DGRAM);
    assert_true(log_sink_tell_syslog(&sink, path, LOG_DAEMON | LOG_ERR, "hm"));
    expect_message(syslogd, "hm");
    log_sink_close(&sink);
    close(syslogd);
}

#define SYSLOG_TEST(name)                                                      \
    cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pipe_that_nobody_reads),
        cmocka_unit_test(test_a_terminal_that_is_stopped),
        cmocka_unit_test(test_a_journal_that_does_not_read),
        cmocka_unit_test(test_a_file_is_added_to),
        cmocka_unit_test(test_what_is_closed_takes_nothing),
        SYSLOG_TEST(test_a_message_is_as_syslog_writes_it),
        SYSLOG_TEST(test_a_syslogd_that_does_not_read),
        SYSLOG_TEST(test_a_syslogd_that_was_started_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
