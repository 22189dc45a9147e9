/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP session with the QEMU that serves a domain's disks.
 *
 * QEMU serves one client at a time on its socket and libxl is the other
 * client, so a session first takes libxl's own lock of that socket
 * (<userdata>/userdata-l.<domid>.<uuid>.qmp-socket-lock, flock(2);
 * libxl_internal.c, "libxl__lock_file") and holds it until qmp_close().
 * Keep sessions short, and never wait for a libxl operation on the same domain
 * while holding one: libxl would wait for the lock for ever.  (It does not ask
 * QEMU to save or resume a PV or PVH domain: libxl_dom_suspend.c and, for the
 * dirty log, libxl_dom_save.c.)
 *
 * States: locking -> connecting -> greeting -> ready -> broken.  Every
 * callback comes from the event loop, never from inside the call that asked
 * for it.  Once broken (connection lost, a time limit passed) every
 * outstanding and later command is answered with ERR_QMP.
 *
 * The process must ignore SIGPIPE: QEMU may end at any moment.
 */
#ifndef XENSNAPD_DISK_QMP_H
#define XENSNAPD_DISK_QMP_H

#include <event2/event.h>
#include <json-c/json_object.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/error.h"

struct qmp;

struct qmp_settings {
    const char *socket_folder; /* "/var/run/xen" */
    const char *socket_name;   /* "qmp-libxl-": the domid follows */
    const char *lock_folder;   /* "/var/lib/xen" */
    const char *lock_name;     /* "qmp-socket-lock" */
    uint32_t lock_ms;          /* time limits */
    uint32_t greeting_ms;      /* connect, greeting and capabilities */
    uint32_t reply_ms;         /* a command's default */
};

/* Where libxl's QEMUs are; without time limits. */
extern const struct qmp_settings qmp_of_libxl;

/* `err` is NULL when the session is ready.  After a failure the session is
 * still the caller's to qmp_close(). */
typedef void qmp_on_open(struct qmp *qmp, const struct error *err, void *arg);

/* `ret` is QMP's "return" value, borrowed for the call, or NULL with `err`
 * set: QEMU's own words, sanitised, for a command that it refused. */
typedef void qmp_on_reply(struct json_object *ret, const struct error *err,
                          void *arg);

/* An event's name and data (may be NULL), both borrowed for the call. */
typedef void qmp_on_event(const char *name, struct json_object *data,
                          void *arg);

/*
 * Begins a session.  `settings` must outlive it.  Never fails on the spot;
 * `on_open` says how it went: ERR_BUSY if libxl's lock was not free in time,
 * else ERR_QMP.  Commands that are sent earlier go out with the session's
 * first bytes, before QEMU has greeted; each fails if that does not work.
 */
struct qmp *qmp_open(struct event_base *base,
                     const struct qmp_settings *settings, uint32_t domid,
                     const char *uuid, qmp_on_open *on_open, void *arg);

/* The QEMU of that domain that listens at its socket; 0 if there is none, or if
 * another made the socket: libxl does, for a QEMU that it confines. */
pid_t qmp_server(const struct qmp_settings *settings, uint32_t domid);

/* At most one listener; NULL stops listening. */
void qmp_listen(struct qmp *qmp, qmp_on_event *on_event, void *arg);

/*
 * Sends a command; replies come in the order of the commands.  `arguments` is
 * taken over (NULL: none).  `timeout_ms` 0 means the session's default; when
 * it passes, the outcome is unknown and the session is broken.
 */
void qmp_execute(struct qmp *qmp, const char *command,
                 struct json_object *arguments, uint32_t timeout_ms,
                 qmp_on_reply *on_reply, void *arg);

/*
 * The same in two parts.  QEMU reads a command byte by byte, with a turn of its
 * main loop for each, which takes longer than many a command does: the first
 * part has it read all but the end while there is time, the second has it
 * carried out.  No other command may come in between; QEMU forgets what was
 * prepared when the session ends.  On a broken session nothing is prepared.
 */
void qmp_prepare(struct qmp *qmp, const char *command,
                 struct json_object *arguments);
bool qmp_is_prepared(const struct qmp *qmp);
void qmp_execute_prepared(struct qmp *qmp, uint32_t timeout_ms,
                          qmp_on_reply *on_reply, void *arg);

/* True after a time limit or a lost connection: the last command's outcome is
 * unknown and must be looked up in a new session. */
bool qmp_is_broken(const struct qmp *qmp);

/* After a failure to open: there is no QEMU at the socket. */
bool qmp_has_no_peer(const struct qmp *qmp);

/* Ends the session and frees it; outstanding callbacks never come.  NULL is
 * allowed.  May be called from any of the callbacks. */
void qmp_close(struct qmp *qmp);

#endif
