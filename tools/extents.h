// SPDX-License-Identifier: Apache-2.0
/* Where a file has data, and where holes. */
#ifndef RINGFALL_TOOLS_EXTENTS_H
#define RINGFALL_TOOLS_EXTENTS_H

#include <stdint.h>

struct extent {
  uint64_t start;
  uint64_t end; /* one past the last byte; start == end: no more data */
};

/*
 * The first stretch of data at or after `from` in a file of `size` bytes.  Where the file system
 * (or a block device) cannot tell, all of it is data.  Moves the descriptor's offset.  0 or -errno.
 */
int extent_find(int fd, uint64_t from, uint64_t size, struct extent *extent);

#endif
