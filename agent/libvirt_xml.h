/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is needed of a domain's XML as libvirt itself writes it (its
 * conf/domain_conf.c, virDomainDefFormat()): one element a line, attributes in
 * single quotes.  For no other XML.  Pure.
 */
#ifndef XENSNAPD_LIBVIRT_XML_H
#define XENSNAPD_LIBVIRT_XML_H

#include <stdbool.h>

#include "agent/guest/guests.h"

/* False if it names none; else in lower case. */
bool libvirt_xml_uuid(const char *xml, char ret_uuid[GUEST_UUID_LENGTH + 1]);

/* The image that a disk names, of the file system or a block device; `vdev` is
 * "" if the disk has none.  Both are valid during the call. */
typedef void libvirt_xml_on_image(const char *vdev, const char *path,
                                  void *arg);

void libvirt_xml_each_image(const char *xml, libvirt_xml_on_image *on_image,
                            void *arg);

#endif
