/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The domain of a request, and its configuration. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backends_steps.h"
#include "agent/base/alloc.h"
#include "agent/base/process_age.h"
#include "agent/disk/disk_steps.h"
#include "agent/disk/merge_switch.h"
#include "agent/guest/disk_backends.h"
#include "agent/guest/guest_steps.h"
#include "agent/guest/other_saves.h"
#include "agent/guest/stored_config.h"
#include "agent/snapshot.h"

/* How long a domain that is away may take to come back: xl waits two seconds
 * between the halves of a reboot.  Our own supervisor takes what it needs. */
#define AWAY_POLL_MS  500u
#define AWAY_PATIENCE 20u /* polls */

bool guest_is_ours(const struct snapshot *snapshot, struct error *err)
{
    const struct guest *guest = &snapshot->guest;
    pid_t helper = other_saves_find(snapshot->agent->other_saves, guest->domid);

    return helper == 0 ||
           error_set(err, ERR_BUSY,
                     "another program is saving or migrating domain \"%s\", "
                     "by process %d (libxl-save-helper); ask again when that "
                     "is over",
                     guest->name, (int)helper);
}

bool guest_is_still_ours(struct snapshot *snapshot, struct error *err)
{
    /* None in a driver domain, where nobody saves. */
    bool is =
        snapshot->agent->other_saves == NULL || guest_is_ours(snapshot, err);

    snapshot->other_save_seen = snapshot->other_save_seen || !is;
    return is;
}

void guest_note_other_save(struct snapshot *snapshot)
{
    struct error ignored;

    if ((snapshot->operation.state == OPERATION_RUNNING ||
         snapshot->operation.state == OPERATION_UNDOING) &&
        snapshot->request.operation == REQUEST_CREATE) {
        guest_is_still_ours(snapshot, &ignored);
    }
}

static bool has_shut_down(const struct guest *guest, struct error *err)
{
    return error_set(err, ERR_DOMAIN_INACTIVE,
                     "domain \"%s\" has shut down (%s): there is nothing "
                     "that can be snapshotted",
                     guest->name,
                     libxl_shutdown_reason_to_string(guest->shutdown_reason));
}

bool guest_is_active(const struct snapshot *snapshot, struct error *err)
{
    const struct guest *guest = &snapshot->guest;

    if (guest->domid == 0) {
        return error_set(err, ERR_INVALID_REQUEST,
                         "domain 0 runs this agent and cannot be snapshotted");
    }
    if (guest->dying) {
        return error_set(err, ERR_DOMAIN_INACTIVE,
                         "domain \"%s\" is being destroyed", guest->name);
    }
    if (guest->shutdown) {
        /* It stands still while it is saved. */
        return (guest->shutdown_reason != LIBXL_SHUTDOWN_REASON_SUSPEND ||
                guest_is_ours(snapshot, err)) &&
               has_shut_down(guest, err);
    }
    return true;
}

/* Of a record that cannot be read no more is known than its name. */
static bool is_taken(const struct snapshot *snapshot, const char *name)
{
    const struct records *records = snapshot->agent->records;
    const char *uuid = snapshot->guest.uuid;
    const char *unreadable = records_unreadable(records, uuid, name);

    return records_find(records, uuid, name) != NULL ||
           (unreadable != NULL && strcmp(unreadable, name) == 0);
}

static bool refuse_name(const struct snapshot *snapshot, struct error *err)
{
    const char *name = snapshot->name;

    if (records_find(snapshot->agent->records, snapshot->guest.uuid, name) !=
        NULL) {
        return error_set(err, ERR_SNAPSHOT_EXISTS,
                         "domain \"%s\" has a snapshot named \"%s\" "
                         "already; choose another name or delete it",
                         snapshot->guest.name, name);
    }
    return error_set(err, ERR_SNAPSHOT_EXISTS,
                     "domain \"%s\" has a snapshot named \"%s\", whose record "
                     "is damaged; choose another name, or do what the log of "
                     "xensnapd's start tells",
                     snapshot->guest.name, name);
}

static bool choose_name(struct snapshot *snapshot, struct error *err)
{
    char made[CLOCK_NAME_LENGTH + 1];

    clock_utc(snapshot->created_at);
    if (snapshot->request.name[0] != '\0') {
        snprintf(snapshot->name, sizeof(snapshot->name), "%s",
                 snapshot->request.name);
        return !is_taken(snapshot, snapshot->name) ||
               refuse_name(snapshot, err);
    }
    clock_utc_name(made);
    snprintf(snapshot->name, sizeof(snapshot->name), "%s", made);
    for (unsigned int n = 2; is_taken(snapshot, snapshot->name); n++) {
        snprintf(snapshot->name, sizeof(snapshot->name), "%s-%u", made, n);
    }
    return true;
}

/* Where the folder could not be read, no record gets into it either. */
static bool check_records(const struct snapshot *snapshot, struct error *err)
{
    return snapshot->request.operation != REQUEST_CREATE ||
           records_unreadable(snapshot->agent->records, snapshot->guest.uuid,
                              snapshot->name) == NULL ||
           error_set(err, ERR_STORE,
                     "the records of domain \"%s\" could not be read when "
                     "xensnapd started, whose log tells why",
                     snapshot->guest.name);
}

/* Time may have passed in the queue: the domain is looked up by its uuid. */
static bool find_again(struct snapshot *snapshot, struct error *err)
{
    struct guest guest = snapshot->guest;

    if (!snapshot->just_seen &&
        !guests_find_again(snapshot->agent->guests, &snapshot->guest, &guest,
                           err)) {
        return err->code != ERR_NO_SUCH_DOMAIN
                   ? false
                   : error_set(err, ERR_DOMAIN_INACTIVE,
                               "domain \"%s\" went away while its request "
                               "waited",
                               snapshot->guest.name);
    }
    snapshot->guest = guest;
    snapshot->found_domid = guest.domid;
    snapshot->consistency = snapshot->request.memory ? "full" : "crash";
    return guest_is_active(snapshot, err);
}

/* What has begun already is not to be stopped by it: a delete's merge in driver
 * domains, and a hold, in which the guest stands still. */
static bool may_begin(const struct snapshot *snapshot, struct error *err)
{
    return snapshot->outer != NULL ||
           snapshot->request.phase == REQUEST_PHASE_COMPLETE ||
           snapshot->request.phase == REQUEST_PHASE_ABORT ||
           guest_is_ours(snapshot, err);
}

void domain_find(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err = {0};

    if (find_again(snapshot, &err) && choose_name(snapshot, &err) &&
        may_begin(snapshot, &err)) {
        check_records(snapshot, &err);
    }
    operation_step_done(operation, &err);
}

static void on_config(libxl_domain_config *config, const struct error *err,
                      void *arg)
{
    struct snapshot *snapshot = arg;
    libxl_ctx *ctx = guests_libxl(snapshot->agent->guests);
    struct error own = {0};

    snapshot->call = NULL;
    if (err != NULL) {
        own = *err;
    } else {
        snapshot->config = config;
        disk_backends_name(snapshot->agent->guests, snapshot->guest.domid,
                           config);
        snapshot->config_json = libxl_domain_config_to_json(ctx, config);
        if (snapshot->config_json == NULL) {
            error_set(&own, ERR_LIBXL,
                      "libxl cannot write the configuration of domain \"%s\" "
                      "as JSON",
                      snapshot->guest.name);
        }
    }
    operation_step_done(&snapshot->operation, &own);
}

void config_read(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    snapshot->call = guest_config_fetch(
        snapshot->agent->guests, snapshot->guest.domid, on_config, snapshot);
}

void config_read_abort(struct operation *operation)
{
    guest_call_abort(snapshot_of(operation)->call);
}

/* ---- the adjustments ---- */

/* Whether the configuration is to be told of the disk: not, on the way back,
 * where it names the right image already. */
static bool names_image(const struct snapshot_disk *disk, bool forward)
{
    return snapshot_takes(disk) && disk->external &&
           (forward ||
            !(disk->names_stay || (disk->merged && !disk->overlay_stays)));
}

static void tell_kept(const struct snapshot *snapshot, const char *path,
                      bool first, struct error *err)
{
    size_t length = strlen(err->message);

    LOG_WARN("%s %s stays%s: a configuration may name it; remove it when none "
             "does",
             snapshot->label, path,
             image_overlay_is_empty(path) ? ", empty" : "");
    snprintf(err->message + length, sizeof(err->message) - length, "%s%s",
             first ? "; these stay, for a configuration may name them: " : ", ",
             path);
}

/* Whether it has an overlay that the undo would remove. */
static bool is_to_go(const struct snapshot_disk *disk)
{
    return disk->overlay_made && !disk->overlay_stays && !disk->merged;
}

/* The configuration may still name the overlays, and cannot be mended now,
 * which `err` tells.  They stay then, empty. */
static void keep_empty_overlays(struct snapshot *snapshot, struct error *err)
{
    bool first = true;

    overlays_empty(snapshot);
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];

        if (is_to_go(disk)) {
            tell_kept(snapshot, disk->overlay, first, err);
            first = false;
        }
    }
    overlays_stay(snapshot);
    backends_let_stay(snapshot);
}

static bool has_overlays(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        if (is_to_go(&snapshot->disks[i])) {
            return true;
        }
    }
    return false;
}

/* Nothing here names the overlays any more.  What another program has saved
 * meanwhile may: where that is restored, QEMU has to find them. */
static void end_put_back(struct snapshot *snapshot, const struct error *err)
{
    struct error own = *err;

    operation_undo_for_the_last_time(&snapshot->operation);
    if (own.code == ERR_NONE && snapshot->other_save_seen &&
        has_overlays(snapshot)) {
        error_set(&own, ERR_BUSY,
                  "another program was saving or migrating the domain");
        keep_empty_overlays(snapshot, &own);
    }
    operation_step_done(&snapshot->operation, &own);
}

static void wait_for_domain(struct snapshot *snapshot);

/* libvirt ends a domain whose guest reboots at once.  libxl pauses a domain,
 * and takes QEMU and the devices away before the domain itself. */
static bool may_be_ending(const struct snapshot *snapshot,
                          const struct error *err)
{
    return (snapshot->of_libvirt || snapshot->guest.paused ||
            snapshot->guest.dying) &&
           snapshot->patience > 0 && err->code != ERR_BUSY;
}

static void on_adjusted(const struct error *err, void *arg)
{
    struct snapshot *snapshot = arg;
    bool undoing = snapshot->operation.state == OPERATION_UNDOING;
    struct error own;

    free(snapshot->locations);
    snapshot->locations = NULL;
    snapshot->change = NULL;
    if (err != NULL && undoing && may_be_ending(snapshot, err)) {
        wait_for_domain(snapshot);
        return;
    }
    if (err != NULL && undoing && snapshot->patience == 0) {
        operation_undo_for_the_last_time(&snapshot->operation);
    }
    if (err != NULL && undoing &&
        !operation_undo_comes_again(&snapshot->operation)) {
        own = *err;
        keep_empty_overlays(snapshot, &own);
        err = &own;
    } else if (err != NULL && !undoing) {
        snapshot->adjust_failed = true;
    } else if (err == NULL && undoing) {
        end_put_back(snapshot, &snapshot->undo_error);
        return;
    }
    operation_step_done(&snapshot->operation, err);
}

/* Makes the configuration name each external disk's overlay (`forward`), or
 * the image under it unless the overlay could not be brought back. */
static void set_locations(struct snapshot *snapshot, bool forward)
{
    struct agent *agent = snapshot->agent;
    size_t count = 0;

    snapshot->locations =
        xcalloc(snapshot->disk_count + 1, sizeof(*snapshot->locations));
    for (size_t i = 0; i < snapshot->disk_count; i++) {
        const struct snapshot_disk *disk = &snapshot->disks[i];
        struct disk_location *location = &snapshot->locations[count];
        bool overlay = forward || disk->overlay_stays;

        if (!names_image(disk, forward)) {
            continue;
        }
        snprintf(location->vdev, sizeof(location->vdev), "%s", disk->vdev);
        location->may_be_gone = !forward;
        location->path = overlay ? disk->overlay : disk->path;
        location->format = overlay ? disk->rule->external : disk->format;
        count++;
    }
    if (count == 0) {
        on_adjusted(NULL, snapshot);
        return;
    }
    snapshot->change = stored_config_set_disks(
        agent->guests, &snapshot->guest, snapshot->locations, count,
        agent->config.timeouts.lock_ms, on_adjusted, snapshot);
}

void config_adjust(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    if (supervisor_lets_change(snapshot->agent->supervisor,
                               snapshot->guest.uuid, &err) &&
        guest_is_still_ours(snapshot, &err)) {
        set_locations(snapshot, true);
    } else {
        on_adjusted(&err, snapshot);
    }
}

void config_adjust_abort(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);
    struct error err;

    stored_config_change_cancel(snapshot->change);
    error_set(&err, ERR_CANCELLED, "given up while waiting for libxl's lock");
    on_adjusted(&err, snapshot);
}

static void put_back(struct snapshot *snapshot, const struct error *err)
{
    snapshot->undo_error = *err;
    set_locations(snapshot, false);
}

/*
 * A domain that is away may be between the two halves of a reboot: xl, or our
 * own supervisor, has read the configuration, has destroyed it, and will create
 * it anew in a moment, on the overlays that the configuration named.
 */
static bool may_come_back(const struct snapshot *snapshot,
                          const struct guest *guest)
{
    return guest == NULL || guest->dying ||
           (guest->shutdown &&
            guest->shutdown_reason != LIBXL_SHUTDOWN_REASON_SUSPEND &&
            !snapshot->gone);
}

static void look_and_put_back(struct snapshot *snapshot);

static void wait_for_domain(struct snapshot *snapshot)
{
    if (snapshot->patience > 0) {
        snapshot->patience--;
    }
    snapshot_later(snapshot, AWAY_POLL_MS, look_and_put_back);
}

/* Our own restart is waited for until it does not seem to work.  libvirt makes
 * a domain from a definition of its own, and waits for the end of this
 * (libvirt_hook.h). */
static bool is_waited_for(const struct snapshot *snapshot,
                          const struct guest *guest)
{
    return supervisor_restart(snapshot->agent->supervisor,
                              snapshot->guest.uuid) == RESTART_UNDER_WAY ||
           (snapshot->patience > 0 && !snapshot->of_libvirt &&
            may_come_back(snapshot, guest));
}

/* A soft reset keeps the domain's number. */
static bool has_another_qemu(const struct snapshot *snapshot)
{
    return process_began_since(snapshot_qemu(snapshot),
                               snapshot->looked_ms != 0 ? snapshot->looked_ms
                                                        : snapshot->started_ms);
}

static void look_and_put_back(struct snapshot *snapshot)
{
    static const struct error none;
    uint32_t domid_before = snapshot->guest.domid;
    struct guest guest;
    struct error err = {0};
    bool found = guests_find(snapshot->agent->guests, snapshot->guest.uuid,
                             &guest, &err);

    if (!found && err.code != ERR_NO_SUCH_DOMAIN) {
        on_adjusted(&err, snapshot);
    } else if (is_waited_for(snapshot, found ? &guest : NULL)) {
        wait_for_domain(snapshot);
    } else if (!supervisor_lets_change(snapshot->agent->supervisor,
                                       snapshot->guest.uuid, &err)) {
        /* What it is made from is fixed, and may name the overlays. */
        on_adjusted(&err, snapshot);
    } else if (!found) {
        end_put_back(snapshot, &none);
    } else {
        snapshot->guest = guest;
        if (guest.domid != domid_before || has_another_qemu(snapshot)) {
            merge_forget_domain(snapshot);
            backends_let_stay(snapshot);
            disks_bring_back(snapshot, put_back);
        } else {
            set_locations(snapshot, false);
        }
    }
}

/* A domain that is gone has no stored configuration to mend.  One that has
 * rebooted since the configuration named the overlays has opened them; so has
 * one that was reset. */
void config_put_back(struct operation *operation)
{
    struct snapshot *snapshot = snapshot_of(operation);

    if (snapshot->adjust_failed) {
        operation_step_done(operation, NULL);
        return;
    }
    snapshot->patience = snapshot->gone ? 0 : AWAY_PATIENCE;
    snapshot->undo_error = (struct error){0};
    guest_note_other_save(snapshot);
    look_and_put_back(snapshot);
}
