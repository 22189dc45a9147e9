/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest may send in the place of QEMU's guest agent: each line is taken
 * for every kind of answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/quiesce/qga_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_line(const char *line, size_t length)
{
    struct qga_answer answer;

    qga_is_sync(line, length, 7);
    qga_decode(line, length, &answer);
    if (answer.kind == QGA_ERROR && answer.words == NULL) {
        abort();
    }
    qga_offers(answer.ret, "guest-fsfreeze-thaw");
    qga_answer_dispose(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data;
    const char *end = at + size;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop == NULL ? end : stop) - at);

        try_line(at, length);
        at += length + 1;
    }
    return 0;
}
