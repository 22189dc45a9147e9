/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/disk_nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"
#include "agent/base/log.h"
#include "agent/guest/disk_folders.h"

/* Each attempt fails only if somebody else committed a change to the same
 * nodes meanwhile; in practice the second succeeds. */
#define COMMIT_ATTEMPTS 20

#define XEN_DOMAIN_0 "/local/domain/0/"

/* libxl's names (libxl_device.c, libxl__device_disk_string_of_format). */
static const char *libxl_format_name(const char *format)
{
    static const char *const names[][2] = {
        {"raw", "aio"}, {"qcow2", "qcow2"}, {"qcow", "qcow"},
        {"vhd", "vhd"}, {"qed", "qed"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(names[i][0], format))
            return names[i][1];
    return NULL;
}

char *disk_nodes_params(const char *format, const char *path)
{
    const char *name = libxl_format_name(format);

    return name ? xasprintf("%s:%s", name, path) : NULL;
}

/* ---- finding them ---- */

/* Those of all the disks together, too. */
static void want_backends(struct lookahead *ahead,
                          const struct disk_folders *folders,
                          const struct disk_location *disks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *folder = disk_folders_find(ahead, folders, disks[i].vdev);
        char *backend =
            folder ? lookahead_value(ahead, folder, "backend") : NULL;

        if (backend)
            lookahead_want_value(ahead, backend, "params");
        free(backend);
    }
    lookahead_fetch(ahead);
}

/* One that is `shared` may be gone: then there is none to be changed. */
static bool add_node(struct lookahead *ahead, struct disk_nodes *nodes,
                     const char *folder, const char *after, bool shared,
                     struct error *err)
{
    struct disk_node *node = &nodes->items[nodes->count];

    node->path = xjoin(folder, "params");
    node->shared = shared;
    node->before = lookahead_value(ahead, folder, "params");
    if (!node->before && shared && errno == ENOENT) {
        free(node->path);
        node->path = NULL;
        return true;
    }
    nodes->count++;
    if (!node->before)
        return error_set_errno(err, ERR_STORE, errno, "cannot read %s",
                               node->path);
    node->after = xstrdup(after);
    return true;
}

/* A driver domain that dies takes its nodes along; the guest's next start, with
 * another one, goes by the rest. */
static bool is_of_driver_domain(const char *backend)
{
    return strncmp(backend, XEN_DOMAIN_0, strlen(XEN_DOMAIN_0)) != 0;
}

static bool check_backend(struct lookahead *ahead, const char *folder,
                          const char *vdev, struct error *err)
{
    char *type = lookahead_value(ahead, folder, "type");
    bool served = type && !strcmp(type, "qdisk");

    free(type);
    if (!served)
        error_set(err, ERR_UNSUPPORTED_DISK,
                  "disk %s is not served by QEMU (backend qdisk)", vdev);
    return served;
}

/* A xenstored that was started anew knows nothing of the domains that run.
 * libxl writes this of each. */
static bool is_forgotten(struct lookahead *ahead, uint32_t domid)
{
    char *folder = xasprintf("/libxl/%" PRIu32, domid);
    char *type;
    bool forgotten;

    lookahead_want_value(ahead, folder, "type");
    lookahead_fetch(ahead);
    type = lookahead_value(ahead, folder, "type");
    forgotten = !type && errno == ENOENT;
    free(type);
    free(folder);
    return forgotten;
}

static bool find_disk(struct lookahead *ahead,
                      const struct disk_folders *folders, uint32_t domid,
                      const struct disk_location *disk,
                      struct disk_nodes *nodes, struct error *err)
{
    char *params = disk_nodes_params(disk->format, disk->path);
    const char *folder = disk_folders_find(ahead, folders, disk->vdev);
    char *backend = folder ? lookahead_value(ahead, folder, "backend") : NULL;
    bool found = false;

    if (!params)
        error_set(err, ERR_UNSUPPORTED_DISK,
                  "disk %s: libxl has no disk format \"%s\"", disk->vdev,
                  disk->format);
    else if (!backend && (disk->may_be_gone || is_forgotten(ahead, domid)))
        found = true;
    else if (!backend)
        error_set(err, ERR_NO_SUCH_DISK,
                  "domain %" PRIu32 " has no disk %s in xenstore", domid,
                  disk->vdev);
    else
        found = check_backend(ahead, folder, disk->vdev, err) &&
                add_node(ahead, nodes, folder, params, false, err) &&
                add_node(ahead, nodes, backend, params,
                         is_of_driver_domain(backend), err);
    free(backend);
    free(params);
    return found;
}

bool disk_nodes_find(const struct wire *wire, uint32_t domid,
                     const struct disk_location *disks, size_t count,
                     struct disk_nodes *ret_nodes, struct error *err)
{
    struct lookahead ahead = {.wire = *wire};
    struct disk_folders folders;
    bool found = true;

    ret_nodes->count = 0;
    ret_nodes->items = xcalloc(2 * count, sizeof(*ret_nodes->items));
    disk_folders_list(&ahead, domid, &folders);
    want_backends(&ahead, &folders, disks, count);
    for (size_t i = 0; i < count && found; i++)
        found = find_disk(&ahead, &folders, domid, &disks[i], ret_nodes, err);
    disk_folders_dispose(&folders);
    lookahead_dispose(&ahead);
    return found;
}

void disk_nodes_dispose(struct disk_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        free(nodes->items[i].path);
        free(nodes->items[i].before);
        free(nodes->items[i].after);
    }
    free(nodes->items);
    *nodes = (struct disk_nodes){0};
}

/* ---- writing them ---- */

/* Each is read in the round trip that writes it: a node that went with its disk
 * must not come back as a lone leaf. */
static struct wire_request *compose(const struct disk_nodes *nodes,
                                    enum disk_nodes_side side, bool shared,
                                    size_t *ret_count)
{
    struct wire_request *requests =
        xcalloc(2 * nodes->count, sizeof(*requests));

    for (size_t i = 0; i < nodes->count; i++) {
        const struct disk_node *node = &nodes->items[i];

        if (node->shared != shared)
            continue;
        requests[(*ret_count)++] =
            (struct wire_request){.type = XS_READ, .path = node->path};
        requests[(*ret_count)++] = (struct wire_request){
            .type = XS_WRITE,
            .path = node->path,
            .value = side == DISK_NODES_AFTER ? node->after : node->before,
        };
    }
    return requests;
}

/* The first error, 0 for none; `*ret_culprit` is the path that it is about. */
static int take_answers(struct wire_request *requests, size_t count,
                        const char **ret_culprit)
{
    int errnum = 0;

    for (size_t i = 0; i < count; i++) {
        if (requests[i].errnum && !errnum) {
            errnum = requests[i].errnum;
            *ret_culprit = requests[i].path;
        }
        free(requests[i].answer);
    }
    return errnum;
}

/* False with errno. */
static bool write_all(const struct wire *wire, xs_transaction_t transaction,
                      const struct disk_nodes *nodes, enum disk_nodes_side side,
                      bool shared, const char **ret_culprit)
{
    size_t count = 0;
    struct wire_request *requests = compose(nodes, side, shared, &count);
    bool sent = wire_run(wire, transaction, requests, count);
    int errnum = sent ? 0 : errno;
    int refused = take_answers(requests, count, ret_culprit);

    free(requests);
    errno = errnum ? errnum : refused;
    return errno == 0;
}

/* False with errno EAGAIN: try again. */
static bool write_once(const struct wire *wire, const struct disk_nodes *nodes,
                       enum disk_nodes_side side, bool shared,
                       const char **ret_culprit)
{
    xs_transaction_t transaction = wire_begin(wire);
    int errnum;

    *ret_culprit = "xenstored";
    if (transaction == XBT_NULL)
        return false;
    if (write_all(wire, transaction, nodes, side, shared, ret_culprit))
        return wire_commit(wire, transaction);
    errnum = errno;
    wire_abort(wire, transaction);
    errno = errnum;
    return false;
}

static bool write_those(const struct wire *wire, const struct disk_nodes *nodes,
                        enum disk_nodes_side side, bool shared,
                        struct error *err)
{
    const char *culprit = NULL;

    for (int attempt = 0; attempt < COMMIT_ATTEMPTS; attempt++) {
        if (write_once(wire, nodes, side, shared, &culprit))
            return true;
        if (errno != EAGAIN)
            break;
    }
    return error_set_errno(err, ERR_STORE, errno,
                           "cannot name the new images in xenstore (%s)",
                           culprit);
}

static bool any_is_shared(const struct disk_nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (nodes->items[i].shared)
            return true;
    return false;
}

bool disk_nodes_write(const struct wire *wire, const struct disk_nodes *nodes,
                      enum disk_nodes_side side, struct error *err)
{
    struct error ignored;

    if (!write_those(wire, nodes, side, false, err))
        return false;
    if (any_is_shared(nodes) && !write_those(wire, nodes, side, true, &ignored))
        LOG_WARN("%s; the guest's next start does not need it",
                 ignored.message);
    return true;
}
