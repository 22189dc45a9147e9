/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies shaped as QEMU 7.2 sends them, with what does not matter left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "agent/disk/block_graph_parse.h"
#include "agent/disk/vdev.h"

/* ---- building replies ---- */

static struct block_replies replies;
static struct json_object *graph_nodes, *graph_edges;
static struct block_graph *graph;

static int setup(void **state)
{
    (void)state;
    replies.block = json_object_new_array();
    replies.named_nodes = json_object_new_array();
    replies.graph = json_object_new_object();
    graph_nodes = json_object_new_array();
    graph_edges = json_object_new_array();
    json_object_object_add(replies.graph, "nodes", graph_nodes);
    json_object_object_add(replies.graph, "edges", graph_edges);
    graph = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_object_put(replies.block);
    json_object_put(replies.named_nodes);
    json_object_put(replies.graph);
    block_graph_free(graph);
    return 0;
}

static void add(struct json_object *array, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct json_object *array, const char *format, ...)
{
    char text[1024];
    struct json_object *value;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    value = json_tokener_parse(text);
    assert_non_null(value);
    json_object_array_add(array, value);
}

/* Numbers as QEMU gives them are not in the order of anything. */
static unsigned int number_of(const char *name)
{
    unsigned int number = 0;

    while (*name)
        number = number * 31 + (unsigned char)*name++;
    return number % 1000003;
}

static void add_node(const char *name, const char *driver, const char *filename)
{
    add(replies.named_nodes,
        "{'node-name': '%s', 'drv': '%s', 'file': '%s', "
        "'image': {'filename': '%s', 'virtual-size': 1048576}}",
        name, driver, filename, filename);
    add(graph_nodes, "{'id': %u, 'type': 'block-driver', 'name': '%s'}",
        number_of(name), name);
}

static void add_edge(const char *parent, const char *name, const char *child)
{
    add(graph_edges, "{'name': '%s', 'parent': %u, 'child': %u, 'perm': []}",
        name, number_of(parent), number_of(child));
}

/* A format node and the file node under it. */
static void add_image(const char *name, const char *driver, const char *path)
{
    char file[64];

    snprintf(file, sizeof(file), "#file-%s", name);
    add_node(name, driver, path);
    add_node(file, "file", path);
    add_edge(name, "file", file);
}

static void add_device(const char *drive_id, const char *qdev, const char *root)
{
    add(replies.block,
        "{'device': '%s', 'qdev': '%s', 'removable': false, "
        "'inserted': {'node-name': '%s', 'ro': false}}",
        drive_id, qdev, root);
}

static void parse(void)
{
    struct error err;

    graph = block_graph_parse(&replies, &err);
    if (!graph)
        fail_msg("%s", err.message);
}

static void must_not_parse(void)
{
    struct error err;

    assert_null(block_graph_parse(&replies, &err));
    assert_int_equal(err.code, ERR_QMP);
}

/* ---- chains ---- */

static void a_disk_has_its_active_image_first(void **state)
{
    const struct block_disk *disk;

    (void)state;
    add_image("overlay", "qcow2", "/vm/a.s1.qcow2");
    add_image("xvda-raw", "raw", "/vm/a.img");
    add_edge("overlay", "backing", "xvda-raw");
    add_device("", "/machine/xen/device[0]", "overlay");
    parse();
    block_disk_set_vdev(&graph->disks[0], "xvda0");

    disk = block_graph_find(graph, "xvda", false);
    assert_non_null(disk);
    assert_string_equal(disk->vdev, "xvda");
    assert_string_equal(disk->node, "overlay");
    assert_string_equal(disk->qdev, "/machine/xen/device[0]");
    assert_false(disk->emulated);
    assert_int_equal(disk->depth, 2);
    assert_string_equal(disk->chain[0].path, "/vm/a.s1.qcow2");
    assert_string_equal(disk->chain[0].format, "qcow2");
    assert_string_equal(disk->chain[1].path, "/vm/a.img");
    assert_string_equal(disk->chain[1].format, "raw");
    assert_string_equal(disk->chain[1].node, "xvda-raw");
    assert_true(disk->chain[1].virtual_bytes == 1048576);
}

static void an_image_is_named_by_its_file_and_not_by_its_json_name(void **state)
{
    (void)state;
    add_node("top", "qcow2", "json:{}");
    add_node("#file", "file", "/vm/a.qcow2");
    add_edge("top", "file", "#file");
    add_device("", "dev", "top");
    parse();
    assert_string_equal(graph->disks[0].chain[0].path, "/vm/a.qcow2");
}

static void a_network_image_has_no_path(void **state)
{
    (void)state;
    add_node("top", "raw", "nbd://host/x");
    add_node("#nbd", "nbd", "nbd://host/x");
    add_edge("top", "file", "#nbd");
    add_device("", "dev", "top");
    parse();
    assert_int_equal(graph->disks[0].depth, 1);
    assert_string_equal(graph->disks[0].chain[0].path, "");
}

static void a_block_device_is_an_image_like_a_file(void **state)
{
    (void)state;
    add_node("xvda-raw", "raw", "/dev/vg/a");
    add_node("#dev", "host_device", "/dev/vg/a");
    add_edge("xvda-raw", "file", "#dev");
    add_device("", "dev", "xvda-raw");
    parse();
    assert_int_equal(graph->disks[0].depth, 1);
    assert_string_equal(graph->disks[0].chain[0].path, "/dev/vg/a");
    assert_string_equal(graph->disks[0].chain[0].format, "raw");
}

static void a_jobs_filter_is_no_image(void **state)
{
    (void)state;
    add_image("top", "qcow2", "/vm/a.s1.qcow2");
    add_image("base", "qcow2", "/vm/a.qcow2");
    add_node("filter", "mirror_top", "/vm/a.s1.qcow2");
    add_node("lower", "commit_top", "/vm/a.qcow2");
    add_edge("filter", "backing", "top");
    add_edge("top", "backing", "lower");
    add_edge("lower", "backing", "base");
    add_device("", "dev", "filter");
    parse();
    assert_string_equal(graph->disks[0].node, "filter");
    assert_int_equal(graph->disks[0].depth, 2);
    assert_string_equal(graph->disks[0].chain[0].node, "top");
    assert_string_equal(graph->disks[0].chain[1].node, "base");
}

static void a_placeholder_holds_no_image(void **state)
{
    (void)state;
    add_node("placeholder", "null-co", "json:{}");
    add_device("", "dev", "placeholder");
    parse();
    assert_int_equal(graph->count, 1);
    assert_string_equal(graph->disks[0].node, "placeholder");
    assert_int_equal(graph->disks[0].depth, 0);
}

/* An HVM guest's disk is open twice. */
static void the_twins_of_a_disk_have_chains_of_their_own(void **state)
{
    (void)state;
    add_image("xvda-qcow2", "qcow2", "/vm/a.qcow2");
    add_image("#block1", "qcow2", "/vm/base.qcow2");
    add_image("#block2", "qcow2", "/vm/a.qcow2");
    add_image("#block3", "qcow2", "/vm/base.qcow2");
    add_edge("xvda-qcow2", "backing", "#block1");
    add_edge("#block2", "backing", "#block3");
    add_device("ide0-hd0", "/machine/unattached/device[18]", "#block2");
    add_device("", "dev", "xvda-qcow2");
    parse();
    block_disk_set_vdev(&graph->disks[1], "xvda0");
    assert_string_equal(block_graph_find(graph, "xvda", false)->chain[1].node,
                        "#block1");
    assert_string_equal(block_graph_find(graph, "xvda", true)->chain[1].node,
                        "#block3");
}

static void internal_snapshots_are_listed(void **state)
{
    (void)state;
    add_image("top", "qcow2", "/vm/a.qcow2");
    json_object_object_add(
        json_object_object_get(
            json_object_array_get_idx(replies.named_nodes, 0), "image"),
        "snapshots",
        json_tokener_parse("[{\"name\": \"one\", \"id\": \"1\"}, "
                           "{\"name\": \"two\", \"id\": \"2\"}]"));
    add_device("", "dev", "top");
    parse();
    assert_int_equal(graph->disks[0].chain[0].snapshot_count, 2);
    assert_string_equal(graph->disks[0].chain[0].snapshots[1], "two");
}

/* Devices and jobs are in the graph too, under any name they like. */
static void a_device_named_like_a_node_is_not_taken_for_it(void **state)
{
    (void)state;
    add(graph_nodes, "{'id': 5, 'type': 'block-backend', 'name': 'top'}");
    add_image("top", "qcow2", "/vm/a.qcow2");
    add_image("other", "qcow2", "/vm/b.qcow2");
    add(graph_edges, "{'name': 'backing', 'parent': 5, 'child': %u}",
        number_of("other"));
    add_device("", "dev", "top");
    parse();
    assert_int_equal(graph->disks[0].depth, 1);
}

/* ---- devices ---- */

static void drives_without_medium_or_device_are_left_out(void **state)
{
    (void)state;
    add_image("top", "qcow2", "/vm/a.qcow2");
    add(replies.block, "{'device': 'ide-5632', 'qdev': 'ide-5632'}");
    add(replies.block,
        "{'device': 'ide0-hd0', 'inserted': {'node-name': 'top'}}");
    parse();
    assert_int_equal(graph->count, 0);
}

static void devices_that_are_no_disks_of_xen_are_dropped(void **state)
{
    (void)state;
    add_image("one", "qcow2", "/vm/a.qcow2");
    add_image("two", "qcow2", "/vm/b.qcow2");
    add_image("three", "qcow2", "/vm/c.qcow2");
    add_device("", "dev1", "one");
    add_device("", "dev2", "two");
    add_device("", "dev3", "three");
    parse();
    block_disk_set_vdev(&graph->disks[0], "nonsense");
    block_disk_set_vdev(&graph->disks[1], "xvdb0");
    block_graph_drop_nameless(graph);
    assert_int_equal(graph->count, 1);
    assert_string_equal(graph->disks[0].node, "two");
}

static void emulated_disks_are_found_by_the_vdev_that_libxl_made_them_from(
    void **state)
{
    (void)state;
    add_image("ide", "raw", "/vm/a.img");
    add_image("ide2", "raw", "/vm/c.img");
    add_image("scsi", "raw", "/vm/s.img");
    add_image("ahci", "raw", "/vm/d.img");
    add_device("ide0-hd0", "dev1", "ide");
    add_device("ide1-hd0", "dev2", "ide2");
    add_device("scsi0-hd0", "dev3", "scsi");
    add_device("ahcidisk-3", "dev4", "ahci");
    parse();
    assert_string_equal(block_graph_find(graph, "xvda", true)->node, "ide");
    assert_string_equal(block_graph_find(graph, "hda", true)->node, "ide");
    assert_string_equal(block_graph_find(graph, "xvdc", true)->node, "ide2");
    assert_string_equal(block_graph_find(graph, "sda", true)->node, "scsi");
    assert_string_equal(block_graph_find(graph, "xvdd", true)->node, "ahci");
    assert_null(block_graph_find(graph, "xvdb", true));
    assert_null(block_graph_find(graph, "xvda", false));
    assert_null(block_graph_find(graph, "", true));
}

static void a_disk_is_not_found_under_another_name(void **state)
{
    (void)state;
    add_image("one", "raw", "/vm/a.img");
    add_device("", "dev", "one");
    parse();
    block_disk_set_vdev(&graph->disks[0], "xvda0");
    assert_non_null(block_graph_find(graph, "d0", false));
    assert_null(block_graph_find(graph, "hda", false));
    assert_null(block_graph_find(graph, "xvda1", false));
    assert_null(block_graph_find(graph, "xvdaa", false));
}

static void must_not_be_served(const char *vdev, const char *words)
{
    struct error err;

    assert_null(block_graph_find_served(graph, vdev, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED_DISK);
    assert_non_null(strstr(err.message, words));
}

static void a_disk_is_served_where_its_pv_driver_alone_is_at_work(void **state)
{
    struct error err;

    (void)state;
    add_image("one", "raw", "/vm/a.img");
    add_image("two", "raw", "/vm/b.img");
    add_node("placeholder", "null-co", "json:{}");
    add_device("", "dev1", "one");
    add_device("", "dev2", "two");
    add_device("", "dev3", "placeholder");
    add_device("ide0-hd1", "dev4", "two");
    parse();
    block_disk_set_vdev(&graph->disks[0], "xvda0");
    block_disk_set_vdev(&graph->disks[1], "xvdb0");
    block_disk_set_vdev(&graph->disks[2], "xvdc0");
    assert_string_equal(block_graph_find_served(graph, "xvda", &err)->node,
                        "one");
    must_not_be_served("xvdb", "disk xvdb is still an emulated one too");
    must_not_be_served("xvdc", "does not serve disk xvdc");
    must_not_be_served("xvdd", "does not serve disk xvdd");
}

/* ---- replies that make no sense ---- */

static void a_root_that_is_not_among_the_nodes_is_an_error(void **state)
{
    (void)state;
    add_device("", "dev", "gone");
    must_not_parse();
}

static void a_chain_whose_next_image_is_missing_is_an_error(void **state)
{
    (void)state;
    add_image("top", "qcow2", "/vm/a.qcow2");
    add_edge("top", "backing", "gone");
    add_device("", "dev", "top");
    must_not_parse();
}

static void nodes_in_a_loop_are_an_error(void **state)
{
    (void)state;
    add_image("one", "qcow2", "/vm/a.qcow2");
    add_image("two", "qcow2", "/vm/b.qcow2");
    add_edge("one", "backing", "two");
    add_edge("two", "backing", "one");
    add_device("", "dev", "one");
    must_not_parse();
}

static void files_in_a_loop_do_not_hang(void **state)
{
    (void)state;
    add_node("one", "qcow2", "/vm/a.qcow2");
    add_node("two", "qcow2", "/vm/b.qcow2");
    add_edge("one", "file", "two");
    add_edge("two", "file", "one");
    add_device("", "dev", "one");
    parse();
    assert_string_equal(graph->disks[0].chain[0].path, "");
}

static void replies_of_another_type_are_an_error(void **state)
{
    (void)state;
    json_object_put(replies.block);
    replies.block = json_object_new_string("x");
    must_not_parse();
    add(replies.named_nodes, "5");
    must_not_parse();
    json_object_put(replies.named_nodes);
    replies.named_nodes = NULL;
    must_not_parse();
}

/* ---- names of disks ---- */

static void check_vdev(const char *name, const char *expected)
{
    struct vdev vdev;
    char text[32];

    assert_true(vdev_parse(name, &vdev));
    vdev_format(&vdev, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void names_of_disks_are_read_as_xen_writes_them(void **state)
{
    (void)state;
    check_vdev("xvda", "xvda");
    check_vdev("xvda0", "xvda");
    check_vdev("xvda10", "xvda10");
    check_vdev("xvdz", "xvdz");
    check_vdev("xvdaa", "xvdaa");
    check_vdev("xvdzz1", "xvdzz1");
    check_vdev("hdb", "hdb");
    check_vdev("sdc2", "sdc2");
    check_vdev("d0", "xvda");
    check_vdev("d0p0", "xvda");
    check_vdev("d26p3", "xvdaa3");
}

static void what_is_no_name_of_a_disk_is_refused(void **state)
{
    static const char *const names[] = {
        "",      "xvd",      "xvd1",     "xvda-",
        "xvdA",  "xvda1x",   "d",        "d0p",
        "dp1",   "d0x",      "vda",      "xvda256",
        "51712", "d1048576", "xvdzzzzz", "xvda99999999999999999999",
    };
    struct vdev vdev;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (vdev_parse(names[i], &vdev))
            fail_msg("taken: %s", names[i]);
    assert_false(vdev_from_drive_id("ide0-cd0", &vdev));
    assert_false(vdev_from_drive_id("ide2-hd0", &vdev));
    assert_false(vdev_from_drive_id("ide0-hd0x", &vdev));
    assert_false(vdev_from_drive_id("ide-5632", &vdev));
    assert_false(vdev_from_drive_id("", &vdev));
}

/* ---- by query-block alone ---- */

static void parse_chains(const char *devices)
{
    struct json_object *json = json_tokener_parse(devices);

    assert_non_null(json);
    graph = block_graph_parse_chains(json);
    json_object_put(json);
}

#define TOP  "'filename': '/vm/a.s1.qcow2', 'format': 'qcow2', "
#define BASE "{'filename': '/vm/a.img', 'format': 'raw', 'virtual-size': 512}"
#define DEVICE(node, image)                                                    \
    "{'device': '', 'qdev': '/machine/x', 'inserted': {'node-name': '" node    \
    "', 'ro': false, 'image': " image "}}"

static void query_block_tells_disks_and_chains(void **state)
{
    const struct block_disk *disk;

    (void)state;
    parse_chains("[{'device': 'ide1-cd0', 'qdev': 'dev'}, " DEVICE(
        "xvdb-snap00c0ffee",
        "{" TOP "'virtual-size': 1024, 'snapshots': [{'name': 'in'}], "
        "'backing-image': " BASE "}") "]");
    assert_non_null(graph);
    assert_int_equal(graph->count, 1);
    disk = block_graph_find(graph, "xvdb", false);
    assert_non_null(disk);
    assert_string_equal(disk->node, "xvdb-snap00c0ffee");
    assert_int_equal(disk->depth, 2);
    assert_string_equal(disk->chain[0].path, "/vm/a.s1.qcow2");
    assert_string_equal(disk->chain[0].snapshots[0], "in");
    assert_true(disk->chain[0].virtual_bytes == 1024);
    assert_string_equal(disk->chain[1].path, "/vm/a.img");
    assert_string_equal(disk->chain[1].format, "raw");
}

static void query_block_tells_emulated_twins(void **state)
{
    (void)state;
    parse_chains("[" DEVICE(
        "xvda-raw", BASE) ", {'device': 'ide0-hd0', "
                          "'qdev': 'ide', 'inserted': {'node-name': '#block1', "
                          "'image': " BASE "}}]");
    assert_non_null(graph);
    assert_non_null(block_graph_find(graph, "xvda", false));
    assert_non_null(block_graph_find(graph, "xvda", true));
}

static void where_query_block_does_not_tell_all_it_is_not_believed(void **state)
{
    static const char *const replies_of_qemu[] = {
        "{}",
        "[" DEVICE("#block123", BASE) "]",
        "[" DEVICE("overlay-1", BASE) "]",
        "[" DEVICE("a-name-that-no-vdev-is-as-long-as", BASE) "]",
        "[{'qdev': 'x', 'inserted': {'node-name': 'xvda-raw'}}]",
        "[" DEVICE("xvda-raw", "{'format': 'raw'}") "]",
        "[" DEVICE("xvda-raw", "{'filename': '/vm/a.img'}") "]",
        "[" DEVICE("xvda-raw", "{'filename': 'json:{}', 'format': 'raw'}") "]",
        "[" DEVICE("xvda-hold",
                   "{'filename': 'null-co://', 'format': 'null-co'}") "]",
        "[" DEVICE("xvda-qcow2",
                   "{" TOP "'backing-image': {'filename': '/vm/a.img', "
                   "'format': 'commit_top'}}") "]",
        "[" DEVICE("xvda-qcow2",
                   "{" TOP "'backing-image': {'filename': 'nbd://h/x', "
                   "'format': 'raw'}}") "]",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(replies_of_qemu) / sizeof(replies_of_qemu[0]); i++) {
        parse_chains(replies_of_qemu[i]);
        if (graph)
            fail_msg("believed: %s", replies_of_qemu[i]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_disk_has_its_active_image_first),
        TEST(an_image_is_named_by_its_file_and_not_by_its_json_name),
        TEST(a_network_image_has_no_path),
        TEST(a_block_device_is_an_image_like_a_file),
        TEST(a_jobs_filter_is_no_image),
        TEST(a_placeholder_holds_no_image),
        TEST(the_twins_of_a_disk_have_chains_of_their_own),
        TEST(internal_snapshots_are_listed),
        TEST(a_device_named_like_a_node_is_not_taken_for_it),
        TEST(drives_without_medium_or_device_are_left_out),
        TEST(devices_that_are_no_disks_of_xen_are_dropped),
        TEST(emulated_disks_are_found_by_the_vdev_that_libxl_made_them_from),
        TEST(a_disk_is_not_found_under_another_name),
        TEST(a_disk_is_served_where_its_pv_driver_alone_is_at_work),
        TEST(a_root_that_is_not_among_the_nodes_is_an_error),
        TEST(a_chain_whose_next_image_is_missing_is_an_error),
        TEST(nodes_in_a_loop_are_an_error),
        TEST(files_in_a_loop_do_not_hang),
        TEST(replies_of_another_type_are_an_error),
        TEST(query_block_tells_disks_and_chains),
        TEST(query_block_tells_emulated_twins),
        TEST(where_query_block_does_not_tell_all_it_is_not_believed),
        cmocka_unit_test(names_of_disks_are_read_as_xen_writes_them),
        cmocka_unit_test(what_is_no_name_of_a_disk_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
