/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/store/burst.h"

#include <string.h>
#include <xenstore_lib.h>

#include "agent/base/alloc.h"

/* Not zeroed: that would be most of what a request costs the processor. */
struct burst *burst_new(void)
{
    struct burst *burst = xrealloc(NULL, 1, sizeof(*burst));

    burst_clear(burst);
    return burst;
}

void burst_clear(struct burst *burst)
{
    burst->length = 0;
    burst->count = 0;
}

static void append(struct burst *burst, const void *data, size_t length)
{
    memcpy(burst->data + burst->length, data, length);
    burst->length += length;
}

bool burst_append(struct burst *burst, uint32_t type,
                  xs_transaction_t transaction, const char *text,
                  const char *value)
{
    size_t text_length = strlen(text) + 1;
    size_t value_length = value == NULL ? 0 : strlen(value);
    struct xsd_sockmsg header = {
        .type = type,
        .tx_id = transaction,
        .len = (uint32_t)(text_length + value_length),
    };

    if (burst->length + sizeof(header) + text_length + value_length >
        BURST_MAX) {
        return false;
    }
    append(burst, &header, sizeof(header));
    append(burst, text, text_length);
    if (value != NULL) {
        append(burst, value, value_length);
    }
    burst->count++;
    return true;
}
