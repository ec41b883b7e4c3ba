// SPDX-License-Identifier: Apache-2.0
/* The public calls of a queue: who may call, what is waited for, and handing completions back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backends/thread.h"
#include "engine/internal.h"

#define RF_GIVEN_UP_NS UINT64_C(10000000000) /* for a ring that was given up to end */

/* ---- opening --------------------------------------------------------------------------------- */

void rf_queue_options_init(struct rf_queue_options *options) {
  memset(options, 0, sizeof(*options));
  options->size = sizeof(*options);
  options->depth = 128;
  options->batch = 32;
  options->workers = 16;
  options->registered = true;
  options->close_ns = UINT64_C(30000000000);
}

/* The caller's options over the defaults: a program built against an older header has fewer. */
static int read_options(const struct rf_queue_options *given, struct rf_queue_options *options) {
  rf_queue_options_init(options);
  if (given != NULL) {
    if (given->size < sizeof(given->size) || given->size > sizeof(*options)) return -EINVAL;
    memcpy(options, given, given->size);
  }
  if (options->depth < 1 || options->depth > RF_DEPTH_MAX) return -EINVAL;
  if ((unsigned)options->policy > RF_POLICY_MAY_BLOCK) return -EINVAL;
  if (options->batch < 1 || options->workers < 1 || options->workers > 1024) return -EINVAL;
  if (options->batch > options->depth) options->batch = options->depth;
  return 0;
}

static void free_queue(struct rf_queue *queue) {
  if (queue->ready_fd >= 0) close(queue->ready_fd);
  if (queue->timer_fd >= 0) close(queue->timer_fd);
  if (queue->epoll_fd >= 0) close(queue->epoll_fd);
  free(queue->slots);
  free(queue->timers);
  free(queue->latency);
  free(queue);
}

static struct rf_queue *make_queue(struct rf_engine *engine,
                                   const struct rf_queue_options *options) {
  struct rf_queue *queue = calloc(1, sizeof(*queue));
  if (queue == NULL) return NULL;
  queue->engine = engine;
  queue->depth = options->depth;
  queue->batch = options->batch;
  queue->config = (struct rf_backend_config){
      .depth = options->depth,
      .workers = options->workers,
      .registered = options->registered,
      .iopoll = options->iopoll,
      .restricted = options->restricted,
      .sqpoll_idle_ms = options->sqpoll_idle_ms,
      .context = engine->context,
  };
  queue->policy = options->policy;
  queue->stall_ns = options->stall_ns;
  queue->close_ns = options->close_ns;
  queue->look_ns = options->stall_ns == 0 ? UINT64_MAX : rf_now_ns() + options->stall_ns;
  queue->last = RF_NONE;
  queue->ready_fd = queue->timer_fd = queue->epoll_fd = -1;
  queue->timer_fd_ns = UINT64_MAX;
  queue->slots = aligned_alloc(_Alignof(struct rf_slot), options->depth * sizeof(*queue->slots));
  queue->timers = calloc(options->depth, sizeof(*queue->timers));
  if (options->latency) queue->latency = calloc(1, sizeof(*queue->latency));
  if (queue->slots == NULL || queue->timers == NULL ||
      (options->latency && queue->latency == NULL)) {
    free_queue(queue);
    return NULL;
  }
  memset(queue->slots, 0, options->depth * sizeof(*queue->slots));
  for (uint32_t i = 0; i < options->depth; i++) queue->slots[i].next = i + 1;
  queue->free_count = options->depth;
  return queue;
}

static void read_fsize_limit(struct rf_queue *queue) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  queue->fsize_limited = true;
  queue->fsize_limit = limit.rlim_cur;
}

static void enlist(struct rf_queue *queue) {
  struct rf_engine *engine = queue->engine;
  pthread_mutex_lock(&engine->lock);
  queue->next_open = engine->queues;
  if (engine->queues != NULL) engine->queues->prev_open = queue;
  engine->queues = queue;
  pthread_mutex_unlock(&engine->lock);
}

/* What it counted stays with the engine. */
static void delist(struct rf_queue *queue) {
  struct rf_engine *engine = queue->engine;
  struct rf_counters counters;
  rf_tally_read(queue, &counters);
  pthread_mutex_lock(&engine->lock);
  rf_counters_add(&engine->closed, &counters);
  if (queue->prev_open != NULL)
    queue->prev_open->next_open = queue->next_open;
  else
    engine->queues = queue->next_open;
  if (queue->next_open != NULL) queue->next_open->prev_open = queue->prev_open;
  pthread_mutex_unlock(&engine->lock);
}

int rf_queue_open(struct rf_engine *engine, const struct rf_queue_options *given,
                  struct rf_queue **out) {
  struct rf_queue_options options;
  if (!rf_engine_alive(engine)) return -EBADF;
  int status = read_options(given, &options);
  if (status != 0) return status;
  struct rf_queue *queue = make_queue(engine, &options);
  if (queue == NULL) return -ENOMEM;
  read_fsize_limit(queue);
  status = rf_lanes_open(queue);
  if (status != 0) {
    rf_lanes_close(queue);
    free_queue(queue);
    return status;
  }
  rf_registry_sync(queue);
  enlist(queue);
  *out = queue;
  return 0;
}

/* ---- who may call ---------------------------------------------------------------------------- */

static int enter(struct rf_queue *queue) {
  uintptr_t self = rf_thread_self();
  if (!rf_engine_alive(queue->engine)) return -EBADF;
  uintptr_t owner = atomic_load_explicit(&queue->owner, memory_order_relaxed);
  if (owner != self && (owner != 0 || !atomic_compare_exchange_strong(&queue->owner, &owner, self)))
    return -EPERM;
  if (rf_registry_changed(queue)) rf_registry_sync(queue);
  return 0;
}

/* ---- the descriptor -------------------------------------------------------------------------- */

static int add_to_epoll(struct rf_queue *queue, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  if (fd < 0) return fd;
  return epoll_ctl(queue->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int make_fds(struct rf_queue *queue) {
  queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  queue->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  queue->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (queue->epoll_fd < 0 || queue->ready_fd < 0 || queue->timer_fd < 0) return -errno;
  int status = add_to_epoll(queue, queue->ready_fd);
  if (status == 0) status = add_to_epoll(queue, queue->timer_fd);
  for (unsigned i = 0; i < RF_LANES && status == 0; i++) {
    struct rf_backend *backend = i == RF_LANE_CALLS ? NULL : queue->lanes[i].backend;
    if (backend != NULL && !queue->lanes[i].dead)
      status = add_to_epoll(queue, backend->ops->pollable(backend));
  }
  return status;
}

static void drop_fds(struct rf_queue *queue) {
  int *fds[] = {&queue->epoll_fd, &queue->ready_fd, &queue->timer_fd};
  for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
    if (*fds[i] >= 0) close(*fds[i]);
    *fds[i] = -1;
  }
}

int rf_queue_fd(struct rf_queue *queue) {
  int status = enter(queue);
  if (status != 0) return status;
  if (queue->pollable) return queue->epoll_fd;
  if (queue->outstanding > 0 || queue->done.count > 0) return -EBUSY;
  status = make_fds(queue);
  if (status != 0) {
    drop_fds(queue);
    return status;
  }
  queue->pollable = true;
  return queue->epoll_fd;
}

static void set_timer_fd(struct rf_queue *queue) {
  uint64_t next = rf_lanes_next(queue);
  struct itimerspec at = {{0, 0}, {0, 0}};
  if (next == queue->timer_fd_ns) return;
  if (next != UINT64_MAX) {
    at.it_value.tv_sec = (time_t)(next / 1000000000u);
    at.it_value.tv_nsec = (long)(next % 1000000000u);
  }
  (void)timerfd_settime(queue->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
  queue->timer_fd_ns = next;
}

/* The descriptor is readable exactly while there is something that a reap would find. */
static void publish_readiness(struct rf_queue *queue) {
  if (!queue->pollable) return;
  bool ready = queue->done.count > 0;
  uint64_t count = 1;
  if (ready && !queue->ready_signalled)
    queue->ready_signalled = write(queue->ready_fd, &count, sizeof(count)) > 0;
  else if (!ready && queue->ready_signalled)
    queue->ready_signalled = read(queue->ready_fd, &count, sizeof(count)) < 0;
  set_timer_fd(queue);
}

/* ---- submitting ------------------------------------------------------------------------------ */

/* Starts what can be started, also what the answers of this very turn made ready: a program that
 * goes to sleep on the descriptor would wait for it in vain. */
static void start_all(struct rf_queue *queue) {
  do {
    rf_lanes_turn(queue, 0, 0);
    rf_timers_run(queue);
  } while (rf_lanes_stalled(queue));
}

static bool batch_is_full(const struct rf_queue *queue) {
  unsigned pending = 0;
  for (unsigned i = 0; i < RF_LANES; i++) pending += queue->lanes[i].pending.count;
  return pending >= queue->batch;
}

int rf_submit(struct rf_queue *queue, const struct rf_op *ops, unsigned count) {
  int status = enter(queue);
  if (status != 0) return status;
  unsigned n = rf_accept(queue, ops, count);
  if (batch_is_full(queue)) start_all(queue);
  publish_readiness(queue);
  return n == 0 && count > 0 ? -EAGAIN : (int)n;
}

int rf_flush(struct rf_queue *queue) {
  int status = enter(queue);
  if (status != 0) return status;
  start_all(queue);
  publish_readiness(queue);
  return 0;
}

/* ---- waiting and reaping --------------------------------------------------------------------- */

static unsigned hand_back(struct rf_queue *queue, struct rf_completion *completions, unsigned max) {
  uint64_t bytes = 0, failed = 0;
  unsigned n = max < queue->done.count ? max : queue->done.count;
  uint32_t at = queue->done.head, last = RF_NONE;
  for (unsigned i = 0; i < n; i++) {
    struct rf_slot *slot = &queue->slots[at];
    completions[i].user_data = slot->user_data;
    completions[i].bytes = (int64_t)slot->done;
    completions[i].status = slot->status;
    completions[i].kind = slot->kind;
    completions[i].backend = (uint16_t)queue->lanes[slot->lane].id;
    bytes += slot->done;
    failed += slot->status != 0;
    slot->state = RF_SLOT_FREE;
    last = at;
    at = slot->next;
  }
  if (n == 0) return 0;
  /* They are linked already: the whole run goes on the stack of free ones. */
  queue->slots[last].next = queue->free;
  queue->free = queue->done.head;
  queue->free_count += n;
  queue->done.head = at;
  queue->done.count -= n;
  RF_COUNT(queue, completed, n);
  RF_COUNT(queue, bytes, bytes);
  if (failed > 0) RF_COUNT(queue, failed, failed);
  return n;
}

static uint64_t until(int64_t timeout_ns) {
  if (timeout_ns == 0) return 0;
  if (timeout_ns < 0) return UINT64_MAX;
  uint64_t now = rf_now_ns();
  return (uint64_t)timeout_ns < UINT64_MAX - 1 - now ? now + (uint64_t)timeout_ns : UINT64_MAX;
}

static void wait_for(struct rf_queue *queue, unsigned min, int64_t timeout_ns) {
  uint64_t until_ns = until(timeout_ns);
  while (queue->done.count < min && queue->outstanding > 0) {
    rf_lanes_turn(queue, min - queue->done.count, until_ns);
    rf_timers_run(queue);
    if (until_ns != UINT64_MAX && (until_ns == 0 || rf_now_ns() >= until_ns)) break;
  }
  /* What the last turn made ready is started; if nothing was to be waited for, everything is.  A
   * descriptor that was signalled late, for an answer taken in before, is silenced along with it.
   */
  bool look = min == 0 && (queue->outstanding > 0 || queue->pollable);
  if (rf_lanes_stalled(queue) || look) start_all(queue);
}

static int collect(struct rf_queue *queue, struct rf_completion *completions, unsigned min,
                   unsigned max, int64_t timeout_ns) {
  wait_for(queue, min, timeout_ns);
  unsigned n = hand_back(queue, completions, max);
  publish_readiness(queue);
  return (int)n;
}

int rf_wait(struct rf_queue *queue, struct rf_completion *completions, unsigned min, unsigned max,
            int64_t timeout_ns) {
  return rf_submit_and_wait(queue, NULL, 0, NULL, completions, min, max, timeout_ns);
}

int rf_submit_and_wait(struct rf_queue *queue, const struct rf_op *ops, unsigned count,
                       unsigned *accepted, struct rf_completion *completions, unsigned min,
                       unsigned max, int64_t timeout_ns) {
  int status = enter(queue);
  if (accepted != NULL) *accepted = 0;
  if (status != 0) return status;
  if (max == 0 || min > max) return -EINVAL;
  unsigned n = rf_accept(queue, ops, count);
  if (accepted != NULL) *accepted = n;
  return collect(queue, completions, min, max, timeout_ns);
}

int rf_reap(struct rf_queue *queue, struct rf_completion *completions, unsigned max) {
  int status = enter(queue);
  if (status != 0) return status;
  return collect(queue, completions, 0, max, 0);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

static struct rf_slot *find_oldest(struct rf_queue *queue, uint64_t user_data) {
  struct rf_slot *oldest = NULL;
  for (uint32_t i = 0; i < queue->depth; i++) {
    struct rf_slot *slot = &queue->slots[i];
    if (slot->state == RF_SLOT_FREE || slot->user_data != user_data) continue;
    if (oldest == NULL || slot->serial < oldest->serial) oldest = slot;
  }
  return oldest;
}

static enum rf_cancelled cancel_slot(struct rf_queue *queue, struct rf_slot *slot) {
  if (slot->state == RF_SLOT_DONE) return RF_CANCEL_FINISHED;
  slot->flags |= RF_SLOT_CANCELLED;
  if (slot->state == RF_SLOT_IN_FLIGHT) return rf_lane_cancel(queue, slot);
  rf_withdraw(queue, slot);
  rf_finish(queue, slot, -ECANCELED);
  return RF_CANCEL_STOPPED;
}

int rf_cancel(struct rf_queue *queue, uint64_t user_data) {
  int status = enter(queue);
  if (status != 0) return status;
  struct rf_slot *slot = find_oldest(queue, user_data);
  if (slot == NULL) return -ENOENT;
  enum rf_cancelled answer = cancel_slot(queue, slot);
  if (rf_lanes_stalled(queue)) start_all(queue);
  publish_readiness(queue);
  return (int)answer;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void turn_until(struct rf_queue *queue, uint64_t until_ns) {
  while (queue->outstanding > 0 && (until_ns == UINT64_MAX || rf_now_ns() < until_ns)) {
    rf_lanes_turn(queue, queue->outstanding, until_ns);
    rf_timers_run(queue);
  }
}

/* Nothing new is started: every op is marked as cancelled, which also ends continuations.  False if
 * not all of them have an end. */
static bool drain(struct rf_queue *queue) {
  for (uint32_t i = 0; i < queue->depth; i++) {
    uint8_t state = queue->slots[i].state;
    if (state != RF_SLOT_FREE && state != RF_SLOT_DONE) cancel_slot(queue, &queue->slots[i]);
  }
  turn_until(queue, queue->close_ns == 0 ? UINT64_MAX : rf_now_ns() + queue->close_ns);
  if (queue->outstanding == 0) return true;
  if (!rf_lanes_give_up(queue)) return false;
  turn_until(queue, rf_now_ns() + RF_GIVEN_UP_NS);
  return queue->outstanding == 0;
}

int rf_queue_close(struct rf_queue *queue) {
  if (queue == NULL) return 0;
  bool alive = rf_engine_alive(queue->engine), drained = true;
  if (alive && queue->outstanding > 0) {
    int status = enter(queue);
    if (status != 0) return status;
    drained = drain(queue);
  }
  if (alive) delist(queue);
  if (!drained) return -ETIMEDOUT; /* and its memory stays: the kernel or a worker has some of it */
  rf_lanes_close(queue);
  free_queue(queue);
  return 0;
}

/* ---- looking at it from outside -------------------------------------------------------------- */

enum rf_backend_id rf_queue_backend(const struct rf_queue *queue) {
  return queue->lanes[RF_LANE_MAIN].dead ? RF_BACKEND_THREADS : queue->lanes[RF_LANE_MAIN].id;
}

bool rf_queue_uses_file(struct rf_queue *queue, const struct rf_file *file) {
  for (uint32_t i = 0; i < queue->depth; i++)
    if (atomic_load_explicit(&queue->slots[i].file, memory_order_acquire) == file) return true;
  return false;
}
