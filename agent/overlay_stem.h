/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the names of new overlays begin with. */
#ifndef XENSNAPD_OVERLAY_STEM_H
#define XENSNAPD_OVERLAY_STEM_H

#include "agent/journal/records.h"

/*
 * The stem of the name of an overlay over `path`, an image of the VM's that
 * `driver` serves (NULL: domain 0).  NULL if that is none that we made: then it
 * is the stem of the image itself.  Over one that we made it is the stem of the
 * first image under it that we did not, so that names do not grow with the
 * chain, also where snapshots between have been deleted.  The caller's to
 * free().
 */
char *overlay_stem(const struct records *records, const char *vm_uuid,
                   const char *driver, const char *path);

#endif
