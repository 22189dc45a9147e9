/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables of internal snapshots and of content, which the guest's owner may have
 * written. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/disk/image_content.h"
#include "agent/disk/image_snapshots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* The name of the one file that holds each input in turn. */
static const char *file_of(const uint8_t *data, size_t size)
{
    static char path[32];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("image", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    require(ftruncate(fd, 0) == 0);
    require(pwrite(fd, data, size, 0) == (ssize_t)size);
    return path;
}

/* A name that is found stands there; one that is not is no reason to fail in
 * another way. */
static void look_for(const char *name, const uint8_t *data, size_t size)
{
    struct error err = {0};

    if (image_holds_snapshot(file_of(data, size), name, &err))
        require(memmem(data, size, name, strlen(name)) != NULL);
    else
        require(err.code == ERR_CHAIN_BROKEN ||
                err.code == ERR_NO_SUCH_SNAPSHOT);
}

static void compare(const uint8_t *data, size_t size)
{
    struct error err = {0};
    enum image_content content;

    require(image_content_tell(file_of(data, size), "s1", "before.upgrade",
                               &content, &err) ||
            err.code == ERR_CHAIN_BROKEN || err.code == ERR_NO_SUCH_SNAPSHOT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char longest[256];

    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    look_for("s1", data, size);
    look_for("before.upgrade", data, size);
    look_for(longest, data, size);
    compare(data, size);
    return 0;
}
