/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/base/exec_events.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/alloc.h"

/* What the kernel may keep for us: some 300 programs.  Few start between
 * requests that come one after the other, and others can wait. */
#define KEPT_BYTES (128 * 1024)

#define EVENT_OFFSET (NLMSG_HDRLEN + sizeof(struct cn_msg))
#define BATCH        64

struct exec_events {
    int fd;
};

/* No member is aligned as its type wants. */
struct message {
    struct sockaddr_nl from;
    char bytes[EVENT_OFFSET + sizeof(struct proc_event)];
    size_t length;
};

typedef void message_visitor(const struct proc_event *event, void *arg);

static bool event_of(const struct message *message,
                     struct proc_event *ret_event)
{
    /* Root's other processes can send to the group as well. */
    if (message->from.nl_pid != 0 || message->length < sizeof(message->bytes))
        return false;
    memcpy(ret_event, message->bytes + EVENT_OFFSET, sizeof(*ret_event));
    return true;
}

/* False: some were lost. */
static bool read_all(int fd, message_visitor *visit, void *arg)
{
    struct message messages[BATCH];
    struct mmsghdr headers[BATCH];
    struct iovec parts[BATCH];
    bool complete = true;
    int n;

    for (;;) {
        memset(headers, 0, sizeof(headers));
        for (size_t i = 0; i < BATCH; i++) {
            parts[i] =
                (struct iovec){messages[i].bytes, sizeof(messages[i].bytes)};
            headers[i].msg_hdr.msg_iov = &parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_name = &messages[i].from;
            headers[i].msg_hdr.msg_namelen = sizeof(messages[i].from);
        }
        n = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, NULL);
        if (n < 0 && errno == EAGAIN)
            return complete;
        /* ENOBUFS is told once; what was kept before it comes next. */
        if (n < 0 && errno != ENOBUFS && errno != EINTR)
            return false;
        complete = complete && (n >= 0 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            struct proc_event event;

            messages[i].length = headers[i].msg_len;
            if (event_of(&messages[i], &event))
                visit(&event, arg);
        }
    }
}

/* The kernel tells of forks, exits and more: they stay there.  What it answers
 * to a listener has no kind. */
static bool filter(int fd)
{
    const uint32_t what = EVENT_OFFSET + offsetof(struct proc_event, what);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, what),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(PROC_EVENT_EXEC), 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(PROC_EVENT_NONE), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
                      sizeof(program)) == 0;
}

static bool say(int fd, enum proc_cn_mcast_op op)
{
    char bytes[NLMSG_HDRLEN + sizeof(struct cn_msg) + sizeof(op)] = {0};
    struct nlmsghdr outer = {.nlmsg_len = sizeof(bytes),
                             .nlmsg_type = NLMSG_DONE};
    struct cn_msg inner = {.id = {CN_IDX_PROC, CN_VAL_PROC}, .len = sizeof(op)};

    memcpy(bytes, &outer, sizeof(outer));
    memcpy(bytes + NLMSG_HDRLEN, &inner, sizeof(inner));
    memcpy(bytes + EVENT_OFFSET, &op, sizeof(op));
    return send(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes);
}

static void note_answer(const struct proc_event *event, void *arg)
{
    bool *accepted = arg;

    if (event->what == PROC_EVENT_NONE && event->event_data.ack.err == 0)
        *accepted = true;
}

/* The answer is there when send() returns; where the kernel tells this process
 * nothing, there is none. */
static bool listen_for_events(int fd)
{
    struct sockaddr_nl group = {.nl_family = AF_NETLINK,
                                .nl_groups = CN_IDX_PROC};
    int kept = KEPT_BYTES;
    bool accepted = false;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kept, sizeof(kept)) != 0 ||
        !filter(fd) ||
        bind(fd, (struct sockaddr *)&group, sizeof(group)) != 0 ||
        !say(fd, PROC_CN_MCAST_LISTEN))
        return false;
    if (read_all(fd, note_answer, &accepted) && accepted)
        return true;
    say(fd, PROC_CN_MCAST_IGNORE);
    errno = ENOTSUP;
    return false;
}

struct exec_events *exec_events_new(struct error *err)
{
    struct exec_events *events;
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR);

    if (fd < 0 || !listen_for_events(fd)) {
        error_set(err, ERR_INTERNAL, "%s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    events = xcalloc(1, sizeof(*events));
    events->fd = fd;
    return events;
}

/* Before version 6.6 the kernel counts listeners by what they say. */
void exec_events_free(struct exec_events *events)
{
    if (!events)
        return;
    say(events->fd, PROC_CN_MCAST_IGNORE);
    close(events->fd);
    free(events);
}

struct visit {
    exec_events_visitor *visit;
    void *arg;
};

static void visit_event(const struct proc_event *event, void *arg)
{
    const struct visit *visit = arg;

    if (event->what == PROC_EVENT_EXEC)
        visit->visit(event->event_data.exec.process_tgid, visit->arg);
}

bool exec_events_take(struct exec_events *events, exec_events_visitor *visit,
                      void *arg)
{
    struct visit inner = {visit, arg};

    return read_all(events->fd, visit_event, &inner);
}
