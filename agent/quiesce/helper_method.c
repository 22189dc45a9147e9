/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * By our own helper in the guest, guest/xensnap-guest.c, over xenstore: its
 * keys are explained in schema/xenstore-paths.md.
 *
 * Its answer is heard of twice, by an event channel and by a watch, so that
 * neither has to work: then what it wrote is read.  Both, and the connection,
 * are there for the time of one freeze only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xenevtchn.h>
#include <xenstore.h>

#include "agent/base/alloc.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/quiesce/quiesce_method.h"
#include "agent/store/read.h"
#include "agent/store/socket.h"

#define FOLDER   "/local/domain/%" PRIu32 "/data/xensnap-guest"
#define PROTOCOL "1"

struct helper {
    struct quiesce *quiesce;
    char *folder;
    char *name; /* the domain's */
    uint32_t seconds;
    char id[17]; /* of this freeze: what is left of others has another one */
    struct xs_handle *xs;
    struct event *changed;
    xenevtchn_handle *bell; /* NULL: none */
    xenevtchn_port_or_error_t port;
    struct event *rung;
};

static char *helper_folder(uint32_t domid)
{
    return xasprintf(FOLDER, domid);
}

static void remove_request(struct xs_handle *xs, const char *folder)
{
    char *path = xasprintf("%s/request", folder);

    xs_rm(xs, XBT_NULL, path);
    free(path);
}

/* ---- its answer ---- */

/* "frozen ID", "failed ID WHY" and so on. */
static void look(struct helper *helper)
{
    static const struct {
        const char *word;
        enum quiesce_answer answer;
    } words[] = {
        {"frozen ", QUIESCE_FROZEN},
        {"failed ", QUIESCE_FAILED},
        {"thawed ", QUIESCE_THAWED},
        {"expired ", QUIESCE_EXPIRED},
    };
    char *state = store_read(helper->xs, helper->folder, "state");
    size_t id_length = strlen(helper->id);

    for (size_t i = 0; state != NULL && i < sizeof(words) / sizeof(words[0]);
         i++) {
        const char *id = state + strlen(words[i].word);
        const char *rest = id + id_length;

        if (strncmp(state, words[i].word, strlen(words[i].word)) == 0 &&
            strncmp(id, helper->id, id_length) == 0 &&
            (*rest == '\0' || *rest == ' ')) {
            quiesce_answer(helper->quiesce, words[i].answer,
                           *rest == ' ' ? rest + 1 : rest);
            break;
        }
    }
    free(state);
}

static void on_changed(evutil_socket_t fd, short events, void *arg)
{
    struct helper *helper = arg;
    char **event;
    bool any = false;

    (void)fd;
    (void)events;
    while ((event = xs_check_watch(helper->xs)) != NULL) {
        free(event);
        any = true;
    }
    if (any) {
        look(helper);
    }
}

static void on_rung(evutil_socket_t fd, short events, void *arg)
{
    struct helper *helper = arg;
    xenevtchn_port_or_error_t port = xenevtchn_pending(helper->bell);

    (void)fd;
    (void)events;
    if (port >= 0) {
        LOG_DEBUG("%s: the guest has rung", helper->folder);
        xenevtchn_unmask(helper->bell, (evtchn_port_t)port);
        look(helper);
    }
}

/* ---- the way there ---- */

static void open_bell(struct helper *helper, struct event_base *loop,
                      uint32_t domid)
{
    helper->bell = xenevtchn_open(log_xentoollog(), 0);
    if (helper->bell == NULL) {
        return;
    }
    helper->port = xenevtchn_bind_unbound_port(helper->bell, domid);
    if (helper->port < 0) {
        helper->port = 0;
        return;
    }
    helper->rung = event_new(loop, xenevtchn_fd(helper->bell),
                             EV_READ | EV_PERSIST, on_rung, helper);
    event_add(helper->rung, NULL);
}

static void helper_close(void *own)
{
    struct helper *helper = own;

    if (helper->rung != NULL) {
        event_free(helper->rung);
    }
    if (helper->bell != NULL) {
        xenevtchn_close(helper->bell);
    }
    event_free(helper->changed);
    xs_close(helper->xs);
    free(helper->folder);
    free(helper->name);
    free(helper);
}

static bool speaks_to(struct xs_handle *xs, const char *folder)
{
    char *version = store_read(xs, folder, "version");
    bool known = version != NULL && strcmp(version, PROTOCOL) == 0;

    free(version);
    return known;
}

static bool helper_open(const struct quiesce_target *target,
                        struct quiesce *quiesce, void **ret_own)
{
    struct xs_handle *xs = store_socket_open();
    char *folder = helper_folder(target->domid);
    struct helper *helper;

    if (xs == NULL || !speaks_to(xs, folder)) {
        if (xs != NULL) {
            xs_close(xs);
        }
        free(folder);
        return false;
    }
    helper = xcalloc(1, sizeof(*helper));
    helper->quiesce = quiesce;
    helper->folder = folder;
    helper->name = xstrdup(target->name);
    helper->seconds = (target->max_freeze_ms + 999) / 1000;
    helper->xs = xs;
    helper->changed = event_new(target->loop, xs_fileno(xs),
                                EV_READ | EV_PERSIST, on_changed, helper);
    event_add(helper->changed, NULL);
    open_bell(helper, target->loop, target->domid);
    *ret_own = helper;
    return true;
}

/* ---- what is asked ---- */

static void choose_id(struct helper *helper)
{
    uint64_t number = 0;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) < 0) {
        number = clock_monotonic_ns();
    }
    snprintf(helper->id, sizeof(helper->id), "%016" PRIx64, number);
}

static bool helper_freeze(void *own, struct error *err)
{
    struct helper *helper = own;
    char *state = xasprintf("%s/state", helper->folder);
    char *path = xasprintf("%s/request", helper->folder);
    char *text;
    bool ok;

    choose_id(helper);
    text = xasprintf("freeze %s %" PRIu32 " %d", helper->id, helper->seconds,
                     helper->port);
    ok = xs_watch(helper->xs, state, "state") &&
         xs_write(helper->xs, XBT_NULL, path, text, (unsigned int)strlen(text));
    if (!ok) {
        error_set_errno(err, ERR_STORE, errno,
                        "cannot ask the guest \"%s\" to freeze, by %s",
                        helper->name, path);
    }
    free(text);
    free(path);
    free(state);
    return ok;
}

static void helper_thaw(void *own, bool switched)
{
    struct helper *helper = own;

    (void)switched;
    remove_request(helper->xs, helper->folder);
}

static void helper_take_back(const struct quiesce_target *target)
{
    struct xs_handle *xs = store_socket_open();
    char *folder = helper_folder(target->domid);

    if (xs != NULL) {
        remove_request(xs, folder);
        xs_close(xs);
    }
    free(folder);
}

const struct quiesce_method quiesce_by_helper = {
    .program = "xensnap-guest",
    .open = helper_open,
    .freeze = helper_freeze,
    .thaw = helper_thaw,
    .close = helper_close,
    .take_back = helper_take_back,
};
