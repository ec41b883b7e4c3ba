// SPDX-License-Identifier: Apache-2.0
/* Which fault happens to which request: see decide.h. */
#include "engine/fault_injection/decide.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "engine/fault_injection/chance.h"

/* ---- how often a request came ---------------------------------------------------------------- */

static uint64_t hash_of(unsigned fault, const struct rf_request *request) {
  return rf_mix_in(rf_mix_in(request->offset, (uint64_t)request->fd),
                   (uint64_t)fault << 8 | request->kind);
}

static bool is_for(const struct rf_tries *tries, unsigned fault, const struct rf_request *request) {
  return tries->offset == request->offset && tries->fd == request->fd && tries->fault == fault &&
         tries->kind == request->kind;
}

static bool grow(struct rf_decisions *decisions) {
  size_t size = decisions->size == 0 ? 256 : decisions->size * 2;
  struct rf_tries *table = calloc(size, sizeof(*table));
  if (table == NULL) return false;
  for (size_t i = 0; i < decisions->size; i++) {
    struct rf_tries *old = &decisions->table[i];
    struct rf_request key = {.kind = old->kind, .fd = old->fd, .offset = old->offset};
    if (!old->used) continue;
    size_t at = hash_of(old->fault, &key) & (size - 1);
    while (table[at].used) at = (at + 1) & (size - 1);
    table[at] = *old;
  }
  free(decisions->table);
  decisions->table = table;
  decisions->size = size;
  return true;
}

/* NULL: no memory.  Then the request counts as never seen before. */
static struct rf_tries *tries_of(struct rf_decisions *decisions, unsigned fault,
                                 const struct rf_request *request) {
  if (decisions->used * 2 >= decisions->size && !grow(decisions)) return NULL;
  size_t mask = decisions->size - 1;
  size_t at = hash_of(fault, request) & mask;
  while (decisions->table[at].used && !is_for(&decisions->table[at], fault, request))
    at = (at + 1) & mask;
  struct rf_tries *tries = &decisions->table[at];
  if (tries->used) return tries;
  *tries = (struct rf_tries){.offset = request->offset,
                             .fd = request->fd,
                             .fault = (uint8_t)fault,
                             .kind = request->kind,
                             .used = true};
  decisions->used++;
  return tries;
}

/* ---- conditions ------------------------------------------------------------------------------ */

_Static_assert((int)RF_REQUEST_NOP == RF_OP_NOP && (int)RF_REQUEST_READ == RF_OP_READ &&
                   (int)RF_REQUEST_WRITE == RF_OP_WRITE && (int)RF_REQUEST_READV == RF_OP_READV &&
                   (int)RF_REQUEST_WRITEV == RF_OP_WRITEV && (int)RF_REQUEST_FSYNC == RF_OP_FSYNC &&
                   (int)RF_REQUEST_FDATASYNC == RF_OP_FDATASYNC &&
                   (int)RF_REQUEST_FALLOCATE == RF_OP_FALLOCATE &&
                   (int)RF_REQUEST_BLOCK_DISCARD == RF_OP_DISCARD,
               "a kind of request is named as the op");
_Static_assert((int)RF_REQUEST_DSYNC == RF_OP_DSYNC >> 2 &&
                   (int)RF_REQUEST_NOWAIT == RF_OP_NOWAIT >> 2 &&
                   (int)RF_REQUEST_HIPRI == RF_OP_HIPRI >> 2,
               "the flags of a request are those of the op");

uint32_t rf_fault_request_flags(const struct rf_fault *fault) {
  return (uint32_t)fault->flags >> 2;
}

bool rf_fault_concerns(const struct rf_fault *fault, enum rf_backend_id backend) {
  return fault->backends == 0 || fault->backends & 1u << backend;
}

static bool is_direct(const struct rf_request *request) {
  int flags = fcntl(request->fd, F_GETFL);
  return flags >= 0 && flags & O_DIRECT;
}

static bool fits(const struct rf_fault *fault, enum rf_backend_id backend,
                 const struct rf_request *request) {
  if (!rf_fault_concerns(fault, backend)) return false;
  if (fault->ops != 0 && !(fault->ops & 1u << request->kind)) return false;
  if (fault->flags != 0 && !(rf_fault_request_flags(fault) & request->flags)) return false;
  if (fault->direct && !is_direct(request)) return false;
  return request->offset >= fault->from && (fault->to == 0 || request->offset < fault->to);
}

static bool is_transfer(const struct rf_request *request) {
  return request->kind >= RF_REQUEST_READ && request->kind <= RF_REQUEST_WRITEV;
}

static bool by_chance(const struct rf_fault *fault, uint64_t number) {
  return fault->chance == 0 || number % RF_CHANCE_ALWAYS < fault->chance;
}

bool rf_fault_falls_due(const struct rf_fault *fault, struct rf_times *times, uint64_t number) {
  uint64_t first = fault->first == 0 ? 1 : fault->first;
  times->seen++;
  if (times->seen < first || (fault->times != 0 && times->happened >= fault->times)) return false;
  if (!by_chance(fault, number)) return false;
  times->happened++;
  return true;
}

/* The number that chance takes: what the request is, and how often it came. */
static uint64_t number_for(const struct rf_plan_state *state, unsigned fault,
                           const struct rf_request *request, const struct rf_tries *tries) {
  uint64_t number = rf_mix_in(state->plan.seed, (uint64_t)fault << 8 | request->kind);
  return rf_mix_in(rf_mix_in(number, request->offset), tries == NULL ? 0 : tries->times.seen);
}

static bool happens(struct rf_plan_state *state, unsigned index, const struct rf_request *request,
                    uint64_t *number) {
  const struct rf_fault *fault = &state->plan.faults[index];
  bool alone = fault->each || fault->chance != 0 || fault->kind == RF_FAULT_SHORT;
  struct rf_tries *tries = alone ? tries_of(&state->decisions, index, request) : NULL;
  *number = number_for(state, index, request, tries);
  if (fault->each && tries != NULL) return rf_fault_falls_due(fault, &tries->times, *number);
  if (tries != NULL) tries->times.seen++;
  return rf_fault_falls_due(fault, &state->times[index], *number);
}

/* ---- how much of a transfer ------------------------------------------------------------------ */

static uint64_t bytes_of(const struct rf_request *request) {
  uint64_t bytes = 0;
  if (request->kind == RF_REQUEST_READ || request->kind == RF_REQUEST_WRITE) return request->len;
  for (uint64_t i = 0; i < request->len; i++) bytes += request->iov[i].iov_len;
  return bytes;
}

/* A part by chance: as far as the transfer is aligned, so that direct I/O can be cut. */
static uint64_t part_of(const struct rf_request *request, uint64_t number) {
  uint64_t bytes = bytes_of(request), unit = 4096;
  while (unit > 1 && ((bytes | request->offset) & (unit - 1)) != 0) unit /= 2;
  uint64_t units = bytes / unit;
  return units < 2 ? bytes : unit * (1 + rf_mix(number) % (units - 1));
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void apply(const struct rf_fault *fault, const struct rf_request *request, uint64_t number,
                  struct rf_decision *decision) {
  switch (fault->kind) {
    case RF_FAULT_ERROR:
      decision->made_up = true;
      decision->answer = -fault->error;
      break;
    case RF_FAULT_SHORT:
      decision->most = fault->amount != 0 ? fault->amount : part_of(request, number);
      break;
    default:
      decision->looks = fault->amount;
      decision->delay_ns = fault->delay_ns;
      break;
  }
}

/* A fault of a kind that another one has already settled is not looked at. */
static bool is_open(const struct rf_fault *fault, const struct rf_request *request,
                    const struct rf_decision *decision) {
  switch (fault->kind) {
    case RF_FAULT_ERROR:
      return !decision->made_up;
    case RF_FAULT_SHORT:
      return is_transfer(request) && !decision->made_up && decision->most == UINT64_MAX;
    case RF_FAULT_DELAY:
      return decision->looks == 0 && decision->delay_ns == 0;
    default:
      return false;
  }
}

void rf_decide(struct rf_plan_state *state, enum rf_backend_id backend,
               const struct rf_request *request, struct rf_decision *decision) {
  *decision = (struct rf_decision){.most = UINT64_MAX};
  for (unsigned i = 0; i < state->plan.count; i++) {
    const struct rf_fault *fault = &state->plan.faults[i];
    uint64_t number = 0;
    if (!is_open(fault, request, decision) || !fits(fault, backend, request)) continue;
    decision->seen |= (uint16_t)(1u << i);
    if (!happens(state, i, request, &number)) continue;
    decision->happened |= (uint16_t)(1u << i);
    apply(fault, request, number, decision);
  }
}

void rf_decide_undo(struct rf_plan_state *state, const struct rf_request *request,
                    const struct rf_decision *decision) {
  for (unsigned i = 0; i < state->plan.count; i++) {
    const struct rf_fault *fault = &state->plan.faults[i];
    if (!(decision->seen & 1u << i)) continue;
    bool alone = fault->each || fault->chance != 0 || fault->kind == RF_FAULT_SHORT;
    struct rf_tries *tries = alone ? tries_of(&state->decisions, i, request) : NULL;
    struct rf_times *times = fault->each && tries != NULL ? &tries->times : &state->times[i];
    times->seen--;
    if (decision->happened & 1u << i) times->happened--;
    if (tries != NULL && times != &tries->times) tries->times.seen--;
  }
}

void rf_plan_state_set(struct rf_plan_state *state, const struct rf_fault_plan *plan) {
  free(state->decisions.table);
  memset(state, 0, sizeof(*state));
  state->plan = *plan;
}
