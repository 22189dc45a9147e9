/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an embedded structure back to the one that embeds it. */
#ifndef XENSNAPD_BASE_CONTAINER_OF_H
#define XENSNAPD_BASE_CONTAINER_OF_H

#include <stddef.h>

#define container_of(pointer, type, member)                                    \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
