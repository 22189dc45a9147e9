/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The standard streams. */
#include "client/output.h"

#include "client/failure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Why something could not be written; 0: nothing failed, or stdio did not tell
 * why. */
static int flush_error;

void output_open(void)
{
    /* The lowest descriptor that is free is the one that is opened. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            open("/dev/null", O_RDWR);
    }
}

void output_flush(void)
{
    if (fflush(stdout) != 0)
        flush_error = errno;
}

enum exit_status output_close(enum exit_status status)
{
    bool failed;

    failure_answer(status);
    failed = ferror(stdout) != 0;
    if (fclose(stdout) != 0)
        flush_error = errno;
    else if (!failed)
        return status;
    complain("the answer cannot be written to standard output%s%s",
             flush_error ? ": " : "", flush_error ? strerror(flush_error) : "");
    return status == EXIT_DONE ? EXIT_FAILED : status;
}
