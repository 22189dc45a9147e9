/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding who else looks after a domain, in a made-up /proc. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/supervise_watcher.h"

struct world {
    char *root;
    char *proc;
    char *logs;
    char *libvirt;
    struct watcher_view view;
};

static void write_file(const char *path, const char *text, size_t length)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    fclose(file);
}

static char *make_folder(char *path)
{
    assert_int_equal(mkdir(path, 0700), 0);
    return path;
}

static int make_world(void **state)
{
    struct world *world = xcalloc(1, sizeof(*world));

    world->root = xstrdup("/tmp/watcher-XXXXXX");
    assert_non_null(mkdtemp(world->root));
    world->proc = make_folder(xasprintf("%s/proc", world->root));
    world->logs = make_folder(xasprintf("%s/log", world->root));
    world->libvirt = make_folder(xasprintf("%s/libvirt", world->root));
    world->view =
        (struct watcher_view){world->proc, world->logs, world->libvirt};
    *state = world;
    return 0;
}

static int remove_world(void **state)
{
    struct world *world = *state;
    char *command = xasprintf("rm -r '%s'", world->root);
    int status = system(command);

    free(command);
    free(world->libvirt);
    free(world->logs);
    free(world->proc);
    free(world->root);
    free(world);
    return status;
}

static void add_process(struct world *world, int pid, const char *name,
                        const char *arguments, size_t length,
                        const char *stdout_target)
{
    char *folder = make_folder(xasprintf("%s/%d", world->proc, pid));
    char *files = make_folder(xasprintf("%s/fd", folder));
    char *one = xasprintf("%s/1", files);
    char *comm = xasprintf("%s/comm", folder);
    char *command = xasprintf("%s/cmdline", folder);
    char *line = xasprintf("%s\n", name);

    write_file(comm, line, strlen(line));
    write_file(command, arguments, length);
    assert_int_equal(symlink(stdout_target, one), 0);
    free(line);
    free(command);
    free(comm);
    free(one);
    free(files);
    free(folder);
}

#define CREATE "xl\0create\0vm.cfg"

/* An xl that waits in the background, with that log. */
static void add_xl(struct world *world, int pid, const char *log_name,
                   const char *log_text)
{
    char *log = xasprintf("%s/%s", world->logs, log_name);

    write_file(log, log_text, strlen(log_text));
    add_process(world, pid, "xl", CREATE, sizeof(CREATE), log);
    free(log);
}

static enum watcher find(struct world *world, const char *name, uint32_t domid)
{
    struct guest guest = {.domid = domid};

    snprintf(guest.name, sizeof(guest.name), "%s", name);
    return watcher_find(&world->view, &guest);
}

static void nobody_is_found_where_nobody_is(void **state)
{
    assert_int_equal(find(*state, "vm", 5), WATCHER_NONE);
}

static void an_xl_that_waits_for_the_domain_is_found(void **state)
{
    add_xl(*state, 100, "xl-vm.log",
           "Waiting for domain vm (domid 5) to die [pid 100]\n");
    assert_int_equal(find(*state, "vm", 5), WATCHER_XL);
    assert_int_equal(find(*state, "other", 6), WATCHER_NONE);
}

static void after_a_reboot_the_last_line_counts(void **state)
{
    add_xl(*state, 100, "xl-vm.log",
           "Waiting for domain vm (domid 5) to die [pid 100]\n"
           "Domain 5 has shut down, reason code 1 0x1\n"
           "Waiting for domain vm (domid 8) to die [pid 100]\n");
    assert_int_equal(find(*state, "vm", 5), WATCHER_NONE);
    assert_int_equal(find(*state, "vm", 8), WATCHER_XL);
}

static void a_renamed_domain_keeps_its_watcher(void **state)
{
    add_xl(*state, 100, "xl-old.log.2",
           "Waiting for domain old (domid 5) to die [pid 100]\n");
    assert_int_equal(find(*state, "new", 5), WATCHER_XL);
}

/* Its log was taken over by a later xl, or says nothing yet. */
static void lines_of_another_process_do_not_count(void **state)
{
    add_xl(*state, 100, "xl-vm.log",
           "Waiting for domain vm (domid 5) to die [pid 99]\n");
    assert_int_equal(find(*state, "other", 5), WATCHER_NONE);
    assert_int_equal(find(*state, "vm", 5), WATCHER_XL);
}

static void without_words_the_name_of_the_log_decides(void **state)
{
    add_xl(*state, 100, "xl-vm.log.3", "");
    assert_int_equal(find(*state, "vm", 5), WATCHER_XL);
    assert_int_equal(find(*state, "v", 5), WATCHER_NONE);
    assert_int_equal(find(*state, "vm.log", 5), WATCHER_NONE);
}

static void a_domain_that_migrated_here_keeps_its_watcher(void **state)
{
    add_xl(*state, 100, "xl-vm--incoming.log", "");
    assert_int_equal(find(*state, "vm", 5), WATCHER_XL);
}

static void another_program_with_that_log_is_no_watcher(void **state)
{
    struct world *world = *state;
    char *log = xasprintf("%s/xl-vm.log", world->logs);

    write_file(log, "", 0);
    add_process(world, 100, "tail", "tail\0-f", sizeof("tail\0-f"), log);
    free(log);
    assert_int_equal(find(world, "vm", 5), WATCHER_NONE);
}

static void an_xl_in_the_foreground_may_be_the_watcher(void **state)
{
    static const char create[] = "xl\0-v\0create\0-F\0vm.cfg";

    add_process(*state, 100, "xl", create, sizeof(create), "/dev/pts/3");
    assert_int_equal(find(*state, "vm", 5), WATCHER_MAYBE_XL);
}

static void an_xl_that_waits_for_no_domain_is_no_watcher(void **state)
{
    static const char console[] = "xl\0console\0create";

    add_process(*state, 100, "xl", console, sizeof(console), "/dev/pts/3");
    assert_int_equal(find(*state, "vm", 5), WATCHER_NONE);
}

static void a_certain_watcher_outweighs_a_possible_one(void **state)
{
    for (int pid = 200; pid < 210; pid += 2)
        add_process(*state, pid, "xl", CREATE, sizeof(CREATE), "/dev/pts/3");
    add_xl(*state, 205, "xl-vm.log",
           "Waiting for domain vm (domid 5) to die [pid 205]\n");
    assert_int_equal(find(*state, "vm", 5), WATCHER_XL);
}

static void add_libvirt_state(struct world *world)
{
    char *xml = xasprintf("%s/vm.xml", world->libvirt);
    char *pid = xasprintf("%s/driver.pid", world->libvirt);

    write_file(xml, "", 0);
    write_file(pid, "300\n", 4);
    free(pid);
    free(xml);
}

static void libvirt_looks_after_its_own_domains(void **state)
{
    add_libvirt_state(*state);
    add_process(*state, 300, "virtxend", "", 0, "/dev/null");
    assert_int_equal(find(*state, "vm", 5), WATCHER_LIBVIRT);
    assert_int_equal(find(*state, "other", 6), WATCHER_NONE);
}

static void a_dead_libvirt_looks_after_nothing(void **state)
{
    add_libvirt_state(*state);
    assert_int_equal(find(*state, "vm", 5), WATCHER_NONE);
    add_process(*state, 300, "bash", "", 0, "/dev/null");
    assert_int_equal(find(*state, "vm", 5), WATCHER_NONE);
}

static void a_long_log_is_read_from_its_end(void **state)
{
    struct world *world = *state;
    size_t size = 300000;
    char *text = xcalloc(size + 200, 1);

    memset(text, 'x', size);
    strcpy(text + size, "\nWaiting for domain vm (domid 9) to die [pid 100]\n");
    add_xl(world, 100, "xl-vm.log", text);
    free(text);
    assert_int_equal(find(world, "vm", 9), WATCHER_XL);
    assert_int_equal(find(world, "vm", 5), WATCHER_NONE);
}

#define IN_WORLD(test)                                                         \
    cmocka_unit_test_setup_teardown(test, make_world, remove_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(nobody_is_found_where_nobody_is),
        IN_WORLD(an_xl_that_waits_for_the_domain_is_found),
        IN_WORLD(after_a_reboot_the_last_line_counts),
        IN_WORLD(a_renamed_domain_keeps_its_watcher),
        IN_WORLD(lines_of_another_process_do_not_count),
        IN_WORLD(without_words_the_name_of_the_log_decides),
        IN_WORLD(a_domain_that_migrated_here_keeps_its_watcher),
        IN_WORLD(another_program_with_that_log_is_no_watcher),
        IN_WORLD(an_xl_in_the_foreground_may_be_the_watcher),
        IN_WORLD(an_xl_that_waits_for_no_domain_is_no_watcher),
        IN_WORLD(a_certain_watcher_outweighs_a_possible_one),
        IN_WORLD(libvirt_looks_after_its_own_domains),
        IN_WORLD(a_dead_libvirt_looks_after_nothing),
        IN_WORLD(a_long_log_is_read_from_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
