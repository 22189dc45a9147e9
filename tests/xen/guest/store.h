// SPDX-License-Identifier: LGPL-2.1-or-later
/* The guest's own xenstore, through the kernel's /dev/xen/xenbus: what it may
 * do there is what the domain may. */
#ifndef STORE_H
#define STORE_H

/* "PATH VALUE PATH VALUE ...", all in one transaction; says "stored" or the
 * error's name. */
void store_write(char *pairs);

/* Says "store PATH=VALUE" or "store PATH ERROR". */
void store_read(const char *path);

#endif
