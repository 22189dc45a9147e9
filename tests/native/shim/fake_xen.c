/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_xen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_MAX];
static uint32_t own_domid;

__attribute__((constructor)) static void fake_setup(void)
{
    const char *dir = getenv("FAKE_XEN_DIR");
    const char *domid = getenv("FAKE_XEN_DOMID");

    snprintf(folder, sizeof(folder), "%s", dir ? dir : "/run/fake-xen");
    own_domid = domid ? (uint32_t)strtoul(domid, NULL, 10) : 0;
    /* Helpers that the process starts (qemu-img, the save helper) run
     * without a shim, and without a sanitizer preloaded beside it. */
    unsetenv("LD_PRELOAD");
}

static void die(const char *what, const char *about)
{
    fprintf(stderr, "fake xen: %s %s: %s\n", what, about, strerror(errno));
    abort();
}

void fake_path(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;
    int used, more;

    used = snprintf(buffer, size, "%s/", folder);
    if (used < 0 || (size_t)used >= size)
        die("path too long:", folder);
    va_start(arguments, format);
    more = vsnprintf(buffer + used, size - (size_t)used, format, arguments);
    va_end(arguments);
    if (more < 0 || (size_t)(used + more) >= size)
        die("path too long:", folder);
}

int fake_lock(void)
{
    char path[PATH_MAX];
    int fd;

    fake_path(path, sizeof(path), "lock");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die("opening", path);
    while (flock(fd, LOCK_EX) != 0)
        if (errno != EINTR)
            die("locking", path);
    return fd;
}

void fake_unlock(int lock)
{
    int saved_errno = errno;

    close(lock);
    errno = saved_errno;
}

uint32_t fake_own_domid(void)
{
    return own_domid;
}

static bool parse_uuid(const char *text, uint8_t uuid[16])
{
    int i;

    for (i = 0; i < 16; i++) {
        unsigned int byte;

        while (*text == '-')
            text++;
        if (sscanf(text, "%2x", &byte) != 1)
            return false;
        uuid[i] = (uint8_t)byte;
        text += 2;
    }
    return true;
}

static const char *type_name(const struct fake_domain *domain)
{
    if (domain->emulated)
        return "hvm";
    return domain->hvm ? "pvh" : "pv";
}

static void domain_set(struct fake_domain *domain, const char *key,
                       const char *value)
{
    if (!strcmp(key, "uuid")) {
        if (!parse_uuid(value, domain->uuid)) {
            errno = EINVAL;
            die("uuid", value);
        }
    } else if (!strcmp(key, "type")) {
        domain->hvm = strcmp(value, "pv") != 0;
        domain->emulated = strcmp(value, "hvm") == 0;
    } else if (!strcmp(key, "dying")) {
        domain->dying = atoi(value) != 0;
    } else if (!strcmp(key, "paused")) {
        domain->paused = atoi(value);
    } else if (!strcmp(key, "shutdown")) {
        domain->shutdown = atoi(value);
    } else if (!strcmp(key, "memory-kb")) {
        domain->kb = strtoull(value, NULL, 10);
    } else if (!strcmp(key, "max-kb")) {
        domain->max_kb = strtoull(value, NULL, 10);
    } else if (!strcmp(key, "vcpus")) {
        domain->vcpus = (uint32_t)strtoul(value, NULL, 10);
    }
}

/* Splits "key=value\n" in place; false where there is no '='. */
static bool split_line(char *line, char **ret_value)
{
    char *equals = strchr(line, '=');

    if (!equals)
        return false;
    *equals = '\0';
    equals[1 + strcspn(equals + 1, "\n")] = '\0';
    *ret_value = equals + 1;
    return true;
}

bool fake_domain_load(uint32_t domid, struct fake_domain *ret_domain)
{
    struct fake_domain domain = {
        .domid = domid,
        .shutdown = FAKE_RUNNING,
        .kb = 131072,
        .max_kb = 132096,
        .vcpus = 1,
    };
    char path[PATH_MAX], line[256], *value;
    FILE *file;

    fake_path(path, sizeof(path), "domains/%u", domid);
    file = fopen(path, "re");
    if (!file) {
        errno = ESRCH;
        return false;
    }
    while (fgets(line, sizeof(line), file))
        if (split_line(line, &value))
            domain_set(&domain, line, value);
    fclose(file);
    *ret_domain = domain;
    return true;
}

void fake_domain_store(const struct fake_domain *domain)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    FILE *file;
    int i;

    fake_path(path, sizeof(path), "domains/%u", domain->domid);
    /* The dot keeps it out of fake_domain_ids(). */
    fake_path(temporary, sizeof(temporary), "domains/.%u", domain->domid);
    file = fopen(temporary, "we");
    if (!file)
        die("writing", temporary);
    fputs("uuid=", file);
    for (i = 0; i < 16; i++)
        fprintf(file, "%02x%s", domain->uuid[i],
                i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
    fprintf(file,
            "\ntype=%s\ndying=%d\npaused=%d\nshutdown=%d\nmemory-kb=%llu\n"
            "max-kb=%llu\nvcpus=%u\n",
            type_name(domain), domain->dying, domain->paused, domain->shutdown,
            (unsigned long long)domain->kb, (unsigned long long)domain->max_kb,
            domain->vcpus);
    if (fclose(file) != 0 || rename(temporary, path) != 0)
        die("writing", path);
}

void fake_domain_remove(uint32_t domid)
{
    char path[PATH_MAX];

    fake_path(path, sizeof(path), "domains/%u", domid);
    unlink(path);
}

static int compare_ids(const void *a, const void *b)
{
    const uint32_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

size_t fake_domain_ids(uint32_t *ret_ids, size_t max)
{
    char path[PATH_MAX];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    fake_path(path, sizeof(path), "domains");
    dir = opendir(path);
    if (!dir)
        die("opening", path);
    while ((entry = readdir(dir)) && count < max)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
            ret_ids[count++] = (uint32_t)strtoul(entry->d_name, NULL, 10);
    closedir(dir);
    qsort(ret_ids, count, sizeof(*ret_ids), compare_ids);
    return count;
}

void fake_host_load(struct fake_host *ret_host)
{
    struct fake_host host = {4194304, 2097152, 2, false};
    char path[PATH_MAX], line[256], *value;
    FILE *file;

    fake_path(path, sizeof(path), "host");
    file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (!split_line(line, &value))
            continue;
        if (!strcmp(line, "total-kb"))
            host.total_kb = strtoull(value, NULL, 10);
        else if (!strcmp(line, "free-kb"))
            host.free_kb = strtoull(value, NULL, 10);
        else if (!strcmp(line, "cpus"))
            host.cpus = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(line, "no-lists"))
            host.no_lists = *value == '1';
    }
    if (file)
        fclose(file);
    *ret_host = host;
}

void fake_note(const char *format, ...)
{
    char path[PATH_MAX], line[512];
    int saved_errno = errno;
    va_list arguments;
    int length, fd;

    va_start(arguments, format);
    length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    line[length++] = '\n';
    fake_path(path, sizeof(path), "hypercalls");
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        /* One write of a short line: never mixed with another process's. */
        if (write(fd, line, (size_t)length) != length)
            die("writing", path);
        close(fd);
    }
    errno = saved_errno;
}
