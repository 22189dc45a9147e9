/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/disk_backends.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/guest/disk_folders.h"
#include "agent/guest/guests_private.h"
#include "agent/store/socket.h"

static void name_backend(struct lookahead *ahead, const char *folder,
                         libxl_device_disk *disk)
{
    char *type = lookahead_value(ahead, folder, "type");
    char *backend = lookahead_value(ahead, folder, "backend");
    libxl_disk_backend kind;
    uint32_t domid;

    if (type && !libxl_disk_backend_from_string(type, &kind))
        disk->backend = kind;
    if (backend && sscanf(backend, "/local/domain/%" SCNu32 "/", &domid) == 1)
        disk->backend_domid = domid;
    free(backend);
    free(type);
}

void disk_backends_name(struct guests *guests, uint32_t domid,
                        libxl_domain_config *config)
{
    struct lookahead ahead = {
        .wire = {.fd = store_socket_connect(), .xs = guests->context.xs}};
    struct disk_folders folders;

    disk_folders_list(&ahead, domid, &folders);
    for (int i = 0; i < config->num_disks; i++) {
        libxl_device_disk *disk = &config->disks[i];
        const char *folder =
            disk->vdev ? disk_folders_find(&ahead, &folders, disk->vdev) : NULL;

        if (folder)
            name_backend(&ahead, folder, disk);
    }
    disk_folders_dispose(&folders);
    lookahead_dispose(&ahead);
    if (ahead.wire.fd >= 0)
        close(ahead.wire.fd);
}
