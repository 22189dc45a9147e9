/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a memory file: decoding stays within them, and what it takes
 * out, put into a new file, comes out of that again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guest/savefile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    char *config;
    char *again;
    void *encoded;
    size_t head_length;
    size_t encoded_length;

    if (!savefile_check_stream(data, size, &err))
        require(err.code == ERR_NO_MEMORY_STATE);
    if (!savefile_decode(data, size, &config, &head_length, &err)) {
        require(err.code == ERR_NO_MEMORY_STATE);
        return 0;
    }
    require(head_length <= size);
    require(savefile_encode(config, &encoded, &encoded_length, &err));
    require(
        savefile_decode(encoded, encoded_length, &again, &head_length, &err));
    require(head_length == encoded_length && strcmp(config, again) == 0);
    free(again);
    free(encoded);
    free(config);
    return 0;
}
