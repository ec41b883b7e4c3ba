// SPDX-License-Identifier: Apache-2.0
/* <ringfall/counters.h>: what a queue has done.  Plain values; reading them costs the queue
 * nothing and may be done from any thread. */
#ifndef RINGFALL_COUNTERS_H
#define RINGFALL_COUNTERS_H

#include <stddef.h>
#include <stdint.h>

#include <ringfall/op.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why an op was run by plain system calls instead of the queue's own. */
enum rf_fallback_reason {
  RF_FALLBACK_NOT_OFFERED = 0, /* the backend does not have this op, or this flag */
  RF_FALLBACK_REFUSED,         /* the kernel refused it there: EINVAL, EOPNOTSUPP, ENOSYS */
  RF_FALLBACK_FSIZE,           /* a write past RLIMIT_FSIZE, which would raise SIGXFSZ */
  RF_FALLBACK_STREAM,          /* a file that cannot seek, on a backend that would block on it */
  RF_FALLBACK_EXHAUSTED,       /* the backend had no resources for it after all retries */
  RF_FALLBACK_DEAD,            /* the backend stopped taking requests */
  RF_FALLBACK_CHEAPER,     /* a call of this thread costs less on this file (RF_POLICY_MAY_BLOCK) */
  RF_FALLBACK_WOULD_BLOCK, /* the backend would have blocked the queue's thread */
  RF_FALLBACK_REASONS,
};
const char *rf_fallback_reason_name(enum rf_fallback_reason reason); /* "refused"... Static. */

#define RF_LATENCY_BUCKETS 608 /* of struct rf_latency */

/* Latencies in a log-linear histogram: 16 steps a power of two, so that a bucket is at most 6.25 %
 * wide.  Values from 1 ns to 2^41 ns (36 minutes); longer ones count as that. */
struct rf_latency {
  uint64_t count;                      /* ops */
  uint64_t total_ns;                   /* of all of them */
  uint64_t max_ns;                     /* of the slowest */
  uint64_t bucket[RF_LATENCY_BUCKETS]; /* ops, by how long they took */
};

/* The latency that a share of the ops (0 < share <= 1) did not exceed: the upper end of the bucket
 * it falls in, and never above max_ns.  0 if nothing was counted. */
uint64_t rf_latency_at(const struct rf_latency *latency, double share);

/* What a queue, or all queues of an engine, have done since they were opened. */
struct rf_counters {
  uint64_t accepted;  /* ops taken by rf_submit */
  uint64_t refused;   /* ops not taken because the queue was full */
  uint64_t completed; /* ops handed back; accepted - completed are in the queue now */
  uint64_t failed;    /* of these, with a status other than 0 */
  uint64_t bytes;     /* moved by all completed ops */
  uint64_t requests;  /* calls handed to a backend; at least one an op, unless it was cancelled */
  uint64_t continued; /* requests that moved less than asked and were continued */
  uint64_t retried;   /* requests tried again after EINTR, EAGAIN, EBUSY, ENOMEM */
  uint64_t cancelled; /* ops stopped by rf_cancel or a failed link */
  uint64_t timed_out; /* ops stopped by their deadline */
  uint64_t batches;   /* hand-overs to a backend */
  uint64_t submit_ns; /* time blocked in submit: in hand-overs that did not also wait */
  uint64_t system_calls; /* made by the queue's thread for submitting, waiting and reaping */
  uint64_t deaths;       /* backends that stopped working while in use */
  uint64_t lost;         /* ops that ended with EOWNERDEAD: their fate is not known */
  uint64_t stalled;      /* ops that the watchdog reported: rf_queue_options.stall_ns */
  uint64_t generation;   /* how many backends this queue has gone through; 1 = the first */
  uint64_t fell_back[RF_OP_KINDS][RF_FALLBACK_REASONS]; /* by op and reason */
};

/* The room that both texts below fit in, whatever the counters are, with labels of up to 256
 * bytes. */
#define RF_COUNTERS_TEXT_SIZE 65536

/*
 * Counters as text, for a log or a person: "NAME VALUE" lines; fallbacks only where there were any.
 * Like snprintf(): returns the length of the whole text, also where buf (size bytes, always ended
 * with a 0 unless size is 0) has room for its beginning only.  Any thread; nothing is allocated.
 */
int rf_counters_text(const struct rf_counters *counters, char *buf, size_t size);

/*
 * The same in Prometheus' text format (version 0.0.4): ringfall_ops_accepted_total and so on,
 * seconds and bytes as units; with the latency (NULL: without) as the histogram
 * ringfall_latency_seconds.  labels, e.g. `queue="wal"`, go into every line as they are (NULL:
 * none); the caller escapes what is in their quotes.  A page has each metric once: for several
 * queues sum up their counters, or use rf_engine_counters().
 */
int rf_counters_prometheus(const struct rf_counters *counters, const struct rf_latency *latency,
                           const char *labels, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif
