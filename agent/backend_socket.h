/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QMP socket of the QEMU that serves a guest's disks in a driver domain. */
#ifndef XENSNAPD_BACKEND_SOCKET_H
#define XENSNAPD_BACKEND_SOCKET_H

#include "agent/operation.h"

/* A step: where there is none, no wrapper is in QEMU's place. */
operation_act backend_find_socket;

#endif
