// SPDX-License-Identifier: Apache-2.0
/* Counting: plain stores by the owner, in order; loads by everybody else. */
#include <errno.h>
#include <string.h>

#include "engine/internal.h"

/* All of struct rf_counters is uint64_t, and summed as such. */
#define FIELDS (sizeof(struct rf_counters) / sizeof(uint64_t))
_Static_assert(sizeof(struct rf_tally) == sizeof(struct rf_counters), "a tally mirrors counters");
_Static_assert(offsetof(struct rf_tally, fell_back) == offsetof(struct rf_counters, fell_back),
               "field by field");

void rf_tally_read(const struct rf_queue *queue, struct rf_counters *counters) {
  const _Atomic uint64_t *from = (const _Atomic uint64_t *)&queue->tally;
  uint64_t *to = (uint64_t *)counters;
  /* Backwards, for what comes later in the structure is counted later: so no op is seen completed
   * that is not seen accepted. */
  for (size_t i = FIELDS; i-- > 0;) to[i] = atomic_load_explicit(&from[i], memory_order_acquire);
}

void rf_counters_add(struct rf_counters *sum, const struct rf_counters *counters) {
  uint64_t *to = (uint64_t *)sum;
  const uint64_t *from = (const uint64_t *)counters;
  for (size_t i = 0; i < FIELDS; i++) to[i] += from[i];
}

int rf_queue_counters(struct rf_queue *queue, struct rf_counters *counters) {
  if (!rf_engine_alive(queue->engine)) return -EBADF;
  rf_tally_read(queue, counters);
  return 0;
}

/* ---- latency: 16 steps a power of two -------------------------------------------------------- */

#define LARGEST ((UINT64_C(1) << 41) - 1)

static unsigned bucket_of(uint64_t ns) {
  if (ns > LARGEST) ns = LARGEST;
  if (ns < 16) return (unsigned)ns;
  unsigned power = 63u - (unsigned)__builtin_clzll(ns);
  return 16u * (power - 3u) + (unsigned)(ns >> (power - 4u) & 15u);
}

uint64_t rf_latency_bucket_end(unsigned bucket) {
  if (bucket < 16) return bucket;
  unsigned power = bucket / 16u + 3u;
  return ((uint64_t)(16u + bucket % 16u + 1u) << (power - 4u)) - 1u;
}

/* Ops that were accepted together and answered together are counted together. */
void rf_latency_count(struct rf_queue *queue, uint64_t accepted_ns, uint64_t count) {
  struct rf_atomic_latency *latency = queue->latency;
  uint64_t ns = (queue->now_ns != 0 ? queue->now_ns : rf_now_ns()) - accepted_ns;
  rf_tally_add(&latency->total_ns, ns * count);
  rf_tally_add(&latency->bucket[bucket_of(ns)], count);
  if (ns > atomic_load_explicit(&latency->max_ns, memory_order_relaxed))
    rf_tally_set(&latency->max_ns, ns);
}

int rf_queue_latency(struct rf_queue *queue, struct rf_latency *latency) {
  if (!rf_engine_alive(queue->engine)) return -EBADF;
  if (queue->latency == NULL) return -ENODATA;
  memset(latency, 0, sizeof(*latency));
  latency->total_ns = atomic_load_explicit(&queue->latency->total_ns, memory_order_relaxed);
  latency->max_ns = atomic_load_explicit(&queue->latency->max_ns, memory_order_relaxed);
  for (unsigned i = 0; i < RF_LATENCY_BUCKETS; i++) {
    latency->bucket[i] = atomic_load_explicit(&queue->latency->bucket[i], memory_order_relaxed);
    latency->count += latency->bucket[i]; /* of one piece with the buckets, whatever comes in */
  }
  return 0;
}

uint64_t rf_latency_at(const struct rf_latency *latency, double share) {
  uint64_t seen = 0;
  double wanted = share * (double)latency->count;
  if (latency->count == 0) return 0;
  for (unsigned i = 0; i < RF_LATENCY_BUCKETS; i++) {
    seen += latency->bucket[i];
    if (seen == 0 || (double)seen < wanted) continue;
    uint64_t end = rf_latency_bucket_end(i);
    return end < latency->max_ns ? end : latency->max_ns;
  }
  return latency->max_ns;
}

/* ---- names ----------------------------------------------------------------------------------- */

const char *rf_fallback_reason_name(enum rf_fallback_reason reason) {
  switch (reason) {
    case RF_FALLBACK_NOT_OFFERED:
      return "not offered";
    case RF_FALLBACK_REFUSED:
      return "refused";
    case RF_FALLBACK_FSIZE:
      return "file size limit";
    case RF_FALLBACK_STREAM:
      return "stream";
    case RF_FALLBACK_EXHAUSTED:
      return "exhausted";
    case RF_FALLBACK_DEAD:
      return "backend dead";
    case RF_FALLBACK_CHEAPER:
      return "cheaper";
    case RF_FALLBACK_WOULD_BLOCK:
      return "would block";
    case RF_FALLBACK_REASONS:
      break;
  }
  return "unknown";
}

const char *rf_op_name(enum rf_op_kind kind) {
  static const char *const names[RF_OP_KINDS] = {
      [RF_OP_NOP] = "nop",
      [RF_OP_READ] = "read",
      [RF_OP_WRITE] = "write",
      [RF_OP_READV] = "readv",
      [RF_OP_WRITEV] = "writev",
      [RF_OP_FSYNC] = "fsync",
      [RF_OP_FDATASYNC] = "fdatasync",
      [RF_OP_FALLOCATE] = "fallocate",
      [RF_OP_DISCARD] = "discard",
  };
  return (unsigned)kind < RF_OP_KINDS ? names[kind] : "unknown";
}
