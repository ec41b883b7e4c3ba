// SPDX-License-Identifier: Apache-2.0
/* What decides over the backends besides the limits of <ringfall/verdict.h>: rights. */
#ifndef RINGFALL_PROBE_LIMITS_H
#define RINGFALL_PROBE_LIMITS_H

#include <ringfall/verdict.h>

/*
 * Capabilities are those that count on the host: root in a user namespace of its own has none, and
 * the kernel charges locked memory and io_uring_disabled accordingly.
 */
struct rf_rights {
  bool ipc_lock;         /* CAP_IPC_LOCK: RLIMIT_MEMLOCK does not apply */
  bool sys_admin;        /* CAP_SYS_ADMIN: kernel.io_uring_disabled = 1 does not apply */
  bool in_ring_group;    /* nor does it in this group */
  int64_t ring_group;    /* kernel.io_uring_group; -1 = none */
  int64_t max_processes; /* RLIMIT_NPROC; INT64_MAX = unlimited */
};

/* Never fails: what cannot be read is not there. */
void rf_probe_rights(struct rf_rights *rights);

/* RLIMIT_FSIZE; INT64_MAX = unlimited. */
int64_t rf_file_size_limit(void);

#endif
