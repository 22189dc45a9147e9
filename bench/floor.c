/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The floor of a disk-only snapshot: a QMP connection that is held, and one
 * transaction in which QEMU itself makes the overlays.  Nothing is checked,
 * recorded or answered to anybody.
 *
 *     floor SOCKET FOLDER NODE...
 *
 * For each line of its input takes one snapshot of all the nodes, and prints
 * how long that took in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 65536

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static FILE *connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FILE *stream;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
        fail(path);
    stream = fdopen(fd, "r");
    if (stream == NULL)
        fail("fdopen");
    return stream;
}

static void send_text(FILE *stream, const char *text)
{
    size_t length = strlen(text);

    if (write(fileno(stream), text, length) != (ssize_t)length)
        fail("write");
}

/* Events come in between. */
static void expect(FILE *stream, const char *wanted)
{
    char line[TEXT_MAX];

    do {
        if (fgets(line, sizeof(line), stream) == NULL)
            fail("QEMU has gone");
        if (strstr(line, "\"error\"") != NULL) {
            fprintf(stderr, "floor: %s", line);
            exit(1);
        }
    } while (strstr(line, wanted) == NULL);
}

int main(int argc, char **argv)
{
    char text[TEXT_MAX], line[80];
    FILE *qemu;

    if (argc < 4)
        return 2;
    qemu = connect_to(argv[1]);
    expect(qemu, "\"QMP\"");
    send_text(qemu, "{\"execute\":\"qmp_capabilities\"}\n");
    expect(qemu, "\"return\"");
    for (int round = 0; fgets(line, sizeof(line), stdin) != NULL; round++) {
        double begin = now_us();
        int length = snprintf(text, sizeof(text),
                              "{\"execute\":\"transaction\",\"arguments\":"
                              "{\"actions\":[");

        for (int i = 3; i < argc; i++) {
            char node[40];

            if (round == 0)
                snprintf(node, sizeof(node), "%s", argv[i]);
            else
                snprintf(node, sizeof(node), "floor%d-%d", i, round - 1);
            length += snprintf(
                text + length, sizeof(text) - (size_t)length,
                "%s{\"type\":\"blockdev-snapshot-sync\",\"data\":{"
                "\"node-name\":\"%s\",\"snapshot-node-name\":\"floor%d-%d\","
                "\"snapshot-file\":\"%s/%s.floor%d\",\"format\":\"qcow2\"}}",
                i == 3 ? "" : ",", node, i, round, argv[2], argv[i], round);
        }
        snprintf(text + length, sizeof(text) - (size_t)length, "]}}\n");
        send_text(qemu, text);
        expect(qemu, "\"return\"");
        printf("%.1f\n", now_us() - begin);
        fflush(stdout);
    }
    return 0;
}
