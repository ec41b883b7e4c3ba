// SPDX-License-Identifier: Apache-2.0
/*
 * <ringfall/fault_injection.h>: an engine whose backends go wrong by a plan, so that a program can
 * test what it makes of short transfers, errors, late answers and backends that die.
 *
 * A target of its own, @ringfall//engine:fault_injection: a program that does not link it carries
 * none of it.
 *
 *     struct rf_fault_plan plan;            const char *where;
 *     rf_fault_plan_parse("seed=42 short=10% error=EIO:write@3", &plan, &where);
 *     struct rf_fault_injector *injector;   rf_fault_injector_open(&plan, &injector);
 *     struct rf_engine *engine;             rf_fault_engine_open(injector, &engine, NULL);
 *     ... the program under test, with this engine ...
 *     rf_engine_close(engine);              rf_fault_injector_close(injector);
 *
 * Where it sits: between ringfall's core and a backend.  So the core meets the faults as it meets
 * the kernel's: a short transfer is continued, EAGAIN is tried again, a dead backend is replaced,
 * and what remains reaches the program as completions.  To see what the program makes of a short
 * transfer, let its ops say RF_OP_ALLOW_SHORT.  An answer that is made up stands for a request that
 * was not done: the file is as if it had failed.
 *
 * Replay: the same plan and the same program have the same faults.  What is decided by chance is
 * decided from the seed and from the request's kind and offset, and how often that one came, not
 * from the order in which answers happen to arrive.  Conditions that count requests (@N, xN) follow
 * the order of hand-over; they are exact for a program that does not depend on its timing, and with
 * `each` also for others.  A test prints its plan when it fails: rf_fault_plan_print().
 *
 * Plans as text: words with blanks between.  Each is `seed=N`, `stand_in`, or a fault:
 *
 *     short=N         transfers move N bytes at most (exactly N: for direct I/O take a multiple of
 *                     the alignment)
 *     short           ... a part of them, by chance, aligned as the transfer is; at least 1 byte
 *     error=EIO       the request is not done, and answered with this errno; 0: with 0 bytes
 *     delay=N         the answer is held back for N looks at the backend
 *     delay=Nns, us, ms   ... for so long
 *     reorder         answers that are there are handed over in another order
 *     partial=N       of the requests of one hand-over N are taken; the rest has to come again
 *     refuse=EAGAIN   a hand-over is refused; also EINTR, EBUSY, ENOMEM
 *     death=EPERM     the backend takes nothing any more, from then on
 *     lost            a backend that dies takes with it the answers of what it has; see EOWNERDEAD
 *     deaf=EPERM      the backend cannot wait for answers
 *     open=EMFILE     a queue cannot be opened on the backend
 *     capacity=N      requests in flight at most; ops over that wait in the queue
 *     lack            the backend does not have these ops: name them
 *
 * and then, after a colon and with commas between, when:
 *
 *     write, read, ...  requests of these ops; names as in rf_op_name().  To the kernel a discard
 *                     of a regular file is a fallocate, and the rest of a vector may be a plain
 *                     transfer
 *
 *     dsync, nowait, hipri  requests with one of these flags
 *
 *     direct          requests on descriptors with O_DIRECT
 *
 *     io_uring, libaio, threads  on these backends only
 *
 *     from=N, to=N    requests at offsets from N on, and below N
 *     P%              with this probability; decimals are fine.  Also after `=`: short=10%
 *     @N              the Nth time all of that is so, counted from 1, and no other
 *     @N+, @NxM       from the Nth time on; M times
 *     xM              the first M times
 *     each            @ and x count for each offset and kind of request on its own
 *
 * For refuse, @N counts requests (the Nth cannot be handed over) and x the refusals; for death, @N
 * the same.  death and open concern io_uring and libaio: the plain system calls of the threads
 * backend have nothing that could die.  Of several errors for one request the first counts.
 */
#ifndef RINGFALL_FAULT_INJECTION_H
#define RINGFALL_FAULT_INJECTION_H

#include <ringfall/engine.h>
#include <ringfall/op.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The words above, as numbers. */
enum rf_fault_kind {
  RF_FAULT_SHORT = 0,
  RF_FAULT_ERROR,
  RF_FAULT_DELAY,
  RF_FAULT_REORDER,
  RF_FAULT_PARTIAL,
  RF_FAULT_REFUSE,
  RF_FAULT_DEATH,
  RF_FAULT_LOST,
  RF_FAULT_DEAF,
  RF_FAULT_OPEN,
  RF_FAULT_CAPACITY,
  RF_FAULT_LACK,
  RF_FAULT_KINDS,
};
const char *rf_fault_name(enum rf_fault_kind kind); /* "short", ...; "unknown".  Static string. */

/* One fault and when it is to happen; the fields are the words above.  All 0 but for kind: always.
 */
struct rf_fault {
  uint8_t kind;      /* enum rf_fault_kind */
  bool each;         /* first and times count for each offset and kind of request */
  bool direct;       /* only on descriptors with O_DIRECT */
  uint16_t flags;    /* enum rf_op_flags: DSYNC, NOWAIT, HIPRI; 0 = with any or none */
  uint32_t ops;      /* bits 1 << enum rf_op_kind; 0 = all */
  uint32_t backends; /* bits 1 << enum rf_backend_id; 0 = all */
  uint32_t chance;   /* in a million; 0 = always */
  int32_t error;     /* errno, positive */
  uint64_t amount;   /* SHORT: bytes; DELAY: looks; PARTIAL, CAPACITY: requests */
  uint64_t delay_ns; /* DELAY: instead of looks */
  uint64_t from;     /* offsets from here on */
  uint64_t to;       /* and below this; 0 = no end */
  uint64_t first;    /* from the so manyth time on, counted from 1; 0 = 1 */
  uint64_t times;    /* at most so often; 0 = no limit */
};

#define RF_FAULTS_MAX 16 /* of one plan */

/* What is to go wrong. */
struct rf_fault_plan {
  uint64_t seed; /* of what is decided by chance */
  /* The threads backend stands in for io_uring and libaio: nothing on the host is probed, every
   * choice works, and tests do not depend on where they run. */
  bool stand_in;
  unsigned count;                        /* of faults */
  struct rf_fault faults[RF_FAULTS_MAX]; /* the first `count` of them */
};

/* Reads a plan.  0; or -EINVAL, plan untouched, and *where (may be NULL) at what is not understood:
 * a place in text.  -E2BIG: more than RF_FAULTS_MAX faults. */
int rf_fault_plan_parse(const char *text, struct rf_fault_plan *plan, const char **where);

/* Writes a plan as text that rf_fault_plan_parse() takes.  As snprintf: returns the length of all
 * of it, and writes no more than size bytes with the 0 at the end. */
int rf_fault_plan_print(const struct rf_fault_plan *plan, char *text, size_t size);

/* What has happened. */
struct rf_fault_counts {
  uint64_t injected[RF_FAULT_KINDS]; /* how often each fault happened */
  struct {
    uint64_t opened, closed; /* a backend object for each queue */
    uint64_t taken;          /* requests */
    uint64_t refusals;       /* hand-overs that were answered with an error, by the plan */
    uint64_t most_in_flight; /* of one queue */
  } backends[RF_BACKENDS];   /* by enum rf_backend_id */
  /* What ringfall's core did against its own contract with its backends.  Not 0 is a defect of
   * ringfall: see rf_fault_broken_rule(). */
  uint64_t broken_rules;
};

/* One request that was answered. */
struct rf_fault_event {
  uint8_t backend; /* enum rf_backend_id */
  uint8_t op;      /* enum rf_op_kind */
  bool made_up;    /* by the plan: it was not done */
  uint64_t offset; /* of the request */
  int64_t res;     /* bytes, 0, or -errno */
};
/* Is told of each of them: see rf_fault_injector_observe(). */
typedef void rf_fault_observer(void *context, const struct rf_fault_event *event);

struct rf_fault_injector;

/* Makes an injector: the plan, which is copied, and the counts.  -EINVAL: a plan that cannot be.
 * -ENOMEM. */
int rf_fault_injector_open(const struct rf_fault_plan *plan, struct rf_fault_injector **injector);

/* After the engines that were opened with it.  NULL is fine. */
void rf_fault_injector_close(struct rf_fault_injector *injector);

/* Changes the plan; everything is counted anew for it.  What is in flight keeps what it was given,
 * open queues keep capacity and lack, an engine stand_in.  Any thread.  -EINVAL. */
int rf_fault_injector_plan(struct rf_fault_injector *injector, const struct rf_fault_plan *plan);

/* As rf_engine_open(), errors included, but with the injector's plan on its backends.  The engine
 * is an ordinary one otherwise, to be closed by rf_engine_close(). */
int rf_fault_engine_open(struct rf_fault_injector *injector, struct rf_engine **engine,
                         const struct rf_engine_options *options);

/* What has happened up to now.  Any thread, also when the engine is closed. */
void rf_fault_injector_counts(struct rf_fault_injector *injector, struct rf_fault_counts *counts);

/* The last rule that ringfall broke, in words; NULL if none.  Static string. */
const char *rf_fault_broken_rule(struct rf_fault_injector *injector);

/* Has `observer` called for each request that is answered, on the thread of its queue, which must
 * not call ringfall from there.  Before an engine is opened.  NULL: nobody. */
void rf_fault_injector_observe(struct rf_fault_injector *injector, rf_fault_observer *observer,
                               void *context);

#ifdef __cplusplus
}
#endif
#endif
