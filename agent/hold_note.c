/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/hold_note.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/disk/block_nodes.h"

#define VERSION 1

/* With disks of driver domains: an agent that does not know of those must not
 * let the guest go. */
#define VERSION_WITH_DRIVERS 2

/* More than any domain has. */
#define ITEMS_MAX 4096

/* ---- writing ---- */

static void add_text(struct json_object *object, const char *key,
                     const char *text)
{
    json_object_object_add(object, key, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *key,
                       uint64_t number)
{
    json_object_object_add(object, key, json_object_new_uint64(number));
}

static void add_flag(struct json_object *object, const char *key, bool flag)
{
    json_object_object_add(object, key, json_object_new_boolean(flag));
}

static struct json_object *image_object(const struct hold_image *image)
{
    struct json_object *object = json_object_new_object();

    add_text(object, "path", image->path);
    add_text(object, "format", image->format);
    add_number(object, "device", image->device);
    add_number(object, "inode", image->inode);
    add_number(object, "written", (uint64_t)image->written_ns);
    return object;
}

static struct json_object *disk_object(const struct hold_disk *disk)
{
    struct json_object *object = json_object_new_object();
    struct json_object *chain = json_object_new_array();

    for (size_t i = 0; i < disk->depth; i++) {
        json_object_array_add(chain, image_object(&disk->chain[i]));
    }
    add_text(object, "vdev", disk->vdev);
    add_text(object, "path", disk->path);
    add_text(object, "format", disk->format);
    if (disk->driver != NULL) {
        add_text(object, "driver", disk->driver);
        add_text(object, "driver-uuid", disk->driver_uuid);
    }
    add_text(object, "image-node", disk->image_node);
    add_text(object, "empty-node", disk->empty_node);
    add_number(object, "virtual-bytes", disk->virtual_bytes);
    add_flag(object, "discard", disk->discard);
    add_flag(object, "direct", disk->direct);
    json_object_object_add(object, "chain", chain);
    return object;
}

char *hold_note_encode(const struct hold *hold)
{
    struct json_object *object = json_object_new_object();
    struct json_object *disks = json_object_new_array();
    uint64_t version = VERSION;
    char *text;

    for (size_t i = 0; hold->state != HOLD_EXPIRED && i < hold->disk_count;
         i++) {
        json_object_array_add(disks, disk_object(&hold->disks[i]));
        if (hold->disks[i].driver != NULL) {
            version = VERSION_WITH_DRIVERS;
        }
    }
    add_number(object, "version", version);
    add_text(object, "uuid", hold->uuid);
    add_number(object, "domid", hold->domid);
    add_number(object, "state", hold->state);
    add_flag(object, "paused", hold->paused);
    add_flag(object, "was-paused", hold->was_paused);
    add_flag(object, "of-delete", hold->of_delete);
    add_text(object, "boot", hold->boot);
    add_number(object, "began", hold->began_ms);
    add_number(object, "deadline", hold->deadline_ms);
    add_number(object, "waits", hold->waits_ms);
    json_object_object_add(object, "disks", disks);
    text =
        xstrdup(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    json_object_put(object);
    return text;
}

/* ---- reading ---- */

static bool read_text(struct json_object *object, const char *key,
                      char **ret_text)
{
    const char *text = json_string(object, key);

    *ret_text = text == NULL ? NULL : xstrdup(text);
    return text != NULL;
}

static bool read_chars(struct json_object *object, const char *key,
                       char *buffer, size_t size)
{
    const char *text = json_string(object, key);

    return text != NULL && strlen(text) < size &&
           snprintf(buffer, size, "%s", text) >= 0;
}

static size_t count_of(struct json_object *list)
{
    size_t count = list == NULL ? 0 : json_object_array_length(list);

    return count > ITEMS_MAX ? 0 : count;
}

static bool read_image(struct json_object *object, struct hold_image *image)
{
    image->device = json_unsigned(object, "device");
    image->inode = json_unsigned(object, "inode");
    image->written_ns = (int64_t)json_unsigned(object, "written");
    return read_text(object, "path", &image->path) &&
           read_text(object, "format", &image->format);
}

static bool read_chain(struct json_object *list, struct hold_disk *disk)
{
    size_t count = count_of(list);

    disk->chain = xcalloc(count + 1, sizeof(*disk->chain));
    for (size_t i = 0; i < count; i++) {
        disk->depth++;
        if (!read_image(json_object_array_get_idx(list, i), &disk->chain[i])) {
            return false;
        }
    }
    return count > 0;
}

static bool read_driver(struct json_object *object, struct hold_disk *disk)
{
    return json_member(object, "driver") == NULL ||
           (read_text(object, "driver", &disk->driver) &&
            read_text(object, "driver-uuid", &disk->driver_uuid));
}

static bool read_disk(struct json_object *object, struct hold_disk *disk)
{
    disk->virtual_bytes = json_unsigned(object, "virtual-bytes");
    disk->discard = json_true(object, "discard");
    disk->direct = json_true(object, "direct");
    return read_chars(object, "vdev", disk->vdev, sizeof(disk->vdev)) &&
           read_text(object, "path", &disk->path) &&
           read_text(object, "format", &disk->format) &&
           read_driver(object, disk) &&
           read_chars(object, "image-node", disk->image_node,
                      sizeof(disk->image_node)) &&
           read_chars(object, "empty-node", disk->empty_node,
                      sizeof(disk->empty_node)) &&
           read_chain(json_array(object, "chain"), disk);
}

static bool read_disks(struct json_object *list, struct hold *hold)
{
    size_t count = count_of(list);

    hold->disks = xcalloc(count + 1, sizeof(*hold->disks));
    for (size_t i = 0; i < count; i++) {
        hold->disk_count++;
        if (!read_disk(json_object_array_get_idx(list, i), &hold->disks[i])) {
            return false;
        }
    }
    return count > 0 || hold->state == HOLD_EXPIRED;
}

/* Notes of earlier versions do not have it. */
static bool read_boot(struct json_object *object, struct hold *hold)
{
    return json_member(object, "boot") == NULL ||
           read_chars(object, "boot", hold->boot, sizeof(hold->boot));
}

static bool read_hold(struct json_object *object, struct hold *hold)
{
    uint64_t state = json_unsigned(object, "state");
    uint64_t version = json_unsigned(object, "version");

    hold->domid = (uint32_t)json_unsigned(object, "domid");
    hold->state = (enum hold_state)state;
    hold->paused = json_true(object, "paused");
    hold->was_paused = json_true(object, "was-paused");
    hold->of_delete = json_true(object, "of-delete");
    hold->began_ms = json_unsigned(object, "began");
    hold->deadline_ms = json_unsigned(object, "deadline");
    hold->waits_ms = json_unsigned(object, "waits");
    return (version == VERSION || version == VERSION_WITH_DRIVERS) &&
           state <= HOLD_EXPIRED && read_boot(object, hold) &&
           read_chars(object, "uuid", hold->uuid, sizeof(hold->uuid)) &&
           read_disks(json_array(object, "disks"), hold);
}

bool hold_note_decode(const char *text, struct hold *hold)
{
    struct json_object *object = json_tokener_parse(text);
    bool ok = object != NULL && read_hold(object, hold);

    json_object_put(object);
    return ok;
}
