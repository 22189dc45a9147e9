/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the agent starts runs without a shim (fake_xen.c), but for the agent
 * itself in another role, which needs the faked hypervisor too.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int spawn_function(pid_t *pid, const char *file,
                           const posix_spawn_file_actions_t *actions,
                           const posix_spawnattr_t *attributes,
                           char *const argv[], char *const envp[]);

/* What this process was started with, in `buffer`; NULL if nothing. */
static char *own_preload(char *buffer, size_t size)
{
    int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, buffer, size - 1);
    char *entry = buffer;

    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return NULL;
    buffer[length] = '\0';
    for (; entry < buffer + length; entry += strlen(entry) + 1)
        if (strncmp(entry, "LD_PRELOAD=", 11) == 0)
            return entry;
    return NULL;
}

int posix_spawnp(pid_t *pid, const char *file,
                 const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[],
                 char *const envp[])
{
    static spawn_function *next;
    static char initial[64 * 1024];
    char *variables[256];
    char *preload = own_preload(initial, sizeof(initial));
    size_t count = 0;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "posix_spawnp");
    if (strcmp(file, "/proc/self/exe") != 0 || !preload)
        return next(pid, file, actions, attributes, argv, envp);
    for (; envp[count] && count < 254; count++)
        variables[count] = envp[count];
    variables[count++] = preload;
    variables[count] = NULL;
    return next(pid, file, actions, attributes, argv, variables);
}
