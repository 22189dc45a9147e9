/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU has open, asked for before it is needed: QEMU answers while
 * something else is done.
 */
#ifndef XENSNAPD_DISK_CHAINS_QUESTION_H
#define XENSNAPD_DISK_CHAINS_QUESTION_H

#include "agent/disk/block_graph.h"

struct chains_question;

/* `qmp`, the session in which it was asked, still open, and `graph` are the
 * callee's; both NULL with `err` set. */
typedef void chains_on_answer(struct qmp *qmp, struct block_graph *graph,
                              const struct error *err, void *arg);

/* Begins a session, and asks (block_graph_query_chains()).  `settings` must
 * outlive it. */
struct chains_question *chains_ask(struct event_base *base,
                                   const struct qmp_settings *settings,
                                   uint32_t domid, const char *uuid);

/* Called at once if the answer is there; frees the question before. */
void chains_await(struct chains_question *question, chains_on_answer *on_answer,
                  void *arg);

/* Ends the session; no answer comes.  NULL is allowed. */
void chains_forget(struct chains_question *question);

#endif
