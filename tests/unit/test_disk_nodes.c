/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How an image is named in xenstore, and the names of libxl's files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "agent/guest/disk_nodes.h"
#include "agent/guest/xen_paths.h"

static void assert_text(char *made, const char *expected)
{
    assert_non_null(made);
    assert_string_equal(made, expected);
    free(made);
}

static void an_image_is_named_with_its_format(void **state)
{
    (void)state;
    assert_text(disk_nodes_params("qcow2", "/vm/a.qcow2"), "qcow2:/vm/a.qcow2");
}

/* QEMU's xen-block knows no "raw" here, but libxl's "aio". */
static void a_raw_image_is_aio_to_libxl(void **state)
{
    (void)state;
    assert_text(disk_nodes_params("raw", "/dev/vg/lv"), "aio:/dev/vg/lv");
}

static void a_colon_in_the_path_stays(void **state)
{
    (void)state;
    assert_text(disk_nodes_params("qcow2", "/vm/a:b"), "qcow2:/vm/a:b");
}

static void a_format_that_libxl_does_not_know_has_no_name(void **state)
{
    (void)state;
    assert_null(disk_nodes_params("vmdk", "/vm/a.vmdk"));
    assert_null(disk_nodes_params("", "/vm/a"));
}

static void userdata_is_named_as_libxl_does(void **state)
{
    (void)state;
    assert_text(xen_userdata_path(XEN_USERDATA_DATA, 7,
                                  "0d5b4c9e-1111-4222-8333-0123456789ab",
                                  "libxl-json"),
                "/var/lib/xen/userdata-d.7.0d5b4c9e-1111-4222-8333-"
                "0123456789ab.libxl-json");
}

static void a_core_dump_stays_in_its_folder(void **state)
{
    (void)state;
    assert_text(xen_core_dump_path("vm"), "/var/lib/xen/dump/vm");
    assert_text(xen_core_dump_path("../../etc/vm"),
                "/var/lib/xen/dump/.._.._etc_vm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_is_named_with_its_format),
        cmocka_unit_test(a_raw_image_is_aio_to_libxl),
        cmocka_unit_test(a_colon_in_the_path_stays),
        cmocka_unit_test(a_format_that_libxl_does_not_know_has_no_name),
        cmocka_unit_test(userdata_is_named_as_libxl_does),
        cmocka_unit_test(a_core_dump_stays_in_its_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
