/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a path really leads where its text says.
 *
 * Between looking and using, somebody may put a link in the place of a folder.
 * So beside following none, this asks that nobody but root could: each folder
 * on the way belongs to root (or to the agent's own user), and whoever else may
 * write there is held by its sticky bit, as in /tmp.  Then what was found stays
 * so, unless root itself changes it.
 */
#ifndef XENSNAPD_BASE_CONFINE_H
#define XENSNAPD_BASE_CONFINE_H

#include "agent/base/error.h"

/* `path` is a plain absolute one.  What it names need not exist, but must not
 * be a link.  ERR_PATH_NOT_ALLOWED, naming the folder at fault. */
bool confine_check(const char *path, struct error *err);

#endif
