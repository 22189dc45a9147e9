/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records from any bytes, in both directions: what decodes must come back the
 * same once encoded again, and any text that a record can hold must come back
 * exactly.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"
#include "agent/journal/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Encodes and decodes; false if the record cannot be encoded. */
static bool there_and_back(const struct record *record, struct record *ret_back,
                           char **ret_text, size_t *ret_length)
{
    struct error err;

    if (!record_encode(record, ret_text, ret_length, &err))
        return false;
    require(record_decode(*ret_text, *ret_length, "fuzz", ret_back, &err));
    return true;
}

/* Whatever decodes is a whole record, with one form. */
static void check_decoding(const char *text, size_t length)
{
    struct record record, back, again;
    size_t first_length, second_length;
    char *first, *second;
    struct error err;

    if (!record_decode(text, length, "fuzz", &record, &err)) {
        require(err.code == ERR_STORE);
        return;
    }
    require(there_and_back(&record, &back, &first, &first_length));
    require(there_and_back(&back, &again, &second, &second_length));
    require(first_length == second_length &&
            !memcmp(first, second, first_length));
    free(first);
    free(second);
    record_dispose(&record);
    record_dispose(&back);
    record_dispose(&again);
}

/* The bytes as description and configuration, up to the first zero byte. */
static void check_text(const char *bytes, size_t length)
{
    char *text = xstrndup(bytes, length);
    struct record record = {
        .vm_uuid = (char[]){"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"},
        .name = (char[]){"name"},
        .domain_name = (char[]){"domain"},
        .created_at = (char[]){"2026-11-24T07:12:03.123Z"},
        .description = text,
        .consistency = (char[]){"crash"},
        .config = text,
    };
    struct record back;
    size_t encoded_length;
    char *encoded;

    if (there_and_back(&record, &back, &encoded, &encoded_length)) {
        require(!strcmp(back.description, text));
        require(!strcmp(back.config, text));
        record_dispose(&back);
        free(encoded);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_decoding((const char *)data, size);
    check_text((const char *)data, size);
    return 0;
}
