/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU asks for as the device model of an HVM guest whose processors
 * never run: libxendevicemodel does nothing and says it did, the guest's
 * memory is the sparse file FAKE_XEN_DIR/memory/<domid>.
 */
#include "fake_xen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xenctrl.h>

#include <xen/hvm/ioreq.h>
#include <xendevicemodel.h>
#include <xenforeignmemory.h>

#define PAGE 4096u

/* Ports of the guest that its device model binds: one for buffered requests,
 * then one for each processor. */
#define FIRST_IOREQ_PORT 900u

struct xenforeignmemory_handle {
    int unused;
};

struct xenforeignmemory_resource_handle {
    void *address;
    size_t pages;
};

struct xendevicemodel_handle {
    int unused;
};

/* ---- libxenforeignmemory --------------------------------------------- */

xenforeignmemory_handle *xenforeignmemory_open(struct xentoollog_logger *logger,
                                               unsigned int open_flags)
{
    (void)logger;
    (void)open_flags;
    return calloc(1, sizeof(struct xenforeignmemory_handle));
}

int xenforeignmemory_close(xenforeignmemory_handle *fmem)
{
    free(fmem);
    return 0;
}

static int open_memory(uint32_t domid)
{
    char path[PATH_MAX];

    fake_path(path, sizeof(path), "memory");
    mkdir(path, 0700);
    fake_path(path, sizeof(path), "memory/%u", domid);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* Grows the file to hold the frame: touching a mapping beyond the end would
 * be a bus error. */
static bool hold_frame(int fd, xen_pfn_t frame)
{
    off_t end = (off_t)(frame + 1) * PAGE;
    struct stat status;

    return fstat(fd, &status) == 0 &&
           (status.st_size >= end || ftruncate(fd, end) == 0);
}

static bool map_frames(int fd, char *area, int prot, size_t pages,
                       const xen_pfn_t *frames)
{
    size_t i;

    for (i = 0; i < pages; i++)
        if (!hold_frame(fd, frames[i]) ||
            mmap(area + i * PAGE, PAGE, prot, MAP_SHARED | MAP_FIXED, fd,
                 (off_t)frames[i] * PAGE) == MAP_FAILED)
            return false;
    return true;
}

void *xenforeignmemory_map2(xenforeignmemory_handle *fmem, uint32_t dom,
                            void *addr, int prot, int flags, size_t pages,
                            const xen_pfn_t arr[], int err[])
{
    struct fake_domain domain;
    char *area;
    int fd;

    (void)fmem;
    /* A PV guest's tables would have to make sense: there are none. */
    if (!fake_domain_load(dom, &domain) || !domain.hvm) {
        fake_note("unanswered map of domain %u", dom);
        errno = ENOSYS;
        return NULL;
    }
    fd = open_memory(dom);
    if (fd < 0)
        return NULL;
    area = mmap(addr, pages * PAGE, PROT_NONE,
                flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area != MAP_FAILED && !map_frames(fd, area, prot, pages, arr)) {
        munmap(area, pages * PAGE);
        area = MAP_FAILED;
    }
    close(fd);
    if (area == MAP_FAILED)
        return NULL;
    if (err)
        memset(err, 0, pages * sizeof(*err));
    return area;
}

void *xenforeignmemory_map(xenforeignmemory_handle *fmem, uint32_t dom,
                           int prot, size_t pages, const xen_pfn_t arr[],
                           int err[])
{
    return xenforeignmemory_map2(fmem, dom, NULL, prot, 0, pages, arr, err);
}

int xenforeignmemory_unmap(xenforeignmemory_handle *fmem, void *addr,
                           size_t pages)
{
    (void)fmem;
    return munmap(addr, pages * PAGE);
}

int xenforeignmemory_restrict(xenforeignmemory_handle *fmem, domid_t domid)
{
    (void)fmem;
    (void)domid;
    return 0;
}

/* The second page of an I/O request server says which ports its
 * processors use. */
static void offer_ioreq_ports(domid_t domid, struct shared_iopage *page)
{
    struct fake_domain domain;
    uint32_t cpu;

    if (!fake_domain_load(domid, &domain))
        return;
    for (cpu = 0; cpu < domain.vcpus; cpu++) {
        page->vcpu_ioreq[cpu].vp_eport = FIRST_IOREQ_PORT + 1 + cpu;
        fake_offer_port(domid, page->vcpu_ioreq[cpu].vp_eport);
    }
}

xenforeignmemory_resource_handle *xenforeignmemory_map_resource(
    xenforeignmemory_handle *fmem, domid_t domid, unsigned int type,
    unsigned int id, unsigned long frame, unsigned long nr_frames, void **paddr,
    int prot, int flags)
{
    xenforeignmemory_resource_handle *resource;
    void *area;

    (void)fmem;
    (void)id;
    (void)prot;
    (void)flags;
    if (type != XENMEM_resource_ioreq_server || frame != 0 || nr_frames != 2) {
        fake_note("unanswered resource %u of domain %u", type, domid);
        errno = EOPNOTSUPP;
        return NULL;
    }
    area = mmap(*paddr, nr_frames * PAGE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    resource = calloc(1, sizeof(*resource));
    if (area == MAP_FAILED || !resource) {
        free(resource);
        return NULL;
    }
    offer_ioreq_ports(domid, (void *)((char *)area + PAGE));
    resource->address = *paddr = area;
    resource->pages = nr_frames;
    return resource;
}

int xenforeignmemory_unmap_resource(xenforeignmemory_handle *fmem,
                                    xenforeignmemory_resource_handle *fres)
{
    (void)fmem;
    munmap(fres->address, fres->pages * PAGE);
    free(fres);
    return 0;
}

/* ---- libxendevicemodel ----------------------------------------------- */

xendevicemodel_handle *xendevicemodel_open(struct xentoollog_logger *logger,
                                           unsigned int open_flags)
{
    (void)logger;
    (void)open_flags;
    return calloc(1, sizeof(struct xendevicemodel_handle));
}

int xendevicemodel_close(xendevicemodel_handle *dmod)
{
    free(dmod);
    return 0;
}

int xendevicemodel_create_ioreq_server(xendevicemodel_handle *dmod,
                                       domid_t domid, int handle_bufioreq,
                                       ioservid_t *id)
{
    (void)dmod;
    (void)domid;
    (void)handle_bufioreq;
    *id = 0;
    return 0;
}

int xendevicemodel_get_ioreq_server_info(xendevicemodel_handle *dmod,
                                         domid_t domid, ioservid_t id,
                                         xen_pfn_t *ioreq_gfn,
                                         xen_pfn_t *bufioreq_gfn,
                                         evtchn_port_t *bufioreq_port)
{
    (void)dmod;
    (void)id;
    if (ioreq_gfn)
        *ioreq_gfn = 0;
    if (bufioreq_gfn)
        *bufioreq_gfn = 0;
    if (bufioreq_port) {
        *bufioreq_port = FIRST_IOREQ_PORT;
        fake_offer_port(domid, FIRST_IOREQ_PORT);
    }
    return 0;
}

/* The rest has no effect on a guest that does not run. */
#define NO_EFFECT(name, ...)                                                   \
    int xendevicemodel_##name(xendevicemodel_handle *dmod, domid_t domid,      \
                              __VA_ARGS__)                                     \
    {                                                                          \
        return 0;                                                              \
    }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
NO_EFFECT(map_io_range_to_ioreq_server, ioservid_t id, int is_mmio,
          uint64_t start, uint64_t end)
NO_EFFECT(unmap_io_range_from_ioreq_server, ioservid_t id, int is_mmio,
          uint64_t start, uint64_t end)
NO_EFFECT(map_pcidev_to_ioreq_server, ioservid_t id, uint16_t segment,
          uint8_t bus, uint8_t device, uint8_t function)
NO_EFFECT(unmap_pcidev_from_ioreq_server, ioservid_t id, uint16_t segment,
          uint8_t bus, uint8_t device, uint8_t function)
NO_EFFECT(map_mem_type_to_ioreq_server, ioservid_t id, uint16_t type,
          uint32_t flags)
NO_EFFECT(destroy_ioreq_server, ioservid_t id)
NO_EFFECT(set_ioreq_server_state, ioservid_t id, int enabled)
NO_EFFECT(set_pci_intx_level, uint16_t segment, uint8_t bus, uint8_t device,
          uint8_t intx, unsigned int level)
NO_EFFECT(set_isa_irq_level, uint8_t irq, unsigned int level)
NO_EFFECT(set_irq_level, unsigned int irq, unsigned int level)
NO_EFFECT(set_pci_link_route, uint8_t link, uint8_t irq)
NO_EFFECT(inject_msi, uint64_t msi_addr, uint32_t msi_data)
NO_EFFECT(inject_event, int vcpu, uint8_t vector, uint8_t type,
          uint32_t error_code, uint8_t insn_len, uint64_t extra)
NO_EFFECT(track_dirty_vram, uint64_t first_pfn, uint32_t nr,
          unsigned long *dirty_bitmap)
NO_EFFECT(modified_memory, uint64_t first_pfn, uint32_t nr)
NO_EFFECT(set_mem_type, hvmmem_type_t mem_type, uint64_t first_pfn, uint32_t nr)
NO_EFFECT(shutdown, unsigned int reason)
NO_EFFECT(relocate_memory, uint32_t size, uint64_t src_gfn, uint64_t dst_gfn)
NO_EFFECT(pin_memory_cacheattr, uint64_t start, uint64_t end, uint32_t type)
#pragma GCC diagnostic pop
