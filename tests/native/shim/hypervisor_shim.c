/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hypervisor of files: stands in for libxencall and libxengnttab under
 * LD_PRELOAD; device_model_shim.c and fake_evtchn.c do so for their libraries.
 *
 * The cut is at the hypercall itself, so that all of libxenctrl runs for
 * real; a hypercall that nothing here answers fails with ENOSYS and is noted
 * in FAKE_XEN_DIR/hypercalls, it never reaches through a faked handle.
 */
#include "fake_xen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xenctrl.h>

#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/version.h>
#include <xencall.h>
#include <xengnttab.h>

#define PAGE        4096u
#define KB_PER_PAGE 4u

static void *pointer(uint64_t argument)
{
    return (void *)(uintptr_t)argument;
}

/* ---- what is asked about a domain ------------------------------------ */

static void fill_domain_info(const struct fake_domain *domain,
                             struct xen_domctl_getdomaininfo *info)
{
    memset(info, 0, sizeof(*info));
    info->domain = (domid_t)domain->domid;
    if (domain->hvm) {
        info->flags |= XEN_DOMINF_hvm_guest | XEN_DOMINF_hap;
        info->arch_config.emulation_flags =
            domain->emulated ? XEN_X86_EMU_ALL : XEN_X86_EMU_LAPIC;
    }
    if (domain->dying)
        info->flags |= XEN_DOMINF_dying;
    if (domain->paused)
        info->flags |= XEN_DOMINF_paused;
    if (domain->shutdown != FAKE_RUNNING)
        info->flags |= XEN_DOMINF_shutdown | (uint32_t)domain->shutdown
                                                 << XEN_DOMINF_shutdownshift;
    else if (!domain->paused)
        info->flags |= XEN_DOMINF_blocked;
    info->tot_pages = domain->kb / KB_PER_PAGE;
    info->max_pages = domain->max_kb / KB_PER_PAGE;
    info->nr_online_vcpus = domain->vcpus;
    info->max_vcpu_id = domain->vcpus - 1;
    info->gpaddr_bits = 46;
    memcpy(info->handle, domain->uuid, sizeof(domain->uuid));
}

/* Of the domains from `first` on at most `max`, by their domids.  Asking for
 * one that is there costs the same however many there are, as in Xen. */
static uint32_t load_domains(uint32_t first, struct fake_domain *domains,
                             uint32_t max)
{
    uint32_t ids[FAKE_MAX_DOMAINS];
    uint32_t filled = 0;
    size_t count, i;

    if (max == 1 && fake_domain_load(first, domains))
        return 1;
    count = fake_domain_ids(ids, FAKE_MAX_DOMAINS);
    for (i = 0; i < count && filled < max; i++)
        if (ids[i] >= first && fake_domain_load(ids[i], &domains[filled]))
            filled++;
    return filled;
}

/* As in Xen, asking for a domid that is not there answers with the next. */
static int get_domain_info(struct xen_domctl *domctl)
{
    struct fake_domain domain;

    if (!load_domains(domctl->domain, &domain, 1)) {
        errno = ESRCH;
        return -1;
    }
    fill_domain_info(&domain, &domctl->u.getdomaininfo);
    domctl->domain = (domid_t)domain.domid;
    return 0;
}

static int get_domain_info_list(struct xen_sysctl_getdomaininfolist *list)
{
    static struct fake_domain domains[FAKE_MAX_DOMAINS];
    uint32_t max = list->max_domains < FAKE_MAX_DOMAINS ? list->max_domains
                                                        : FAKE_MAX_DOMAINS;
    struct fake_host host;
    uint32_t i;

    /* libxl asks for a single domain by a list of one. */
    fake_host_load(&host);
    if (host.no_lists && list->max_domains > 1) {
        errno = ENOMEM;
        return -1;
    }
    list->num_domains = load_domains(list->first_domain, domains, max);
    for (i = 0; i < list->num_domains; i++)
        fill_domain_info(&domains[i], &list->buffer.p[i]);
    return 0;
}

/* ---- what changes a domain ------------------------------------------- */

static int destroy(uint32_t domid)
{
    fake_domain_remove(domid);
    fake_raise_virq(VIRQ_DOM_EXC);
    return 0;
}

/* The caller holds the lock. */
static int change_domain(struct xen_domctl *domctl)
{
    struct fake_domain domain;

    if (!fake_domain_load(domctl->domain, &domain))
        return -1;
    switch (domctl->cmd) {
    case XEN_DOMCTL_pausedomain:
        fake_note("pause %u", domain.domid);
        domain.paused++;
        break;
    case XEN_DOMCTL_unpausedomain:
        fake_note("unpause %u", domain.domid);
        if (domain.paused == 0) {
            errno = EINVAL;
            return -1;
        }
        domain.paused--;
        break;
    case XEN_DOMCTL_resumedomain:
        fake_note("resume %u", domain.domid);
        domain.shutdown = FAKE_RUNNING;
        break;
    case XEN_DOMCTL_destroydomain:
        fake_note("destroy %u", domain.domid);
        return destroy(domain.domid);
    case XEN_DOMCTL_max_mem:
        fake_note("max-mem %u %llu", domain.domid,
                  (unsigned long long)domctl->u.max_mem.max_memkb);
        domain.max_kb = domctl->u.max_mem.max_memkb;
        break;
    default:
        abort();
    }
    fake_domain_store(&domain);
    return 0;
}

static int scheduler_of_domain(struct xen_domctl_scheduler_op *op)
{
    if (op->sched_id != XEN_SCHEDULER_CREDIT2 ||
        op->cmd != XEN_DOMCTL_SCHEDOP_getinfo) {
        errno = EINVAL;
        return -1;
    }
    op->u.credit2.weight = 256;
    op->u.credit2.cap = 0;
    return 0;
}

/* libxl marks a cancelled suspend in the first register of vcpu 0. */
static int set_vcpu_context(const struct xen_domctl *domctl)
{
    const struct vcpu_guest_context *context = domctl->u.vcpucontext.ctxt.p;

    fake_note("set-vcpu-context %u vcpu=%u rax=%llu", domctl->domain,
              domctl->u.vcpucontext.vcpu,
              context ? (unsigned long long)context->user_regs.rax : 0ull);
    return 0;
}

static int known_domain(uint32_t domid)
{
    struct fake_domain domain;

    return fake_domain_load(domid, &domain) ? 0 : -1;
}

/* As long as a test wants, for taking a large domain's memory back takes. */
static void begin_destroy(uint32_t domid)
{
    struct fake_domain domain;
    char held[PATH_MAX];
    int lock = fake_lock();

    if (fake_domain_load(domid, &domain)) {
        domain.dying = true;
        fake_domain_store(&domain);
    }
    fake_unlock(lock);
    fake_path(held, sizeof(held), "hold-destroy");
    while (access(held, F_OK) == 0)
        usleep(5000);
}

static int do_domctl(struct xen_domctl *domctl)
{
    int lock, rc;

    if (domctl->cmd == XEN_DOMCTL_destroydomain)
        begin_destroy(domctl->domain);
    switch (domctl->cmd) {
    case XEN_DOMCTL_getdomaininfo:
        return get_domain_info(domctl);
    case XEN_DOMCTL_pausedomain:
    case XEN_DOMCTL_unpausedomain:
    case XEN_DOMCTL_resumedomain:
    case XEN_DOMCTL_destroydomain:
    case XEN_DOMCTL_max_mem:
        lock = fake_lock();
        rc = change_domain(domctl);
        fake_unlock(lock);
        return rc;
    case XEN_DOMCTL_scheduler_op:
        if (known_domain(domctl->domain))
            return -1;
        return scheduler_of_domain(&domctl->u.scheduler_op);
    case XEN_DOMCTL_get_address_size:
        domctl->u.address_size.size = 64;
        return known_domain(domctl->domain);
    case XEN_DOMCTL_getvcpucontext:
        memset(domctl->u.vcpucontext.ctxt.p, 0,
               sizeof(struct vcpu_guest_context));
        return known_domain(domctl->domain);
    case XEN_DOMCTL_setvcpucontext:
        if (known_domain(domctl->domain))
            return -1;
        return set_vcpu_context(domctl);
    case XEN_DOMCTL_shadow_op:
        /* Xen built without shadow paging, as Debian's: a PV domain's
         * memory cannot be logged. */
        fake_note("shadow-op %u", domctl->domain);
        errno = EINVAL;
        return -1;
    default:
        fake_note("unanswered domctl %u of domain %u", domctl->cmd,
                  domctl->domain);
        errno = ENOSYS;
        return -1;
    }
}

/* ---- what is asked about the host ------------------------------------ */

static int physinfo(struct xen_sysctl_physinfo *info)
{
    struct fake_host host;

    fake_host_load(&host);
    memset(info, 0, sizeof(*info));
    info->threads_per_core = 1;
    info->cores_per_socket = host.cpus;
    info->nr_cpus = host.cpus;
    info->max_cpu_id = host.cpus - 1;
    info->nr_nodes = 1;
    info->cpu_khz = 1000000;
    info->capabilities =
        XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_hvm | XEN_SYSCTL_PHYSCAP_hap;
    info->total_pages = host.total_kb / KB_PER_PAGE;
    info->free_pages = host.free_kb / KB_PER_PAGE;
    info->max_mfn = info->total_pages;
    return 0;
}

static int cpupool(struct xen_sysctl_cpupool_op *op)
{
    uint32_t ids[FAKE_MAX_DOMAINS];

    if (op->op != XEN_SYSCTL_CPUPOOL_OP_INFO) {
        errno = ENOSYS;
        return -1;
    }
    /* Xen answers with the next pool; libxl lists them until ENOENT. */
    if (op->cpupool_id > 0) {
        errno = ENOENT;
        return -1;
    }
    op->sched_id = XEN_SCHEDULER_CREDIT2;
    op->n_dom = (uint32_t)fake_domain_ids(ids, FAKE_MAX_DOMAINS);
    if (op->cpumap.bitmap.p && op->cpumap.nr_bits >= 8)
        op->cpumap.bitmap.p[0] = 1;
    return 0;
}

static int do_sysctl(struct xen_sysctl *sysctl)
{
    switch (sysctl->cmd) {
    case XEN_SYSCTL_getdomaininfolist:
        return get_domain_info_list(&sysctl->u.getdomaininfolist);
    case XEN_SYSCTL_physinfo:
        return physinfo(&sysctl->u.physinfo);
    case XEN_SYSCTL_sched_id:
        sysctl->u.sched_id.sched_id = XEN_SCHEDULER_CREDIT2;
        return 0;
    case XEN_SYSCTL_cpupool_op:
        return cpupool(&sysctl->u.cpupool_op);
    default:
        fake_note("unanswered sysctl %u", sysctl->cmd);
        errno = ENOSYS;
        return -1;
    }
}

static int do_version(uint64_t cmd, void *buffer)
{
    switch (cmd) {
    case XENVER_version:
        return 4 << 16 | 17;
    case XENVER_pagesize:
        return PAGE;
    case XENVER_extraversion:
        snprintf(buffer, sizeof(xen_extraversion_t), ".0-fake");
        return 0;
    case XENVER_capabilities:
        snprintf(buffer, sizeof(xen_capabilities_info_t),
                 "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p "
                 "hvm-3.0-x86_64 ");
        return 0;
    case XENVER_changeset:
    case XENVER_commandline:
        *(char *)buffer = '\0';
        return 0;
    case XENVER_compile_info:
        memset(buffer, 0, sizeof(struct xen_compile_info));
        return 0;
    case XENVER_platform_parameters:
        ((struct xen_platform_parameters *)buffer)->virt_start = 0;
        return 0;
    default:
        errno = ENOSYS;
        return -1;
    }
}

/* ---- the remaining hypercalls ---------------------------------------- */

static int do_hvm_op(uint64_t cmd, void *buffer)
{
    struct xen_hvm_param *param = buffer;

    if (cmd == HVMOP_set_param)
        return known_domain(param->domid);
    if (cmd != HVMOP_get_param) {
        fake_note("unanswered hvm-op %llu", (unsigned long long)cmd);
        errno = ENOSYS;
        return -1;
    }
    if (known_domain(param->domid))
        return -1;
    /* Every faked guest has PV drivers, which set the callback. */
    param->value = param->index == HVM_PARAM_CALLBACK_IRQ ? 1 : 0;
    return 0;
}

static int do_sched_op(uint64_t cmd,
                       const struct sched_remote_shutdown *arguments)
{
    struct fake_domain domain;
    bool found;
    int lock;

    if (cmd != SCHEDOP_remote_shutdown) {
        fake_note("unanswered sched-op %llu", (unsigned long long)cmd);
        errno = ENOSYS;
        return -1;
    }
    lock = fake_lock();
    found = fake_domain_load(arguments->domain_id, &domain);
    if (found) {
        fake_note("shutdown %u reason=%u", domain.domid, arguments->reason);
        domain.shutdown = (int)arguments->reason;
        fake_domain_store(&domain);
        fake_raise_virq(VIRQ_DOM_EXC);
    }
    fake_unlock(lock);
    return found ? 0 : -1;
}

static long do_memory_op(uint64_t cmd, const void *buffer)
{
    switch (cmd) {
    case XENMEM_populate_physmap:
        /* Memory is there when it is mapped. */
        return (long)((const struct xen_memory_reservation *)buffer)
            ->nr_extents;
    case XENMEM_get_sharing_freed_pages:
    case XENMEM_get_sharing_shared_pages:
        return 0;
    case XENMEM_get_vnumainfo:
        errno = EOPNOTSUPP; /* it has none */
        return -1;
    default:
        fake_note("unanswered memory-op %llu", (unsigned long long)cmd);
        errno = ENOSYS;
        return -1;
    }
}

static long hypercall(unsigned int op, uint64_t first, uint64_t second);

/* libxenctrl wraps some calls so, where it wants more than an int back. */
static long do_multicall(struct multicall_entry *calls, uint64_t count)
{
    uint64_t i;

    for (i = 0; i < count; i++) {
        long result = hypercall((unsigned int)calls[i].op, calls[i].args[0],
                                calls[i].args[1]);

        calls[i].result = (xen_ulong_t)(result == -1 ? -errno : result);
    }
    return 0;
}

static long hypercall(unsigned int op, uint64_t first, uint64_t second)
{
    switch (op) {
    case __HYPERVISOR_multicall:
        return do_multicall(pointer(first), second);
    case __HYPERVISOR_domctl:
        return do_domctl(pointer(first));
    case __HYPERVISOR_sysctl:
        return do_sysctl(pointer(first));
    case __HYPERVISOR_xen_version:
        return do_version(first, pointer(second));
    case __HYPERVISOR_memory_op:
        return do_memory_op(first, pointer(second));
    case __HYPERVISOR_hvm_op:
        return do_hvm_op(first, pointer(second));
    case __HYPERVISOR_sched_op:
        return do_sched_op(first, pointer(second));
    case __HYPERVISOR_xsm_op:
        /* As without FLASK: libxl knows this answer and carries on. */
        errno = ENOSYS;
        return -1;
    default:
        fake_note("unanswered hypercall %u %llu", op,
                  (unsigned long long)first);
        errno = ENOSYS;
        return -1;
    }
}

/* ---- libxencall ------------------------------------------------------ */

struct xencall_handle {
    int unused;
};

xencall_handle *xencall_open(struct xentoollog_logger *logger,
                             unsigned int open_flags)
{
    (void)logger;
    (void)open_flags;
    return calloc(1, sizeof(struct xencall_handle));
}

int xencall_close(xencall_handle *xcall)
{
    free(xcall);
    return 0;
}

int xencall_fd(xencall_handle *xcall)
{
    (void)xcall;
    return -1;
}

int xencall0(xencall_handle *xcall, unsigned int op)
{
    (void)xcall;
    return (int)hypercall(op, 0, 0);
}

int xencall1(xencall_handle *xcall, unsigned int op, uint64_t arg1)
{
    (void)xcall;
    return (int)hypercall(op, arg1, 0);
}

int xencall2(xencall_handle *xcall, unsigned int op, uint64_t arg1,
             uint64_t arg2)
{
    (void)xcall;
    return (int)hypercall(op, arg1, arg2);
}

long xencall2L(xencall_handle *xcall, unsigned int op, uint64_t arg1,
               uint64_t arg2)
{
    (void)xcall;
    return hypercall(op, arg1, arg2);
}

int xencall3(xencall_handle *xcall, unsigned int op, uint64_t arg1,
             uint64_t arg2, uint64_t arg3)
{
    (void)xcall;
    (void)arg3;
    return (int)hypercall(op, arg1, arg2);
}

int xencall4(xencall_handle *xcall, unsigned int op, uint64_t arg1,
             uint64_t arg2, uint64_t arg3, uint64_t arg4)
{
    (void)arg4;
    return xencall3(xcall, op, arg1, arg2, arg3);
}

int xencall5(xencall_handle *xcall, unsigned int op, uint64_t arg1,
             uint64_t arg2, uint64_t arg3, uint64_t arg4, uint64_t arg5)
{
    (void)arg4;
    (void)arg5;
    return xencall3(xcall, op, arg1, arg2, arg3);
}

void *xencall_alloc_buffer_pages(xencall_handle *xcall, size_t nr_pages)
{
    (void)xcall;
    return aligned_alloc(PAGE, nr_pages * PAGE);
}

void xencall_free_buffer_pages(xencall_handle *xcall, void *p, size_t nr_pages)
{
    (void)xcall;
    (void)nr_pages;
    free(p);
}

void *xencall_alloc_buffer(xencall_handle *xcall, size_t size)
{
    return xencall_alloc_buffer_pages(xcall, (size + PAGE - 1) / PAGE);
}

void xencall_free_buffer(xencall_handle *xcall, void *p)
{
    (void)xcall;
    free(p);
}

int xencall_buffers_never_fault(xencall_handle *xcall)
{
    (void)xcall;
    return 1;
}

/* ---- libxengnttab: grants are pages of the domain's file --------------- */

struct xengntdev_handle {
    int unused;
};

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger,
                                 unsigned int open_flags)
{
    (void)logger;
    (void)open_flags;
    return calloc(1, sizeof(struct xengntdev_handle));
}

int xengnttab_close(xengnttab_handle *xgt)
{
    free(xgt);
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t nr_grants)
{
    (void)xgt;
    (void)nr_grants;
    return 0;
}

static int open_grants(uint32_t domid)
{
    char path[PATH_MAX];

    fake_path(path, sizeof(path), "grants/%u", domid);
    return open(path, O_RDWR | O_CLOEXEC);
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *xgt, uint32_t count,
                                      uint32_t domid, uint32_t *refs, int prot)
{
    void *area = MAP_FAILED;
    int fd = open_grants(domid);
    uint32_t i;

    (void)xgt;
    if (fd >= 0)
        area = mmap(NULL, (size_t)count * PAGE, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (i = 0; area != MAP_FAILED && i < count; i++)
        if (mmap((char *)area + (size_t)i * PAGE, PAGE, prot,
                 MAP_SHARED | MAP_FIXED, fd,
                 (off_t)refs[i] * PAGE) == MAP_FAILED) {
            munmap(area, (size_t)count * PAGE);
            area = MAP_FAILED;
        }
    if (fd >= 0)
        close(fd);
    return area == MAP_FAILED ? NULL : area;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid,
                              uint32_t ref, int prot)
{
    return xengnttab_map_domain_grant_refs(xgt, 1, domid, &ref, prot);
}

int xengnttab_unmap(xengnttab_handle *xgt, void *start_address, uint32_t count)
{
    (void)xgt;
    return munmap(start_address, (size_t)count * PAGE);
}

static int16_t copy_segment(const xengnttab_grant_copy_segment_t *segment)
{
    bool from_guest = (segment->flags & GNTCOPY_source_gref) != 0;
    const union xengnttab_copy_ptr *guest =
        from_guest ? &segment->source : &segment->dest;
    off_t offset = (off_t)guest->foreign.ref * PAGE + guest->foreign.offset;
    int fd = open_grants(guest->foreign.domid);
    ssize_t done;

    if (fd < 0)
        return GNTST_bad_domain;
    if (from_guest)
        done = pread(fd, segment->dest.virt, segment->len, offset);
    else
        done = pwrite(fd, segment->source.virt, segment->len, offset);
    close(fd);
    return done == segment->len ? GNTST_okay : GNTST_bad_gntref;
}

int xengnttab_grant_copy(xengnttab_handle *xgt, uint32_t count,
                         xengnttab_grant_copy_segment_t *segs)
{
    uint32_t i;

    (void)xgt;
    for (i = 0; i < count; i++)
        segs[i].status = copy_segment(&segs[i]);
    return 0;
}
