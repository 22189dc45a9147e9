/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The xenstore paths. */
#include "agent/store/paths.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/alloc.h"

#define DOMAINS  "/local/domain/"
#define REQUESTS "/snapshot/requests"

char *path_requests(const char *root)
{
    return xasprintf("%s/requests", root);
}

char *path_request(const char *root, const char *key)
{
    const char *id;
    uint32_t domid = path_key_domid(key, &id);

    return domid == 0 ? xasprintf("%s/requests/%s", root, key)
                      : xasprintf(DOMAINS "%" PRIu32 REQUESTS "/%s", domid, id);
}

char *path_domain(uint32_t domid)
{
    return xasprintf(DOMAINS "%" PRIu32, domid);
}

char *path_domain_requests(uint32_t domid)
{
    return xasprintf(DOMAINS "%" PRIu32 REQUESTS, domid);
}

char *path_key(uint32_t domid, const char *id)
{
    return domid == 0 ? xstrdup(id) : xasprintf("%" PRIu32 ":%s", domid, id);
}

uint32_t path_key_domid(const char *key, const char **ret_id)
{
    const char *colon = strchr(key, ':');

    if (ret_id != NULL) {
        *ret_id = colon == NULL ? key : colon + 1;
    }
    return colon == NULL ? 0 : (uint32_t)strtoul(key, NULL, 10);
}

bool path_key_is_valid(const char *key)
{
    const char *id;

    path_key_domid(key, &id);
    return request_id_is_valid(id);
}

uint32_t path_split_domain(const char *path, const char **ret_rest)
{
    unsigned long domid;
    char *end;

    if (strncmp(path, DOMAINS, strlen(DOMAINS)) != 0) {
        return 0;
    }
    domid = strtoul(path + strlen(DOMAINS), &end, 10);
    if (*end != '/' || domid == 0 || domid > UINT16_MAX) {
        return 0;
    }
    *ret_rest = end + 1;
    return (uint32_t)domid;
}

char *path_status(const char *root)
{
    return xasprintf("%s/status", root);
}

char *path_snapshots(const char *root)
{
    return xasprintf("%s/snapshots", root);
}

char *path_vm_snapshot(const char *vm_uuid, const char *node)
{
    return xasprintf("snapshots/%s/%s", vm_uuid, node);
}

char *path_chains(const char *root)
{
    return xasprintf("%s/chains", root);
}

char *path_damaged(const char *root)
{
    return xasprintf("%s/damaged", root);
}

char *path_holds(const char *root)
{
    return xasprintf("%s/holds", root);
}

char *path_vm_chain(const char *vm_uuid, const char *vdev)
{
    return xasprintf("chains/%s/%s", vm_uuid, vdev);
}

char *path_snapshot_node(const char *name)
{
    char *node = xcalloc(strlen(name) * 3 + 1, 1);
    char *end = node;

    for (; *name != '\0'; name++) {
        if (*name == '.') {
            memcpy(end, "@2e", 3);
            end += 3;
        } else {
            *end++ = *name;
        }
    }
    return node;
}

bool path_split_request(const char *requests, const char *path,
                        char ret_id[PATH_ID_SIZE], const char **ret_key)
{
    size_t length = strlen(requests);
    size_t id_length;

    if (strncmp(path, requests, length) != 0) {
        return false;
    }
    path += length;
    ret_id[0] = '\0';
    *ret_key = path;
    if (*path == '\0') {
        return true;
    }
    if (*path != '/') {
        return false;
    }
    path++;
    id_length = strcspn(path, "/");
    if (id_length >= PATH_ID_SIZE) {
        return false;
    }
    memcpy(ret_id, path, id_length);
    ret_id[id_length] = '\0';
    path += id_length;
    *ret_key = *path == '/' ? path + 1 : path;
    return true;
}
