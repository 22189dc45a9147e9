/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands and their help. */
#include "client/command.h"

#include <string.h>

#define OUTPUT                                                                 \
    "  -q, --quiet               print nothing but errors and warnings\n"      \
    "      --json                print the answer as JSON\n"

#define HELP                                                                   \
    "      --root PATH           the agent's xenstore.root\n"                  \
    "  -h, --help                print this help and exit\n"                   \
    "  -V, --version             print the version and exit\n"

#define COMMON                                                                 \
    "      --no-wait             print the request's id and return\n"          \
    "      --timeout SECONDS     how long the whole may take\n" OUTPUT HELP

#define AS_JSON "      --json                print the same as JSON\n" HELP

const char general_help[] =
    "Usage: xensnap COMMAND [ARGUMENT]... [OPTION]...\n"
    "Snapshots of Xen domains, taken by xensnapd.\n"
    "\n"
    "  create DOMAIN         take a snapshot\n"
    "  revert DOMAIN NAME    go back to a snapshot\n"
    "  delete DOMAIN NAME    remove a snapshot\n"
    "  rescan DOMAIN         the disks' images have changed, or are about to\n"
    "  list [DOMAIN]         show snapshots\n"
    "  tree [DOMAIN]         show what came from what, and where it runs now\n"
    "  show DOMAIN NAME      show all that is known of a snapshot\n"
    "  requests              show the requests\n"
    "  cancel ID             give a request up\n"
    "  watch [ID]            follow the requests, or one to its end\n"
    "  status                show the agent and the requests\n"
    "\n"
    "'xensnap COMMAND --help' shows the options.\n"
    "\n"
    "      --root PATH       the agent's xenstore.root\n"
    "  -V, --version         print the version and exit\n"
    "  -h, --help            print this help and exit\n"
    "\n"
    "A DOMAIN is given by uuid, domid or name; in a domain that asks for "
    "itself\n"
    "it may be left out. Ctrl-C asks whether to cancel (cancels, where there "
    "is\n"
    "no terminal to ask on) and waits for the end.\n"
    "\n"
    "Exit status: 0 done; 1 failed, the error's code is printed; 2 wrong usage;"
    "\n"
    "3 no agent or no xenstore; 4 cancelled; 5 done, but an old snapshot "
    "could\n"
    "not be removed.\n";

const struct command commands[] = {
    {"create",
     "Usage: xensnap create [DOMAIN] [OPTION]...\n"
     "Takes a snapshot of a running domain: its memory and its disks.\n"
     "\n"
     "      --name NAME           its name (default: made from the time)\n"
     "      --no-memory           the disks only\n"
     "      --memory-path PATH    where the memory file goes\n"
     "      --live                live or not at all\n"
     "      --no-live             suspend the guest for the whole save\n"
     "      --quiesce[=try]       the guest freezes its file systems for it;\n"
     "                            try: goes on where it cannot\n"
     "      --disk VDEV           only this disk; may be repeated\n"
     "      --internal            inside the qcow2 images; needs --disk\n"
     "      --description TEXT    words to keep with it\n"
     "      --schedule NAME       the schedule that it belongs to\n"
     "      --expires WHEN        the agent deletes it then: 12h, 30d, or\n"
     "                            2026-12-31T23:59:59Z\n"
     "      --keep NUMBER         then remove the schedule's oldest ones, so "
     "that\n"
     "                            this many are left\n"
     "      --keep-for AGE        then remove those that are older: 12h, 30d, "
     "8w\n" COMMON,
     1, 1, "nMmlLQdiDSENAwtqj", true},
    {"revert",
     "Usage: xensnap revert [DOMAIN] NAME [OPTION]...\n"
     "Ends the domain and makes it anew from a snapshot.\n"
     "\n"
     "      --start HOW           as-saved, running, paused, or boot: from "
     "the\n"
     "                            disks, without memory\n"
     "      --keep-current        keep the disk state that is left "
     "behind\n" COMMON,
     2, 2, "skwtqj", true},
    {"delete",
     "Usage: xensnap delete [DOMAIN] NAME [OPTION]...\n"
     "Removes a snapshot; the domain does not notice.\n"
     "\n"
     "      --keep-files          forget it and leave its files alone\n" COMMON,
     2, 2, "Kwtqj", true},
    {"rescan",
     "Usage: xensnap rescan [DOMAIN] [OPTION]...\n"
     "Makes the domain follow images that were changed.\n"
     "\n"
     "      --prepare             they are about to change: hold the guest\n"
     "      --complete            they have changed: let go\n"
     "      --abort               they have not: let go\n"
     "      --hold SECONDS        for how long --prepare may hold the guest\n"
     "      --disk VDEV[=PATH]    this disk, now in PATH; may be "
     "repeated\n"
     "      --format VDEV=FORMAT  what it is now: raw, qcow2, vhd; may be "
     "repeated\n" COMMON,
     1, 1, "pcaHrfwtqj", true},
    {"list",
     "Usage: xensnap list [DOMAIN] [OPTION]...\n"
     "Shows all snapshots, or a domain's; * marks the one that the running "
     "state\n"
     "descends from. SIZE is what memory and images take on the disk.\n"
     "\n" AS_JSON,
     0, 1, "j", false},
    {"tree",
     "Usage: xensnap tree [DOMAIN] [OPTION]...\n"
     "Draws which snapshot came from which: age, size on the disk, with "
     "memory\n"
     "or without; where the running state (@) is, and on how many images.\n"
     "\n" AS_JSON,
     0, 1, "j", false},
    {"show",
     "Usage: xensnap show [DOMAIN] NAME [OPTION]...\n"
     "Shows all that is known of a snapshot.\n"
     "\n" AS_JSON,
     2, 2, "j", true},
    {"requests",
     "Usage: xensnap requests [OPTION]...\n"
     "Shows the requests that are there, finished ones included. In domain 0 "
     "those\n"
     "of domains as well, with the domid before the id: 5:my-request.\n"
     "\n" AS_JSON,
     0, 0, "j", false},
    {"cancel",
     "Usage: xensnap cancel ID [OPTION]...\n"
     "Gives a request up and waits for its end. Exit status 0: it was "
     "cancelled;\n"
     "1: it had got to another end.\n"
     "\n"
     "      --no-wait             return at once\n" OUTPUT HELP,
     1, 1, "wqj", false},
    {"watch",
     "Usage: xensnap watch [ID] [OPTION]...\n"
     "Follows a request to its end and shows what came of it, as create does; "
     "or\n"
     "all requests and the agent, a line for each change. Ctrl-C ends this "
     "and\n"
     "nothing else.\n"
     "\n"
     "      --json                a JSON object for each line, or the "
     "answer\n" HELP,
     0, 1, "j", false},
    {"status",
     "Usage: xensnap status [OPTION]...\n"
     "Shows the agent and the requests that it has.\n"
     "\n" AS_JSON,
     0, 0, "j", false},
    {NULL, NULL, 0, 0, NULL, false},
};

const struct command *command_find(const char *name)
{
    for (size_t i = 0; commands[i].name; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}
