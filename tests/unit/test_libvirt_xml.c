/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read from a domain's XML as libvirt writes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "agent/libvirt_xml.h"

#define UUID "6f1c2d3e-0000-4000-8000-000000000001"

static void append(const char *vdev, const char *path, void *arg)
{
    char *text = arg;
    size_t length = strlen(text);

    snprintf(text + length, 256 - length, "%s=%s ", vdev, path);
}

static void assert_images(const char *xml, const char *expected)
{
    char text[256] = "";

    libvirt_xml_each_image(xml, append, text);
    assert_string_equal(text, expected);
}

static void the_images_of_all_disks_are_found(void **state)
{
    (void)state;
    assert_images("<domain type='xen'>\n  <devices>\n"
                  "    <disk type='file' device='disk'>\n"
                  "      <driver name='qemu' type='qcow2'/>\n"
                  "      <source file='/srv/a.qcow2'/>\n"
                  "      <target dev='xvda' bus='xen'/>\n"
                  "    </disk>\n"
                  "    <disk type='block' device='disk'>\n"
                  "      <source dev='/dev/vg/b' index='1'/>\n"
                  "      <target dev='xvdb' bus='xen'/>\n"
                  "    </disk>\n"
                  "    <console type='pty'>\n"
                  "      <source path='/dev/pts/1'/>\n"
                  "    </console>\n"
                  "  </devices>\n</domain>\n",
                  "xvda=/srv/a.qcow2 xvdb=/dev/vg/b ");
}

static void a_drive_without_a_medium_has_none(void **state)
{
    (void)state;
    assert_images("<disk type='file' device='cdrom'>\n"
                  "  <target dev='hdc' bus='ide'/>\n</disk>\n"
                  "<disk type='network' device='disk'>\n"
                  "  <source protocol='rbd' name='pool/image'/>\n"
                  "  <target dev='xvda' bus='xen'/>\n</disk>\n",
                  "");
}

static void what_xml_writes_differently_is_read_as_it_was_meant(void **state)
{
    (void)state;
    assert_images("<disk type='file'>\n"
                  "<source file='/srv/&quot;R&amp;D&quot; &lt;it&apos;s&gt;'/>"
                  "</disk>",
                  "=/srv/\"R&D\" <it's> ");
    assert_images("<disk type='file'><source file='/srv/&amp;lt;'/></disk>",
                  "=/srv/&lt; ");
}

static void what_is_cut_short_is_no_disk(void **state)
{
    (void)state;
    assert_images("<disk type='file'><source file='/srv/a'/>", "");
    assert_images("<disk type='file'><source file='/srv/a</disk>", "");
    assert_images("", "");
}

static void the_uuid_is_told_in_lower_case(void **state)
{
    char uuid[GUEST_UUID_LENGTH + 1];

    (void)state;
    assert_true(libvirt_xml_uuid("<domain>\n  <name>web</name>\n"
                                 "  <uuid>6F1C2D3E-0000-4000-8000-"
                                 "000000000001</uuid>\n",
                                 uuid));
    assert_string_equal(uuid, UUID);
}

static void what_is_no_uuid_is_not_taken_for_one(void **state)
{
    char uuid[GUEST_UUID_LENGTH + 1];

    (void)state;
    assert_false(libvirt_xml_uuid("<domain/>", uuid));
    assert_false(libvirt_xml_uuid("<uuid>6f1c</uuid>", uuid));
    assert_false(libvirt_xml_uuid("<uuid>", uuid));
    assert_false(libvirt_xml_uuid("<uuid>" UUID "0</uuid>", uuid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_images_of_all_disks_are_found),
        cmocka_unit_test(a_drive_without_a_medium_has_none),
        cmocka_unit_test(what_xml_writes_differently_is_read_as_it_was_meant),
        cmocka_unit_test(what_is_cut_short_is_no_disk),
        cmocka_unit_test(the_uuid_is_told_in_lower_case),
        cmocka_unit_test(what_is_no_uuid_is_not_taken_for_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
