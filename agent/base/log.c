/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Logging: our lines and libxl's, to stderr or syslog. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* Ours are macros of the same names; the priorities stand in `levels`. */
#undef LOG_DEBUG
#undef LOG_INFO
#undef LOG_NOTICE
#include "agent/base/error.h"
#include "agent/base/log.h"
#include "agent/base/log_sink.h"

#define MESSAGE_MAX 1024
#define SYSLOG_PATH "/dev/log"

static const struct {
    const char *name;
    int priority; /* syslog's, RFC 5424 */
} levels[XTL_NUM_LEVELS] = {
    [XTL_DEBUG] = {"debug", 7},       [XTL_VERBOSE] = {"verbose", 7},
    [XTL_DETAIL] = {"detail", 7},     [XTL_PROGRESS] = {"progress", 7},
    [XTL_INFO] = {"info", 6},         [XTL_NOTICE] = {"notice", 5},
    [XTL_WARN] = {"warn", 4},         [XTL_ERROR] = {"error", 3},
    [XTL_CRITICAL] = {"critical", 2},
};

static enum log_target current_target = LOG_TARGET_STDERR;
static xentoollog_level current_level = XTL_INFO;
static bool under_journald;
static struct log_sink sink; /* of the current target */
static bool is_configured;
static unsigned long lost; /* lines, since the last that was told */
static char complaint[MESSAGE_MAX];

/* Whether journald reads stderr: systemd.exec(5), JOURNAL_STREAM.  A process
 * may have inherited the variable and yet write elsewhere. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char ours[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev,
             (uintmax_t)st.st_ino);
    return !strcmp(stream, ours);
}

void log_configure(enum log_target target, xentoollog_level level)
{
    current_target = target;
    current_level = level;
    under_journald = stderr_is_journal();
    log_sink_close(&sink);
    sink = target == LOG_TARGET_SYSLOG ? log_sink_of_syslog(SYSLOG_PATH)
                                       : log_sink_of(STDERR_FILENO);
    is_configured = true;
}

bool log_level_parse(const char *name, xentoollog_level *ret_level)
{
    xentoollog_level level;

    for (level = XTL_DEBUG; level < XTL_NUM_LEVELS; level++) {
        if (level != XTL_PROGRESS && !strcmp(levels[level].name, name)) {
            *ret_level = level;
            return true;
        }
    }
    return false;
}

/* "2026-11-24T07:12:03.123Z " */
static void format_time(char *buffer, size_t size)
{
    struct timespec now;
    struct tm tm;
    size_t length;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    length = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buffer + length, size - length, ".%03ldZ ", now.tv_nsec / 1000000);
}

/* With one write(), so that lines of several processes do not mix. */
static bool write_stderr(xentoollog_level level, const char *text)
{
    char line[MESSAGE_MAX + 128];
    char prefix[64];
    int length;

    if (under_journald)
        snprintf(prefix, sizeof(prefix), "<%d>", levels[level].priority);
    else
        format_time(prefix, sizeof(prefix));
    length = snprintf(line, sizeof(line), "%s%s: %s\n", prefix,
                      levels[level].name, text);
    return log_sink_write(&sink, line, (size_t)length);
}

static bool write_syslog(xentoollog_level level, const char *text)
{
    char line[MESSAGE_MAX + 16];

    snprintf(line, sizeof(line), "%s: %s", levels[level].name, text);
    return log_sink_tell_syslog(&sink, SYSLOG_PATH,
                                LOG_DAEMON | levels[level].priority, line);
}

static bool write_line(xentoollog_level level, const char *text)
{
    return current_target == LOG_TARGET_SYSLOG ? write_syslog(level, text)
                                               : write_stderr(level, text);
}

/* As soon as anything can be told again. */
static bool tell_lost(void)
{
    char text[80];

    snprintf(text, sizeof(text),
             "%lu lines were lost: nobody took them from this log", lost);
    return lost == 0 || write_line(XTL_WARN, text);
}

static void emit(xentoollog_level level, const char *text)
{
    if (!is_configured)
        log_configure(current_target, current_level);
    if (tell_lost())
        lost = 0;
    if (lost > 0 || !write_line(level, text))
        lost++;
}

void log_write(xentoollog_level level, const char *format, ...)
{
    int saved_errno = errno;
    char text[MESSAGE_MAX], clean[MESSAGE_MAX];
    va_list args;

    if (level < current_level)
        return;
    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): started above */
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    emit(level, error_sanitise(clean, sizeof(clean), text));
    errno = saved_errno;
}

/* ---- libxl's lines ---- */

/*
 * Behind "libxl_dom.c:12:libxl__build_pre: ", which tells people nothing.
 */
static const char *skip_source_position(const char *text)
{
    const char *colon = strchr(text, ':');
    const char *end;

    if (!colon || colon - text < 2 || strncmp(colon - 2, ".c", 2))
        return text;
    end = strstr(colon, ": ");
    return end ? end + 2 : text;
}

static __attribute__((format(printf, 5, 0))) void on_message(
    xentoollog_logger *logger, xentoollog_level level, int errnum,
    const char *context, const char *format, va_list args)
{
    char text[MESSAGE_MAX / 2], clean[MESSAGE_MAX / 2];
    char line[MESSAGE_MAX];
    size_t length;

    (void)logger;
    vsnprintf(text, sizeof(text), format, args);
    length = strlen(text);
    if (length > 0 && text[length - 1] == '\n')
        text[length - 1] = '\0';
    error_sanitise(clean, sizeof(clean), text);
    /* Some of libxl's callers pass 0 where the interface wants -1. */
    snprintf(line, sizeof(line), "%s%s%s", clean, errnum > 0 ? ": " : "",
             errnum > 0 ? strerror(errnum) : "");
    if (level >= XTL_ERROR && !*complaint)
        snprintf(complaint, sizeof(complaint), "%s",
                 skip_source_position(line));
    log_write(level, "%s: %s", context ? context : "libxl", line);
}

static void on_progress(xentoollog_logger *logger, const char *context,
                        const char *doing_what, int percent, unsigned long done,
                        unsigned long total)
{
    /* One for each percent of each save: nothing for a log. */
    (void)logger;
    (void)context;
    (void)doing_what;
    (void)percent;
    (void)done;
    (void)total;
}

static void on_destroy(xentoollog_logger *logger)
{
    (void)logger;
}

xentoollog_logger *log_xentoollog(void)
{
    static xentoollog_logger logger = {
        .vmessage = on_message,
        .progress = on_progress,
        .destroy = on_destroy,
    };

    return &logger;
}

const char *log_first_complaint(void)
{
    return *complaint ? complaint : NULL;
}

void log_forget_complaint(void)
{
    *complaint = '\0';
}
