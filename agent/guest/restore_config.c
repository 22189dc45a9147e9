/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration of a restored domain, and the images that it names. */
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/guest/restore_source.h"
#include "agent/snapshot_tree.h"

const struct record *restore_record(const struct snapshot *snapshot)
{
    return records_find(snapshot->agent->records, snapshot->guest.uuid,
                        snapshot->name);
}

libxl_domain_config *restore_parse_config(const struct snapshot *snapshot,
                                          const char *json, struct error *err)
{
    libxl_domain_config *config = xcalloc(1, sizeof(*config));

    libxl_domain_config_init(config);
    if (libxl_domain_config_from_json(guests_libxl(snapshot->agent->guests),
                                      config, json) != 0) {
        snapshot_free_config(&config);
        error_set(err, ERR_STORE,
                  "the configuration in the record of snapshot \"%s\" is not "
                  "one that libxl reads",
                  snapshot->name);
        return NULL;
    }
    return config;
}

bool restore_read_config(struct snapshot *snapshot, struct error *err)
{
    if (snapshot->config == NULL && snapshot->config_json != NULL) {
        snapshot->config =
            restore_parse_config(snapshot, snapshot->config_json, err);
        return snapshot->config != NULL;
    }
    return true;
}

static void set_path(libxl_device_disk *disk, const char *path,
                     const char *format)
{
    xreplace(&disk->pdev_path, path);
    libxl_disk_format_from_string(format, &disk->format);
}

/* A disk that the snapshot left out stays where it is now. */
static void keep_disk(const struct snapshot *snapshot, libxl_device_disk *disk)
{
    const libxl_domain_config *now = snapshot->config;
    const char *format, *path;

    for (int i = 0; now != NULL && i < now->num_disks; i++) {
        if (strcmp(now->disks[i].vdev, disk->vdev) == 0) {
            set_path(disk, now->disks[i].pdev_path,
                     libxl_disk_format_to_string(now->disks[i].format));
            return;
        }
    }
    path = tree_last_image(snapshot->agent->records, snapshot->guest.uuid,
                           disk->vdev, &format);
    if (path != NULL) {
        set_path(disk, path, format);
    }
}

void restore_name_disks(const struct snapshot *snapshot,
                        libxl_domain_config *config)
{
    for (int i = 0; i < config->num_disks; i++) {
        libxl_device_disk *to = &config->disks[i];
        const struct snapshot_disk *disk = NULL;

        for (size_t j = 0; j < snapshot->disk_count; j++) {
            if (strcmp(snapshot->disks[j].vdev, to->vdev) == 0) {
                disk = &snapshot->disks[j];
            }
        }
        if (disk == NULL) {
            keep_disk(snapshot, to);
        } else if (disk->external && disk->overlay != NULL) {
            set_path(to, disk->overlay, "qcow2");
        } else {
            set_path(to, disk->path, disk->format);
        }
    }
}

libxl_domain_config *restore_snapshot_config(struct snapshot *snapshot,
                                             struct error *err)
{
    libxl_domain_config *config =
        restore_parse_config(snapshot, restore_record(snapshot)->config, err);

    if (config != NULL) {
        xreplace(&config->c_info.name, snapshot->guest.name);
        config->c_info.domid = 0; /* let Xen choose */
        restore_name_disks(snapshot, config);
    }
    return config;
}

libxl_domain_config *restore_current_config(struct snapshot *snapshot,
                                            struct error *err)
{
    libxl_domain_config *config =
        restore_parse_config(snapshot, snapshot->config_json, err);

    if (config != NULL) {
        config->c_info.domid = 0;
    }
    return config;
}
