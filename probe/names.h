// SPDX-License-Identifier: Apache-2.0
/* Names of the system's numbers, as people know them. */
#ifndef RINGFALL_PROBE_NAMES_H
#define RINGFALL_PROBE_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* "EPERM"; "errno 4711" where the name is not known, written to the caller's room. */
struct rf_errno_room {
  char text[24];
};
const char *rf_errno_name(int error, struct rf_errno_room *room);

/* The same; NULL where the name is not known.  Static string. */
const char *rf_errno_symbol(int error);

/* "ext4"; "0x1234" where the name is not known.  Always terminated. */
void rf_file_system_name(uint64_t magic, char *name, size_t size);

#endif
