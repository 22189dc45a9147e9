/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/supervise_notes.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/alloc.h"
#include "agent/base/beneath.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/guest/config_text.h"
#include "agent/guest/whole_file.h"
#include "agent/sealed_file.h"

#define NOTE_TEXT_MAX 128

static char *note_path(const char *folder, const char *uuid)
{
    return xasprintf("%s/%s", folder, uuid);
}

char *note_config_path(const char *folder, const char *uuid)
{
    return xasprintf("%s/%s.json", folder, uuid);
}

char *notes_open(const char *run_folder, struct error *err)
{
    char *folder = xasprintf("%s/supervised", run_folder);

    mkdir(run_folder, 0700);
    if (!mkdir(folder, 0700) || errno == EEXIST)
        return folder;
    error_set_errno(err, ERR_INTERNAL, errno, "cannot make the folder %s",
                    folder);
    free(folder);
    return NULL;
}

bool note_write(const char *folder, const char *uuid, uint32_t domid,
                struct error *err)
{
    char *path = note_path(folder, uuid);
    char boot[CLOCK_BOOT_LENGTH + 1];
    char text[16 + sizeof(boot)];
    bool written;

    clock_boot(boot);
    snprintf(text, sizeof(text), "%" PRIu32 "\n%s%s", domid, boot,
             boot[0] == '\0' ? "" : "\n");
    written = sealed_file_replace(path, text, err);
    free(path);
    return written;
}

void note_remove(const char *folder, const char *uuid)
{
    char *path = note_path(folder, uuid);

    beneath_remove(NULL, path);
    free(path);
    note_remove_config(folder, uuid);
}

static bool is_uuid(const char *text)
{
    if (strlen(text) != GUEST_UUID_LENGTH)
        return false;
    for (size_t i = 0; text[i]; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

/* Where nobody can tell, it is of this one: earlier versions did not note it.
 */
static bool is_of_another_boot(const char *boot)
{
    char current[CLOCK_BOOT_LENGTH + 1];

    clock_boot(current);
    return boot[0] != '\0' && current[0] != '\0' && strcmp(boot, current) != 0;
}

static bool read_text(const char *path, uint32_t *ret_domid,
                      char ret_boot[CLOCK_BOOT_LENGTH + 1], struct error *err)
{
    char *text;
    bool valid;

    if (!sealed_file_read(path, NOTE_TEXT_MAX, &text, err))
        return false;
    ret_boot[0] = '\0';
    valid = sscanf(text, "%" SCNu32 " %36s", ret_domid, ret_boot) >= 1;
    free(text);
    return valid || error_set(err, ERR_STORE, "%s: it is no domid", path);
}

static bool read_note(const char *folder, const char *name,
                      struct supervise_note *ret_note)
{
    char boot[CLOCK_BOOT_LENGTH + 1];
    struct error err;
    char *path;
    bool valid;

    if (!is_uuid(name))
        return false;
    path = note_path(folder, name);
    valid = read_text(path, &ret_note->domid, boot, &err);
    if (valid && is_of_another_boot(boot)) {
        LOG_NOTICE("domain %s was looked after before the host was started "
                   "anew: that is over",
                   name);
        note_remove(folder, name);
        valid = false;
    } else if (valid)
        strcpy(ret_note->uuid, name);
    else
        sealed_file_set_aside(path, &err,
                              "nobody looks after that domain's reboots any "
                              "more until its next checkpoint");
    free(path);
    return valid;
}

size_t notes_read(const char *folder, struct supervise_note **ret_notes)
{
    struct supervise_note *notes = NULL;
    struct supervise_note note;
    struct dirent *file;
    size_t count = 0;
    DIR *files;

    whole_file_sweep(folder);
    files = opendir(folder);
    while (files && (file = readdir(files))) {
        if (!read_note(folder, file->d_name, &note))
            continue;
        notes = xrealloc(notes, count + 1, sizeof(*notes));
        notes[count++] = note;
    }
    if (files)
        closedir(files);
    *ret_notes = notes;
    return count;
}

char *note_read_config(const char *folder, const char *uuid)
{
    char *path = note_config_path(folder, uuid);
    struct error err;
    char *json = NULL;

    if (access(path, F_OK) == 0 &&
        !sealed_file_read(path, CONFIG_TEXT_MAX, &json, &err)) {
        json = NULL;
        sealed_file_set_aside(path, &err,
                              "that domain was being started anew: if it does "
                              "not run, start it");
    }
    free(path);
    return json;
}

bool note_write_config(const char *folder, const char *uuid, const char *json,
                       struct error *err)
{
    char *path = note_config_path(folder, uuid);
    bool written = sealed_file_replace(path, json, err);

    free(path);
    return written;
}

void note_remove_config(const char *folder, const char *uuid)
{
    char *path = note_config_path(folder, uuid);

    beneath_remove(NULL, path);
    free(path);
}
