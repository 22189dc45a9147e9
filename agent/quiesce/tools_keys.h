/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keys by which guest tools are asked for a snapshot, as XenServer's
 * toolstack has them (schema/xenstore-paths.md tells all).  Each call is a few
 * round trips.
 *
 * What is there is the guest's: a known word counts, and nothing else does.
 * No rights are given to it: where it may write was somebody else's to say.
 */
#ifndef XENSNAPD_QUIESCE_TOOLS_KEYS_H
#define XENSNAPD_QUIESCE_TOOLS_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xenstore.h>

#include "agent/base/error.h"

struct tools_keys;

/* What the guest wants of the toolstack. */
enum tools_wish {
    TOOLS_WISH_NONE,
    TOOLS_WISH_SNAPSHOT, /* it is frozen, until it is answered */
    TOOLS_WISH_INFO,     /* about disks of a snapshot: what they are called */
    TOOLS_WISH_IMPORT,   /* to be shown them: never */
    TOOLS_WISH_DEPORT,   /* to be shown them no more */
    TOOLS_WISH_DESTROY   /* that they go: what it names was never made */
};

enum tools_end { TOOLS_UNDER_WAY, TOOLS_SAY_CREATED, TOOLS_SAY_ERROR };

struct tools_state {
    bool asked; /* what was asked for still stands there */
    bool taken; /* by the tools */
    enum tools_wish wish;
    enum tools_end end;
};

enum tools_news { TOOLS_NO_NEWS, TOOLS_NEWS, TOOLS_LOST };

/* Whether that guest has tools, and somebody has given them where to write. */
bool tools_keys_announced(struct xs_handle *xs, uint32_t domid,
                          const char *uuid);

/* A connection of its own, which watches; NULL with errno. */
struct tools_keys *tools_keys_open(uint32_t domid, const char *uuid);
int tools_keys_fileno(const struct tools_keys *keys);

/* Whether anything changed since; TOOLS_LOST: xenstored has gone. */
enum tools_news tools_keys_news(struct tools_keys *keys);

void tools_keys_look(struct tools_keys *keys, struct tools_state *ret_state);

bool tools_keys_ask(struct tools_keys *keys, struct error *err);

/* Unless the tools have taken it. */
bool tools_keys_withdraw(struct tools_keys *keys);

/* What the guest must find with the answers; while it waits for them. */
void tools_keys_name_snapshots(struct tools_keys *keys);
void tools_keys_describe_snapshots(struct tools_keys *keys);

/* Whether it was still waiting for the answer to that. */
bool tools_keys_answer(struct tools_keys *keys, enum tools_wish wish,
                       bool success);

/* Its words for TOOLS_SAY_ERROR, sanitised. */
const char *tools_keys_words(struct tools_keys *keys, char *buffer,
                             unsigned int size);

/* Everything that passed; whoever waits yet is told of a failure. */
void tools_keys_clear(struct tools_keys *keys);

void tools_keys_close(struct tools_keys *keys);

#endif
