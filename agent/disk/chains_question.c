/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A question to QEMU, and its answer until somebody wants it. */
#include "agent/disk/chains_question.h"

#include <stdlib.h>

#include "agent/base/alloc.h"

struct chains_question {
    struct qmp *qmp;
    bool answered;
    struct block_graph *graph; /* NULL: `err` tells why */
    struct error err;
    chains_on_answer *on_answer; /* NULL: nobody waits yet */
    void *arg;
};

static void hand_on(struct chains_question *question)
{
    struct chains_question answered = *question;

    free(question);
    if (answered.graph) {
        answered.on_answer(answered.qmp, answered.graph, NULL, answered.arg);
    } else {
        qmp_close(answered.qmp);
        answered.on_answer(NULL, NULL, &answered.err, answered.arg);
    }
}

static void on_graph(struct block_graph *graph, const struct error *err,
                     void *arg)
{
    struct chains_question *question = arg;

    question->answered = true;
    question->graph = graph;
    if (err)
        question->err = *err;
    if (question->on_answer)
        hand_on(question);
}

/* If that failed, so does what was asked. */
static void on_open(struct qmp *qmp, const struct error *err, void *arg)
{
    (void)qmp;
    (void)err;
    (void)arg;
}

struct chains_question *chains_ask(struct event_base *base,
                                   const struct qmp_settings *settings,
                                   uint32_t domid, const char *uuid)
{
    struct chains_question *question = xcalloc(1, sizeof(*question));

    question->qmp = qmp_open(base, settings, domid, uuid, on_open, NULL);
    block_graph_query_chains(question->qmp, on_graph, question);
    return question;
}

void chains_await(struct chains_question *question, chains_on_answer *on_answer,
                  void *arg)
{
    question->on_answer = on_answer;
    question->arg = arg;
    if (question->answered)
        hand_on(question);
}

void chains_forget(struct chains_question *question)
{
    if (!question)
        return;
    qmp_close(question->qmp);
    block_graph_free(question->graph);
    free(question);
}
