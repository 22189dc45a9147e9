/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event hooks that the agent gave libxl, for shims that play part of it. */
#ifndef NATIVE_SHIM_LIBXL_HOOKS_H
#define NATIVE_SHIM_LIBXL_HOOKS_H

#include <libxl_event.h>

/* NULL in programs that give it none. */
extern const libxl_osevent_hooks *agents_hooks
    __attribute__((visibility("hidden")));
extern void *agents_loop __attribute__((visibility("hidden")));

#endif
