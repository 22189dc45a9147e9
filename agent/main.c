/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program: options, services, signals, the loop, the end. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/backend.h"
#include "agent/base/alloc.h"
#include "agent/base/beneath.h"
#include "agent/base/folder.h"
#include "agent/disk/merge_guard_program.h"
#include "agent/dispatch.h"
#include "agent/expiry.h"
#include "agent/guest/guard_program.h"
#include "agent/guest/other_saves.h"
#include "agent/hold.h"
#include "agent/left_images.h"
#include "agent/libvirt_hook.h"
#include "agent/look_queue.h"
#include "agent/metrics.h"
#include "agent/notify.h"
#include "agent/permission.h"
#include "agent/publish.h"
#include "agent/published.h"
#include "agent/quiesce/freeze_guard_program.h"
#include "agent/quiesce/tools_guard_program.h"
#include "agent/recovery.h"

#define DEFAULT_CONFIG "/etc/xensnapd/agent.yaml"

/* How often the end asks whether a domain is still being restarted. */
#define LINGER_MS 100u

struct options {
    const char *config;
    bool foreground;
    bool check;
    bool libvirt_hook;
    char *const *words; /* libvirt's, for the hook */
    int word_count;
};

struct program {
    struct agent agent;
    const struct options *options;
    char *config_path; /* absolute: a daemon's folder is the root */
    struct event *signals[3];
    struct event *drain_limit;
    struct event *linger;
    int lock_fd;
};

static const char usage[] =
    "Usage: xensnapd [OPTION]...\n"
    "Snapshots of Xen domains, asked for through xenstore.\n"
    "\n"
    "  -c, --config FILE   read the settings from FILE\n"
    "                      (default: " DEFAULT_CONFIG ")\n"
    "  -f, --foreground    stay in the foreground\n"
    "      --check-config  read the settings, say whether they are valid, "
    "exit\n"
    "      --libvirt-hook  answer libvirt, whose words follow\n"
    "  -V, --version       print the version and exit\n"
    "  -h, --help          print this help and exit\n"
    "\n"
    "Signals: TERM and INT let running operations end, then exit (a second "
    "one\n"
    "rolls them back); HUP reads the settings again.\n";

static _Noreturn void exit_with_usage_error(void)
{
    fputs("Try 'xensnapd --help'.\n", stderr);
    exit(2);
}

static void parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"config", required_argument, NULL, 'c'},
        {"foreground", no_argument, NULL, 'f'},
        {"check-config", no_argument, NULL, 'C'},
        {"libvirt-hook", no_argument, NULL, 'L'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "c:fVh", table, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 'f':
            options->foreground = true;
            break;
        case 'C':
            options->check = true;
            break;
        case 'L':
            options->libvirt_hook = true;
            break;
        case 'V':
            puts("xensnapd " XENSNAPD_VERSION);
            exit(0);
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            exit_with_usage_error();
        }
    }
    options->words = argv + optind;
    options->word_count = argc - optind;
    if (optind < argc && !options->libvirt_hook) {
        fprintf(stderr, "xensnapd: unexpected argument '%s'\n", argv[optind]);
        exit_with_usage_error();
    }
}

static bool fail(const struct error *err)
{
    LOG_ERROR("%s", err->message);
    return false;
}

/* ---- the end ---- */

static bool is_busy(const struct agent *agent)
{
    return agent->backend != NULL ? backend_is_busy(agent->backend)
                                  : supervisor_is_busy(agent->supervisor);
}

static void on_linger(evutil_socket_t fd, short events, void *arg)
{
    struct program *program = arg;
    struct timeval later = clock_timeval(LINGER_MS);

    (void)fd;
    (void)events;
    if (is_busy(&program->agent)) {
        event_add(program->linger, &later);
    } else {
        event_base_loopbreak(program->agent.loop);
    }
}

static void on_idle(void *arg)
{
    on_linger(-1, 0, arg);
}

static void on_drain_limit(evutil_socket_t fd, short events, void *arg)
{
    struct program *program = arg;

    (void)fd;
    (void)events;
    LOG_WARN("operations are still under way after %u ms: rolling them back",
             program->agent.config.timeouts.drain_ms);
    dispatcher_interrupt(program->agent.dispatcher);
}

static void on_stop(evutil_socket_t number, short events, void *arg)
{
    struct program *program = arg;
    struct agent *agent = &program->agent;
    struct timeval limit = clock_timeval(agent->config.timeouts.drain_ms);

    (void)events;
    if (event_pending(program->drain_limit, EV_TIMEOUT, NULL)) {
        dispatcher_interrupt(agent->dispatcher);
        return;
    }
    LOG_NOTICE("%s: ending once running operations have ended",
               strsignal((int)number));
    sd_notify(0, "STOPPING=1");
    if (agent->backend != NULL) {
        on_idle(program);
        return;
    }
    event_add(program->drain_limit, &limit);
    publish_state(agent, "draining");
    dispatcher_drain(agent->dispatcher, on_idle, program);
}

/* ---- reading the settings again ---- */

static void apply_timeouts(struct agent *agent)
{
    const struct config *config = &agent->config;

    agent->qmp.lock_ms = config->timeouts.lock_ms;
    agent->qmp.greeting_ms = config->timeouts.qmp_greeting_ms;
    agent->qmp.reply_ms = config->timeouts.qmp_reply_ms;
}

static void on_reload(evutil_socket_t number, short events, void *arg)
{
    struct program *program = arg;
    struct agent *agent = &program->agent;
    struct config config;
    struct error err;

    (void)number;
    (void)events;
    if (!config_load(program->config_path, &config, &err)) {
        LOG_ERROR("the settings stay as they are: %s", err.message);
        return;
    }
    if (memcmp(&config.store, &agent->config.store, sizeof(config.store)) !=
            0 ||
        strcmp(config.xenstore.root, agent->config.xenstore.root) != 0 ||
        config.role != agent->config.role) {
        LOG_WARN("role, store and xenstore.root change only with a restart");
    }
    config.role = agent->config.role;
    config.store = agent->config.store;
    memcpy(config.xenstore.root, agent->config.xenstore.root,
           sizeof(config.xenstore.root));
    config_dispose(&agent->config);
    agent->config = config;
    log_configure(config.log.target, config.log.level);
    apply_timeouts(agent);
    if (agent->backend == NULL) {
        dispatcher_reconfigure(agent->dispatcher);
        watch_policy_changed(agent->watch);
        publish_limits(agent);
        metrics_changed(agent->metrics);
    }
    LOG_NOTICE("settings read again from %s", program->config_path);
}

/* ---- the beginning ---- */

/* Two agents on one xenstore would both carry out each request.  Not flock(2):
 * libxl's children, which destroy a domain on after the agent has died, would
 * inherit that, and keep the next agent from starting. */
static bool take_lock(struct program *program, struct error *err)
{
    /* Domain 0's byte; those of other domains are merge_guard_program.c's. */
    const struct flock byte = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    const char *folder = program->agent.config.store.run_folder;
    char *path = xasprintf("%s/lock", folder);
    bool ok = folder_make(folder, 0755, NULL, err);

    if (ok) {
        program->lock_fd = beneath_open(NULL, path, O_RDWR | O_CREAT, 0600);
        ok = program->lock_fd >= 0 &&
             fcntl(program->lock_fd, F_SETLK, &byte) == 0;
        if (!ok && (errno == EAGAIN || errno == EACCES)) {
            error_set(err, ERR_BUSY, "another xensnapd holds %s", path);
        } else if (!ok) {
            error_set_errno(err, ERR_STORE, errno, "cannot lock %s", path);
        }
    }
    free(path);
    return ok;
}

static void add_signal(struct program *program, int slot, int number,
                       event_callback_fn callback)
{
    program->signals[slot] =
        evsignal_new(program->agent.loop, number, callback, program);
    event_add(program->signals[slot], NULL);
}

static void add_signals(struct program *program)
{
    struct event_base *loop = program->agent.loop;

    add_signal(program, 0, SIGTERM, on_stop);
    add_signal(program, 1, SIGINT, on_stop);
    add_signal(program, 2, SIGHUP, on_reload);
    program->drain_limit = evtimer_new(loop, on_drain_limit, program);
    program->linger = evtimer_new(loop, on_linger, program);
}

static bool start_services(struct program *program, struct error *err)
{
    struct agent *agent = &program->agent;

    clock_utc(agent->started_at);
    agent->qmp = qmp_of_libxl;
    if (agent->config.role == ROLE_BACKEND) {
        agent->qmp.socket_name = "qmp-devd-";
        agent->qmp.lock_name = "qmp-devd-lock"; /* nobody else's */
    }
    apply_timeouts(agent);
    agent->loop = event_base_new();
    if (agent->loop == NULL) {
        return error_set(err, ERR_INTERNAL, "cannot make an event loop");
    }
    event_base_priority_init(agent->loop, LOOP_PRIORITIES);
    agent->records = records_open(agent->config.store.folder, err);
    if (agent->records == NULL) {
        return false;
    }
    left_images_load(agent->config.store.folder, agent->records);
    agent->recovery = recovery_open(agent->config.store.folder, err);
    if (agent->recovery == NULL) {
        return false;
    }
    add_signals(program);
    if (agent->config.role == ROLE_BACKEND) {
        agent->backend = backend_new(agent);
        return true;
    }
    agent->guests = guests_new(agent->loop, err);
    if (agent->guests == NULL) {
        return false;
    }
    agent->other_saves = other_saves_new();
    agent->supervisor = supervisor_new(agent->guests, &agent->config, err);
    if (agent->supervisor == NULL) {
        return false;
    }
    agent->holds = holds_open(agent, err);
    if (agent->holds == NULL) {
        return false;
    }
    agent->expiry = expiry_new(agent, err);
    if (agent->expiry == NULL) {
        return false;
    }
    agent->metrics = metrics_new(agent);
    agent->permissions = permissions_new();
    agent->published = published_new();
    agent->dispatcher = dispatcher_new(agent);
    agent->watch = watch_new(agent->loop, &agent->config, agent->guests,
                             &dispatch_listener, agent);
    return true;
}

static void event_free_if(struct event *event)
{
    if (event != NULL) {
        event_free(event);
    }
}

static void stop_services(struct program *program)
{
    struct agent *agent = &program->agent;

    if (agent->watch != NULL) {
        publish_gone(agent);
    }
    for (size_t i = 0; i < 3; i++) {
        event_free_if(program->signals[i]);
    }
    event_free_if(program->drain_limit);
    event_free_if(program->linger);
    backend_free(agent->backend);
    watch_free(agent->watch);
    dispatcher_free(agent->dispatcher);
    permissions_free(agent->permissions);
    metrics_free(agent->metrics);
    published_free(agent->published);
    expiry_free(agent->expiry);
    holds_close(agent->holds);
    supervisor_free(agent->supervisor);
    other_saves_free(agent->other_saves);
    guests_free(agent->guests);
    if (agent->records != NULL) {
        records_close(agent->records);
    }
    recovery_close(agent->recovery);
    notify_close();
    if (agent->loop != NULL) {
        event_base_free(agent->loop);
    }
    libevent_global_shutdown();
    if (program->lock_fd >= 0) {
        close(program->lock_fd);
    }
}

static bool run(const struct options *options)
{
    struct program program = {.options = options, .lock_fd = -1};
    struct agent *agent = &program.agent;
    struct error err = {0};
    bool ok;

    if (!config_load(options->config, &agent->config, &err)) {
        return fail(&err);
    }
    if (options->check) {
        printf("%s: valid\n", options->config);
        config_dispose(&agent->config);
        return true;
    }
    log_configure(agent->config.log.target, agent->config.log.level);
    program.config_path = realpath(options->config, NULL);
    if (program.config_path == NULL) {
        program.config_path = xstrdup(options->config);
    }
    if (!options->foreground && daemon(0, 0) != 0) {
        error_set_errno(&err, ERR_INTERNAL, errno, "cannot become a daemon");
        free(program.config_path);
        config_dispose(&agent->config);
        return fail(&err);
    }
    /* A daemon has another stderr. */
    log_configure(agent->config.log.target, agent->config.log.level);
    /* QEMU, xenstored and the log may hang up on us at any moment. */
    signal(SIGPIPE, SIG_IGN);
    ok = take_lock(&program, &err) && start_services(&program, &err);
    if (ok) {
        event_base_dispatch(agent->loop);
        LOG_NOTICE("ended");
    } else {
        fail(&err);
    }
    stop_services(&program);
    free(program.config_path);
    config_dispose(&agent->config);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct guardian_role *const roles[] = {
        &guard_role, &merge_guard_role, &freeze_guard_role, &tools_guard_role,
        NULL};
    struct options options = {.config = DEFAULT_CONFIG};

    if (guardian_is_meant(argv[0])) {
        return guardian_main(argc, argv, roles);
    }
    parse_options(argc, argv, &options);
    if (options.libvirt_hook) {
        return libvirt_hook_run(options.config, options.words,
                                options.word_count)
                   ? 0
                   : 1;
    }
    return run(&options) ? 0 : 1;
}
