/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What blockdev-add is told to make of an image, and of none.  Pure. */
#include <json-c/json.h>
#include <sys/stat.h>

#include "agent/disk/root_swap.h"

static void add_string(struct json_object *object, const char *key,
                       const char *value)
{
    json_object_object_add(object, key, json_object_new_string(value));
}

static void add_true(struct json_object *object, const char *key)
{
    json_object_object_add(object, key, json_object_new_boolean(true));
}

/* Everything but a flush, which the switch itself needs. */
static struct json_object *refusals(void)
{
    static const char *const kinds[] = {"read", "write", "write-zeroes",
                                        "discard"};
    struct json_object *list = json_object_new_array();

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct json_object *rule = json_object_new_object();

        add_string(rule, "event", "none");
        add_string(rule, "iotype", kinds[i]);
        json_object_array_add(list, rule);
    }
    return list;
}

struct json_object *root_swap_placeholder(const char *node,
                                          uint64_t virtual_bytes)
{
    struct json_object *made = json_object_new_object();
    struct json_object *nothing = json_object_new_object();

    add_string(nothing, "driver", "null-co");
    add_true(nothing, "read-zeroes");
    json_object_object_add(nothing, "size",
                           json_object_new_uint64(virtual_bytes));
    add_string(made, "driver", "blkdebug");
    add_string(made, "node-name", node);
    json_object_object_add(made, "image", nothing);
    json_object_object_add(made, "inject-error", refusals());
    return made;
}

static const char *protocol_of(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISBLK(status.st_mode) ? "host_device"
                                                               : "file";
}

/* xen-block, too, opens the file without a lock: an emulated twin of the disk
 * may have it open. */
static struct json_object *file_of(const struct image_node *image)
{
    struct json_object *file = json_object_new_object();

    add_string(file, "driver", protocol_of(image->path));
    add_string(file, "filename", image->path);
    add_string(file, "locking", "off");
    if (image->discard) {
        add_string(file, "discard", "unmap");
    }
    if (image->direct) {
        struct json_object *cache = json_object_new_object();

        add_true(cache, "direct");
        json_object_object_add(file, "cache", cache);
        add_string(file, "aio", "native");
    }
    return file;
}

struct json_object *root_swap_image(const char *node,
                                    const struct image_node *image)
{
    struct json_object *made = json_object_new_object();

    add_string(made, "driver", image->format);
    add_string(made, "node-name", node);
    json_object_object_add(made, "file", file_of(image));
    if (image->discard) {
        add_string(made, "discard", "unmap");
    }
    if (image->only_look) {
        add_true(made, "read-only");
        add_true(made, "force-share");
    }
    return made;
}
