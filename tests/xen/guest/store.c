// SPDX-License-Identifier: LGPL-2.1-or-later
/* The messages are those of Xen's xs_wire.h. */
#define _GNU_SOURCE
#include "store.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    XS_READ = 2,
    XS_TRANSACTION_START = 6,
    XS_TRANSACTION_END = 7,
    XS_WRITE = 11,
    XS_ERROR = 16,
    PAYLOAD_MAX = 4096,
};

struct message {
    uint32_t type, request, transaction, length;
    char payload[PAYLOAD_MAX + 1];
};

static int device = -1;

static bool read_fully(char *data, size_t length)
{
    while (length > 0) {
        ssize_t got = read(device, data, length);
        if (got <= 0)
            return false;
        data += got;
        length -= (size_t)got;
    }
    return true;
}

/* False with the error's name in the payload. */
static bool ask(struct message *message)
{
    size_t head = offsetof(struct message, payload);

    if (device < 0)
        device = open("/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
    if (write(device, message, head + message->length) < 0 ||
        !read_fully((char *)message, head) || message->length > PAYLOAD_MAX ||
        !read_fully(message->payload, message->length)) {
        strcpy(message->payload, "no xenstore");
        return false;
    }
    message->payload[message->length] = '\0';
    return message->type != XS_ERROR;
}

/* `value` NULL: the text alone, with its end. */
static void fill(struct message *message, uint32_t type, uint32_t transaction,
                 const char *text, const char *value)
{
    size_t length = strlen(text) + 1;

    *message = (struct message){.type = type, .transaction = transaction};
    memcpy(message->payload, text, length);
    if (value != NULL) {
        memcpy(message->payload + length, value, strlen(value));
        length += strlen(value);
    }
    message->length = (uint32_t)length;
}

static bool write_pairs(struct message *message, uint32_t transaction,
                        char *pairs)
{
    char *path;

    while ((path = strsep(&pairs, " ")) != NULL) {
        char *value = strsep(&pairs, " ");
        fill(message, XS_WRITE, transaction, path, value != NULL ? value : "");
        if (!ask(message))
            return false;
    }
    return true;
}

void store_write(char *pairs)
{
    struct message message;
    char error[32] = "EAGAIN";
    uint32_t transaction;

    while (strcmp(error, "EAGAIN") == 0) {
        char *copy = strdup(pairs);
        fill(&message, XS_TRANSACTION_START, 0, "", NULL);
        ask(&message);
        transaction = (uint32_t)strtoul(message.payload, NULL, 10);
        bool ok = write_pairs(&message, transaction, copy);
        snprintf(error, sizeof(error), "%s", ok ? "stored" : message.payload);
        fill(&message, XS_TRANSACTION_END, transaction, ok ? "T" : "F", NULL);
        if (!ask(&message) && ok)
            snprintf(error, sizeof(error), "%s", message.payload);
        free(copy);
    }
    printf("%s\n", error);
}

void store_read(const char *path)
{
    struct message message;

    fill(&message, XS_READ, 0, path, NULL);
    printf("store %s%s%s\n", path, ask(&message) ? "=" : " ", message.payload);
}
