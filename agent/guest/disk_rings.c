/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/disk_rings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xengnttab.h>

#include "agent/base/alloc.h"
#include "agent/store/read.h"

/* How a shared ring begins (ring.h, DEFINE_RING_TYPES). */
struct shared_ring {
    uint32_t requests; /* req_prod: how many the guest has sent */
    uint32_t request_event;
    uint32_t responses; /* rsp_prod: how many QEMU has answered */
    uint32_t response_event;
};

struct ring {
    char vdev[32];
    const volatile struct shared_ring *shared;
};

struct disk_rings {
    xengnttab_handle *grants;
    struct ring *rings;
    size_t count;
};

/* The frontend's folder, the caller's to free(); NULL if there is no such
 * disk. */
static char *find_frontend(struct xs_handle *xs, const char *devices,
                           const char *vdev)
{
    unsigned int count = 0;
    char **devids = xs_directory(xs, XBT_NULL, devices, &count);
    char *found = NULL;

    for (unsigned int i = 0; devids != NULL && i < count && found == NULL;
         i++) {
        char *folder = xasprintf("%s/%s", devices, devids[i]);

        if (store_read_is(xs, folder, "dev", vdev)) {
            found = store_read(xs, folder, "frontend");
        }
        free(folder);
    }
    free(devids);
    return found;
}

/* A ring of several pages begins in the first of them. */
static bool read_reference(struct xs_handle *xs, const char *frontend,
                           uint32_t *ret_reference)
{
    char *order = store_read(xs, frontend, "ring-page-order");
    char *value =
        store_read(xs, frontend, order == NULL ? "ring-ref" : "ring-ref0");
    bool ok = value != NULL && sscanf(value, "%" SCNu32, ret_reference) == 1;

    free(order);
    free(value);
    return ok;
}

/* Whether the frontend is connected or about to be, by the numbers of enum
 * xenbus_state.  What cannot be read is no answer. */
static bool read_connected(struct xs_handle *xs, const char *frontend,
                           bool *ret_connected)
{
    char *state = store_read(xs, frontend, "state");
    bool ok = state != NULL;

    *ret_connected = ok && strspn(state, "345") > 0;
    free(state);
    return ok;
}

static bool map_reference(struct disk_rings *rings, struct xs_handle *xs,
                          uint32_t domid, const char *frontend)
{
    struct ring *ring = &rings->rings[rings->count];
    uint32_t reference;

    if (!read_reference(xs, frontend, &reference)) {
        return false;
    }
    ring->shared =
        xengnttab_map_grant_ref(rings->grants, domid, reference, PROT_READ);
    return ring->shared != NULL;
}

static bool map_ring(struct disk_rings *rings, struct xs_handle *xs,
                     const char *devices, uint32_t domid, const char *vdev,
                     struct error *err)
{
    char *frontend = find_frontend(xs, devices, vdev);
    bool connected = false;
    bool ok = frontend != NULL && read_connected(xs, frontend, &connected) &&
              (!connected || map_reference(rings, xs, domid, frontend));

    free(frontend);
    if (!ok) {
        return error_set(err, ERR_LIBXL,
                         "disk %s: the ring that the guest shares with QEMU "
                         "cannot be looked at",
                         vdev);
    }
    if (connected) {
        struct ring *ring = &rings->rings[rings->count++];

        snprintf(ring->vdev, sizeof(ring->vdev), "%s", vdev);
    }
    return true;
}

struct disk_rings *disk_rings_map(struct xs_handle *xs, const char *devices,
                                  uint32_t domid, const char *const *vdevs,
                                  size_t count, struct error *err)
{
    struct disk_rings *rings;

    if (xs == NULL) {
        error_set(err, ERR_STORE, "cannot connect to xenstored");
        return NULL;
    }
    rings = xcalloc(1, sizeof(*rings));
    rings->rings = xcalloc(count + 1, sizeof(*rings->rings));
    rings->grants = xengnttab_open(NULL, 0);
    if (rings->grants == NULL) {
        error_set_errno(err, ERR_LIBXL, errno,
                        "cannot open Xen's grant table device");
        disk_rings_unmap(rings);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!map_ring(rings, xs, devices, domid, vdevs[i], err)) {
            disk_rings_unmap(rings);
            return NULL;
        }
    }
    return rings;
}

const char *disk_rings_busy(const struct disk_rings *rings)
{
    for (size_t i = 0; i < rings->count; i++) {
        const struct ring *ring = &rings->rings[i];

        if (ring->shared->requests != ring->shared->responses) {
            return ring->vdev;
        }
    }
    return NULL;
}

void disk_rings_unmap(struct disk_rings *rings)
{
    if (rings == NULL) {
        return;
    }
    for (size_t i = 0; i < rings->count; i++) {
        xengnttab_unmap(rings->grants,
                        (void *)(uintptr_t)rings->rings[i].shared, 1);
    }
    if (rings->grants != NULL) {
        xengnttab_close(rings->grants);
    }
    free(rings->rings);
    free(rings);
}
