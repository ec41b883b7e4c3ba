// SPDX-License-Identifier: Apache-2.0
/*
 * Data that proves where it belongs: the content of every 512-byte sector is a function of (seed,
 * offset, version), cheap to make and to compare.
 *
 * A sector begins with a stamp that holds the three; the other 480 bytes are a piece of a table of
 * random bytes, at a place that depends on all three.  So data that is misplaced (another offset),
 * stale (an older version), torn (sectors or bytes of two versions) or damaged is found.
 */
#ifndef RINGFALL_TOOLS_PATTERN_H
#define RINGFALL_TOOLS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_SECTOR 512u
#define PATTERN_PLACES 1024u /* where in the table a sector's bytes may begin, 8 bytes apart */
#define PATTERN_BODY   480u

struct pattern {
  uint64_t seed;
  unsigned char table[PATTERN_PLACES * 8 + PATTERN_BODY]; /* fits into a first-level cache */
};

void pattern_init(struct pattern *pattern, uint64_t seed);

/* length and offset: multiples of PATTERN_SECTOR.  Versions begin at 1. */
void pattern_fill(const struct pattern *pattern, void *buffer, size_t length, uint64_t offset,
                  uint64_t version);

/* What was found instead. */
struct pattern_fault {
  uint64_t offset; /* of the first wrong sector, in the file */
  char text[160];  /* "holds what belongs at offset 4096" */
};

/* As version: whatever the stamp of each sector says. */
#define PATTERN_ANY_VERSION UINT64_C(0)

/* True if the buffer holds exactly what pattern_fill() makes; else *fault tells of the first
 * difference. */
bool pattern_check(const struct pattern *pattern, const void *buffer, size_t length,
                   uint64_t offset, uint64_t version, struct pattern_fault *fault);

/* True, and its seed, if a sector bears a stamp. */
bool pattern_stamped(const void *sector, uint64_t *seed);

/* A step of splitmix64: the next of a series of random numbers. */
uint64_t pattern_random(uint64_t *state);

#endif
