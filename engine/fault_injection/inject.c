// SPDX-License-Identifier: Apache-2.0
/*
 * The injector: a backend that wraps another and lets it go wrong by a plan.
 *
 * What is injected never is an answer out of thin air: it takes the place of what a request to the
 * wrapped backend answered that did nothing.  So waiting, descriptors and capacity stay real.  A
 * delayed answer is one that has arrived and is kept back; while there are such, waits end early,
 * and the descriptor for polling is readable when it is time to look again.
 *
 * Each of the core's requests has a shadow, which is what the wrapped backend sees: cut, or made
 * harmless, and going through the states
 *
 *   FREE ---submit---> INSIDE ---its answer---> HELD ---time---> READY ---reap---> FREE
 *
 * A wrapper belongs to one queue and its thread; the injector is shared and has a lock.
 *
 * On the way it checks that the core keeps the contract of backend.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine/fault_injection/chance.h"
#include "engine/fault_injection/decide.h"
#include "engine/substitute.h"

struct rf_fault_injector {
  pthread_mutex_t lock; /* guards what follows */
  struct rf_plan_state state;
  unsigned plans; /* how many there were */
  struct rf_fault_counts counts;
  const char *broken_rule;
  rf_fault_observer *observer; /* not changed while an engine is open */
  void *observer_context;
};

enum shadow_state { SHADOW_FREE = 0, SHADOW_INSIDE, SHADOW_HELD, SHADOW_READY };

struct shadow {
  struct rf_request request; /* first: what the wrapped backend sees */
  struct rf_request *original;
  struct rf_decision decision;
  unsigned plan; /* number of the plan that decided */
  enum shadow_state state;
  int64_t res;
  uint64_t due_ns;     /* HELD */
  struct iovec *iov;   /* for a vector that is cut; RF_VECTOR_MOST of them, made when needed */
  struct shadow *next; /* FREE */
};
#define RF_VECTOR_MOST 1024 /* UIO_MAXIOV */

struct wrapper {
  struct rf_backend base; /* first: the core's view */
  struct rf_backend *inner;
  struct rf_fault_injector *injector;
  enum rf_backend_id id;
  int death;          /* its errno, once it has died */
  bool lost;          /* and what it had taken is never answered */
  unsigned in_flight; /* all that are not FREE */
  unsigned inside;
  unsigned held_count, ready_count;
  struct shadow *shadows; /* capacity of them */
  struct shadow *free;
  struct shadow **held, **ready;
  uint64_t reorders; /* how often one of the answers was chosen */
  int epoll_fd;      /* -1 until pollable(): over the inner one's descriptor and the timer */
  int timer_fd;
};

static struct wrapper *wrapper_of(struct rf_backend *backend) {
  return (struct wrapper *)backend;
}

/* ---- what is counted and checked ------------------------------------------------------------- */

/* The lock is held. */
static void check(struct wrapper *self, bool kept, const char *rule) {
  if (kept) return;
  self->injector->counts.broken_rules++;
  self->injector->broken_rule = rule;
}

static void check_submit(struct wrapper *self, struct rf_request *const *requests, unsigned n,
                         unsigned wait) {
  check(self, n <= RF_BATCH_MAX, "a batch is too large");
  check(self, self->in_flight + n <= self->base.capacity, "more in flight than the capacity");
  check(self, wait <= self->in_flight + n, "a wait for more than is in flight");
  for (unsigned i = 0; i < n; i++) {
    check(self, self->base.kinds & 1u << requests[i]->kind, "a kind that is not offered");
    check(self, !(requests[i]->flags & ~self->base.flags), "a flag that is not offered");
  }
}

static void count(struct wrapper *self, enum rf_fault_kind kind) {
  self->injector->counts.injected[kind]++;
}

static void count_taken(struct wrapper *self, unsigned n) {
  struct rf_fault_counts *counts = &self->injector->counts;
  counts->backends[self->id].taken += n;
  if (self->in_flight > counts->backends[self->id].most_in_flight)
    counts->backends[self->id].most_in_flight = self->in_flight;
}

/* ---- shadows --------------------------------------------------------------------------------- */

/* Something that does nothing, and can be done by any backend. */
static void make_harmless(const struct wrapper *self, struct rf_request *request) {
  bool nop = self->inner->kinds & 1u << RF_REQUEST_NOP;
  request->kind = nop ? RF_REQUEST_NOP : RF_REQUEST_READ;
  request->flags = 0;
  request->len = 0;
}

/* The first bytes of a vector.  Without memory for the list it stays whole. */
static void cut_vector(struct shadow *shadow, uint64_t most) {
  struct rf_request *request = &shadow->request;
  uint64_t n = 0;
  if (shadow->iov == NULL) shadow->iov = calloc(RF_VECTOR_MOST, sizeof(*shadow->iov));
  if (shadow->iov == NULL) return;
  for (; n < request->len && most > 0; n++) {
    shadow->iov[n] = request->iov[n];
    if (shadow->iov[n].iov_len > most) shadow->iov[n].iov_len = (size_t)most;
    most -= shadow->iov[n].iov_len;
  }
  request->iov = shadow->iov;
  request->len = n;
}

static void cut(struct shadow *shadow, uint64_t most) {
  if (shadow->request.kind == RF_REQUEST_READV || shadow->request.kind == RF_REQUEST_WRITEV)
    cut_vector(shadow, most);
  else if (shadow->request.len > most)
    shadow->request.len = most;
}

static struct shadow *prepare(struct wrapper *self, struct rf_request *original) {
  struct shadow *shadow = self->free;
  self->free = shadow->next;
  shadow->request = *original;
  shadow->original = original;
  shadow->plan = self->injector->plans;
  rf_decide(&self->injector->state, self->id, original, &shadow->decision);
  if (shadow->decision.made_up)
    make_harmless(self, &shadow->request);
  else if (shadow->decision.most != UINT64_MAX)
    cut(shadow, shadow->decision.most);
  return shadow;
}

static void release(struct wrapper *self, struct shadow *shadow) {
  shadow->state = SHADOW_FREE;
  shadow->next = self->free;
  self->free = shadow;
}

static void show(struct wrapper *self, struct shadow *shadow) {
  shadow->state = SHADOW_INSIDE;
  self->in_flight++;
  self->inside++;
}

static void count_faults(struct wrapper *self, const struct shadow *shadow) {
  for (unsigned i = 0; i < self->injector->state.plan.count; i++)
    if (shadow->decision.happened & 1u << i && shadow->plan == self->injector->plans)
      count(self, (enum rf_fault_kind)self->injector->state.plan.faults[i].kind);
}

/* As if it had never been shown. */
static void take_back(struct wrapper *self, struct shadow *shadow) {
  self->in_flight--;
  self->inside--;
  if (shadow->plan == self->injector->plans)
    rf_decide_undo(&self->injector->state, shadow->original, &shadow->decision);
  release(self, shadow);
}

/* ---- hand-overs that are refused ------------------------------------------------------------- */

/* How many requests there may be before the one that a fault counts; it counts those taken. */
static uint64_t before_it(const struct rf_fault *fault, const struct rf_times *times) {
  uint64_t first = fault->first == 0 ? 1 : fault->first;
  return first - 1 > times->seen ? first - 1 - times->seen : 0;
}

/* Refused once more?  times->seen counts requests, not hand-overs. */
static bool is_refused(struct wrapper *self, const struct rf_fault *fault, struct rf_times *times) {
  uint64_t seed = self->injector->state.plan.seed;
  if (fault->times != 0 && times->happened >= fault->times) return false;
  if (fault->chance != 0) {
    uint64_t number = rf_mix_in(rf_mix_in(seed, times->seen), times->happened);
    if (number % RF_CHANCE_ALWAYS >= fault->chance) return false;
  }
  times->happened++;
  count(self, (enum rf_fault_kind)fault->kind);
  return true;
}

static bool limits_submit(const struct wrapper *self, const struct rf_fault *fault) {
  if (!rf_fault_concerns(fault, self->id)) return false;
  if (fault->kind == RF_FAULT_DEATH) return self->id != RF_BACKEND_THREADS;
  return fault->kind == RF_FAULT_REFUSE;
}

static void die(struct wrapper *self, int error) {
  const struct rf_fault_plan *plan = &self->injector->state.plan;
  self->death = error;
  for (unsigned i = 0; i < plan->count; i++) {
    if (plan->faults[i].kind != RF_FAULT_LOST || !rf_fault_concerns(&plan->faults[i], self->id))
      continue;
    self->lost = true;
    count(self, RF_FAULT_LOST);
  }
}

/* How many requests may be taken; or -errno. */
static int how_many(struct wrapper *self, unsigned n) {
  struct rf_plan_state *state = &self->injector->state;
  uint64_t most = n;
  for (unsigned i = 0; i < state->plan.count; i++) {
    const struct rf_fault *fault = &state->plan.faults[i];
    uint64_t before = before_it(fault, &state->times[i]);
    if (fault->kind == RF_FAULT_PARTIAL && rf_fault_concerns(fault, self->id)) {
      uint64_t number = rf_mix_in(state->plan.seed, state->times[i].seen);
      if (fault->amount >= most || !rf_fault_falls_due(fault, &state->times[i], number)) continue;
      count(self, RF_FAULT_PARTIAL);
      most = fault->amount;
    }
    if (!limits_submit(self, fault)) continue;
    bool spent = fault->times != 0 && state->times[i].happened >= fault->times;
    if (before > 0 && !spent) most = before < most ? before : most;
    if (before > 0 || !is_refused(self, fault, &state->times[i])) continue;
    if (fault->kind == RF_FAULT_DEATH) die(self, fault->error);
    return -fault->error;
  }
  return (int)most;
}

static void count_for_refusals(struct wrapper *self, unsigned taken) {
  struct rf_plan_state *state = &self->injector->state;
  for (unsigned i = 0; i < state->plan.count; i++)
    if (limits_submit(self, &state->plan.faults[i])) state->times[i].seen += taken;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static uint64_t earliest_due(const struct wrapper *self) {
  uint64_t due = UINT64_MAX;
  for (unsigned i = 0; i < self->held_count; i++) {
    uint64_t one = self->held[i]->decision.looks > 0 ? 0 : self->held[i]->due_ns;
    if (one < due) due = one;
  }
  return due;
}

static void sleep_for(uint64_t ns) {
  struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
  (void)nanosleep(&time, NULL);
}

static int deafness(struct wrapper *self) {
  if (self->lost) return self->death;
  const struct rf_fault_plan *plan = &self->injector->state.plan;
  int error = 0;
  pthread_mutex_lock(&self->injector->lock);
  for (unsigned i = 0; i < plan->count && error == 0; i++) {
    const struct rf_fault *fault = &plan->faults[i];
    if (fault->kind != RF_FAULT_DEAF || !rf_fault_concerns(fault, self->id)) continue;
    if (rf_fault_falls_due(fault, &self->injector->state.times[i], 0)) error = fault->error;
    if (error != 0) count(self, RF_FAULT_DEAF);
  }
  pthread_mutex_unlock(&self->injector->lock);
  return error;
}

/* Ends early where an answer is held back: the core looks again. */
static int wait_for(struct wrapper *self, unsigned wait, int64_t timeout_ns) {
  if (wait <= self->ready_count || timeout_ns == 0) return 0;
  wait -= self->ready_count;
  uint64_t due = earliest_due(self);
  if (due != UINT64_MAX) {
    uint64_t now = rf_now_ns();
    uint64_t left = due > now ? due - now : 0;
    if (timeout_ns < 0 || left < (uint64_t)timeout_ns) timeout_ns = (int64_t)left;
    if (left == 0) return 0;
  }
  if (wait > self->inside) wait = self->inside;
  if (wait > 0) return self->inner->ops->submit(self->inner, NULL, 0, wait, timeout_ns);
  if (timeout_ns > 0) sleep_for((uint64_t)timeout_ns);
  return 0;
}

/* ---- submitting ------------------------------------------------------------------------------ */

/* What the wrapped backend is to be given; the lock is held.  How many, or -errno. */
static int prepare_all(struct wrapper *self, struct rf_request *const *requests, unsigned n,
                       struct rf_request *shadows[RF_BATCH_MAX]) {
  int most = self->death != 0 ? -self->death : how_many(self, n);
  if (most < 0) self->injector->counts.backends[self->id].refusals++;
  for (int i = 0; i < most; i++) {
    struct shadow *shadow = prepare(self, requests[i]);
    show(self, shadow);
    shadows[i] = &shadow->request;
  }
  return most;
}

static void settle(struct wrapper *self, struct rf_request *const *shadows, unsigned n,
                   unsigned taken) {
  pthread_mutex_lock(&self->injector->lock);
  for (unsigned i = 0; i < taken; i++) count_faults(self, (struct shadow *)shadows[i]);
  for (unsigned i = n; i-- > taken;) take_back(self, (struct shadow *)shadows[i]);
  count_for_refusals(self, taken);
  count_taken(self, taken);
  pthread_mutex_unlock(&self->injector->lock);
}

static int wrapper_submit(struct rf_backend *backend, struct rf_request *const *requests,
                          unsigned n, unsigned wait, int64_t timeout_ns) {
  struct wrapper *self = wrapper_of(backend);
  struct rf_request *shadows[RF_BATCH_MAX];
  pthread_mutex_lock(&self->injector->lock);
  check_submit(self, requests, n, wait);
  int most = n > 0 ? prepare_all(self, requests, n, shadows) : 0;
  pthread_mutex_unlock(&self->injector->lock);
  if (most < 0) return most;
  if (n == 0) {
    int error = deafness(self);
    return error != 0 ? -error : wait_for(self, wait, timeout_ns);
  }
  bool along = most == (int)n && self->held_count == 0 && wait > self->ready_count;
  int taken = self->inner->ops->submit(self->inner, shadows, (unsigned)most,
                                       along ? wait - self->ready_count : 0, timeout_ns);
  settle(self, shadows, (unsigned)most, taken < 0 ? 0u : (unsigned)taken);
  return taken;
}

/* ---- reaping --------------------------------------------------------------------------------- */

static void observe(struct wrapper *self, const struct shadow *shadow, bool made_up) {
  rf_fault_observer *observer = self->injector->observer;
  struct rf_fault_event event = {.backend = (uint8_t)self->id,
                                 .op = shadow->original->kind,
                                 .made_up = made_up,
                                 .offset = shadow->original->offset,
                                 .res = shadow->res};
  if (observer != NULL) observer(self->injector->observer_context, &event);
}

static void answer(struct wrapper *self, struct shadow *shadow, int64_t res) {
  bool stopped = shadow->decision.made_up && res == -ECANCELED; /* by cancel(), beforehand */
  bool made_up = shadow->decision.made_up && !stopped;
  bool held = shadow->decision.looks > 0 || shadow->decision.delay_ns > 0;
  shadow->res = made_up ? shadow->decision.answer : res;
  self->inside--;
  if (!stopped) observe(self, shadow, made_up);
  shadow->state = held ? SHADOW_HELD : SHADOW_READY;
  shadow->due_ns = shadow->decision.delay_ns > 0 ? rf_now_ns() + shadow->decision.delay_ns : 0;
  if (held)
    self->held[self->held_count++] = shadow;
  else
    self->ready[self->ready_count++] = shadow;
}

static void fetch(struct wrapper *self) {
  struct rf_result results[RF_BATCH_MAX];
  unsigned n;
  do {
    n = self->inner->ops->reap(self->inner, results, RF_BATCH_MAX);
    for (unsigned i = 0; i < n; i++)
      answer(self, (struct shadow *)results[i].request, results[i].res);
  } while (n == RF_BATCH_MAX);
}

/* One look has passed. */
static void let_go(struct wrapper *self) {
  unsigned kept = 0;
  uint64_t now = self->held_count > 0 ? rf_now_ns() : 0;
  for (unsigned i = 0; i < self->held_count; i++) {
    struct shadow *shadow = self->held[i];
    bool looks = shadow->decision.looks > 0;
    bool over = looks ? --shadow->decision.looks == 0 : shadow->due_ns <= now;
    if (over) {
      shadow->state = SHADOW_READY;
      self->ready[self->ready_count++] = shadow;
    } else {
      self->held[kept++] = shadow;
    }
  }
  self->held_count = kept;
}

/* Where the next answer is taken from.  The lock is held. */
static unsigned choose(struct wrapper *self) {
  struct rf_plan_state *state = &self->injector->state;
  if (self->ready_count < 2) return 0;
  for (unsigned i = 0; i < state->plan.count; i++) {
    const struct rf_fault *fault = &state->plan.faults[i];
    if (fault->kind != RF_FAULT_REORDER || !rf_fault_concerns(fault, self->id)) continue;
    uint64_t number = rf_mix_in(state->plan.seed, self->reorders++);
    if (!rf_fault_falls_due(fault, &state->times[i], number)) continue;
    count(self, RF_FAULT_REORDER);
    return 1 + (unsigned)(rf_mix(number) % (self->ready_count - 1));
  }
  return 0;
}

static void hand_back(struct wrapper *self, struct rf_result *result) {
  unsigned at = choose(self);
  struct shadow *shadow = self->ready[at];
  self->ready_count--;
  memmove(&self->ready[at], &self->ready[at + 1],
          (self->ready_count - at) * sizeof(struct shadow *));
  result->request = shadow->original;
  result->res = shadow->res;
  release(self, shadow);
}

/* Readable when what is held back is due; at once for answers held back for looks. */
static void set_timer(struct wrapper *self) {
  uint64_t due = earliest_due(self);
  struct itimerspec at = {{0, 0}, {0, 0}};
  if (self->timer_fd < 0) return;
  if (self->ready_count > 0 || due == 0) due = 1;
  if (due != UINT64_MAX) {
    at.it_value.tv_sec = (time_t)(due / 1000000000u);
    at.it_value.tv_nsec = (long)(due % 1000000000u);
  }
  (void)timerfd_settime(self->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static unsigned wrapper_reap(struct rf_backend *backend, struct rf_result *results, unsigned max) {
  struct wrapper *self = wrapper_of(backend);
  unsigned n = 0;
  if (self->lost) return 0;
  let_go(self);
  fetch(self);
  pthread_mutex_lock(&self->injector->lock);
  while (n < max && self->ready_count > 0) hand_back(self, &results[n++]);
  check(self, n <= self->in_flight, "more answers than requests");
  pthread_mutex_unlock(&self->injector->lock);
  self->in_flight -= n;
  set_timer(self);
  return n;
}

/* Lets the wrapped backend finish, and forgets what it answers. */
static int lose_answers(struct wrapper *self) {
  while (self->inside > 0) {
    fetch(self);
    if (self->inside > 0) (void)self->inner->ops->submit(self->inner, NULL, 0, 1, 1000000);
  }
  for (unsigned i = 0; i < self->held_count; i++) release(self, self->held[i]);
  for (unsigned i = 0; i < self->ready_count; i++) release(self, self->ready[i]);
  self->in_flight = self->held_count = self->ready_count = 0;
  return 0;
}

/* Also a wrapper's answers that are held back come in the end. */
static int wrapper_salvage(struct rf_backend *backend, int64_t timeout_ns) {
  struct wrapper *self = wrapper_of(backend);
  int status = self->lost          ? lose_answers(self)
               : self->inside == 0 ? 0
                                   : self->inner->ops->salvage(self->inner, timeout_ns);
  fetch(self);
  bool more = self->held_count > 0 || self->ready_count > 0;
  return status == 0 && more ? -EINPROGRESS : status;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int wrapper_cancel(struct rf_backend *backend, struct rf_request *request) {
  struct wrapper *self = wrapper_of(backend);
  for (unsigned i = 0; i < self->base.capacity; i++) {
    struct shadow *shadow = &self->shadows[i];
    if (shadow->state == SHADOW_FREE || shadow->original != request) continue;
    if (shadow->state != SHADOW_INSIDE) return -EALREADY;
    return self->inner->ops->cancel(self->inner, &shadow->request);
  }
  return -ENOENT;
}

static int add_to_epoll(struct wrapper *self, int fd) {
  struct epoll_event event = {.events = EPOLLIN};
  return epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static void drop_fds(struct wrapper *self) {
  if (self->epoll_fd >= 0) close(self->epoll_fd);
  if (self->timer_fd >= 0) close(self->timer_fd);
  self->epoll_fd = self->timer_fd = -1;
}

static int wrapper_pollable(struct rf_backend *backend) {
  struct wrapper *self = wrapper_of(backend);
  if (self->epoll_fd >= 0) return self->epoll_fd;
  int inner = self->inner->ops->pollable(self->inner);
  if (inner < 0) return inner;
  self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  self->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  int status = self->epoll_fd < 0 || self->timer_fd < 0 ? -errno : add_to_epoll(self, inner);
  if (status == 0) status = add_to_epoll(self, self->timer_fd);
  if (status == 0) return self->epoll_fd;
  drop_fds(self);
  return status;
}

static int wrapper_watch(struct rf_backend *backend, int fd) {
  struct wrapper *self = wrapper_of(backend);
  return self->inner->ops->watch(self->inner, fd);
}

static int wrapper_register_file(struct rf_backend *backend, unsigned slot, int fd) {
  struct wrapper *self = wrapper_of(backend);
  pthread_mutex_lock(&self->injector->lock);
  check(self, slot < self->base.file_slots, "a file registered where there is no place");
  pthread_mutex_unlock(&self->injector->lock);
  return self->inner->ops->register_file(self->inner, slot, fd);
}

static int wrapper_register_memory(struct rf_backend *backend, unsigned slot, void *base,
                                   size_t size) {
  struct wrapper *self = wrapper_of(backend);
  pthread_mutex_lock(&self->injector->lock);
  check(self, slot < self->base.memory_slots, "memory registered where there is no place");
  pthread_mutex_unlock(&self->injector->lock);
  return self->inner->ops->register_memory(self->inner, slot, base, size);
}

static void free_wrapper(struct wrapper *self) {
  drop_fds(self);
  for (unsigned i = 0; self->shadows != NULL && i < self->base.capacity; i++)
    free(self->shadows[i].iov);
  free(self->shadows);
  free(self->held);
  free(self->ready);
  free(self);
}

static void wrapper_close(struct rf_backend *backend) {
  struct wrapper *self = wrapper_of(backend);
  pthread_mutex_lock(&self->injector->lock);
  check(self, self->in_flight == 0, "closed with requests in flight");
  self->injector->counts.backends[self->id].closed++;
  pthread_mutex_unlock(&self->injector->lock);
  self->inner->ops->close(self->inner);
  free_wrapper(self);
}

/* The lock may have been another thread's when the child was forked. */
static void wrapper_abandon(struct rf_backend *backend) {
  struct wrapper *self = wrapper_of(backend);
  self->inner->ops->abandon(self->inner);
  free_wrapper(self);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int refuse_opening(struct rf_fault_injector *injector, enum rf_backend_id id) {
  int error = 0;
  pthread_mutex_lock(&injector->lock);
  for (unsigned i = 0; i < injector->state.plan.count && error == 0; i++) {
    const struct rf_fault *fault = &injector->state.plan.faults[i];
    if (fault->kind != RF_FAULT_OPEN || id == RF_BACKEND_THREADS) continue;
    if (!rf_fault_concerns(fault, id)) continue;
    uint64_t number = rf_mix_in(injector->state.plan.seed, injector->state.times[i].seen);
    if (!rf_fault_falls_due(fault, &injector->state.times[i], number)) continue;
    error = fault->error;
    injector->counts.injected[RF_FAULT_OPEN]++;
  }
  pthread_mutex_unlock(&injector->lock);
  return error;
}

/* What is lacking is not counted but once for each backend that is opened.  The lock is held. */
static void limit(struct wrapper *self) {
  const struct rf_fault_plan *plan = &self->injector->state.plan;
  for (unsigned i = 0; i < plan->count; i++) {
    const struct rf_fault *fault = &plan->faults[i];
    if (!rf_fault_concerns(fault, self->id)) continue;
    if (fault->kind == RF_FAULT_CAPACITY && fault->amount < self->base.capacity) {
      self->base.capacity = (unsigned)fault->amount;
      count(self, RF_FAULT_CAPACITY);
    }
    if (fault->kind == RF_FAULT_LACK && self->id != RF_BACKEND_THREADS) {
      self->base.kinds &= ~fault->ops;
      self->base.flags &= ~rf_fault_request_flags(fault);
      count(self, RF_FAULT_LACK);
    }
  }
}

static bool make_shadows(struct wrapper *self) {
  unsigned n = self->base.capacity;
  self->shadows = calloc(n, sizeof(*self->shadows));
  self->held = calloc(n, sizeof(*self->held));
  self->ready = calloc(n, sizeof(*self->ready));
  if (self->shadows == NULL || self->held == NULL || self->ready == NULL) return false;
  for (unsigned i = n; i-- > 0;) release(self, &self->shadows[i]);
  return true;
}

static int wrap(struct rf_fault_injector *injector, enum rf_backend_id id,
                const struct rf_backend_ops *ops, struct rf_backend *inner,
                struct rf_backend **out) {
  struct wrapper *self = calloc(1, sizeof(*self));
  if (self == NULL) return -ENOMEM;
  self->base = *inner;
  self->base.ops = ops;
  self->inner = inner;
  self->injector = injector;
  self->id = id;
  self->epoll_fd = self->timer_fd = -1;
  pthread_mutex_lock(&injector->lock);
  limit(self);
  bool made = make_shadows(self);
  if (made) injector->counts.backends[id].opened++;
  pthread_mutex_unlock(&injector->lock);
  if (!made) {
    free_wrapper(self);
    return -ENOMEM;
  }
  *out = &self->base;
  return 0;
}

static const struct rf_backend_ops *const places[RF_BACKEND_TABLES];

static int open_at(enum rf_backend_id id, const struct rf_backend_config *config,
                   struct rf_backend **out, struct rf_backend_report *report) {
  struct rf_fault_injector *injector = config->context;
  struct rf_backend *inner = NULL;
  int error = refuse_opening(injector, id);
  if (error != 0) {
    rf_report_refusal(report, "fault_injection", error);
    return -error;
  }
  pthread_mutex_lock(&injector->lock);
  bool stand_in = injector->state.plan.stand_in;
  pthread_mutex_unlock(&injector->lock);
  const struct rf_backend_ops *ops = stand_in ? &rf_threads_backend : rf_backend_tables[id];
  int status = ops->open(config, &inner, report);
  if (status != 0) return status;
  status = wrap(injector, id, places[id], inner, out);
  if (status != 0) inner->ops->close(inner);
  return status;
}

static int open_uring(const struct rf_backend_config *config, struct rf_backend **out,
                      struct rf_backend_report *report) {
  return open_at(RF_BACKEND_IO_URING, config, out, report);
}

static int open_libaio(const struct rf_backend_config *config, struct rf_backend **out,
                       struct rf_backend_report *report) {
  return open_at(RF_BACKEND_LIBAIO, config, out, report);
}

static int open_threads(const struct rf_backend_config *config, struct rf_backend **out,
                        struct rf_backend_report *report) {
  return open_at(RF_BACKEND_THREADS, config, out, report);
}

#define WRAPPED(called, open_call)                                                                 \
  {                                                                                                \
    .name = called, .submit_call = "fault_injection", .open = open_call, .close = wrapper_close,   \
    .abandon = wrapper_abandon, .submit = wrapper_submit, .salvage = wrapper_salvage,              \
    .reap = wrapper_reap, .cancel = wrapper_cancel, .pollable = wrapper_pollable,                  \
    .watch = wrapper_watch, .register_file = wrapper_register_file,                                \
    .register_memory = wrapper_register_memory,                                                    \
  }

static const struct rf_backend_ops uring_place = WRAPPED("io_uring", open_uring);
static const struct rf_backend_ops libaio_place = WRAPPED("libaio", open_libaio);
static const struct rf_backend_ops threads_place = WRAPPED("threads", open_threads);
static const struct rf_backend_ops *const places[RF_BACKEND_TABLES] = {
    [RF_BACKEND_IO_URING] = &uring_place,
    [RF_BACKEND_LIBAIO] = &libaio_place,
    [RF_BACKEND_THREADS] = &threads_place,
};

/* ---- the injector ---------------------------------------------------------------------------- */

static bool is_sound(const struct rf_fault_plan *plan) {
  if (plan->count > RF_FAULTS_MAX) return false;
  for (unsigned i = 0; i < plan->count; i++)
    if (!rf_fault_is_sound(&plan->faults[i])) return false;
  return true;
}

int rf_fault_injector_open(const struct rf_fault_plan *plan, struct rf_fault_injector **out) {
  if (!is_sound(plan)) return -EINVAL;
  struct rf_fault_injector *injector = calloc(1, sizeof(*injector));
  if (injector == NULL) return -ENOMEM;
  pthread_mutex_init(&injector->lock, NULL);
  rf_plan_state_set(&injector->state, plan);
  *out = injector;
  return 0;
}

void rf_fault_injector_close(struct rf_fault_injector *injector) {
  if (injector == NULL) return;
  pthread_mutex_destroy(&injector->lock);
  free(injector->state.decisions.table);
  free(injector);
}

int rf_fault_injector_plan(struct rf_fault_injector *injector, const struct rf_fault_plan *plan) {
  if (!is_sound(plan)) return -EINVAL;
  pthread_mutex_lock(&injector->lock);
  rf_plan_state_set(&injector->state, plan);
  injector->plans++;
  pthread_mutex_unlock(&injector->lock);
  return 0;
}

int rf_fault_engine_open(struct rf_fault_injector *injector, struct rf_engine **engine,
                         const struct rf_engine_options *options) {
  struct rf_substitute substitute = {.backends = places, .context = injector};
  pthread_mutex_lock(&injector->lock);
  substitute.probed = !injector->state.plan.stand_in;
  pthread_mutex_unlock(&injector->lock);
  return rf_engine_open_with(engine, options, &substitute);
}

void rf_fault_injector_counts(struct rf_fault_injector *injector, struct rf_fault_counts *counts) {
  pthread_mutex_lock(&injector->lock);
  *counts = injector->counts;
  pthread_mutex_unlock(&injector->lock);
}

const char *rf_fault_broken_rule(struct rf_fault_injector *injector) {
  pthread_mutex_lock(&injector->lock);
  const char *rule = injector->broken_rule;
  pthread_mutex_unlock(&injector->lock);
  return rule;
}

void rf_fault_injector_observe(struct rf_fault_injector *injector, rf_fault_observer *observer,
                               void *context) {
  injector->observer = observer;
  injector->observer_context = context;
}
