/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Metrics in Prometheus' text format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/metrics_format.h"

static struct metrics_counts counts;
static char *text;

static void print(struct metrics_values values)
{
    size_t length;
    FILE *out = open_memstream(&text, &length);

    values.version = "1.2";
    values.counts = &counts;
    metrics_format(out, &values);
    fclose(out);
}

static int set_up(void **state)
{
    (void)state;
    memset(&counts, 0, sizeof(counts));
    text = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(text);
    return 0;
}

/* `line` is a whole one. */
static void assert_line(const char *line)
{
    const char *found = strstr(text, line);

    if (!found || (found != text && found[-1] != '\n') ||
        found[strlen(line)] != '\n')
        fail_msg("no line \"%s\" in\n%s", line, text);
}

static void operations_are_counted_by_result_from_zero_on(void **state)
{
    (void)state;
    counts.operations[REQUEST_CREATE].ends[ERR_NONE] = 3;
    counts.operations[REQUEST_CREATE].ends[ERR_BUSY] = 2;
    counts.operations[REQUEST_CREATE].ends[ERR_NO_SPACE] = 1;
    counts.operations[REQUEST_CREATE].ends[ERR_CANCELLED] = 4;
    counts.refused[ERR_INVALID_REQUEST] = 5;
    print((struct metrics_values){0});
    assert_line(
        "xensnapd_operations_total{operation=\"create\",result=\"done\"} 3");
    assert_line(
        "xensnapd_operations_total{operation=\"create\",result=\"failed\"} 3");
    assert_line("xensnapd_operations_total{operation=\"create\","
                "result=\"cancelled\"} 4");
    assert_line(
        "xensnapd_operations_total{operation=\"rescan\",result=\"done\"} 0");
    assert_line("xensnapd_errors_total{operation=\"create\",code=\"busy\"} 2");
    assert_line("xensnapd_errors_total{operation=\"unknown\","
                "code=\"invalid-request\"} 5");
    assert_null(strstr(text, "operation=\"revert\",code="));
}

static void buckets_are_cumulative_and_in_seconds(void **state)
{
    struct histogram *downtime = &counts.operations[REQUEST_CREATE].downtime;

    (void)state;
    histogram_observe_downtime(downtime, 25);
    histogram_observe_downtime(downtime, 26);
    histogram_observe_downtime(downtime, 9000000);
    print((struct metrics_values){0});
    assert_line("xensnapd_downtime_seconds_bucket{operation=\"create\","
                "le=\"0.025\"} 1");
    assert_line("xensnapd_downtime_seconds_bucket{operation=\"create\","
                "le=\"0.050\"} 2");
    assert_line("xensnapd_downtime_seconds_bucket{operation=\"create\","
                "le=\"300.000\"} 2");
    assert_line("xensnapd_downtime_seconds_bucket{operation=\"create\","
                "le=\"+Inf\"} 3");
    assert_line("xensnapd_downtime_seconds_sum{operation=\"create\"} 9000.051");
    assert_line("xensnapd_downtime_seconds_count{operation=\"create\"} 3");
}

static void a_vm_and_its_disks_are_told_by_labels(void **state)
{
    const struct metrics_disk disks[] = {{"xvda", 3, 65536}, {"xvdb", 2, 0}};
    const struct metrics_vm vm = {
        .uuid = "u",
        .domain = "web",
        .snapshots = 2,
        .memory_bytes = 7,
        .newest = 1700000000,
        .disks = disks,
        .disk_count = 2,
    };

    (void)state;
    print((struct metrics_values){.vms = &vm,
                                  .vm_count = 1,
                                  .waiting = 4,
                                  .running = 1,
                                  .leftover_files = 6});
    assert_line("xensnapd_snapshots{vm=\"u\",domain=\"web\"} 2");
    assert_line("xensnapd_snapshot_memory_bytes{vm=\"u\",domain=\"web\"} 7");
    assert_line("xensnapd_last_snapshot_timestamp_seconds{vm=\"u\","
                "domain=\"web\"} 1700000000");
    assert_line(
        "xensnapd_chain_depth{vm=\"u\",domain=\"web\",disk=\"xvda\"} 3");
    assert_line(
        "xensnapd_chain_bytes{vm=\"u\",domain=\"web\",disk=\"xvda\"} 65536");
    assert_line(
        "xensnapd_chain_depth{vm=\"u\",domain=\"web\",disk=\"xvdb\"} 2");
    assert_line("xensnapd_queue_length 4");
    assert_line("xensnapd_operations_running 1");
    assert_line("xensnapd_leftover_files 6");
    assert_line("xensnapd_build_info{version=\"1.2\"} 1");
}

static void a_labels_value_is_escaped(void **state)
{
    const struct metrics_vm vm = {.uuid = "u", .domain = "a\"b\\c\nd"};

    (void)state;
    print((struct metrics_values){.vms = &vm, .vm_count = 1});
    assert_line("xensnapd_snapshots{vm=\"u\",domain=\"a\\\"b\\\\c\\nd\"} 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            operations_are_counted_by_result_from_zero_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(buckets_are_cumulative_and_in_seconds,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_vm_and_its_disks_are_told_by_labels,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_labels_value_is_escaped, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
