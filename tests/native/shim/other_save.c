/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stands for libxl-save-helper at work for another toolstack: there until it is
 * killed.  Its arguments tell of what. */
#include <unistd.h>

int main(void)
{
    for (;;)
        pause();
}
