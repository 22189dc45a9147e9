/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/stored_image.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/guest/config_text.h"
#include "agent/guest/whole_file.h"
#include "agent/guest/xen_paths.h"

static const char *member(struct json_object *disk, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(disk, key, &value) &&
                   json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static char *image_of(struct json_object *config, const char *vdev)
{
    struct json_object *disks;
    size_t count = 0;

    if (json_object_object_get_ex(config, "disks", &disks) &&
        json_object_is_type(disks, json_type_array))
        count = json_object_array_length(disks);
    for (size_t i = 0; i < count; i++) {
        struct json_object *disk = json_object_array_get_idx(disks, i);
        const char *name = member(disk, "vdev");
        const char *path = member(disk, "pdev_path");

        if (name && !strcmp(name, vdev))
            return path ? xstrdup(path) : NULL;
    }
    return NULL;
}

bool stored_image_read(uint32_t domid, const char *uuid, const char *vdev,
                       char **ret_path, struct error *err)
{
    char *file =
        xen_userdata_path(XEN_USERDATA_DATA, domid, uuid, "libxl-json");
    struct json_object *config;
    char *text;
    bool read = whole_file_read(file, CONFIG_TEXT_MAX, &text, err);

    free(file);
    if (!read)
        return error_prefix(err, "the stored configuration: ");
    config = json_tokener_parse(text);
    free(text);
    if (!config)
        return error_set(err, ERR_LIBXL, "the stored configuration is no JSON");
    *ret_path = image_of(config, vdev);
    json_object_put(config);
    return true;
}
