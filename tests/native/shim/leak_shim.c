/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libxl leaks by itself, hidden from the leak check of a sanitizer build.
 *
 * libxl keeps what it gives an event hook as `for_libxl` in a pool for reuse,
 * and frees the context with the pool's head, but not its members.
 */
#include "libxl_hooks.h"

#include <dlfcn.h>
#include <libxl.h>
#include <libxl_event.h>

void __lsan_ignore_object(const void *object) __attribute__((weak));

const libxl_osevent_hooks *agents_hooks;
void *agents_loop;

static void ignore(const void *for_libxl)
{
    if (__lsan_ignore_object)
        __lsan_ignore_object(for_libxl);
}

static int register_fd(void *user, int fd, void **for_app_registration_out,
                       short events, void *for_libxl)
{
    ignore(for_libxl);
    return agents_hooks->fd_register(user, fd, for_app_registration_out, events,
                                     for_libxl);
}

static int register_timeout(void *user, void **for_app_registration_out,
                            struct timeval abs, void *for_libxl)
{
    ignore(for_libxl);
    return agents_hooks->timeout_register(user, for_app_registration_out, abs,
                                          for_libxl);
}

void libxl_osevent_register_hooks(libxl_ctx *ctx,
                                  const libxl_osevent_hooks *hooks, void *user)
{
    static libxl_osevent_hooks ours;
    void (*real)(libxl_ctx *, const libxl_osevent_hooks *, void *) =
        dlsym(RTLD_NEXT, "libxl_osevent_register_hooks");

    agents_hooks = hooks;
    agents_loop = user;
    ours = *hooks;
    ours.fd_register = register_fd;
    ours.timeout_register = register_timeout;
    real(ctx, &ours, user);
}
