// SPDX-License-Identifier: Apache-2.0
/* SHA-256 of a stream of bytes, fed in order. */
#ifndef RINGFALL_TOOLS_CHECKSUM_H
#define RINGFALL_TOOLS_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>

#define CHECKSUM_HEX 65 /* 64 digits and the terminating NUL */

struct checksum {
  void *context;
};

/* All of them: false when libcrypto refuses, for want of memory or because its configuration
 * forbids the algorithm. */
bool checksum_open(struct checksum *sum);
bool checksum_add(struct checksum *sum, const void *data, size_t length);
bool checksum_hex(struct checksum *sum, char hex[CHECKSUM_HEX]); /* nothing can be added after */

/* May be called on a zeroed one, and twice. */
void checksum_close(struct checksum *sum);

#endif
