/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/quiesce/tools_keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "agent/base/alloc.h"
#include "agent/quiesce/tools_pages.h"
#include "agent/store/read.h"
#include "agent/store/socket.h"

#define CONTROL "/local/domain/%" PRIu32 "/control"
#define ASKED   "create-snapshot"

/* A guest has fewer disks, and names of others are not answered. */
#define SNAPSHOTS_MAX 256u
#define TRIES_MAX     100u

struct tools_keys {
    struct xs_handle *xs;
    char *control; /* the domain's control/snapshot */
    char *vss;     /* the VM's */
};

static const struct {
    const char *word, *pass, *fail;
} wishes[] = {
    [TOOLS_WISH_SNAPSHOT] = {"create-snapshots", "snapshots-created",
                             "snapshots-failed"},
    [TOOLS_WISH_INFO] = {"create-snapshotinfo", "snapshotinfo-created",
                         "snapshotinfo-failed"},
    [TOOLS_WISH_IMPORT] = {"import-snapshots", "snapshots-imported",
                           "snapshot-import-failed"},
    [TOOLS_WISH_DEPORT] = {"deport-snapshots", "snapshots-deported",
                           "deport-snapshots-failed"},
    [TOOLS_WISH_DESTROY] = {"destroy-snapshots", "snapshots-destroyed",
                            "snapshots-destroy-failed"},
};

#define WISHES (sizeof(wishes) / sizeof(wishes[0]))

static bool write_key(struct tools_keys *keys, const char *folder,
                      const char *key, const char *value)
{
    char *path = xjoin(folder, key);
    bool ok =
        xs_write(keys->xs, XBT_NULL, path, value, (unsigned int)strlen(value));

    free(path);
    return ok;
}

static void remove_key(struct tools_keys *keys, const char *folder,
                       const char *key)
{
    char *path = xjoin(folder, key);

    xs_rm(keys->xs, XBT_NULL, path);
    free(path);
}

static bool exists(struct xs_handle *xs, const char *folder, const char *key)
{
    char *value = store_read(xs, folder, key);

    free(value);
    return value != NULL;
}

/* ---- the way there ---- */

bool tools_keys_announced(struct xs_handle *xs, uint32_t domid,
                          const char *uuid)
{
    char *control = xasprintf(CONTROL, domid);
    bool announced = (store_read_is(xs, control, "feature-snapshot", "1") ||
                      store_read_is(xs, control, "feature-quiesce", "1")) &&
                     exists(xs, "/vss", uuid);

    free(control);
    return announced;
}

static bool watch(struct tools_keys *keys, const char *folder, const char *key)
{
    char *path = xjoin(folder, key);
    bool ok = xs_watch(keys->xs, path, key);

    free(path);
    return ok;
}

struct tools_keys *tools_keys_open(uint32_t domid, const char *uuid)
{
    struct tools_keys *keys = xcalloc(1, sizeof(*keys));
    int saved;

    keys->control = xasprintf(CONTROL "/snapshot", domid);
    keys->vss = xasprintf("/vss/%s", uuid);
    keys->xs = store_socket_open();
    if (keys->xs != NULL && watch(keys, keys->control, "type") &&
        watch(keys, keys->control, "action") &&
        watch(keys, keys->control, "status") &&
        watch(keys, keys->vss, "status")) {
        return keys;
    }
    saved = errno;
    tools_keys_close(keys);
    errno = saved;
    return NULL;
}

void tools_keys_close(struct tools_keys *keys)
{
    if (keys == NULL) {
        return;
    }
    if (keys->xs != NULL) {
        xs_close(keys->xs);
    }
    free(keys->control);
    free(keys->vss);
    free(keys);
}

int tools_keys_fileno(const struct tools_keys *keys)
{
    return xs_fileno(keys->xs);
}

enum tools_news tools_keys_news(struct tools_keys *keys)
{
    enum tools_news news = TOOLS_NO_NEWS;
    char **event;

    while ((event = xs_check_watch(keys->xs)) != NULL) {
        free(event);
        news = TOOLS_NEWS;
    }
    return errno == EAGAIN || errno == EINTR ? news : TOOLS_LOST;
}

/* ---- what the guest says ---- */

static enum tools_wish read_wish(struct tools_keys *keys)
{
    char *word = store_read(keys->xs, keys->vss, "status");
    enum tools_wish wish = TOOLS_WISH_NONE;

    for (size_t i = TOOLS_WISH_SNAPSHOT; word != NULL && i < WISHES; i++) {
        if (strcmp(word, wishes[i].word) == 0) {
            wish = (enum tools_wish)i;
        }
    }
    free(word);
    return wish;
}

static enum tools_end read_end(struct tools_keys *keys)
{
    char *word = store_read(keys->xs, keys->control, "status");
    enum tools_end end = TOOLS_UNDER_WAY;

    if (word != NULL && strcmp(word, "snapshot-created") == 0) {
        end = TOOLS_SAY_CREATED;
    } else if (word != NULL && strcmp(word, "snapshot-error") == 0) {
        end = TOOLS_SAY_ERROR;
    }
    free(word);
    return end;
}

void tools_keys_look(struct tools_keys *keys, struct tools_state *ret_state)
{
    *ret_state = (struct tools_state){
        .asked = exists(keys->xs, keys->control, "type"),
        .taken = !exists(keys->xs, keys->control, "action"),
        .wish = read_wish(keys),
        .end = read_end(keys),
    };
}

const char *tools_keys_words(struct tools_keys *keys, char *buffer,
                             unsigned int size)
{
    char *kind = store_read(keys->xs, keys->control, "error");
    char *message = store_read(keys->xs, keys->control, "error/message");
    char *code = store_read(keys->xs, keys->control, "error/code");
    char *words = xasprintf(
        "its tools report %.60s %.100s %.20s", kind == NULL ? "an error" : kind,
        message == NULL ? "" : message, code == NULL ? "" : code);

    error_sanitise(buffer, size, words);
    free(words);
    free(code);
    free(message);
    free(kind);
    return buffer;
}

/* ---- what it is told ---- */

bool tools_keys_ask(struct tools_keys *keys, struct error *err)
{
    tools_keys_clear(keys);
    if (!write_key(keys, keys->control, "type", "vm") ||
        !write_key(keys, keys->control, "action", ASKED)) {
        return error_set_errno(err, ERR_STORE, errno,
                               "cannot ask the guest's tools, by %s/action",
                               keys->control);
    }
    return true;
}

/* In one transaction: `key` has `expected` still, and is `value` then, or gone
 * where that is NULL. */
static bool exchange(struct tools_keys *keys, const char *folder,
                     const char *key, const char *expected, const char *value)
{
    char *path = xjoin(folder, key);
    bool done = false, again = true;

    for (unsigned int i = 0; i < TRIES_MAX && again; i++) {
        xs_transaction_t transaction = xs_transaction_start(keys->xs);
        char *found = NULL;
        bool same;

        if (transaction == XBT_NULL) {
            break;
        }
        found = xs_read(keys->xs, transaction, path, NULL);
        same = found != NULL && strcmp(found, expected) == 0 &&
               (value == NULL ? xs_rm(keys->xs, transaction, path)
                              : xs_write(keys->xs, transaction, path, value,
                                         (unsigned int)strlen(value)));
        free(found);
        done = xs_transaction_end(keys->xs, transaction, !same) && same;
        again = same && !done && errno == EAGAIN;
    }
    free(path);
    return done;
}

bool tools_keys_withdraw(struct tools_keys *keys)
{
    return exchange(keys, keys->control, "action", ASKED, NULL);
}

bool tools_keys_answer(struct tools_keys *keys, enum tools_wish wish,
                       bool success)
{
    return exchange(keys, keys->vss, "status", wishes[wish].word,
                    success ? wishes[wish].pass : wishes[wish].fail);
}

static void name_anew(char text[static UUID_STR_LEN])
{
    uuid_t number;

    uuid_generate_random(number);
    uuid_unparse_lower(number, text);
}

/* `visit` for each of the disks that the guest has named. */
static void visit_snapshots(struct tools_keys *keys,
                            void (*visit)(struct tools_keys *keys,
                                          const char *folder, const char *uuid))
{
    char *all = xjoin(keys->vss, "snapshot");
    unsigned int count = 0;
    char **names = xs_directory(keys->xs, XBT_NULL, all, &count);
    uuid_t ignored;

    for (unsigned int i = 0; names != NULL && i < count && i < SNAPSHOTS_MAX;
         i++) {
        char *folder = xjoin(all, names[i]);

        if (uuid_parse(names[i], ignored) == 0) {
            visit(keys, folder, names[i]);
        }
        free(folder);
    }
    free(names);
    free(all);
}

static void name_snapshot(struct tools_keys *keys, const char *folder,
                          const char *uuid)
{
    char name[UUID_STR_LEN];

    (void)uuid;
    name_anew(name);
    write_key(keys, folder, "id", name);
}

/* Nobody will ever ask for what has these names. */
void tools_keys_name_snapshots(struct tools_keys *keys)
{
    char name[UUID_STR_LEN];

    visit_snapshots(keys, name_snapshot);
    name_anew(name);
    write_key(keys, keys->vss, "snapuuid", name);
    write_key(keys, keys->vss, "snapinfo", name);
    write_key(keys, keys->vss, "snaptype", "vm");
}

static void describe_snapshot(struct tools_keys *keys, const char *folder,
                              const char *uuid)
{
    char *page80 = tools_page80(uuid);
    char *page83 = tools_page83(uuid);

    write_key(keys, folder, "scsi/0x12/0x80", page80);
    write_key(keys, folder, "scsi/0x12/0x83", page83);
    free(page80);
    free(page83);
}

void tools_keys_describe_snapshots(struct tools_keys *keys)
{
    visit_snapshots(keys, describe_snapshot);
}

/* ---- the end ---- */

/* The folders stay as they are, for whoever made them gave the guest its rights
 * by them. */
void tools_keys_clear(struct tools_keys *keys)
{
    static const char *const of_control[] = {
        "action", "type", "status", "error", "snapid", "snapuuid", "vdi"};
    static const char *const of_vss[] = {"status", "snapshot", "snapinfo",
                                         "snapuuid", "snaptype"};

    tools_keys_answer(keys, TOOLS_WISH_SNAPSHOT, false);
    for (size_t i = 0; i < sizeof(of_control) / sizeof(of_control[0]); i++) {
        remove_key(keys, keys->control, of_control[i]);
    }
    for (size_t i = 0; i < sizeof(of_vss) / sizeof(of_vss[0]); i++) {
        remove_key(keys, keys->vss, of_vss[i]);
    }
}
