/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's helper for quiesced snapshots: freezes its file systems when
 * xensnapd asks for it over xenstore, and thaws them.
 *
 * In the domain's own folder, below data/xensnap-guest (the names are explained
 * in schema/xenstore-paths.md):
 *
 *   version   written by this program: it is there
 *   request   written by xensnapd: "freeze ID SECONDS PORT"; removed: thaw
 *   state     written by this program: "frozen ID", "failed ID WHY",
 *             "thawed ID", "expired ID"
 *
 *   idle --request appears--> freezing --done--> frozen --request removed,
 *   SECONDS over--> idle.  One that is removed while freezing thaws at once.
 *
 * A restore and a migration leave the program running and the folder empty;
 * the kernel sets the watch anew then, and what must be there is written again.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "guest/bell.h"
#include "guest/freezer.h"
#include "guest/xenbus.h"

#define FOLDER  "data/xensnap-guest"
#define VERSION FOLDER "/version"
#define REQUEST FOLDER "/request"
#define STATE   FOLDER "/state"

#define PROTOCOL "1"

/* More than any host asks for: an hour. */
#define SECONDS_MAX 3600u

struct request {
    char id[33];
    unsigned int seconds;
    unsigned int port; /* 0: none */
};

struct helper {
    struct xenbus xenbus;
    struct freezer freezer;
    int signals;
    bool busy; /* freezing or frozen, for ... */
    struct request request;
    bool thaw_asked;
    bool ended; /* it was told that nothing is frozen any more */
};

static const char usage[] =
    "Usage: xensnap-guest [OPTION]...\n"
    "Runs in a Xen guest: freezes its file systems for the moment of a "
    "snapshot\n"
    "when xensnapd asks for it, and thaws them.\n"
    "\n"
    "  -V, --version   print the version and exit\n"
    "  -h, --help      print this help and exit\n"
    "\n"
    "TERM and INT thaw and end it.\n";

static void __attribute__((format(printf, 1, 2), noreturn))
die(const char *format, ...)
{
    va_list args;

    fputs("xensnap-guest: ", stderr);
    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): started above */
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* ---- xenstore ---- */

static void tell(struct helper *helper, const char *word, const char *reason)
{
    char state[256];

    snprintf(state, sizeof(state), "%s %s%s%s", word, helper->request.id,
             *reason != '\0' ? " " : "", reason);
    xenbus_write(&helper->xenbus, STATE, state);
    if (helper->request.port != 0) {
        bell_ring(helper->request.port);
    }
}

/* Here again, as after a restore. */
static void advertise(struct helper *helper)
{
    char *version = xenbus_read(&helper->xenbus, VERSION);

    if (version == NULL) {
        xenbus_write(&helper->xenbus, VERSION, PROTOCOL);
    }
    free(version);
}

static bool parse_request(const char *text, struct request *ret_request)
{
    return sscanf(text, "freeze %32s %u %u", ret_request->id,
                  &ret_request->seconds, &ret_request->port) == 3 &&
           ret_request->seconds > 0 && ret_request->seconds <= SECONDS_MAX;
}

/* ---- what is asked for ---- */

static void thaw(struct helper *helper)
{
    if (helper->busy && !helper->thaw_asked) {
        helper->thaw_asked = true;
        freezer_thaw(&helper->freezer);
    }
}

static void begin(struct helper *helper, const struct request *request)
{
    if (!helper->busy) {
        helper->busy = true;
        helper->thaw_asked = false;
        helper->ended = false;
        helper->request = *request;
        freezer_freeze(&helper->freezer, request->seconds);
    } else if (strcmp(helper->request.id, request->id) != 0) {
        thaw(helper); /* begun by another one, that has gone; then look again */
    }
}

/* A request stays there while it is frozen for: only one that was not answered
 * yet is begun. */
static bool is_answered(struct helper *helper, const struct request *request)
{
    char *state = xenbus_read(&helper->xenbus, STATE);
    char id[sizeof(request->id)] = "";
    bool answered = state != NULL && sscanf(state, "%*s %32s", id) == 1 &&
                    strcmp(id, request->id) == 0;

    free(state);
    return answered;
}

static void look(struct helper *helper)
{
    char *text = xenbus_read(&helper->xenbus, REQUEST);
    struct request request;

    if (text == NULL || !parse_request(text, &request)) {
        thaw(helper);
    } else if (!is_answered(helper, &request)) {
        begin(helper, &request);
    }
    free(text);
}

/* ---- events ---- */

static void on_watch(struct helper *helper)
{
    while (xenbus_take_event(&helper->xenbus)) {
        advertise(helper);
        look(helper);
    }
}

/* What was told is not taken back: one that had expired was not frozen for as
 * long as was asked, whatever became of the request to thaw. */
static void tell_end(struct helper *helper, const char *word,
                     const char *reason)
{
    if (!helper->ended) {
        tell(helper, word, reason);
    }
    helper->ended = true;
}

static void be_idle(struct helper *helper)
{
    helper->busy = false;
    look(helper);
}

/* Each order is answered: where a thaw was asked for, that answer is the last.
 */
static void on_answer(struct helper *helper)
{
    struct freezer_answer heard;

    if (!freezer_hear(&helper->freezer, &heard)) {
        freezer_lost(&helper->freezer);
        xenbus_remove(&helper->xenbus, FOLDER);
        die("the process that freezes has ended; everything is thawed");
    }
    switch (heard.word) {
    case FREEZER_FROZEN:
        if (!helper->thaw_asked) {
            tell(helper, "frozen", "");
        }
        return;
    case FREEZER_FAILED:
        tell_end(helper, "failed", heard.reason);
        break;
    case FREEZER_EXPIRED:
        tell_end(helper, "expired", "");
        break;
    case FREEZER_THAWED:
        tell_end(helper, "thawed", "");
        be_idle(helper);
        return;
    }
    if (!helper->thaw_asked) {
        be_idle(helper);
    }
}

/* Nothing stays frozen, and nothing is promised any more; but an answer that is
 * waited for is left there. */
static void leave(struct helper *helper)
{
    freezer_end(&helper->freezer);
    if (helper->busy) {
        xenbus_remove(&helper->xenbus, VERSION);
        xenbus_remove(&helper->xenbus, REQUEST);
        tell_end(helper, "expired", "");
    } else {
        xenbus_remove(&helper->xenbus, FOLDER);
    }
    xenbus_close(&helper->xenbus);
}

/* Whoever is asked anew, if there is anybody, is another one. */
static void __attribute__((noreturn)) leave_behind(struct helper *helper)
{
    freezer_end(&helper->freezer);
    die("the connection to xenstore has ended; everything is thawed");
}

static void run(struct helper *helper)
{
    struct pollfd sources[] = {
        {.fd = helper->signals, .events = POLLIN},
        {.fd = helper->freezer.fd, .events = POLLIN},
        {.fd = helper->xenbus.fd, .events = POLLIN},
    };

    for (;;) {
        /* An event may have come in while an answer was waited for. */
        on_watch(helper);
        if (poll(sources, 3, -1) < 0) {
            continue;
        }
        if (sources[0].revents != 0) {
            break;
        }
        if (sources[1].revents != 0) {
            on_answer(helper);
        }
        if ((sources[2].revents & (POLLHUP | POLLERR)) != 0) {
            leave_behind(helper);
        }
    }
}

static void parse_options(int argc, char **argv)
{
    static const struct option table[] = {
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option = getopt_long(argc, argv, "Vh", table, NULL);

    if (option == 'V') {
        puts("xensnap-guest " XENSNAPD_VERSION);
        exit(0);
    }
    if (option == 'h') {
        fputs(usage, stdout);
        exit(0);
    }
    if (option != -1 || optind < argc) {
        fputs("Try 'xensnap-guest --help'.\n", stderr);
        exit(2);
    }
}

static void start(struct helper *helper)
{
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    /* First, while there is no connection that the other would inherit. */
    if (!freezer_start(&helper->freezer)) {
        die("cannot start the process that freezes: %s", strerror(errno));
    }
    helper->signals = signalfd(-1, &ending, SFD_CLOEXEC);
    if (helper->signals < 0) {
        die("cannot wait for signals: %s", strerror(errno));
    }
    if (!xenbus_open(&helper->xenbus)) {
        die("cannot reach xenstore: %s; is this a Xen guest, and /dev/xen/"
            "xenbus there?",
            strerror(errno));
    }
    /* What an earlier one left is of no meaning. */
    xenbus_remove(&helper->xenbus, FOLDER);
    if (!xenbus_watch(&helper->xenbus, FOLDER) ||
        !xenbus_write(&helper->xenbus, VERSION, PROTOCOL)) {
        die("cannot use xenstore: %s", strerror(errno));
    }
}

int main(int argc, char **argv)
{
    struct helper helper = {0};

    parse_options(argc, argv);
    start(&helper);
    run(&helper);
    leave(&helper);
    return 0;
}
