/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands and their help. */
#include "client/command.h"

#include <string.h>

#define COMMON                                                                 \
    "      --no-wait             print the request's id and return\n"          \
    "      --timeout SECONDS     how long the whole may take\n"                \
    "  -q, --quiet               print nothing but errors\n"                   \
    "  -h, --help                print this help and exit\n"

const char general_help[] =
    "Usage: xensnap COMMAND [ARGUMENT]... [OPTION]...\n"
    "Snapshots of Xen domains, taken by xensnapd.\n"
    "\n"
    "  create DOMAIN         take a snapshot\n"
    "  revert DOMAIN NAME    go back to a snapshot\n"
    "  delete DOMAIN NAME    remove a snapshot\n"
    "  rescan DOMAIN         the disks' images have changed, or are about to\n"
    "  list [DOMAIN]         show snapshots\n"
    "  status                show the agent and the requests\n"
    "  cancel ID             give a request up\n"
    "\n"
    "'xensnap COMMAND --help' shows the options.\n"
    "\n"
    "  -V, --version         print the version and exit\n"
    "  -h, --help            print this help and exit\n"
    "\n"
    "A DOMAIN is given by uuid, domid or name. Ctrl-C asks whether to cancel\n"
    "(cancels, where there is no terminal to ask on) and waits for the end.\n"
    "\n"
    "Exit status: 0 done; 1 failed, the error's code is printed; 2 wrong usage;"
    "\n"
    "3 no agent or no xenstore; 4 cancelled.\n";

static const struct command commands[] = {
    {"create",
     "Usage: xensnap create DOMAIN [OPTION]...\n"
     "Takes a snapshot of a running domain: its memory and its disks.\n"
     "\n"
     "      --name NAME           its name (default: made from the time)\n"
     "      --no-memory           the disks only\n"
     "      --memory-path PATH    where the memory file goes\n"
     "      --live                live or not at all\n"
     "      --no-live             suspend the guest for the whole save\n"
     "      --disk VDEV           only this disk; may be repeated\n"
     "      --internal            inside the qcow2 images; needs --disk\n"
     "      --description TEXT    words to keep with it\n" COMMON,
     1, 1, "nMmlLdiD"},
    {"revert",
     "Usage: xensnap revert DOMAIN NAME [OPTION]...\n"
     "Ends the domain and makes it anew from a snapshot.\n"
     "\n"
     "      --start HOW           as-saved, running, paused, or boot: from "
     "the\n"
     "                            disks, without memory\n"
     "      --keep-current        keep the disk state that is left "
     "behind\n" COMMON,
     2, 2, "sk"},
    {"delete",
     "Usage: xensnap delete DOMAIN NAME [OPTION]...\n"
     "Removes a snapshot; the domain does not notice.\n"
     "\n"
     "      --keep-files          forget it and leave its files alone\n" COMMON,
     2, 2, "K"},
    {"rescan",
     "Usage: xensnap rescan DOMAIN [OPTION]...\n"
     "Makes the domain follow images that were changed.\n"
     "\n"
     "      --prepare             they are about to change: hold the guest\n"
     "      --complete            they have changed: let go\n"
     "      --abort               they have not: let go\n"
     "      --hold SECONDS        for how long --prepare may hold the guest\n"
     "      --disk VDEV[=PATH]    this disk, now in PATH; may be "
     "repeated\n" COMMON,
     1, 1, "pcaHr"},
    {"list",
     "Usage: xensnap list [DOMAIN]\n"
     "Shows all snapshots, or a domain's; * marks the one that the running "
     "state\n"
     "descends from.\n"
     "\n"
     "  -h, --help                print this help and exit\n",
     0, 1, ""},
    {"status",
     "Usage: xensnap status\n"
     "Shows the agent and the requests that it has.\n"
     "\n"
     "  -h, --help                print this help and exit\n",
     0, 0, ""},
    {"cancel",
     "Usage: xensnap cancel ID [OPTION]...\n"
     "Gives a request up and waits for its end. Exit status 0: it was "
     "cancelled;\n"
     "1: it had got to another end.\n"
     "\n"
     "      --no-wait             return at once\n"
     "  -q, --quiet               print nothing but errors\n"
     "  -h, --help                print this help and exit\n",
     1, 1, ""},
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}
