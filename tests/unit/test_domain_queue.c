/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which job runs, which waits, and who comes next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/domain_queue.h"

static struct queue *queue;
static struct queue_job jobs[16];
static char started[256]; /* numbers of the jobs, in the order of starting */
static struct error err;

static void on_start(struct queue_job *job, void *arg)
{
    size_t length = strlen(started);

    (void)arg;
    snprintf(started + length, sizeof(started) - length, "%s%td",
             length ? " " : "", job - jobs);
}

/* per_domain, total, tickets; no requester has as many as `per_owner`. */
static const struct queue_limits *limits(uint32_t per_domain, uint32_t total,
                                         uint32_t tickets)
{
    static struct queue_limits all;

    all = (struct queue_limits){per_domain, 16, total, tickets};
    return &all;
}

static int set_up(void **state)
{
    (void)state;
    memset(jobs, 0, sizeof(jobs));
    started[0] = '\0';
    queue = queue_new(limits(3, 8, 2), on_start, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    queue_free(queue);
    return 0;
}

static bool add(size_t number, const char *domain, bool needs_ticket)
{
    struct queue_job *job = &jobs[number];

    snprintf(job->key, sizeof(job->key), "%s", domain);
    job->needs_ticket = needs_ticket;
    return queue_add(queue, job, &err);
}

static void done(size_t number)
{
    queue_remove(queue, &jobs[number]);
}

static void one_job_of_a_domain_runs_at_a_time_in_order(void **state)
{
    (void)state;
    assert_true(add(0, "a", false));
    assert_true(add(1, "a", false));
    assert_true(add(2, "a", false));
    assert_string_equal(started, "0");
    done(0);
    assert_string_equal(started, "0 1");
    done(1);
    done(2);
    assert_string_equal(started, "0 1 2");
    assert_int_equal(queue_length(queue), 0);
}

static void it_is_known_whether_a_domain_has_jobs(void **state)
{
    (void)state;
    assert_false(queue_has(queue, "a"));
    add(0, "a", false);
    add(1, "a", false);
    done(0);
    assert_true(queue_has(queue, "a"));
    assert_false(queue_has(queue, "b"));
    done(1);
    assert_false(queue_has(queue, "a"));
}

static void domains_run_side_by_side(void **state)
{
    (void)state;
    add(0, "a", false);
    add(1, "b", false);
    add(2, "c", false);
    assert_string_equal(started, "0 1 2");
    done(1);
    add(3, "b", false);
    assert_string_equal(started, "0 1 2 3");
}

static void a_job_that_gives_up_waiting_is_skipped(void **state)
{
    (void)state;
    add(0, "a", false);
    add(1, "a", false);
    add(2, "a", false);
    done(1);
    assert_string_equal(started, "0");
    done(0);
    assert_string_equal(started, "0 2");
}

static void a_domain_may_have_so_many_jobs_waiting(void **state)
{
    (void)state;
    assert_true(add(0, "a", false));
    assert_true(add(1, "a", false));
    assert_true(add(2, "a", false));
    assert_true(add(3, "a", false));
    assert_false(add(4, "a", false));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message,
                        "3 requests for this domain wait already, and no more "
                        "are taken (limits.per-domain)");
    assert_int_equal(queue_length(queue), 4);
    assert_true(add(5, "b", false));
    done(0);
    assert_true(add(4, "a", false));
}

static void there_may_be_so_many_jobs_altogether(void **state)
{
    char domain[2] = "a";
    size_t i;

    (void)state;
    for (i = 0; i < 8; i++, domain[0]++)
        assert_true(add(i, domain, false));
    assert_false(add(8, "z", false));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message,
                        "there are 8 requests already, and no more are taken "
                        "(limits.total)");
}

static bool add_of(size_t number, const char *domain, uint32_t requester)
{
    jobs[number].requester = requester;
    return add(number, domain, false);
}

static void one_requester_may_have_so_many_jobs(void **state)
{
    struct queue_limits few = {3, 2, 8, 2};

    (void)state;
    queue_set_limits(queue, &few);
    assert_true(add_of(0, "a", 7));
    assert_true(add_of(1, "b", 7));
    assert_false(add_of(2, "c", 7));
    assert_int_equal(err.code, ERR_BUSY);
    assert_string_equal(err.message,
                        "domain 7 has 2 requests under way or waiting, and no "
                        "more of it are taken (limits.per-owner)");
    assert_int_equal(queue_length(queue), 2);
    assert_true(add_of(3, "c", 0));
    assert_true(add_of(4, "a", 0));
    assert_false(add_of(5, "b", 0));
    done(0);
    assert_true(add_of(2, "c", 7));
}

static void new_limits_count_for_later_jobs(void **state)
{
    (void)state;
    add(0, "a", false);
    add(1, "a", false);
    queue_set_limits(queue, limits(1, 8, 2));
    assert_false(add(2, "a", false));
    queue_set_limits(queue, limits(2, 8, 2));
    assert_true(add(2, "a", false));
    assert_int_equal(queue_length(queue), 3);
}

static void an_exempt_job_is_taken_whatever_the_limits(void **state)
{
    struct queue_limits least = {1, 1, 1, 1};

    (void)state;
    queue_set_limits(queue, &least);
    assert_true(add(0, "a", true));
    jobs[1].exempt = jobs[2].exempt = true;
    assert_true(add(1, "b", true));
    assert_true(add(2, "a", true));
    /* One at a time for a domain, all the same. */
    assert_string_equal(started, "0 1");
    assert_false(add(3, "c", false));
    done(0);
    assert_string_equal(started, "0 1 2");
    /* No ticket was taken, and none is given back. */
    done(1);
    done(2);
    assert_true(add(3, "c", true));
    queue_set_limits(queue, limits(3, 8, 1));
    assert_true(add(4, "d", true));
    assert_string_equal(started, "0 1 2 3");
}

static void jobs_without_a_free_ticket_wait(void **state)
{
    (void)state;
    add(0, "a", true);
    add(1, "b", true);
    add(2, "c", true);
    add(3, "c", false); /* behind one that waits */
    add(4, "d", false); /* needs none */
    assert_string_equal(started, "0 1 4");
    done(1);
    assert_string_equal(started, "0 1 4 2");
    done(2);
    assert_string_equal(started, "0 1 4 2 3");
}

static void the_domain_that_waited_longest_gets_the_ticket(void **state)
{
    (void)state;
    add(0, "a", true);
    add(1, "b", true);
    add(2, "a", true); /* waits for 0, so not yet for a ticket */
    add(3, "d", true);
    add(4, "c", true);
    done(0);
    assert_string_equal(started, "0 1 3");
    done(1);
    assert_string_equal(started, "0 1 3 4");
    done(3);
    assert_string_equal(started, "0 1 3 4 2");
}

static void a_waiter_that_gives_up_lets_those_behind_it_go(void **state)
{
    (void)state;
    add(0, "a", true);
    add(1, "b", true);
    add(2, "c", true);
    add(3, "c", false);
    done(2);
    assert_string_equal(started, "0 1 3");
    done(3);
    done(0);
    done(1);
    assert_int_equal(queue_length(queue), 0);
    add(4, "c", true);
    assert_string_equal(started, "0 1 3 4");
}

static void more_tickets_serve_old_waiters_before_new_ones(void **state)
{
    (void)state;
    queue_set_limits(queue, limits(3, 8, 1));
    add(0, "a", true);
    add(1, "b", true);
    queue_set_limits(queue, limits(3, 8, 2));
    add(2, "c", true);
    assert_string_equal(started, "0 1");
}

static void fewer_tickets_wait_for_those_out_to_come_back(void **state)
{
    (void)state;
    add(0, "a", true);
    add(1, "b", true);
    queue_set_limits(queue, limits(3, 8, 1));
    add(2, "c", true);
    done(0);
    assert_string_equal(started, "0 1");
    done(1);
    assert_string_equal(started, "0 1 2");
}

static void remove_at_once(struct queue_job *job, void *arg)
{
    on_start(job, arg);
    queue_remove(queue, job);
}

static void a_job_may_be_removed_while_it_is_being_started(void **state)
{
    (void)state;
    queue_free(queue);
    queue = queue_new(limits(3, 8, 1), remove_at_once, NULL);
    assert_true(add(0, "a", true));
    assert_true(add(1, "a", false));
    assert_true(add(2, "b", true));
    assert_string_equal(started, "0 1 2");
    assert_int_equal(queue_length(queue), 0);
}

/* Job 1 and those after it end as soon as they start. */
static void remove_later_ones(struct queue_job *job, void *arg)
{
    on_start(job, arg);
    if (job != &jobs[0])
        queue_remove(queue, job);
}

static void a_whole_queue_may_drain_from_inside_one_removal(void **state)
{
    (void)state;
    queue_free(queue);
    queue = queue_new(limits(3, 8, 1), remove_later_ones, NULL);
    add(0, "a", true);
    add(1, "a", true);
    add(2, "b", true);
    add(3, "b", false);
    add(4, "c", true);
    assert_string_equal(started, "0");
    done(0);
    assert_string_equal(started, "0 2 3 4 1");
    assert_int_equal(queue_length(queue), 0);
}

/* Starting job 0 makes job 1, of the same domain, give up, and adds job 2. */
static void meddle(struct queue_job *job, void *arg)
{
    on_start(job, arg);
    if (job == &jobs[0]) {
        add(1, "a", false);
        add(2, "b", true);
        queue_remove(queue, &jobs[1]);
        queue_remove(queue, &jobs[0]);
    }
}

static void other_jobs_may_come_and_go_while_one_is_started(void **state)
{
    (void)state;
    queue_free(queue);
    queue = queue_new(limits(3, 8, 1), meddle, NULL);
    add(0, "a", true);
    assert_string_equal(started, "0 2");
    assert_int_equal(queue_length(queue), 1);
    done(2);
}

static bool is_of_a(const struct queue_job *job, void *arg)
{
    (void)arg;
    return !strcmp(job->key, "a");
}

static void what_will_be_refused_waits_for_no_ticket(void **state)
{
    (void)state;
    queue_free(queue);
    queue = queue_new(limits(3, 8, 1), on_start, NULL);
    queue_set_refusal(queue, is_of_a);
    add(0, "b", true);
    add(1, "a", true);
    add(2, "a", false);
    assert_string_equal(started, "0 1");
    done(1);
    assert_string_equal(started, "0 1 2");
    add(3, "c", true);
    done(2);
    assert_string_equal(started, "0 1 2");
    done(0);
    assert_string_equal(started, "0 1 2 3");
}

/* ---- against a plain model, with random calls ---- */

static bool runs[16];
static unsigned int tickets_out;

static void note_start(struct queue_job *job, void *arg)
{
    (void)arg;
    assert_false(runs[job - jobs]);
    runs[job - jobs] = true;
    tickets_out += job->needs_ticket;
}

static void assert_nobody_waits_in_vain(const bool *present,
                                        const unsigned int *order)
{
    size_t i, j;

    for (i = 0; i < 16; i++) {
        bool first = present[i];

        for (j = 0; j < 16; j++) {
            if (present[j] && order[j] < order[i] &&
                !strcmp(jobs[j].key, jobs[i].key))
                first = false;
        }
        if (!first)
            assert_false(runs[i]);
        else if (!jobs[i].needs_ticket || tickets_out < 2)
            assert_true(runs[i]);
    }
    assert_true(tickets_out <= 2);
}

static void random_calls_keep_the_promises(void **state)
{
    bool present[16] = {false};
    unsigned int order[16] = {0};
    unsigned int round;

    (void)state;
    queue_free(queue);
    queue = queue_new(limits(16, 16, 2), note_start, NULL);
    srand(1);
    for (round = 1; round < 20000; round++) {
        size_t i = (size_t)rand() % 16;
        char domain[2] = {(char)('a' + rand() % 4), '\0'};

        if (present[i]) {
            tickets_out -= runs[i] && jobs[i].needs_ticket;
            runs[i] = false;
            present[i] = false;
            done(i);
        } else {
            present[i] = true;
            order[i] = round;
            assert_true(add(i, domain, rand() % 2));
        }
        assert_nobody_waits_in_vain(present, order);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_job_of_a_domain_runs_at_a_time_in_order),
        TEST(it_is_known_whether_a_domain_has_jobs),
        TEST(domains_run_side_by_side),
        TEST(a_job_that_gives_up_waiting_is_skipped),
        TEST(a_domain_may_have_so_many_jobs_waiting),
        TEST(there_may_be_so_many_jobs_altogether),
        TEST(one_requester_may_have_so_many_jobs),
        TEST(new_limits_count_for_later_jobs),
        TEST(an_exempt_job_is_taken_whatever_the_limits),
        TEST(jobs_without_a_free_ticket_wait),
        TEST(the_domain_that_waited_longest_gets_the_ticket),
        TEST(a_waiter_that_gives_up_lets_those_behind_it_go),
        TEST(more_tickets_serve_old_waiters_before_new_ones),
        TEST(fewer_tickets_wait_for_those_out_to_come_back),
        TEST(a_job_may_be_removed_while_it_is_being_started),
        TEST(a_whole_queue_may_drain_from_inside_one_removal),
        TEST(other_jobs_may_come_and_go_while_one_is_started),
        TEST(what_will_be_refused_waits_for_no_ticket),
        TEST(random_calls_keep_the_promises),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
