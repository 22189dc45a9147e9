/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/freeze_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

bool freeze_guard_parse(char *const arguments[],
                        struct freeze_guard_arguments *ret_arguments,
                        struct error *err)
{
    uint32_t take_back = 0;

    *ret_arguments = (struct freeze_guard_arguments){
        .uuid = arguments[0], .place = arguments[1], .lock = arguments[5]};
    if (!guardian_number(arguments[2], &ret_arguments->limit_ms) ||
        !guardian_number(arguments[3], &ret_arguments->max_freeze_ms) ||
        !guardian_number(arguments[4], &take_back)) {
        return error_set(err, ERR_INTERNAL,
                         "its arguments are not the agent's");
    }
    ret_arguments->take_back = take_back != 0;
    return true;
}

int freeze_guard_lock(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    int saved;

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        saved = errno;
        close(fd);
        errno = saved;
        fd = -1;
    }
    return fd;
}

void freeze_guard_tell(const struct guardian_self *self, char outcome,
                       const char *reason)
{
    guardian_tell_agent(self, outcome);
    if (outcome == FREEZE_GUARD_FAILED) {
        for (const char *c = reason; *c != '\0'; c++) {
            guardian_tell_agent(self, *c);
        }
        guardian_tell_agent(self, '\n');
    }
}
