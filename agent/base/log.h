/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Logging, at libxentoollog's levels, to stderr or syslog.
 *
 * libxl logs through the same logger (log_xentoollog()), so its words stand in
 * the same stream as ours and the first complaint of a libxl call can be quoted
 * in an error (log_first_complaint()).
 *
 * Logging never waits: a line that nobody takes is lost, and counted
 * (log_sink.h).
 *
 * One process-wide logger: the toollog interface that libxl calls has no room
 * for a context of ours, and there is one stream to write to.
 */
#ifndef XENSNAPD_BASE_LOG_H
#define XENSNAPD_BASE_LOG_H

#include <stdbool.h>
#include <xentoollog.h>

enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/*
 * May be called again (SIGHUP) to change target or level; until the first call
 * it is stderr and info.  A line on stderr begins with the time, or with the
 * syslog priority ("<6>") where journald reads it and adds the time itself.
 */
void log_configure(enum log_target target, xentoollog_level level);

/* "debug", "verbose", "detail", "info", "notice", "warn", "error",
 * "critical" to a level; false if the name is none of these. */
bool log_level_parse(const char *name, xentoollog_level *ret_level);

/* The logger to hand to libxl.  Owned by this module, lives for ever. */
xentoollog_logger *log_xentoollog(void);

/*
 * The first error-level line that libxl wrote since log_forget_complaint(), or
 * NULL: the first names the cause, the ones behind it only its consequences.
 * Without libxl's file, line and function.  Valid until the next logged line.
 */
const char *log_first_complaint(void);
void log_forget_complaint(void);

/* One line: control and non-ASCII bytes become '?'.  Keeps errno. */
void log_write(xentoollog_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define LOG_DEBUG(...)  log_write(XTL_DEBUG, __VA_ARGS__)
#define LOG_DETAIL(...) log_write(XTL_DETAIL, __VA_ARGS__)
#define LOG_INFO(...)   log_write(XTL_INFO, __VA_ARGS__)
#define LOG_NOTICE(...) log_write(XTL_NOTICE, __VA_ARGS__)
#define LOG_WARN(...)   log_write(XTL_WARN, __VA_ARGS__)
#define LOG_ERROR(...)  log_write(XTL_ERROR, __VA_ARGS__)

#endif
