// SPDX-License-Identifier: Apache-2.0
/* Data that proves where it belongs. */
#include "pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct stamp {
  uint64_t magic;
  uint64_t seed;
  uint64_t offset;
  uint64_t version;
};
_Static_assert(sizeof(struct stamp) + PATTERN_BODY == PATTERN_SECTOR, "a sector has no gaps");

static const uint64_t stamp_magic = UINT64_C(0x72696e6766616c6c); /* "ringfall" */

static uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
  return value ^ (value >> 31);
}

uint64_t pattern_random(uint64_t *state) {
  *state += UINT64_C(0x9e3779b97f4a7c15);
  return mix(*state);
}

void pattern_init(struct pattern *pattern, uint64_t seed) {
  pattern->seed = seed;
  uint64_t state = seed;
  for (size_t i = 0; i < sizeof(pattern->table); i += sizeof(uint64_t)) {
    const uint64_t word = pattern_random(&state);
    memcpy(pattern->table + i, &word, sizeof(word));
  }
}

static const unsigned char *body_of(const struct pattern *pattern, uint64_t offset,
                                    uint64_t version) {
  const uint64_t place = mix(offset / PATTERN_SECTOR + version * UINT64_C(0x9e3779b97f4a7c15));
  return pattern->table + place % PATTERN_PLACES * 8;
}

void pattern_fill(const struct pattern *pattern, void *buffer, size_t length, uint64_t offset,
                  uint64_t version) {
  unsigned char *sector = buffer;
  for (size_t done = 0; done < length; done += PATTERN_SECTOR, sector += PATTERN_SECTOR) {
    const struct stamp stamp = {stamp_magic, pattern->seed, offset + done, version};
    memcpy(sector, &stamp, sizeof(stamp));
    memcpy(sector + sizeof(stamp), body_of(pattern, offset + done, version), PATTERN_BODY);
  }
}

static bool sector_right(const struct pattern *pattern, const unsigned char *sector,
                         uint64_t offset, uint64_t version) {
  struct stamp stamp;
  memcpy(&stamp, sector, sizeof(stamp));
  if (version == PATTERN_ANY_VERSION) version = stamp.version;
  if (stamp.magic != stamp_magic || stamp.seed != pattern->seed || stamp.offset != offset ||
      stamp.version != version)
    return false;
  return memcmp(sector + sizeof(stamp), body_of(pattern, offset, version), PATTERN_BODY) == 0;
}

static void describe(const struct pattern *pattern, const unsigned char *sector, uint64_t offset,
                     uint64_t version, struct pattern_fault *fault) {
  struct stamp stamp;
  memcpy(&stamp, sector, sizeof(stamp));
  char *text = fault->text;
  const size_t room = sizeof(fault->text);
  fault->offset = offset;
  if (stamp.magic != stamp_magic)
    snprintf(text, room, "does not hold anything bench wrote");
  else if (stamp.seed != pattern->seed)
    snprintf(text, room, "holds data of another run");
  else if (stamp.offset != offset)
    snprintf(text, room, "holds what belongs at offset %" PRIu64, stamp.offset);
  else if (version != PATTERN_ANY_VERSION && stamp.version != version)
    snprintf(text, room, "is %s: version %" PRIu64 " where %" PRIu64 " belongs",
             stamp.version < version ? "stale" : "ahead", stamp.version, version);
  else
    snprintf(text, room, "is damaged behind its stamp (version %" PRIu64 ")", stamp.version);
}

bool pattern_check(const struct pattern *pattern, const void *buffer, size_t length,
                   uint64_t offset, uint64_t version, struct pattern_fault *fault) {
  const unsigned char *sector = buffer;
  for (size_t done = 0; done < length; done += PATTERN_SECTOR, sector += PATTERN_SECTOR) {
    if (sector_right(pattern, sector, offset + done, version)) continue;
    describe(pattern, sector, offset + done, version, fault);
    return false;
  }
  return true;
}

bool pattern_stamped(const void *sector, uint64_t *seed) {
  struct stamp stamp;
  memcpy(&stamp, sector, sizeof(stamp));
  if (stamp.magic != stamp_magic) return false;
  *seed = stamp.seed;
  return true;
}
