/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The head of an xl save file (xl.h, xl_saverestore.c): magic, byte order,
 * flags and the domain's configuration as JSON; libxl's stream follows it.
 * What is written here is what `xl restore FILE` takes.  Pure.
 */
#ifndef XENSNAPD_GUEST_SAVEFILE_H
#define XENSNAPD_GUEST_SAVEFILE_H

#include <stddef.h>

#include "agent/base/error.h"

/* No head is longer: what to read from a file for savefile_decode(). */
#define SAVEFILE_HEAD_MAX (1024 * 1024)

/*
 * Encodes the head for `config_json`.  `*ret_data` is the caller's to free().
 * ERR_INTERNAL if it would be longer than SAVEFILE_HEAD_MAX.
 */
bool savefile_encode(const char *config_json, void **ret_data,
                     size_t *ret_length, struct error *err);

/*
 * Decodes the head found at the start of `data` (`length` bytes of the file,
 * SAVEFILE_HEAD_MAX or all of it).  On success `*ret_config_json` is the
 * caller's to free() and `*ret_head_length` is where the stream begins.
 * ERR_NO_MEMORY_STATE if it is not such a file, or one that this program
 * cannot restore, saying why.
 */
bool savefile_decode(const void *data, size_t length, char **ret_config_json,
                     size_t *ret_head_length, struct error *err);

/* How much of the stream savefile_check_stream() looks at. */
#define SAVEFILE_STREAM_HEAD 24

/*
 * Checks that `data`, the first bytes behind the head, begins a libxl stream
 * (docs/specs/libxl-migration-stream.pandoc); ERR_NO_MEMORY_STATE if not.
 * Leave no other to libxl: 4.17 calls a null pointer when a stream turns out
 * bad before the save helper runs (helper_done(), libxl_save_callout.c).
 */
bool savefile_check_stream(const void *data, size_t length, struct error *err);

#endif
