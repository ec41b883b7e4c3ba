// SPDX-License-Identifier: Apache-2.0
/*
 * Which fault happens to which request.
 *
 * What is left to chance is decided from the seed, the fault, the kind and offset of the request
 * and how often that one has come.  The order in which answers arrive, and with it that of
 * continuations and retries, does not matter, so that a failing test can be run again.
 *
 * Nothing here locks: the injector does.
 */
#ifndef RINGFALL_ENGINE_FAULT_INJECTION_DECIDE_H
#define RINGFALL_ENGINE_FAULT_INJECTION_DECIDE_H

#include "backends/backend.h"
#include "engine/fault_injection/plan.h"

struct rf_times {
  uint64_t seen;     /* that all conditions but the counts were met */
  uint64_t happened; /* that it happened */
};

/* The times of one fault for one kind of request at one offset of one file. */
struct rf_tries {
  uint64_t offset;
  struct rf_times times;
  int32_t fd;
  uint8_t fault, kind;
  bool used;
};

struct rf_decisions {
  struct rf_tries *table; /* open addressing; size is a power of two */
  size_t size, used;
};

struct rf_plan_state {
  struct rf_fault_plan plan;
  struct rf_times times[RF_FAULTS_MAX];
  struct rf_decisions decisions;
};

/* What is to become of one request. */
struct rf_decision {
  uint64_t most;           /* bytes; UINT64_MAX: all */
  uint64_t looks;          /* to hold its answer back for */
  uint64_t delay_ns;       /* likewise */
  int64_t answer;          /* if made_up */
  bool made_up;            /* answered instead of done */
  uint16_t seen, happened; /* bit for each fault, for rf_decide_undo() */
};
_Static_assert(RF_FAULTS_MAX <= 16, "a bit for each fault");

void rf_plan_state_set(struct rf_plan_state *state, const struct rf_fault_plan *plan);

void rf_decide(struct rf_plan_state *state, enum rf_backend_id backend,
               const struct rf_request *request, struct rf_decision *decision);

/* As if it had not been decided: the request was not taken after all.  The plan is the same. */
void rf_decide_undo(struct rf_plan_state *state, const struct rf_request *request,
                    const struct rf_decision *decision);

bool rf_fault_concerns(const struct rf_fault *fault, enum rf_backend_id backend);

/* The request flags (enum rf_request_flags) that a fault names. */
uint32_t rf_fault_request_flags(const struct rf_fault *fault);

/* Counts one more time that a fault could happen, and says whether it does.  number: for chance. */
bool rf_fault_falls_due(const struct rf_fault *fault, struct rf_times *times, uint64_t number);

#endif
