/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise_watcher.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenstore.h>

#include "agent/base/alloc.h"
#include "agent/guest/xen_paths.h"
#include "agent/store/socket.h"

/* As much of a log's end as is read; each restart of a domain adds a few
 * lines. */
#define LOG_TAIL 65536

const struct watcher_view watcher_host_view = {
    .proc_folder = "/proc",
    .xl_log_folder = XEN_LOG_FOLDER,
    .libvirt_folder = "/run/libvirt/libxl",
};

/* The last `size` - 1 bytes of a file at most, terminated; the NULs that part
 * a command line's arguments stay.  0 if it cannot be read. */
static size_t read_tail(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = 0;

    buffer[0] = '\0';
    if (fd < 0)
        return 0;
    /* Where there is no such way back, the file is short: start at 0. */
    lseek(fd, -(off_t)(size - 1), SEEK_END);
    got = read(fd, buffer, size - 1);
    close(fd);
    if (got < 0)
        got = 0;
    buffer[got] = '\0';
    return (size_t)got;
}

bool watcher_read_xl_log(const char *text, int pid, uint32_t *ret_domid)
{
    static const char mark[] = "(domid ";
    bool found = false;

    for (const char *at = text; (at = strstr(at, mark)); at++) {
        uint32_t domid;
        int said;

        if (sscanf(at, "(domid %" SCNu32 ") to die [pid %d]", &domid, &said) ==
                2 &&
            said == pid) {
            *ret_domid = domid;
            found = true;
        }
    }
    return found;
}

/* "", or what rotation and removal append: ".3", " (deleted)". */
static bool is_log_tail(const char *rest)
{
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    return !*rest || !strcmp(rest, " (deleted)");
}

/* Whether the log's name is that of the domain: "xl-<name>.log", or with
 * "--incoming", under which a migrated domain arrived. */
static bool is_log_of(const char *file_name, const char *domain_name)
{
    static const char incoming[] = "--incoming";
    size_t length = strlen(domain_name);
    const char *rest = file_name + strlen("xl-");

    if (strncmp(file_name, "xl-", 3) || strncmp(rest, domain_name, length))
        return false;
    rest += length;
    if (!strncmp(rest, incoming, strlen(incoming)))
        rest += strlen(incoming);
    return !strncmp(rest, ".log", 4) && is_log_tail(rest + 4);
}

static enum watcher judge_by_log(const struct guest *guest, int pid,
                                 const char *stdout_path, const char *log_name)
{
    char *text = xcalloc(LOG_TAIL, 1);
    uint32_t domid;
    bool said = read_tail(stdout_path, text, LOG_TAIL) &&
                watcher_read_xl_log(text, pid, &domid);
    bool its = said ? domid == guest->domid : is_log_of(log_name, guest->name);

    free(text);
    return its ? WATCHER_XL : WATCHER_NONE;
}

/* The xl subcommands that stay and wait for a domain they have made. */
static bool is_waiting_command(const char *command_line, size_t length)
{
    static const char *const waiting[] = {"create", "restore",
                                          "migrate-receive"};
    const char *word = command_line;
    const char *end = command_line + length;

    /* Behind the program's name come global options, then the subcommand. */
    for (word += strlen(word) + 1; word < end && *word == '-';)
        word += strlen(word) + 1;
    for (size_t i = 0; word < end && i < sizeof(waiting) / sizeof(*waiting);
         i++)
        if (!strcmp(word, waiting[i]))
            return true;
    return false;
}

static enum watcher judge_xl(const struct watcher_view *view,
                             const struct guest *guest, int pid)
{
    size_t log_folder_length = strlen(view->xl_log_folder);
    char *path = xasprintf("%s/%d/fd/1", view->proc_folder, pid);
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    enum watcher watcher = WATCHER_NONE;

    target[length < 0 ? 0 : length] = '\0';
    if (!strncmp(target, view->xl_log_folder, log_folder_length) &&
        target[log_folder_length] == '/') {
        watcher =
            judge_by_log(guest, pid, path, target + log_folder_length + 1);
    } else {
        char arguments[4096];
        char *command_path = xasprintf("%s/%d/cmdline", view->proc_folder, pid);
        size_t got = read_tail(command_path, arguments, sizeof(arguments));

        if (is_waiting_command(arguments, got))
            watcher = WATCHER_MAYBE_XL;
        free(command_path);
    }
    free(path);
    return watcher;
}

static bool is_process(const struct watcher_view *view, int pid,
                       const char *const *names)
{
    char *path = xasprintf("%s/%d/comm", view->proc_folder, pid);
    char name[32];
    size_t length;
    bool found = false;

    read_tail(path, name, sizeof(name));
    free(path);
    length = strcspn(name, "\n");
    name[length] = '\0';
    for (; *names && !found; names++)
        found = !strcmp(name, *names);
    return found;
}

static enum watcher find_xl(const struct watcher_view *view,
                            const struct guest *guest)
{
    static const char *const names[] = {"xl", NULL};
    DIR *processes = opendir(view->proc_folder);
    enum watcher watcher = WATCHER_NONE;
    struct dirent *entry;

    while (processes && watcher != WATCHER_XL && (entry = readdir(processes))) {
        enum watcher one;
        int pid;

        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        pid = atoi(entry->d_name);
        if (!is_process(view, pid, names))
            continue;
        one = judge_xl(view, guest, pid);
        if (one != WATCHER_NONE)
            watcher = one;
    }
    if (processes)
        closedir(processes);
    return watcher;
}

static bool has_libvirt(const struct watcher_view *view,
                        const struct guest *guest)
{
    static const char *const names[] = {"libvirtd", "virtxend", NULL};
    char *state = xasprintf("%s/%s.xml", view->libvirt_folder, guest->name);
    char *pid_file = xasprintf("%s/driver.pid", view->libvirt_folder);
    char pid[32] = "";
    bool lives = !access(state, F_OK) &&
                 read_tail(pid_file, pid, sizeof(pid)) &&
                 is_process(view, atoi(pid), names);

    free(pid_file);
    free(state);
    return lives;
}

static bool has_xapi(const struct guest *guest)
{
    char *path = xasprintf("/xapi/%s", guest->uuid);
    struct xs_handle *xs = store_socket_open();
    unsigned int count;
    char **entries = xs ? xs_directory(xs, XBT_NULL, path, &count) : NULL;
    bool there = entries != NULL;

    free(entries);
    if (xs)
        xs_close(xs);
    free(path);
    return there;
}

enum watcher watcher_find(const struct watcher_view *view,
                          const struct guest *guest)
{
    enum watcher xl = find_xl(view, guest);

    if (xl == WATCHER_XL)
        return xl;
    if (has_libvirt(view, guest))
        return WATCHER_LIBVIRT;
    if (has_xapi(guest))
        return WATCHER_XAPI;
    return xl;
}

const char *watcher_name(enum watcher watcher)
{
    switch (watcher) {
    case WATCHER_NONE:
        break;
    case WATCHER_XL:
        return "xl";
    case WATCHER_MAYBE_XL:
        return "an xl in the foreground";
    case WATCHER_LIBVIRT:
        return "libvirt";
    case WATCHER_XAPI:
        return "xapi";
    }
    return "nobody";
}
