/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One image, made by Debian's QEMU, in a folder of its own.  Inline: no test
 * uses all of it. */
#ifndef XENSNAPD_TESTS_IMAGE_FIXTURE_H
#define XENSNAPD_TESTS_IMAGE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/base/alloc.h"

static char folder[64];
static char *image;

static inline int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/xensnapd-image.XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    image = xasprintf("%s/disk.qcow2", folder);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    unlink(image);
    rmdir(folder);
    free(image);
    return 0;
}

/* The program's arguments in front of the image's path and behind it. */
static inline void run(const char *program, const char *more)
{
    char *command = xasprintf("%s %s %s", program, image, more);

    assert_int_equal(system(command), 0);
    free(command);
}

static inline void make_snapshot(const char *name)
{
    char *program = xasprintf("qemu-img snapshot -c '%s'", name);

    run(program, "");
    free(program);
}

/* Skips the test where there is no QEMU. */
static inline void make_image(const char *options, const char *size)
{
    char *program = xasprintf("qemu-img create -q -f qcow2 %s", options);

    if (system("command -v qemu-img qemu-io >/dev/null") != 0) {
        free(program);
        skip();
    }
    run(program, size);
    free(program);
}

#endif
