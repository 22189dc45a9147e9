/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes request_parse(), whose input a guest may write: key=value pairs, one
 * a line ('\n' and NUL cannot both be tried in values; NUL cannot occur).
 * What it accepts must keep the promises of request.h.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/base/text.h"
#include "agent/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_pair(struct raw_request *raw, const char *text, size_t length)
{
    const char *equals = memchr(text, '=', length);
    size_t key_length = equals ? (size_t)(equals - text) : length;
    struct raw_pair *pair;

    raw->pairs = xrealloc(raw->pairs, raw->count + 1, sizeof(*raw->pairs));
    pair = &raw->pairs[raw->count++];
    pair->key = xstrndup(text, key_length);
    pair->value =
        equals ? xstrndup(equals + 1, length - key_length - 1) : xstrdup("");
}

static void add_pairs(struct raw_request *raw, const char *text, size_t size)
{
    while (size > 0) {
        const char *end = memchr(text, '\n', size);
        size_t length = end ? (size_t)(end - text) : size;

        add_pair(raw, text, length);
        length += end ? 1 : 0;
        text += length;
        size -= length;
    }
}

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_request(const struct request *request)
{
    size_t i;

    require(*request->domain);
    require(!*request->name || snapshot_name_is_valid(request->name));
    require(!*request->memory_path ||
            request_path_is_plain(request->memory_path));
    require(request->disk_count <= REQUEST_DISKS_MAX);
    for (i = 0; i < request->disk_count; i++) {
        const struct request_disk *disk = &request->disks[i];

        require(strlen(disk->vdev) >= 2 && !strpbrk(disk->vdev, "/. "));
        require(!*disk->path || request_path_is_plain(disk->path));
        require(!*disk->name || snapshot_name_is_valid(disk->name));
    }
}

static void check_error(const struct error *err)
{
    const char *c;

    require(err->code == ERR_INVALID_REQUEST ||
            err->code == ERR_UNSUPPORTED_OPERATION ||
            err->code == ERR_PATH_NOT_ALLOWED);
    for (c = err->message; *c; c += text_plain_length(c))
        require(text_plain_length(c) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raw_request raw = {.id = "fuzz"};
    struct request request;
    struct error err;

    if (size < 1)
        return 0;
    raw.requester = data[0] & 7;
    add_pairs(&raw, (const char *)data + 1, size - 1);
    if (request_parse(&raw, &request, &err)) {
        check_request(&request);
        request_dispose(&request);
    } else {
        check_error(&err);
    }
    raw_request_dispose(&raw);
    return 0;
}
