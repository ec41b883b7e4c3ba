// SPDX-License-Identifier: Apache-2.0
/* The clock that all durations are measured with. */
#ifndef RINGFALL_TOOLS_CLOCK_H
#define RINGFALL_TOOLS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in ns. */
static inline uint64_t tool_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
