/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a snapshot of a disk is called in SCSI's words, as Windows wants it of
 * each disk that it has had snapshotted: the vital product data pages 0x80
 * (serial number) and 0x83 (identification), in base64.  No such disk is ever
 * shown to the guest.  Pure.
 */
#ifndef XENSNAPD_QUIESCE_TOOLS_PAGES_H
#define XENSNAPD_QUIESCE_TOOLS_PAGES_H

/* Of the disk called `uuid`; the caller's to free(). */
char *tools_page80(const char *uuid);
char *tools_page83(const char *uuid);

#endif
