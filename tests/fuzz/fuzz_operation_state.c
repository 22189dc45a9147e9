/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Notes of operations from any text: what decodes must come back the same once
 * encoded again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/journal/operation_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* NULL if it is no note. */
static struct snapshot *decode(const char *text)
{
    struct snapshot *snapshot = snapshot_new();
    struct error err = {0};

    if (!operation_state_decode(text, snapshot, &err)) {
        require(err.code == ERR_STORE);
        snapshot_free(snapshot);
        return NULL;
    }
    return snapshot;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *)data, size);
    struct snapshot *snapshot = decode(text);

    if (snapshot != NULL) {
        char *first = operation_state_encode(snapshot);
        struct snapshot *back = decode(first);
        char *second;

        require(back != NULL);
        second = operation_state_encode(back);
        require(strcmp(first, second) == 0);
        free(first);
        free(second);
        snapshot_free(snapshot);
        snapshot_free(back);
    }
    free(text);
    return 0;
}
