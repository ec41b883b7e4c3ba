// SPDX-License-Identifier: Apache-2.0
/* Where a file has data: SEEK_DATA and SEEK_HOLE. */
#include "extents.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

static uint64_t smaller(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

int extent_find(int fd, uint64_t from, uint64_t size, struct extent *extent) {
  extent->start = extent->end = size;
  if (from >= size) return 0;
  const off_t data = lseek(fd, (off_t)from, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return 0; /* a hole up to the end */
  if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOTTY) return -errno;
  extent->start = data < 0 ? from : smaller((uint64_t)data, size);
  if (data < 0) return 0; /* cannot tell: data up to the end */
  const off_t hole = lseek(fd, data, SEEK_HOLE);
  if (hole > data) extent->end = smaller((uint64_t)hole, size);
  return 0;
}
