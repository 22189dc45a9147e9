/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/disk_nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* Each attempt fails only if somebody else committed a change to the same
 * nodes meanwhile; in practice the second succeeds. */
#define COMMIT_ATTEMPTS 20

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

/* Reads <folder>/<key>; NULL with errno if it is not there. */
static char *read_key(struct xs_handle *xs, const char *folder, const char *key)
{
    char *path = xasprintf("%s/%s", folder, key);
    char *value = xs_read(xs, XBT_NULL, path, NULL);
    int saved = errno;

    free(path);
    errno = saved;
    return value;
}

/* libxl's own folder of the disk, which holds a copy of what the backend was
 * given: unlike that, no driver domain can have altered it. */
static char *find_folder(struct xs_handle *xs, uint32_t domid, const char *vdev)
{
    char *root = xasprintf("/libxl/%" PRIu32 "/device/vbd", domid);
    unsigned int count = 0;
    char **devids = xs_directory(xs, XBT_NULL, root, &count);
    char *found = NULL;

    for (unsigned int i = 0; devids && i < count && !found; i++) {
        char *folder = xasprintf("%s/%s", root, devids[i]);
        char *dev = read_key(xs, folder, "dev");

        if (dev && !strcmp(dev, vdev))
            found = folder;
        else
            free(folder);
        free(dev);
    }
    free(devids);
    free(root);
    return found;
}

static bool add_node(struct xs_handle *xs, struct disk_nodes *nodes,
                     const char *folder, const char *after, struct error *err)
{
    struct disk_node *node = &nodes->items[nodes->count++];

    node->path = xasprintf("%s/params", folder);
    node->after = xstrdup(after);
    node->before = xs_read(xs, XBT_NULL, node->path, NULL);
    if (!node->before)
        return error_set_errno(err, ERR_STORE, errno, "cannot read %s",
                               node->path);
    return true;
}

static bool check_backend(struct xs_handle *xs, const char *folder,
                          const char *vdev, struct error *err)
{
    char *type = read_key(xs, folder, "type");
    bool served = type && !strcmp(type, "qdisk");

    free(type);
    if (!served)
        error_set(err, ERR_UNSUPPORTED_DISK,
                  "disk %s is not served by QEMU (backend qdisk)", vdev);
    return served;
}

static bool find_disk(struct xs_handle *xs, uint32_t domid,
                      const struct disk_location *disk,
                      struct disk_nodes *nodes, struct error *err)
{
    char *params = disk_nodes_params(disk->format, disk->path);
    char *folder = find_folder(xs, domid, disk->vdev);
    char *backend = folder ? read_key(xs, folder, "backend") : NULL;
    bool found = false;

    if (!params)
        error_set(err, ERR_UNSUPPORTED_DISK,
                  "disk %s: libxl has no disk format \"%s\"", disk->vdev,
                  disk->format);
    else if (!backend)
        error_set(err, ERR_NO_SUCH_DISK,
                  "domain %" PRIu32 " has no disk %s in xenstore", domid,
                  disk->vdev);
    else
        found = check_backend(xs, folder, disk->vdev, err) &&
                add_node(xs, nodes, folder, params, err) &&
                add_node(xs, nodes, backend, params, err);
    free(backend);
    free(folder);
    free(params);
    return found;
}

bool disk_nodes_find(struct xs_handle *xs, uint32_t domid,
                     const struct disk_location *disks, size_t count,
                     struct disk_nodes *ret_nodes, struct error *err)
{
    ret_nodes->count = 0;
    ret_nodes->items = xcalloc(2 * count, sizeof(*ret_nodes->items));
    for (size_t i = 0; i < count; i++)
        if (!find_disk(xs, domid, &disks[i], ret_nodes, err))
            return false;
    return true;
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

/* A node that went with its disk must not come back as a lone leaf. */
static bool write_node(struct xs_handle *xs, xs_transaction_t transaction,
                       const struct disk_node *node, const char *value)
{
    char *there = xs_read(xs, transaction, node->path, NULL);
    bool written = there && xs_write(xs, transaction, node->path, value,
                                     (unsigned int)strlen(value));

    free(there);
    return written;
}

/* False with errno EAGAIN: try again. */
static bool write_once(struct xs_handle *xs, const struct disk_nodes *nodes,
                       enum disk_nodes_side side, const char **ret_culprit)
{
    xs_transaction_t transaction = xs_transaction_start(xs);

    *ret_culprit = "xenstored";
    if (transaction == XBT_NULL)
        return false;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct disk_node *node = &nodes->items[i];

        if (!write_node(xs, transaction, node,
                        side == DISK_NODES_AFTER ? node->after
                                                 : node->before)) {
            int saved = errno;

            *ret_culprit = node->path;
            xs_transaction_end(xs, transaction, true);
            errno = saved;
            return false;
        }
    }
    return xs_transaction_end(xs, transaction, false);
}

bool disk_nodes_write(struct xs_handle *xs, const struct disk_nodes *nodes,
                      enum disk_nodes_side side, struct error *err)
{
    const char *culprit = NULL;

    for (int attempt = 0; attempt < COMMIT_ATTEMPTS; attempt++) {
        if (write_once(xs, nodes, side, &culprit))
            return true;
        if (errno != EAGAIN)
            break;
    }
    return error_set_errno(err, ERR_STORE, errno,
                           "cannot name the new images in xenstore (%s)",
                           culprit);
}
