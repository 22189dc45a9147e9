/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Integers as image headers hold them, at any alignment. */
#ifndef XENSNAPD_DISK_IMAGE_BYTES_H
#define XENSNAPD_DISK_IMAGE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t bytes_be16(const uint8_t *data)
{
    uint16_t value;

    memcpy(&value, data, sizeof(value));
    return be16toh(value);
}

static inline uint32_t bytes_be32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return be32toh(value);
}

static inline uint64_t bytes_be64(const uint8_t *data)
{
    uint64_t value;

    memcpy(&value, data, sizeof(value));
    return be64toh(value);
}

static inline uint32_t bytes_le32(const uint8_t *data)
{
    uint32_t value;

    memcpy(&value, data, sizeof(value));
    return le32toh(value);
}

static inline uint64_t bytes_le64(const uint8_t *data)
{
    uint64_t value;

    memcpy(&value, data, sizeof(value));
    return le64toh(value);
}

static inline void bytes_put_be16(uint8_t *data, uint16_t value)
{
    value = htobe16(value);
    memcpy(data, &value, sizeof(value));
}

static inline void bytes_put_be32(uint8_t *data, uint32_t value)
{
    value = htobe32(value);
    memcpy(data, &value, sizeof(value));
}

static inline void bytes_put_be64(uint8_t *data, uint64_t value)
{
    value = htobe64(value);
    memcpy(data, &value, sizeof(value));
}

#endif
