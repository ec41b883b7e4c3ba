// SPDX-License-Identifier: Apache-2.0
/*
 * Lanes: handing requests to backends, waiting for them, and what to do when one stops working.
 *
 * With one lane at work, its backend hands over and waits in one call.  With both, the threads
 * lane's descriptor is watched by the main lane's backend, so that one wait sees answers of either.
 *
 * A backend that stops taking requests is dead.  What it had not taken moves to the next one that
 * the engine's choice allows; where none is left, to threads.  What it had taken is the kernel's,
 * buffers included, and is answered by it: the dead lane is looked at once a millisecond until that
 * has happened.  If it can not even wait any more, it is given up (salvage() of backend.h), which
 * brings the kernel to an end with everything and us to know it; no completion is handed out
 * before, since the caller would use the buffer again.  An answer that is lost for good leaves two
 * cases: what can be done again unnoticed is done again elsewhere, all else completes with
 * EOWNERDEAD and is never done twice.
 *
 * Turned down: moving everything at once (a write could run twice, and late: over newer data);
 * answering at once with an error (buffers would be in the kernel's hands and the caller's);
 * waiting for a hung descriptor without end.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "engine/internal.h"

#define SLICE_NS UINT64_C(1000000) /* between looks, where a wait cannot be woken */

/* ---- opening and closing --------------------------------------------------------------------- */

static int open_lane(struct rf_queue *queue, struct rf_lane *lane, enum rf_backend_id id) {
  struct rf_backend_report report;
  memset(&report, 0, sizeof(report));
  report.syscall = "";
  int status = queue->engine->backends[id]->open(&queue->config, &lane->backend, &report);
  lane->id = id;
  if (status != 0)
    rf_log(queue->engine, RF_LOG_WARNING, "a queue of depth %u cannot be opened on %s: %s: %s",
           queue->depth, rf_backend_name(id), report.syscall, strerror(-status));
  else if (lane->backend->capacity < queue->depth)
    rf_log(queue->engine, RF_LOG_INFO, "%s grants %u of %u requests in flight; the others wait",
           rf_backend_name(id), lane->backend->capacity, queue->depth);
  return status;
}

/* The engine's choice, else what comes after it; threads come last and need no resources. */
static int open_main(struct rf_queue *queue) {
  const struct rf_host *host = &queue->engine->host;
  int status = open_lane(queue, &queue->lanes[RF_LANE_MAIN], host->selected);
  if (status == 0 || queue->engine->required) return status;
  for (unsigned id = 0; id < RF_BACKENDS && status != 0; id++) {
    const struct rf_verdict *verdict = &host->verdicts[id];
    if (id == host->selected || (verdict->tried && !verdict->usable)) continue;
    status = open_lane(queue, &queue->lanes[RF_LANE_MAIN], (enum rf_backend_id)id);
    if (status == 0) RF_COUNT(queue, generation, 1);
  }
  return status;
}

/* If that cannot be had, the calls are made one by one. */
static void open_calls(struct rf_queue *queue) {
  struct rf_lane *calls = &queue->lanes[RF_LANE_CALLS];
  const struct rf_engine *engine = queue->engine;
  struct rf_backend_config config = queue->config;
  struct rf_backend_report report;
  const struct rf_verdict *verdict = &engine->host.verdicts[RF_BACKEND_LIBAIO];
  if (!engine->routed || queue->policy != RF_POLICY_MAY_BLOCK) return;
  if (queue->lanes[RF_LANE_MAIN].id != RF_BACKEND_IO_URING) return;
  if (verdict->tried && !verdict->usable) return;
  memset(&report, 0, sizeof(report));
  if (config.depth > RF_BATCH_MAX) config.depth = RF_BATCH_MAX;
  calls->id = RF_BACKEND_LIBAIO;
  (void)engine->backends[RF_BACKEND_LIBAIO]->open(&config, &calls->backend, &report);
}

int rf_lanes_open(struct rf_queue *queue) {
  struct rf_lane *threads = &queue->lanes[RF_LANE_THREADS];
  int status = open_main(queue);
  if (status != 0) return queue->engine->required && status != -ENOMEM ? -ENOTSUP : status;
  RF_COUNT(queue, generation, 1);
  const struct rf_backend *main = queue->lanes[RF_LANE_MAIN].backend;
  queue->registers = main->file_slots > 0 || main->memory_slots > 0;
  if (!queue->fsize_limited) queue->straight = main->kinds;
  open_calls(queue);
  rf_route_set_ways(queue);
  if (queue->lanes[RF_LANE_MAIN].id == RF_BACKEND_THREADS) return 0;
  status = open_lane(queue, threads, RF_BACKEND_THREADS);
  if (status == 0) threads->watchable = threads->backend->ops->pollable(threads->backend) >= 0;
  return status;
}

void rf_lanes_close(struct rf_queue *queue) {
  bool alive = rf_engine_alive(queue->engine);
  for (unsigned i = 0; i < RF_LANES; i++) {
    struct rf_backend *backend = queue->lanes[i].backend;
    if (backend == NULL) continue;
    if (alive)
      backend->ops->close(backend);
    else
      backend->ops->abandon(backend);
  }
}

/* ---- refusals and death ---------------------------------------------------------------------- */

/* What a lane could not hand over goes to threads. */
static void move_pending(struct rf_queue *queue, struct rf_lane *lane,
                         enum rf_fallback_reason reason) {
  while (lane->pending.count > 0) {
    struct rf_slot *slot = &queue->slots[rf_list_pop(queue, &lane->pending)];
    rf_fall_back(queue, slot, reason);
    rf_pend(queue, slot);
  }
}

/* After the last lane comes nothing: what it does not take, fails. */
static bool is_last(const struct rf_queue *queue, const struct rf_lane *lane) {
  return lane == &queue->lanes[RF_LANE_THREADS] ||
         queue->lanes[RF_LANE_MAIN].id == RF_BACKEND_THREADS;
}

static void fail_pending(struct rf_queue *queue, struct rf_lane *lane, int status) {
  while (lane->pending.count > 0)
    rf_finish(queue, &queue->slots[rf_list_pop(queue, &lane->pending)], status);
}

/* What was in flight or is done there keeps its lane, under the other name. */
static void retire_main(struct rf_queue *queue) {
  struct rf_lane *main = &queue->lanes[RF_LANE_MAIN], *retired = &queue->lanes[RF_LANE_RETIRED];
  *retired = *main;
  memset(&retired->pending, 0, sizeof(retired->pending));
  for (uint32_t i = 0; i < queue->depth; i++) {
    struct rf_slot *slot = &queue->slots[i];
    bool there = slot->state == RF_SLOT_IN_FLIGHT || slot->state == RF_SLOT_DONE;
    if (there && slot->lane == RF_LANE_MAIN) slot->lane = RF_LANE_RETIRED;
  }
  main->in_flight = main->refusals = 0;
  main->not_before_ns = 0;
  main->dead = main->deaf = main->watchable = false;
}

/* Those that sleep on the queue's descriptor hear of it, too. */
static int join_epoll(struct rf_queue *queue, struct rf_backend *backend) {
  struct epoll_event event = {.events = EPOLLIN};
  if (!queue->pollable) return 0;
  int fd = backend->ops->pollable(backend);
  if (fd < 0) return fd;
  return epoll_ctl(queue->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static bool may_follow(const struct rf_queue *queue, unsigned id) {
  const struct rf_verdict *verdict = &queue->engine->host.verdicts[id];
  if (id == RF_BACKEND_THREADS || queue->died & 1u << id) return false;
  return !verdict->tried || verdict->usable;
}

/* Opens the next backend in the main lane.  Its own death, should it not work either, leads on. */
static bool replace_main(struct rf_queue *queue) {
  struct rf_lane next;
  if (queue->engine->required || queue->lanes[RF_LANE_RETIRED].backend != NULL) return false;
  for (unsigned id = 0; id < RF_BACKENDS; id++) {
    memset(&next, 0, sizeof(next));
    if (!may_follow(queue, id)) continue;
    if (open_lane(queue, &next, (enum rf_backend_id)id) != 0) continue;
    if (join_epoll(queue, next.backend) == 0) {
      retire_main(queue);
      queue->lanes[RF_LANE_MAIN].backend = next.backend;
      queue->lanes[RF_LANE_MAIN].id = next.id;
      return true;
    }
    next.backend->ops->close(next.backend);
  }
  return false;
}

/* Ops that were meant for the old main lane go to the new one, or to threads. */
static void settle_main(struct rf_queue *queue) {
  struct rf_lane *main = &queue->lanes[RF_LANE_MAIN];
  struct rf_list waiting = main->pending;
  memset(&main->pending, 0, sizeof(main->pending));
  memset(&queue->registered, 0, sizeof(queue->registered));
  queue->registered.seen = UINT64_MAX; /* never: to be looked at by the next call */
  queue->registers = main->backend->file_slots > 0 || main->backend->memory_slots > 0;
  queue->straight = queue->fsize_limited ? 0 : main->backend->kinds;
  rf_route_set_ways(queue);
  while (waiting.count > 0) rf_pend(queue, &queue->slots[rf_list_pop(queue, &waiting)]);
}

/* Its ops, none of which are the kernel's, are for workers from now on. */
static void drop_calls(struct rf_queue *queue, struct rf_lane *calls, int status) {
  calls->dead = true;
  rf_route_set_ways(queue);
  rf_log(queue->engine, RF_LOG_WARNING, "libaio beside io_uring takes no requests any more: %s",
         strerror(-status));
  move_pending(queue, calls, RF_FALLBACK_DEAD);
}

static void die(struct rf_queue *queue, struct rf_lane *lane, int status) {
  enum rf_backend_id id = lane->id;
  const char *call = lane->backend->ops->submit_call;
  lane->dead = true;
  queue->died |= (uint8_t)(1u << id);
  RF_COUNT(queue, deaths, 1);
  RF_COUNT(queue, generation, 1);
  bool replaced = replace_main(queue);
  enum rf_backend_id next = replaced ? queue->lanes[RF_LANE_MAIN].id : RF_BACKEND_THREADS;
  RF_TRACE_4(fail_over, queue, (int)id, (int)next, status);
  rf_log(queue->engine, RF_LOG_ERROR,
         "%s stopped taking requests (%s: %s); this queue goes on with %s", rf_backend_name(id),
         call, strerror(-status), rf_backend_name(next));
  if (replaced) {
    settle_main(queue);
    return;
  }
  queue->straight = 0;
  move_pending(queue, lane, RF_FALLBACK_DEAD);
}

static void refused(struct rf_queue *queue, struct rf_lane *lane, int status) {
  if (!rf_is_not_now(status)) {
    if (is_last(queue, lane))
      fail_pending(queue, lane, status);
    else if (lane == &queue->lanes[RF_LANE_CALLS])
      drop_calls(queue, lane, status);
    else
      die(queue, lane, status);
    return;
  }
  RF_COUNT(queue, retried, 1);
  if (lane->refusals < RF_RETRIES) {
    lane->not_before_ns = rf_now_ns() + (RF_PAUSE_NS << lane->refusals++);
  } else if (lane->in_flight > 0) {
    lane->not_before_ns = UINT64_MAX; /* an answer will make room */
  } else if (is_last(queue, lane)) {
    fail_pending(queue, lane, status);
  } else {
    /* The next refusal leads here at once: nobody waits again before it has taken something. */
    move_pending(queue, lane, RF_FALLBACK_EXHAUSTED);
  }
}

/* ---- handing over ---------------------------------------------------------------------------- */

static int64_t time_left(uint64_t until_ns) {
  if (until_ns == 0) return 0;
  if (until_ns == UINT64_MAX) return RF_FOREVER;
  uint64_t now = rf_now_ns();
  return until_ns > now ? (int64_t)(until_ns - now) : 0;
}

static bool may_hand_over(struct rf_lane *lane) {
  if (lane->backend == NULL || lane->dead || lane->pending.count == 0) return false;
  if (lane->in_flight >= lane->backend->capacity) return false;
  if (lane->not_before_ns == 0) return true;
  if (lane->not_before_ns > rf_now_ns()) return false;
  lane->not_before_ns = 0;
  return true;
}

/* Takes from the list what the backend has room for. */
static unsigned collect(struct rf_queue *queue, struct rf_lane *lane,
                        struct rf_request *requests[RF_BATCH_MAX]) {
  unsigned most = lane->backend->capacity - lane->in_flight, n = 0;
  if (most > RF_BATCH_MAX) most = RF_BATCH_MAX;
  if (most > lane->pending.count) most = lane->pending.count;
  uint32_t at = lane->pending.head;
  for (; n < most; n++) {
    struct rf_slot *slot = &queue->slots[at];
    slot->state = RF_SLOT_IN_FLIGHT;
    requests[n] = &slot->request;
    at = slot->next;
  }
  lane->pending.head = at;
  lane->pending.count -= n;
  return n;
}

/* Gives back to the front of the list what was not taken: they are still linked to each other. */
static void give_back(struct rf_queue *queue, struct rf_lane *lane,
                      struct rf_request *const *requests, unsigned n) {
  if (n == 0) return;
  for (unsigned i = 0; i < n; i++) rf_slot_of(requests[i])->state = RF_SLOT_PENDING;
  if (lane->pending.count == 0)
    lane->pending.tail = rf_slot_index(queue, rf_slot_of(requests[n - 1]));
  lane->pending.head = rf_slot_index(queue, rf_slot_of(requests[0]));
  lane->pending.count += n;
}

static void taken(struct rf_queue *queue, struct rf_lane *lane, unsigned n) {
  lane->in_flight += n;
  lane->refusals = 0;
  RF_COUNT(queue, requests, n);
  RF_COUNT(queue, batches, 1);
}

/*
 * How many answers of a lane `wait` completions take at least.  What is held, in a pause or without
 * room may be done before what is in flight, once the answer that it waits for has been seen: so
 * many of them may come from there.  And an op on a stream may have to go on, after a short answer,
 * before there is anything for the others.
 */
static unsigned answers_for(const struct rf_queue *queue, unsigned wait, uint32_t in_flight) {
  uint32_t others = queue->outstanding - in_flight;
  if (wait > 1) wait = queue->streams || wait <= others ? 1 : wait - others;
  return wait < in_flight ? wait : in_flight;
}

/* Hands over what it can; the last batch waits along.  True if that wait was done. */
static bool hand_over(struct rf_queue *queue, struct rf_lane *lane, unsigned wait,
                      uint64_t until_ns) {
  struct rf_request *requests[RF_BATCH_MAX];
  bool waited = false;
  while (may_hand_over(lane)) {
    unsigned n = collect(queue, lane, requests);
    unsigned in_flight = lane->in_flight + n;
    bool last = lane->pending.count == 0 || in_flight == lane->backend->capacity;
    unsigned want = last ? answers_for(queue, wait, in_flight) : 0;
    int status = lane->backend->ops->submit(lane->backend, requests, n, want,
                                            want > 0 ? time_left(until_ns) : 0);
    unsigned took = status > 0 ? (unsigned)status : 0;
    give_back(queue, lane, requests + took, n - took);
    if (took > 0) taken(queue, lane, took);
    if (status < 0) refused(queue, lane, status);
    waited = want > 0 && status == (int)n;
  }
  return waited;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void sleep_until(uint64_t until_ns) {
  struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
  (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void sleep_slice(uint64_t until_ns) {
  uint64_t slice = rf_now_ns() + SLICE_NS;
  sleep_until(slice < until_ns ? slice : until_ns);
}

/* What the answer to a wait says of the lane. */
static void note_wait(struct rf_queue *queue, struct rf_lane *lane, int status) {
  if (status >= 0 || rf_is_not_now(status)) return;
  lane->deaf = true;
  rf_log(queue->engine, RF_LOG_ERROR, "%s cannot wait for completions any more: %s",
         rf_backend_name(lane->id), strerror(-status));
  if (lane->backend->one_call && !lane->dead) die(queue, lane, status);
}

static void wait_on(struct rf_queue *queue, struct rf_lane *lane, unsigned wait,
                    uint64_t until_ns) {
  wait = answers_for(queue, wait, lane->in_flight);
  if (lane->deaf) {
    sleep_slice(until_ns);
    return;
  }
  note_wait(queue, lane,
            lane->backend->ops->submit(lane->backend, NULL, 0, wait, time_left(until_ns)));
}

/* ---- taking in ------------------------------------------------------------------------------- */

static void take_in(struct rf_queue *queue, struct rf_lane *lane) {
  struct rf_result results[RF_BATCH_MAX];
  unsigned n;
  if (lane->backend == NULL || (lane->in_flight == 0 && !queue->pollable)) return;
  do {
    n = lane->backend->ops->reap(lane->backend, results, RF_BATCH_MAX);
    lane->in_flight -= n;
    if (n > 0) rf_clock_start(queue);
    for (unsigned i = 0; i < n; i++)
      rf_answer(queue, rf_slot_of(results[i].request), results[i].res);
    rf_clock_stop(queue);
    if (n > 0) lane->not_before_ns = 0;
  } while (n == RF_BATCH_MAX);
}

/* Both lanes have requests in flight.  The calls that were made on this thread are answered
 * already, and nothing would tell the main lane so. */
static void wait_for_any(struct rf_queue *queue, uint64_t until_ns) {
  struct rf_lane *main = &queue->lanes[RF_LANE_MAIN], *threads = &queue->lanes[RF_LANE_THREADS];
  uint32_t in_flight = threads->in_flight;
  take_in(queue, threads);
  if (threads->in_flight != in_flight) return;
  int status = -EOPNOTSUPP;
  if (threads->watchable && !main->deaf)
    status =
        main->backend->ops->watch(main->backend, threads->backend->ops->pollable(threads->backend));
  if (status != 0) {
    uint64_t slice = rf_now_ns() + SLICE_NS;
    if (slice < until_ns) until_ns = slice;
  }
  wait_on(queue, main, 1, until_ns);
}

/* ---- what a dead backend still has ----------------------------------------------------------- */

static bool is_haunted(const struct rf_lane *lane) {
  return lane->dead && lane->in_flight > 0;
}

/* Could it be done a second time, and nobody would notice?  Nothing that changes the file, though
 * the same bytes: another write of the program may have gone there since. */
static bool is_repeatable(const struct rf_slot *slot) {
  if (rf_slot_reads(slot)) return !rf_slot_file(slot)->info.stream;
  return slot->kind == RF_OP_NOP || slot->kind == RF_OP_FSYNC || slot->kind == RF_OP_FDATASYNC;
}

/* No more answers will come.  `settled`: the kernel is done with all of it. */
static void lose(struct rf_queue *queue, struct rf_lane *lane, bool settled) {
  unsigned index = (unsigned)(lane - queue->lanes);
  for (uint32_t i = 0; i < queue->depth && lane->in_flight > 0; i++) {
    struct rf_slot *slot = &queue->slots[i];
    if (slot->state != RF_SLOT_IN_FLIGHT || slot->lane != index) continue;
    lane->in_flight--;
    if (settled && is_repeatable(slot)) {
      rf_answer(queue, slot, -EINTR);
    } else {
      RF_COUNT(queue, lost, 1);
      rf_finish(queue, slot, -EOWNERDEAD);
    }
  }
}

static void exorcise(struct rf_queue *queue, struct rf_lane *lane) {
  if (!lane->deaf) note_wait(queue, lane, lane->backend->ops->submit(lane->backend, NULL, 0, 1, 1));
  if (!lane->deaf) return;
  int status = lane->backend->ops->salvage(lane->backend, 0);
  take_in(queue, lane);
  if (status != -EINPROGRESS) lose(queue, lane, status == 0);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* True if something came of it, which may be all that is waited for. */
static bool make_calls(struct rf_queue *queue, struct rf_lane *calls) {
  uint32_t before = queue->outstanding;
  while (calls->pending.count > 0) {
    uint32_t pending = calls->pending.count;
    (void)hand_over(queue, calls, 0, 0);
    take_in(queue, calls);
    if (calls->pending.count == pending) break;
  }
  return queue->outstanding != before;
}

static struct rf_lane *sole_lane(struct rf_queue *queue) {
  struct rf_lane *main = &queue->lanes[RF_LANE_MAIN], *threads = &queue->lanes[RF_LANE_THREADS];
  bool main_works = main->in_flight + main->pending.count > 0;
  bool threads_work = threads->in_flight + threads->pending.count > 0;
  if (main_works && threads_work) return NULL;
  return threads_work ? threads : main;
}

static void publish_costs(struct rf_queue *queue) {
  uint64_t syscalls = 0, submit_ns = 0;
  for (unsigned i = 0; i < RF_LANES; i++) {
    if (queue->lanes[i].backend == NULL) continue;
    syscalls += queue->lanes[i].backend->syscalls;
    submit_ns += queue->lanes[i].backend->submit_ns;
  }
  RF_SET(queue, system_calls, syscalls);
  RF_SET(queue, submit_ns, submit_ns);
}

uint64_t rf_lanes_next(const struct rf_queue *queue) {
  uint64_t next = rf_timer_next(queue);
  if (queue->look_ns < next && queue->outstanding > 0) next = queue->look_ns;
  for (unsigned i = 0; i < RF_LANES; i++) {
    const struct rf_lane *lane = &queue->lanes[i];
    if (lane->pending.count > 0 && lane->not_before_ns != 0 && lane->not_before_ns < next)
      next = lane->not_before_ns;
    bool late = lane == &queue->lanes[RF_LANE_CALLS] && lane->in_flight > 0;
    if (is_haunted(lane) || late) { /* nothing else would wake us for these */
      uint64_t slice = rf_now_ns() + SLICE_NS;
      if (slice < next) next = slice;
    }
  }
  return next;
}

bool rf_lanes_stalled(const struct rf_queue *queue) {
  for (unsigned i = 0; i < RF_LANES; i++) {
    const struct rf_lane *lane = &queue->lanes[i];
    if (lane->pending.count > 0 && !lane->dead && lane->not_before_ns == 0 &&
        lane->in_flight < lane->backend->capacity)
      return true;
  }
  return false;
}

void rf_lanes_turn(struct rf_queue *queue, unsigned wait, uint64_t until_ns) {
  struct rf_lane *lanes = queue->lanes;
  uint64_t next = rf_lanes_next(queue);
  if (until_ns > next) until_ns = next;
  if (until_ns == 0) wait = 0;
  if (lanes[RF_LANE_CALLS].pending.count > 0 && make_calls(queue, &lanes[RF_LANE_CALLS])) wait = 0;
  struct rf_lane *sole = sole_lane(queue);
  bool waited = false;
  for (unsigned i = 0; i < RF_LANES; i++)
    waited |= hand_over(queue, &lanes[i], &lanes[i] == sole ? wait : 0, until_ns);
  if (wait > 0 && !waited) {
    next = rf_lanes_next(queue); /* a hand-over may have been refused just now */
    if (until_ns > next) until_ns = next;
    bool main_works = lanes[RF_LANE_MAIN].in_flight > 0 && !lanes[RF_LANE_MAIN].dead;
    bool threads_work = lanes[RF_LANE_THREADS].in_flight > 0;
    if (main_works && threads_work)
      wait_for_any(queue, until_ns);
    else if (main_works || threads_work)
      wait_on(queue, &lanes[main_works ? RF_LANE_MAIN : RF_LANE_THREADS], wait, until_ns);
    else if (until_ns != UINT64_MAX)
      sleep_until(until_ns);
  }
  for (unsigned i = 0; i < RF_LANES; i++) {
    take_in(queue, &lanes[i]);
    if (is_haunted(&lanes[i])) exorcise(queue, &lanes[i]);
  }
  publish_costs(queue);
  if (queue->look_ns != UINT64_MAX) {
    uint64_t now = rf_now_ns();
    if (now >= queue->look_ns) rf_watchdog_look(queue, now);
  }
}

bool rf_lanes_give_up(struct rf_queue *queue) {
  struct rf_lane *main = &queue->lanes[RF_LANE_MAIN];
  if (main->in_flight == 0 || main->dead || !main->backend->one_call) return false;
  rf_log(queue->engine, RF_LOG_WARNING, "%s is given up at close, with %u requests in flight",
         rf_backend_name(main->id), main->in_flight);
  main->dead = main->deaf = true;
  queue->straight = 0;
  return true;
}

enum rf_cancelled rf_lane_cancel(struct rf_queue *queue, struct rf_slot *slot) {
  struct rf_lane *lane = &queue->lanes[slot->lane];
  uint64_t serial = slot->serial;
  if (lane->dead && lane->deaf) return RF_CANCEL_RUNNING; /* it only answers any more */
  int status = lane->backend->ops->cancel(lane->backend, &slot->request);
  take_in(queue, lane);
  publish_costs(queue);
  if (slot->state == RF_SLOT_DONE && slot->serial == serial)
    return slot->status == -ECANCELED || slot->status == -ETIMEDOUT ? RF_CANCEL_STOPPED
                                                                    : RF_CANCEL_FINISHED;
  return status == 0 ? RF_CANCEL_STOPPED : RF_CANCEL_RUNNING;
}
