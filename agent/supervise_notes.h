/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the supervisor has to remember over a restart of the agent: files in
 * <run_folder>/supervised, which end with the boot, like the domains.  Where
 * the run folder outlives it, they are removed when they are read.
 *
 *   <uuid>        the domid of a domain that is looked after, as text, and in a
 *                 second line the boot that it is of (clock_boot()), if known
 *   <uuid>.json   its configuration as libxl's JSON, from before it is
 *                 destroyed to be started anew, or reset, until it runs again
 *
 * Each with its checksum (journal/seal.h).  What is damaged is logged and
 * renamed to <name>.aside, and never used.
 */
#ifndef XENSNAPD_SUPERVISE_NOTES_H
#define XENSNAPD_SUPERVISE_NOTES_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/error.h"
#include "agent/guest/guests.h"

struct supervise_note {
    char uuid[GUEST_UUID_LENGTH + 1];
    uint32_t domid;
};

/* Makes the folder.  The caller's to free(); NULL with `err` set. */
char *notes_open(const char *run_folder, struct error *err);

bool note_write(const char *folder, const char *uuid, uint32_t domid,
                struct error *err);
/* With the configuration.  That there is none is no error. */
void note_remove(const char *folder, const char *uuid);

/* All of this boot; a file that is not named like one is left alone.
 * `*ret_notes` is the caller's to free(). */
size_t notes_read(const char *folder, struct supervise_note **ret_notes);

/* The caller's to free(). */
char *note_config_path(const char *folder, const char *uuid);
/* The text, the caller's to free(), or NULL. */
char *note_read_config(const char *folder, const char *uuid);
bool note_write_config(const char *folder, const char *uuid, const char *json,
                       struct error *err);
void note_remove_config(const char *folder, const char *uuid);

#endif
