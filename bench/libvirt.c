/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt through a connection that is open, and a domain that is looked up
 * already.
 *
 *     libvirt URI DOMAIN FOLDER TARGET...
 *
 * For each line of its input takes one snapshot of all the disks, whose
 * overlays are in FOLDER, and prints how long that took in microseconds.
 * libvirt keeps nothing of it (NO_METADATA).
 */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TEXT_MAX 65536

/* libvirt itself has printed why. */
static void fail(const char *what)
{
    fprintf(stderr, "libvirt: %s\n", what);
    exit(1);
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* argv is the program's; the disks begin at 4. */
static void describe(char *text, size_t size, int argc, char **argv, int round)
{
    int length = snprintf(text, size, "<domainsnapshot><disks>");

    for (int i = 4; i < argc; i++)
        length += snprintf(text + length, size - (size_t)length,
                           "<disk name='%s' snapshot='external' type='file'>"
                           "<driver type='qcow2'/>"
                           "<source file='%s/%s-%s.libvirt%d'/></disk>",
                           argv[i], argv[3], argv[2], argv[i], round);
    snprintf(text + length, size - (size_t)length, "</disks></domainsnapshot>");
}

int main(int argc, char **argv)
{
    char text[TEXT_MAX], line[80];
    virConnectPtr connection;
    virDomainPtr domain;

    if (argc < 5)
        return 2;
    connection = virConnectOpen(argv[1]);
    if (connection == NULL)
        fail(argv[1]);
    domain = virDomainLookupByName(connection, argv[2]);
    if (domain == NULL)
        fail(argv[2]);
    for (int round = 0; fgets(line, sizeof(line), stdin) != NULL; round++) {
        double begin = now_us();
        virDomainSnapshotPtr snapshot;

        describe(text, sizeof(text), argc, argv, round);
        snapshot = virDomainSnapshotCreateXML(
            domain, text,
            VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
                VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
                VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
        if (snapshot == NULL)
            fail("no snapshot");
        printf("%.1f\n", now_us() - begin);
        fflush(stdout);
        virDomainSnapshotFree(snapshot);
    }
    virDomainFree(domain);
    virConnectClose(connection);
    return 0;
}
