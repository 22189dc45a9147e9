/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/guest/suspend_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool suspend_request_withdraw(struct xs_handle *xs, uint32_t domid)
{
    xs_transaction_t transaction;
    char path[64];
    char *value;
    bool pending;

    snprintf(path, sizeof(path), "/local/domain/%u/control/shutdown", domid);
    do {
        transaction = xs_transaction_start(xs);
        if (!transaction)
            return false;
        value = xs_read(xs, transaction, path, NULL);
        pending = value && strcmp(value, "suspend") == 0;
        free(value);
        if (!pending || !xs_write(xs, transaction, path, "", 0)) {
            xs_transaction_end(xs, transaction, true);
            return false;
        }
        if (xs_transaction_end(xs, transaction, false))
            return true;
    } while (errno == EAGAIN);
    return false;
}
