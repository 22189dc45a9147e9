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
#include <unistd.h>

#include "agent/base/alloc.h"
#include "agent/guest/config_text.h"
#include "agent/guest/whole_file.h"

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
    char text[16];
    int length = snprintf(text, sizeof(text), "%" PRIu32 "\n", domid);
    bool written = whole_file_replace(path, text, (size_t)length, err);

    free(path);
    return written;
}

void note_remove(const char *folder, const char *uuid)
{
    char *path = note_path(folder, uuid);

    unlink(path);
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

static bool read_note(const char *folder, const char *name,
                      struct supervise_note *ret_note)
{
    char *path = note_path(folder, name);
    struct error ignored;
    char *text = NULL;
    bool valid = is_uuid(name) && whole_file_read(path, 64, &text, &ignored) &&
                 sscanf(text, "%" SCNu32, &ret_note->domid) == 1;

    if (valid)
        strcpy(ret_note->uuid, name);
    free(text);
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
    struct error ignored;
    char *json = NULL;

    if (!whole_file_read(path, CONFIG_TEXT_MAX, &json, &ignored))
        json = NULL;
    free(path);
    return json;
}

bool note_write_config(const char *folder, const char *uuid, const char *json,
                       struct error *err)
{
    char *path = note_config_path(folder, uuid);
    bool written = whole_file_replace(path, json, strlen(json), err);

    free(path);
    return written;
}

void note_remove_config(const char *folder, const char *uuid)
{
    char *path = note_config_path(folder, uuid);

    unlink(path);
    free(path);
}
