/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/libvirt_xml.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

/* From `text` up to `end`, which is looked for: the caller's to free().  NULL:
 * it is not there. */
static char *text_until(const char *text, const char *end)
{
    const char *found = strstr(text, end);

    return found != NULL ? xstrndup(text, (size_t)(found - text)) : NULL;
}

/* In place. */
static void resolve_entities(char *text)
{
    static const struct {
        const char *name;
        char meaning;
    } entities[] = {{"&lt;", '<'},
                    {"&gt;", '>'},
                    {"&amp;", '&'},
                    {"&quot;", '"'},
                    {"&apos;", '\''}};
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        size_t length = 1;

        *to = *from;
        for (size_t i = 0; i < sizeof(entities) / sizeof(*entities); i++) {
            size_t name_length = strlen(entities[i].name);

            if (strncmp(from, entities[i].name, name_length) == 0) {
                *to = entities[i].meaning;
                length = name_length;
                break;
            }
        }
        from += length;
    }
    *to = '\0';
}

/* `start` is " NAME='".  The caller's to free(); NULL: it has none. */
static char *attribute(const char *element, const char *start)
{
    const char *found = strstr(element, start);
    char *value = found != NULL ? text_until(found + strlen(start), "'") : NULL;

    if (value != NULL) {
        resolve_entities(value);
    }
    return value;
}

bool libvirt_xml_uuid(const char *xml, char ret_uuid[GUEST_UUID_LENGTH + 1])
{
    const char *start = strstr(xml, "<uuid>");

    if (start == NULL) {
        return false;
    }
    start += strlen("<uuid>");
    if (strcspn(start, "<") != GUEST_UUID_LENGTH) {
        return false;
    }
    for (size_t i = 0; i < GUEST_UUID_LENGTH; i++) {
        ret_uuid[i] = (char)tolower((unsigned char)start[i]);
    }
    ret_uuid[GUEST_UUID_LENGTH] = '\0';
    return true;
}

static void tell_source(const char *element, const char *vdev,
                        libvirt_xml_on_image *on_image, void *arg)
{
    static const char *const starts[] = {" file='", " dev='"};

    for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
        char *path = attribute(element, starts[i]);

        if (path != NULL) {
            on_image(vdev, path, arg);
        }
        free(path);
    }
}

static void look_at_disk(const char *disk, libvirt_xml_on_image *on_image,
                         void *arg)
{
    const char *target = strstr(disk, "<target ");
    char *target_text = target != NULL ? text_until(target, ">") : NULL;
    char *vdev = target_text != NULL ? attribute(target_text, " dev='") : NULL;

    for (const char *at = disk; (at = strstr(at, "<source ")) != NULL; at++) {
        char *element = text_until(at, ">");

        if (element != NULL) {
            tell_source(element, vdev != NULL ? vdev : "", on_image, arg);
        }
        free(element);
    }
    free(vdev);
    free(target_text);
}

void libvirt_xml_each_image(const char *xml, libvirt_xml_on_image *on_image,
                            void *arg)
{
    for (const char *at = xml; (at = strstr(at, "<disk ")) != NULL; at++) {
        char *disk = text_until(at, "</disk>");

        if (disk != NULL) {
            look_at_disk(disk, on_image, arg);
        }
        free(disk);
    }
}
