/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state that a hypervisor would hold, kept in plain files, so that every
 * process under a shim and the Python harness see and change the same one.
 *
 * FAKE_XEN_DIR (default /run/fake-xen) holds:
 *
 *   lock               flock(2)ed around every change of what follows
 *   host               "key=value" lines: total-kb, free-kb, cpus
 *   domains/<domid>    "key=value" lines, see struct fake_domain
 *   grants/<domid>     page <ref> of this file is what the domain granted as
 *                      reference <ref>; page 1 is its xenstore ring
 *   memory/<domid>     an HVM guest's memory
 *   evtchn/            ports and the FIFOs that carry their events, see
 *                      fake_evtchn.c
 *   xsd_port, xsd_kva  what xenstored reads of its own domain
 *   hypercalls         one line for each call that changed something or that
 *                      nothing here answers
 */
#ifndef NATIVE_SHIM_FAKE_XEN_H
#define NATIVE_SHIM_FAKE_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_MAX_DOMAINS 4096
#define FAKE_RUNNING     (-1)

struct fake_domain {
    uint32_t domid;
    uint8_t uuid[16];
    bool hvm;        /* type=pvh and type=hvm */
    bool emulated;   /* type=hvm */
    bool dying;      /* dying=1 */
    int paused;      /* paused=N, Xen counts pauses */
    int shutdown;    /* shutdown=-1, or a SHUTDOWN_* reason */
    uint64_t kb;     /* memory-kb */
    uint64_t max_kb; /* max-kb */
    uint32_t vcpus;  /* vcpus */
};

struct fake_host {
    uint64_t total_kb, free_kb;
    uint32_t cpus;
    bool no_lists; /* no-lists=1: domains cannot be listed */
};

/* A path under FAKE_XEN_DIR; aborts when it does not fit. */
void fake_path(char *buffer, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An fd to hand to fake_unlock(); aborts on failure: a test world without
 * its folder has nothing useful left to do. */
int fake_lock(void);
void fake_unlock(int lock);

bool fake_domain_load(uint32_t domid, struct fake_domain *ret_domain);
void fake_domain_store(const struct fake_domain *domain);
void fake_domain_remove(uint32_t domid);

/* Existing domids in rising order; the number found. */
size_t fake_domain_ids(uint32_t *ret_ids, size_t max);

void fake_host_load(struct fake_host *ret_host);

/* The domain that this process acts as: FAKE_XEN_DOMID, else 0. */
uint32_t fake_own_domid(void);

/* Gives a domain an unbound port that the process's own domain may bind. */
void fake_offer_port(uint32_t domid, uint32_t number);

/* Sends a global virtual interrupt to whoever bound it. */
void fake_raise_virq(unsigned int virq);

/* Appends a line to `hypercalls`. */
void fake_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
