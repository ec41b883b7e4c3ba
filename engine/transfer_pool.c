// SPDX-License-Identifier: Apache-2.0
/* Pools: opening and closing, waking workers, deadlines, counters. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/thread.h"
#include "engine/transfer_internal.h"

/* ---- options --------------------------------------------------------------------------------- */

void rf_pool_options_init(struct rf_pool_options *options) {
  memset(options, 0, sizeof(*options));
  options->size = sizeof(*options);
  options->workers = 2;
  options->block_size = (size_t)1 << 20;
  options->queue_depth = 16;
  options->overlap_events = true;
  options->bounce_limit = (size_t)16 << 20;
}

static bool within(uint64_t value, uint64_t least, uint64_t most) {
  return value >= least && value <= most;
}

static int read_options(const struct rf_pool_options *given, struct rf_pool_options *options) {
  rf_pool_options_init(options);
  if (given != NULL) {
    if (given->size < sizeof(given->size) || given->size > sizeof(*options)) return -EINVAL;
    memcpy(options, given, given->size);
  }
  bool good = within(options->workers, 1, RF_POOL_WORKERS_MAX) &&
              within(options->block_size, RF_POOL_BLOCK_MIN, RF_POOL_BLOCK_MAX) &&
              within(options->queue_depth, 1, RF_POOL_DEPTH_MAX) &&
              within(options->bounce_limit, RF_POOL_BOUNCE_MIN, RF_POOL_BOUNCE_MAX);
  return good ? 0 : -EINVAL;
}

/* ---- workers --------------------------------------------------------------------------------- */

/* Twice as many parts as ops in flight: those that are in flight, and those that came back and are
 * still to be copied. */
static int open_worker(struct rf_pool *pool, struct rf_worker *worker) {
  struct rf_queue_options options;
  rf_queue_options_init(&options);
  options.depth = pool->options.queue_depth;
  options.batch = pool->options.single_submit ? 1 : options.depth;
  options.latency = pool->options.latency;
  worker->pool = pool;
  worker->part_count = 2 * options.depth;
  worker->parts = calloc(worker->part_count, sizeof(*worker->parts));
  worker->completions = calloc(worker->part_count, sizeof(*worker->completions));
  worker->taken = calloc(worker->part_count, sizeof(*worker->taken));
  worker->reaped = calloc(worker->part_count, sizeof(*worker->reaped));
  if (worker->parts == NULL || worker->completions == NULL || worker->taken == NULL ||
      worker->reaped == NULL)
    return -ENOMEM;
  worker->free = RF_NONE;
  for (uint32_t i = worker->part_count; i-- > 0; worker->free = i)
    worker->parts[i].next = worker->free;
  worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (worker->wake_fd < 0) return -errno;
  return rf_queue_open(pool->engine, &options, &worker->queue);
}

static void close_worker(struct rf_worker *worker) {
  (void)rf_queue_close(worker->queue);
  if (worker->wake_fd >= 0) close(worker->wake_fd);
  free(worker->parts);
  free(worker->completions);
  free(worker->taken);
  free(worker->reaped);
}

static int start_worker(struct rf_worker *worker) {
  struct rf_pool *pool = worker->pool;
  int status = rf_thread_start(&worker->thread, 0, rf_worker_run, worker);
  if (status != 0) return status;
  pthread_mutex_lock(&pool->lock);
  pool->callers++;
  while (!worker->started) pthread_cond_wait(&pool->any, &pool->lock);
  pool->callers--;
  pthread_mutex_unlock(&pool->lock);
  if (worker->queue_fd >= 0) return 0;
  pthread_join(worker->thread, NULL);
  worker->started = false;
  return worker->queue_fd;
}

static void end_workers(struct rf_pool *pool, bool alive) {
  for (unsigned i = 0; i < pool->worker_count; i++) {
    struct rf_worker *worker = &pool->workers[i];
    if (alive && worker->started) pthread_join(worker->thread, NULL);
    close_worker(worker);
  }
  free(pool->workers);
  pool->workers = NULL;
  pool->worker_count = 0;
}

/* ---- waking ---------------------------------------------------------------------------------- */

static void wake(struct rf_worker *worker) {
  uint64_t one = 1;
  worker->state = RF_WORKER_AWAKE;
  worker->pool->counters.wakeups++;
  if (!worker->signalled) worker->signalled = write(worker->wake_fd, &one, sizeof(one)) > 0;
}

/* One that is awake will look by itself; else one that has a part of its queue to fill, so that
 * what is small stays together; else an idle one; a full one at the very last. */
void rf_pool_call(struct rf_pool *pool, const struct rf_worker *self) {
  struct rf_worker *best = NULL;
  pool->news++;
  for (unsigned i = 0; i < pool->worker_count; i++) {
    struct rf_worker *worker = &pool->workers[i];
    if (worker == self || worker->state == RF_WORKER_AWAY) continue;
    if (worker->state == RF_WORKER_AWAKE) return;
    static const int rank[] = {[RF_WORKER_FULL] = 1, [RF_WORKER_IDLE] = 2, [RF_WORKER_PARTLY] = 3};
    if (best == NULL || rank[worker->state] > rank[best->state]) best = worker;
  }
  if (best != NULL && !(self != NULL && best->state == RF_WORKER_FULL)) wake(best);
}

void rf_pool_call_all(struct rf_pool *pool) {
  pool->news++;
  for (unsigned i = 0; i < pool->worker_count; i++)
    if (pool->workers[i].state >= RF_WORKER_FULL) wake(&pool->workers[i]);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* A worker that sleeps until the old one has to learn of it; any one will do. */
void rf_pool_note_deadline(struct rf_pool *pool, uint64_t deadline_ns) {
  if (deadline_ns >= pool->nearest_ns) return;
  pool->nearest_ns = deadline_ns;
  rf_pool_call(pool, NULL);
}

void rf_pool_expire(struct rf_pool *pool) {
  if (pool->nearest_ns == UINT64_MAX) return;
  uint64_t now = rf_now_ns(), nearest = UINT64_MAX;
  if (now < pool->nearest_ns) return;
  for (struct rf_transfer *next, *transfer = pool->oldest; transfer != NULL; transfer = next) {
    next = transfer->newer;
    if (transfer->stopping != 0) continue;
    if (transfer->deadline_ns <= now)
      rf_transfer_stop(transfer, -ETIMEDOUT);
    else if (transfer->deadline_ns < nearest)
      nearest = transfer->deadline_ns;
  }
  pool->nearest_ns = nearest;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void init_conditions(struct rf_pool *pool) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->any, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

void rf_pool_disown(struct rf_pool *pool) {
  if (atomic_fetch_sub_explicit(&pool->owners, 1, memory_order_acq_rel) != 1) return;
  if (pool->callers == 0)
    pthread_cond_destroy(&pool->any); /* in a forked child there may be some */
  pthread_mutex_destroy(&pool->lock);
  rf_alive_close(pool->alive);
  free(pool);
}

static int open_all(struct rf_pool *pool) {
  pool->alive = rf_alive_open();
  pool->workers = calloc(pool->options.workers, sizeof(*pool->workers));
  if (pool->alive == NULL || pool->workers == NULL) return -ENOMEM;
  int status = pool->options.lock_bounce ? rf_bounce_open(pool) : 0;
  for (unsigned i = 0; i < pool->options.workers && status == 0; i++) {
    pool->workers[i].wake_fd = -1;
    pool->worker_count++;
    status = open_worker(pool, &pool->workers[i]);
  }
  return status;
}

/* Fewer workers than asked for are enough, one is not too few. */
static int start_all(struct rf_pool *pool) {
  int status = 0;
  unsigned started = 0;
  for (; started < pool->worker_count && status == 0; started += status == 0)
    status = start_worker(&pool->workers[started]);
  if (status == 0) return 0;
  if (started == 0) return status;
  rf_log(pool->engine, RF_LOG_WARNING, "a pool has %u of %u workers: %s", started,
         pool->worker_count, strerror(-status));
  pthread_mutex_lock(&pool->lock);
  for (unsigned i = started; i < pool->worker_count; i++) close_worker(&pool->workers[i]);
  pool->worker_count = started;
  pthread_mutex_unlock(&pool->lock);
  return 0;
}

int rf_pool_open(struct rf_engine *engine, const struct rf_pool_options *given,
                 struct rf_pool **out) {
  struct rf_pool_options options;
  if (!rf_engine_alive(engine)) return -EBADF;
  int status = read_options(given, &options);
  if (status != 0) return status;
  struct rf_pool *pool = calloc(1, sizeof(*pool));
  if (pool == NULL) return -ENOMEM;
  pool->engine = engine;
  pool->options = options;
  pool->nearest_ns = UINT64_MAX;
  atomic_init(&pool->owners, 1);
  init_conditions(pool);
  rf_bounce_plan(pool);
  status = open_all(pool);
  if (status == 0) status = start_all(pool);
  if (status != 0) {
    end_workers(pool, true);
    rf_bounce_close(pool);
    rf_pool_disown(pool);
    return status;
  }
  *out = pool;
  return 0;
}

static void stop_all(struct rf_pool *pool) {
  for (struct rf_transfer *next, *transfer = pool->oldest; transfer != NULL; transfer = next) {
    next = transfer->newer;
    rf_transfer_stop(transfer, -ECANCELED);
  }
}

int rf_pool_close(struct rf_pool *pool, enum rf_pool_end end) {
  if (pool == NULL) return 0;
  if ((unsigned)end > RF_POOL_CANCEL) return -EINVAL;
  bool alive = rf_is_alive(pool->alive);
  if (alive) {
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    if (end == RF_POOL_CANCEL) stop_all(pool);
    rf_pool_call_all(pool);
    pthread_mutex_unlock(&pool->lock);
  }
  end_workers(pool, alive);
  rf_bounce_close(pool);
  rf_pool_disown(pool);
  return 0;
}

/* ---- looking at it --------------------------------------------------------------------------- */

int rf_pool_counters(struct rf_pool *pool, struct rf_transfer_counters *counters) {
  if (!rf_is_alive(pool->alive)) return -EBADF;
  pthread_mutex_lock(&pool->lock);
  *counters = pool->counters;
  pthread_mutex_unlock(&pool->lock);
  return 0;
}

static void add_latency(struct rf_latency *sum, const struct rf_latency *one) {
  sum->count += one->count;
  sum->total_ns += one->total_ns;
  if (one->max_ns > sum->max_ns) sum->max_ns = one->max_ns;
  for (size_t i = 0; i < RF_LATENCY_BUCKETS; i++) sum->bucket[i] += one->bucket[i];
}

int rf_pool_latency(struct rf_pool *pool, struct rf_latency *latency) {
  struct rf_latency one;
  if (!rf_engine_alive(pool->engine)) return -EBADF;
  if (!pool->options.latency) return -ENODATA;
  memset(latency, 0, sizeof(*latency));
  for (unsigned i = 0; i < pool->worker_count; i++)
    if (rf_queue_latency(pool->workers[i].queue, &one) == 0) add_latency(latency, &one);
  return 0;
}
