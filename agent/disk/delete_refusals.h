/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why a delete cannot merge an image, in words: what lies there is the user's
 * to decide on.  All set `err`, and are false. */
#ifndef XENSNAPD_DISK_DELETE_REFUSALS_H
#define XENSNAPD_DISK_DELETE_REFUSALS_H

#include <stdbool.h>

#include "agent/base/error.h"

struct snapshot_disk;

/* The domain uses the state, and `over` is aside, perhaps with `above` over
 * it, else NULL. */
bool delete_state_is_used(const struct snapshot_disk *disk, const char *over,
                          const char *above, struct error *err);

/* Both lie over the state; `aside`: which of them no snapshot and no domain
 * needs, NULL if neither. */
bool delete_state_has_branches(const char *vdev, const char *state,
                               const char *first, const char *second,
                               const char *aside, struct error *err);

/* Only that one lies over the state, and no snapshot needs it, nor does the
 * domain, which runs or not, as far as that is known. */
bool delete_over_is_aside(const struct snapshot_disk *disk, const char *state,
                          bool runs, const char *over, struct error *err);

/* The state was written to, and by whom nobody has told. */
bool delete_state_is_written_to(const struct snapshot_disk *disk,
                                const char *over, struct error *err);

#endif
