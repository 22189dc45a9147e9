/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands in xenstore of each VM, remembered, so that publishing writes
 * what has changed and no more: a VM's hundredth snapshot costs as much as its
 * first.
 *
 * A node is what changes as a whole: a snapshot, a disk's chain, `current`.
 * Of what was written a hash is kept, not the text.
 */
#ifndef XENSNAPD_PUBLISHED_H
#define XENSNAPD_PUBLISHED_H

#include "agent/store/keys.h"
#include "agent/store/stream.h"

struct published_node {
    char *path; /* relative to the root */
    struct keys keys;
};

/* All nodes of a VM, as they should be. */
struct published_nodes {
    struct published_node *items;
    size_t count;
    size_t room;
};

/* The node's keys, to be added to; valid until the next call.  Their paths are
 * relative to the root as well. */
struct keys *published_node(struct published_nodes *nodes, const char *path);
void published_nodes_dispose(struct published_nodes *nodes);

struct published;

struct published *published_new(void);
void published_free(struct published *published);

/* Nothing stands there any more. */
void published_clear(struct published *published);

/* Of a VM of which nothing stands there yet, while the status says that the
 * agent is only starting: not in a transaction, which costs xenstored the more
 * the more it holds.  If the stream fails nothing of this is known any more:
 * published_clear(). */
void published_begin(struct published *published, struct stream *stream,
                     const char *root, const char *vm_uuid,
                     struct published_nodes *nodes);

/*
 * What makes xenstore hold these nodes of the VM and no others is added to
 * `ret_changes`, to be made in one transaction.  published_settle() is told
 * whether it was, before anything else is asked of `published`, and frees it.
 */
struct published_change;
struct published_change *published_plan(struct published *published,
                                        const char *vm_uuid,
                                        struct published_nodes *nodes,
                                        struct keys *ret_changes);
void published_settle(struct published *published,
                      struct published_change *change, bool made);

#endif
