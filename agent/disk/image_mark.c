/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/disk/image_mark.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"

/* From 2001 to 2004, and to 2007 for lower ones; even, for file systems that
 * count by two seconds. */
#define MARK_FIRST 1000000000
#define MARK_COUNT 50000000u

/* FNV-1a, 64 bits: any two boots need only differ. */
struct timespec image_mark_of_boot(const char *boot, enum image_place place)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *boot != '\0'; boot++) {
        hash = (hash ^ (unsigned char)*boot) * UINT64_C(0x100000001b3);
    }
    return (struct timespec){
        .tv_sec = MARK_FIRST + (time_t)(hash % MARK_COUNT) * 2 +
                  (place == IMAGE_LOWER ? (time_t)MARK_COUNT * 2 : 0),
    };
}

static struct timespec current_mark(enum image_place place)
{
    char boot[CLOCK_BOOT_LENGTH + 1];

    clock_boot(boot);
    return image_mark_of_boot(boot, place);
}

/* -1 if it is no file. */
static int open_file(const char *path, struct stat *ret_status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd >= 0 &&
        (fstat(fd, ret_status) != 0 || !S_ISREG(ret_status->st_mode))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool has_mark(const struct stat *status, enum image_place place)
{
    struct timespec mark = current_mark(place);

    return status->st_mtim.tv_sec == mark.tv_sec &&
           status->st_mtim.tv_nsec == mark.tv_nsec;
}

static void set_time(int fd, const struct timespec *time)
{
    struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, *time};

    futimens(fd, times);
}

void image_mark(const char *path, enum image_place place)
{
    struct timespec mark = current_mark(place);
    struct stat status;
    int fd = open_file(path, &status);

    if (fd >= 0) {
        set_time(fd, &mark);
        close(fd);
    }
}

void image_unmark(const char *path)
{
    static const struct timespec now = {.tv_nsec = UTIME_NOW};
    struct stat status;
    int fd = open_file(path, &status);

    if (fd >= 0) {
        if (has_mark(&status, IMAGE_UPPER) || has_mark(&status, IMAGE_LOWER)) {
            set_time(fd, &now);
        }
        close(fd);
    }
}

static bool is_marked(const char *path, enum image_place place)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
           has_mark(&status, place);
}

static const char *const verdicts[] = {
    [IMAGE_MERGED] = "merged",
    [IMAGE_WENT_ON] = "went-on",
};

const char *image_verdict_name(enum image_verdict verdict)
{
    return verdicts[verdict];
}

enum image_verdict image_verdict_parse(const char *name)
{
    for (int i = IMAGE_MERGED; name != NULL && i <= IMAGE_WENT_ON; i++) {
        if (strcmp(name, verdicts[i]) == 0) {
            return (enum image_verdict)i;
        }
    }
    return IMAGE_CANNOT_TELL;
}

enum image_verdict image_judge(const char *upper, const char *lower)
{
    if (is_marked(upper, IMAGE_UPPER)) {
        return IMAGE_MERGED;
    }
    return is_marked(lower, IMAGE_LOWER) ? IMAGE_WENT_ON : IMAGE_CANNOT_TELL;
}
