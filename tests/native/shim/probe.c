/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls libxl for real, under the hypervisor shim, and prints what it said:
 * the shims' own test.
 *
 *     probe facts DOMID     list, info, name, userdata, configuration, disks
 *     probe pause DOMID     pause, then unpause
 *     probe suspend DOMID   suspend without saving, through the guest
 *     probe resume DOMID    resume a suspended domain, suspend cancelled
 *     probe deaths DOMID    print "watching", then shutdown and death events
 *
 * Any failure ends it with a message and status 1.
 */
#include <inttypes.h>
#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xentoollog.h>

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: libxl error %d\n", what, rc);
    exit(1);
}

static void print_list(libxl_ctx *ctx)
{
    int count, i;
    libxl_dominfo *list = libxl_list_domain(ctx, &count);

    must(list ? 0 : 1, "libxl_list_domain");
    for (i = 0; i < count; i++)
        printf("listed=%" PRIu32 "\n", list[i].domid);
    libxl_dominfo_list_free(list, count);
}

static void print_info(libxl_ctx *ctx, uint32_t domid)
{
    libxl_dominfo info;

    libxl_dominfo_init(&info);
    must(libxl_domain_info(ctx, &info, domid), "libxl_domain_info");
    printf("uuid=" LIBXL_UUID_FMT "\n", LIBXL_UUID_BYTES(info.uuid));
    printf("paused=%d\n", info.paused);
    printf("shutdown=%d\n", info.shutdown);
    printf("reason=%d\n", (int)info.shutdown_reason);
    printf("memory-kb=%" PRIu64 "\n", info.current_memkb);
    libxl_dominfo_dispose(&info);
}

static void check_name(libxl_ctx *ctx, uint32_t domid)
{
    char *name = libxl_domid_to_name(ctx, domid);
    uint32_t found;

    must(name ? 0 : 1, "libxl_domid_to_name");
    must(libxl_name_to_domid(ctx, name, &found), "libxl_name_to_domid");
    must(found == domid ? 0 : 1, "the name's domid");
    printf("name=%s\n", name);
    free(name);
}

static void check_userdata(libxl_ctx *ctx, uint32_t domid)
{
    static const uint8_t text[] = "kept";
    uint8_t *data = NULL;
    int length = 0;

    must(libxl_userdata_store(ctx, domid, "probe", text, sizeof(text)),
         "libxl_userdata_store");
    must(libxl_userdata_retrieve(ctx, domid, "probe", &data, &length),
         "libxl_userdata_retrieve");
    must(length == (int)sizeof(text) && !memcmp(data, text, sizeof(text)) ? 0
                                                                          : 1,
         "the userdata");
    free(data);
    must(libxl_userdata_unlink(ctx, domid, "probe"), "libxl_userdata_unlink");
}

static void print_config(libxl_ctx *ctx, uint32_t domid)
{
    libxl_domain_config config;
    uint8_t *text = NULL;
    int length, i;

    libxl_domain_config_init(&config);
    must(libxl_userdata_retrieve(ctx, domid, "libxl-json", &text, &length),
         "the stored configuration");
    must(libxl_domain_config_from_json(ctx, &config, (const char *)text),
         "libxl_domain_config_from_json");
    for (i = 0; i < config.num_disks; i++)
        printf("stored=%s:%s\n", config.disks[i].vdev,
               config.disks[i].pdev_path);
    free(text);
    libxl_domain_config_dispose(&config);

    libxl_domain_config_init(&config);
    must(libxl_retrieve_domain_configuration(ctx, domid, &config, NULL),
         "libxl_retrieve_domain_configuration");
    printf("type=%s\n", libxl_domain_type_to_string(config.c_info.type));
    for (i = 0; i < config.num_disks; i++)
        printf("retrieved=%s:%s\n", config.disks[i].vdev,
               config.disks[i].pdev_path);
    libxl_domain_config_dispose(&config);
}

static void print_disks(libxl_ctx *ctx, uint32_t domid)
{
    int count, i;
    libxl_device_disk *disks = libxl_device_disk_list(ctx, domid, &count);

    for (i = 0; i < count; i++)
        printf("listed-disk=%s:%s:%s\n", disks[i].vdev,
               libxl_disk_format_to_string(disks[i].format),
               disks[i].pdev_path);
    libxl_device_disk_list_free(disks, count);
}

static void print_host(libxl_ctx *ctx)
{
    const libxl_version_info *version = libxl_get_version_info(ctx);
    libxl_physinfo info;

    must(version ? 0 : 1, "libxl_get_version_info");
    printf("xen=%d.%d\n", version->xen_version_major,
           version->xen_version_minor);
    libxl_physinfo_init(&info);
    must(libxl_get_physinfo(ctx, &info), "libxl_get_physinfo");
    printf("free-pages=%" PRIu64 "\n", info.free_pages);
    libxl_physinfo_dispose(&info);
}

static void facts(libxl_ctx *ctx, uint32_t domid)
{
    print_list(ctx);
    print_info(ctx, domid);
    check_name(ctx, domid);
    check_userdata(ctx, domid);
    print_config(ctx, domid);
    print_disks(ctx, domid);
    print_host(ctx);
}

static void pause_and_unpause(libxl_ctx *ctx, uint32_t domid)
{
    must(libxl_domain_pause(ctx, domid, NULL), "libxl_domain_pause");
    print_info(ctx, domid);
    must(libxl_domain_unpause(ctx, domid, NULL), "libxl_domain_unpause");
    print_info(ctx, domid);
}

static void suspend(libxl_ctx *ctx, uint32_t domid)
{
    must(libxl_domain_suspend_only(ctx, domid, NULL),
         "libxl_domain_suspend_only");
    print_info(ctx, domid);
}

static void resume(libxl_ctx *ctx, uint32_t domid)
{
    must(libxl_domain_resume(ctx, domid, 1, NULL), "libxl_domain_resume");
    print_info(ctx, domid);
}

static void print_deaths(libxl_ctx *ctx, uint32_t domid)
{
    libxl_evgen_domain_death *generator;
    bool dead = false;

    must(libxl_evenable_domain_death(ctx, domid, 0, &generator),
         "libxl_evenable_domain_death");
    puts("watching");
    fflush(stdout);
    while (!dead) {
        libxl_event *event;

        must(libxl_event_wait(ctx, &event, LIBXL_EVENTMASK_ALL, NULL, NULL),
             "libxl_event_wait");
        if (event->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN)
            printf("shutdown=%u\n", event->u.domain_shutdown.shutdown_reason);
        dead = event->type == LIBXL_EVENT_TYPE_DOMAIN_DEATH;
        if (dead)
            puts("dead");
        fflush(stdout);
        libxl_event_free(ctx, event);
    }
    libxl_evdisable_domain_death(ctx, generator);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(libxl_ctx *ctx, uint32_t domid);
    } commands[] = {
        {"facts", facts},   {"pause", pause_and_unpause}, {"suspend", suspend},
        {"resume", resume}, {"deaths", print_deaths},
    };
    xentoollog_logger_stdiostream *logger;
    libxl_ctx *ctx = NULL;
    size_t i;

    logger = xtl_createlogger_stdiostream(stderr, XTL_ERROR, 0);
    must(logger ? 0 : 1, "xtl_createlogger_stdiostream");
    must(libxl_ctx_alloc(&ctx, LIBXL_VERSION, 0, (xentoollog_logger *)logger),
         "libxl_ctx_alloc");
    for (i = 0; argc == 3 && i < sizeof(commands) / sizeof(*commands); i++)
        if (!strcmp(argv[1], commands[i].name)) {
            commands[i].run(ctx, (uint32_t)strtoul(argv[2], NULL, 10));
            break;
        }
    libxl_ctx_free(ctx);
    xtl_logger_destroy((xentoollog_logger *)logger);
    return 0;
}
