// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The only program of a test guest. A few times per second it counts one up,
 * writes the count to every disk and says it on the console. So a test can
 * tell, from the console alone, whether the guest's memory and each of its
 * disks went on, went back, or lost something. README.md lists what it says and
 * understands.
 *
 * It is the guest's first process as well, and it forks nothing. Asked for it,
 * a thread of its own watches the clock alone.
 */
#define _GNU_SOURCE
#include "disk.h"
#include "store.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    CONSOLE,
    UEVENTS,
    TIMER,
    SOURCES,
    CONNECT_LIMIT_MS = 30000,
    GAP_PERIODS = 4,
    STILL_PERIODS = 4,
    PAGE = 4096,
};

static struct pollfd sources[SOURCES];
static uint64_t count;
static char boot_id[40];
static double hz = 2;
static char *filled;
static size_t filled_bytes;

/* ---- time -------------------------------------------------------------- */

static int64_t now_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void set_rate(double wanted)
{
    if (wanted <= 0 || wanted > 100) {
        printf("error hz %g\n", wanted);
        return;
    }
    hz = wanted;
    int64_t ns = 1e9 / hz;
    struct timespec period = {ns / 1000000000, ns % 1000000000};
    struct itimerspec timer = {period, period};
    timerfd_settime(sources[TIMER].fd, 0, &timer, NULL);
}

/* The monotonic clock does not count a suspend; the other may be set. */
struct instant {
    int64_t monotonic, real;
};

static struct instant instant_now(void)
{
    return (struct instant){now_ms(CLOCK_MONOTONIC), now_ms(CLOCK_REALTIME)};
}

/* By the clock that saw more. */
static int64_t ms_between(struct instant then, struct instant now)
{
    int64_t monotonic = now.monotonic - then.monotonic;
    int64_t real = now.real - then.real;

    return monotonic > real ? monotonic : real;
}

/* A guest that was stopped finds more time gone by than it slept. */
static void report_gap(void)
{
    static struct instant last;
    struct instant now = instant_now();
    int64_t gone = ms_between(last, now);

    if (last.monotonic != 0 && gone > GAP_PERIODS * 1000 / hz)
        printf("gap %lld monotonic=%lld real=%lld\n", (long long)gone,
               (long long)(now.monotonic - last.monotonic),
               (long long)(now.real - last.real));
    last = now;
}

/* ---- pulse ------------------------------------------------------------- */

static void sleep_ms(int64_t ms)
{
    struct timespec period = {ms / 1000, ms % 1000 * 1000000};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
}

/* Two ticks lie further apart than the guest stood still, by what their writes
 * took; this thread waits for no disk. */
static void *pulse_run(void *period_ms)
{
    int64_t period = (intptr_t)period_ms;
    struct instant last = instant_now();

    for (;;) {
        sleep_ms(period);
        struct instant now = instant_now();
        int64_t gone = ms_between(last, now);
        if (gone > STILL_PERIODS * period)
            printf("still %lld\n", (long long)(gone - period));
        last = now;
    }
    return NULL;
}

static void pulse(long period_ms)
{
    pthread_t thread;

    if (period_ms <= 0 || pthread_create(&thread, NULL, pulse_run,
                                         (void *)(intptr_t)period_ms) != 0)
        printf("error pulse %ld\n", period_ms);
    else
        printf("pulse %ld\n", period_ms);
}

/* ---- ticks ------------------------------------------------------------- */

static void touch_filled(void)
{
    for (size_t i = 0; i < filled_bytes; i += PAGE)
        filled[i] = (char)count;
}

static void tick(void)
{
    char record[SECTOR_SIZE] = "";

    report_gap();
    disks_reopen();
    count++;
    snprintf(record, sizeof(record), "tick %llu %s\n",
             (unsigned long long)count, boot_id);
    for (int i = 0; i < disk_count; i++) {
        if (disk_write(&disks[i], FIRST_RECORD + count % RECORD_COUNT, record))
            disk_write(&disks[i], HEADER_SECTOR, record);
    }
    touch_filled();
    printf("tick %llu\n", (unsigned long long)count);
}

/* ---- commands ---------------------------------------------------------- */

static void fill(unsigned long megabytes)
{
    free(filled);
    filled_bytes = megabytes << 20;
    filled = malloc(filled_bytes);
    if (filled == NULL) {
        filled_bytes = 0;
        printf("error fill %lu\n", megabytes);
        return;
    }
    touch_filled();
    printf("filled %lu\n", megabytes);
}

static bool key_sector(const char *key, uint64_t *ret_sector)
{
    char *end;
    unsigned long number = strtoul(key, &end, 10);

    if (*key == '\0' || *end != '\0' || number >= KEY_COUNT) {
        printf("error key %s\n", key);
        return false;
    }
    *ret_sector = FIRST_KEY + number;
    return true;
}

static void write_all(const char *what, uint64_t sector, const char *data)
{
    printf("%s", what);
    for (int i = 0; i < disk_count; i++)
        if (disk_write(&disks[i], sector, data))
            printf(" %s", disks[i].name);
    printf("\n");
}

static void write_key(const char *key, const char *value)
{
    char data[SECTOR_SIZE] = "";
    char what[32];
    uint64_t sector;

    if (!key_sector(key, &sector))
        return;
    snprintf(data, sizeof(data), "%s", value);
    snprintf(what, sizeof(what), "written %s", key);
    write_all(what, sector, data);
}

static void read_key(const char *key)
{
    char data[SECTOR_SIZE];
    uint64_t sector;

    if (!key_sector(key, &sector))
        return;
    printf("value %s", key);
    for (int i = 0; i < disk_count; i++)
        if (disk_read(&disks[i], sector, 1, data))
            printf(" %s=%.*s", disks[i].name, SECTOR_SIZE, data);
    printf("\n");
}

/* Puts bytes anywhere, to let a hostile guest lay out a header of its own. */
static void poke(const char *sector_text, const char *hex)
{
    char data[SECTOR_SIZE] = "";

    for (size_t i = 0; i < SECTOR_SIZE && isxdigit((unsigned char)hex[2 * i]);
         i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        data[i] = (char)strtoul(digits, NULL, 16);
        if (digits[1] == '\0')
            break;
    }
    write_all("poked", strtoul(sector_text, NULL, 10), data);
}

static bool checksum(struct disk *disk, uint64_t first, uint64_t sectors,
                     uint64_t *ret_sum)
{
    unsigned char data[MAX_READ * SECTOR_SIZE];
    uint64_t sum = 0xcbf29ce484222325; /* FNV-1a */

    while (sectors > 0) {
        int some = sectors < MAX_READ ? (int)sectors : MAX_READ;
        if (!disk_read(disk, first, some, data))
            return false;
        for (int i = 0; i < some * SECTOR_SIZE; i++)
            sum = (sum ^ data[i]) * 0x100000001b3;
        first += some;
        sectors -= some;
    }
    *ret_sum = sum;
    return true;
}

/* Without arguments the keys' area, which only changes by command. */
static void print_sums(const char *first, const char *sectors)
{
    uint64_t sum;

    printf("sum");
    for (int i = 0; i < disk_count; i++) {
        if (checksum(&disks[i], *first ? strtoul(first, NULL, 10) : FIRST_KEY,
                     *sectors ? strtoul(sectors, NULL, 10) : KEY_COUNT, &sum))
            printf(" %s=%016llx", disks[i].name, (unsigned long long)sum);
    }
    printf("\n");
}

/* The first tick of the unbroken row of records that ends with the latest one;
 * 0 when the disk cannot be read. */
static uint64_t first_of_row(struct disk *disk)
{
    static char records[RECORD_COUNT * SECTOR_SIZE];
    uint64_t n = count;

    for (int s = 0; s < RECORD_COUNT; s += MAX_READ)
        if (!disk_read(disk, FIRST_RECORD + s, MAX_READ,
                       records + s * SECTOR_SIZE))
            return 0;
    while (n > 0 && count - n < RECORD_COUNT &&
           record_number(records + n % RECORD_COUNT * SECTOR_SIZE) == n)
        n--;
    return n + 1;
}

/* A hole in the records is a write that was acknowledged and then lost. */
static void verify(void)
{
    printf("records");
    for (int i = 0; i < disk_count; i++)
        printf(" %s=%llu..%llu", disks[i].name,
               (unsigned long long)first_of_row(&disks[i]),
               (unsigned long long)count);
    printf("\n");
}

static void crash(void)
{
    int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "c", 1) != 1)
        printf("error crash\n");
}

static void obey(char *line)
{
    /* The last word takes the rest of the line, so that texts may have spaces.
     */
    char *verb = strsep(&line, " ");
    char *whole = strdup(line != NULL ? line : "");
    char *first = line != NULL ? strsep(&line, " ") : "";
    char *rest = line != NULL ? line : "";

    if (strcmp(verb, "reboot") == 0)
        reboot(RB_AUTOBOOT);
    else if (strcmp(verb, "poweroff") == 0)
        reboot(RB_POWER_OFF);
    else if (strcmp(verb, "crash") == 0)
        crash();
    else if (strcmp(verb, "fill") == 0)
        fill(strtoul(first, NULL, 10));
    else if (strcmp(verb, "write") == 0)
        write_key(first, rest);
    else if (strcmp(verb, "read") == 0)
        read_key(first);
    else if (strcmp(verb, "poke") == 0)
        poke(first, rest);
    else if (strcmp(verb, "sum") == 0)
        print_sums(first, rest);
    else if (strcmp(verb, "verify") == 0)
        verify();
    else if (strcmp(verb, "store-read") == 0)
        store_read(first);
    else if (strcmp(verb, "store-write") == 0)
        store_write(whole);
    else if (strcmp(verb, "pulse") == 0)
        pulse(strtol(first, NULL, 10));
    else if (strcmp(verb, "hz") == 0)
        set_rate(strtod(first, NULL));
    else
        printf("error command %s\n", verb);
    free(whole);
}

/* ---- events ------------------------------------------------------------ */

static void on_console(void)
{
    static char line[2048];
    static size_t used;
    ssize_t got = read(STDIN_FILENO, line + used, sizeof(line) - used - 1);

    if (got <= 0)
        return;
    used += got;
    line[used] = '\0';
    char *end;
    while ((end = strpbrk(line, "\r\n")) != NULL) {
        *end = '\0';
        if (*line != '\0')
            obey(line);
        used -= end + 1 - line;
        memmove(line, end + 1, used + 1);
    }
    if (used == sizeof(line) - 1)
        used = 0;
}

static void on_uevent(void)
{
    char message[8192];

    if (recv(sources[UEVENTS].fd, message, sizeof(message), 0) > 0)
        disks_rescan();
}

static void on_timer(void)
{
    uint64_t periods;

    if (read(sources[TIMER].fd, &periods, sizeof(periods)) == sizeof(periods))
        tick();
}

static void loop(void)
{
    for (;;) {
        if (poll(sources, SOURCES, -1) < 0)
            continue;
        if (sources[UEVENTS].revents)
            on_uevent();
        if (sources[TIMER].revents)
            on_timer();
        if (sources[CONSOLE].revents)
            on_console();
    }
}

/* ---- start ------------------------------------------------------------- */

static void open_uevents(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd =
        socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

    bind(fd, (struct sockaddr *)&address, sizeof(address));
    sources[UEVENTS] = (struct pollfd){fd, POLLIN, 0};
}

/* Commands are not echoed: the console's log holds what the guest says. */
static void open_console(void)
{
    struct termios mode;

    if (tcgetattr(STDIN_FILENO, &mode) == 0) {
        mode.c_lflag &= ~(ICANON | ECHO | ISIG);
        tcsetattr(STDIN_FILENO, TCSANOW, &mode);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    sources[CONSOLE] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
}

static void read_boot_id(void)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (file == NULL || fscanf(file, "%39s", boot_id) != 1)
        strcpy(boot_id, "unknown");
    if (file != NULL)
        fclose(file);
}

static double rate_from_command_line(void)
{
    char text[4096] = "";
    FILE *file = fopen("/proc/cmdline", "re");

    if (file == NULL)
        return hz;
    size_t got = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[got] = '\0';
    const char *option = strstr(text, "tick.hz=");
    return option != NULL ? strtod(option + strlen("tick.hz="), NULL) : hz;
}

static void wait_for_disks(void)
{
    int64_t deadline = now_ms(CLOCK_MONOTONIC) + CONNECT_LIMIT_MS;
    int64_t left;

    while (!disks_all_connected() &&
           (left = deadline - now_ms(CLOCK_MONOTONIC)) > 0) {
        if (poll(&sources[UEVENTS], 1, (int)left) > 0)
            on_uevent();
    }
    disks_rescan();
}

static void say_boot(void)
{
    printf("boot:");
    for (int i = 0; i < disk_count; i++) {
        printf(" %s=%llu", disks[i].name, (unsigned long long)disks[i].last);
        if (disks[i].last > count)
            count = disks[i].last;
    }
    printf(" id=%s\n", boot_id);
}

/* The kernel runs these by name when the toolstack asks for a shutdown. */
static void shut_down_if_called_so(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash != NULL ? slash + 1 : name;

    if (strcmp(base, "poweroff") == 0)
        reboot(RB_POWER_OFF);
    if (strcmp(base, "reboot") == 0)
        reboot(RB_AUTOBOOT);
}

int main(int argc, char **argv)
{
    if (argc > 0)
        shut_down_if_called_so(argv[0]);
    open_console();
    open_uevents();
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    sources[TIMER] = (struct pollfd){timer, POLLIN, 0};
    read_boot_id();
    wait_for_disks();
    say_boot();
    set_rate(rate_from_command_line());
    loop();
}
