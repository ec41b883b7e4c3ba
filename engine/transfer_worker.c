// SPDX-License-Identifier: Apache-2.0
/*
 * A worker: takes blocks, copies what has to be copied, hands over, sleeps, and finishes what came
 * back.
 *
 * The order within a turn is what makes copying overlap with I/O: the queue is filled before what
 * was read is copied out, and each block to be written is handed over as soon as it is copied, so
 * that the device works on it during the next copy.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "engine/transfer_internal.h"

/* Gives the lock up for something that may take long: others are woken for what comes up. */
static void leave(struct rf_worker *worker) {
  worker->state = RF_WORKER_AWAY;
  pthread_mutex_unlock(&worker->pool->lock);
}

static void come_back(struct rf_worker *worker) {
  pthread_mutex_lock(&worker->pool->lock);
  worker->state = RF_WORKER_AWAKE;
}

/* ---- parts ----------------------------------------------------------------------------------- */

static unsigned room(const struct rf_worker *worker) {
  const struct rf_pool_options *options = &worker->pool->options;
  if (!options->overlap_events && (worker->in_flight > worker->taken_count || worker->reaped_count))
    return 0;
  return worker->free != RF_NONE ? options->queue_depth - worker->in_flight : 0;
}

static struct rf_part *take_part(struct rf_worker *worker, struct rf_transfer *transfer) {
  struct rf_part *part = &worker->parts[worker->free];
  worker->taken[worker->taken_count++] = worker->free;
  worker->free = part->next;
  worker->in_flight++;
  part->transfer = transfer;
  transfer->outstanding++;
  return part;
}

static void free_part(struct rf_worker *worker, struct rf_part *part) {
  if (part->bounced) rf_bounce_give(worker->pool, part->memory);
  part->transfer = NULL;
  part->bounced = false;
  part->next = worker->free;
  worker->free = (uint32_t)(part - worker->parts);
}

/* ---- taking ---------------------------------------------------------------------------------- */

static enum rf_part_kind kind_of(const struct rf_transfer *transfer) {
  switch (transfer->stage) {
    case RF_TRANSFER_ALLOCATE:
      return RF_PART_ALLOCATE;
    case RF_TRANSFER_SYNC:
      return RF_PART_SYNC;
    case RF_TRANSFER_SYNC_DIRECTORY:
      return RF_PART_SYNC_DIRECTORY;
    default:
      return RF_PART_MOVE;
  }
}

/* One op of it; false: it needs a bounce buffer, and there is none. */
static bool take_one(struct rf_worker *worker, struct rf_transfer *transfer) {
  struct rf_part cut = {.kind = (uint8_t)kind_of(transfer)};
  int status = 0;
  if (cut.kind == RF_PART_MOVE && !rf_transfer_cut(transfer, &cut, &status)) {
    if (status == 0) return false;
    rf_transfer_fail(transfer, transfer->cursor, status);
    rf_transfer_unlist(transfer);
    if (transfer->outstanding == 0) rf_transfer_advance(transfer);
    return true;
  }
  struct rf_part *part = take_part(worker, transfer);
  cut.transfer = transfer;
  *part = cut;
  bool more = rf_transfer_is_takeable(transfer);
  struct rf_transfer_list *list = transfer->list;
  rf_transfer_unlist(transfer);
  if (more) rf_transfer_push(list, transfer); /* behind the others: they take turns */
  return true;
}

/* As many as there is room for, in turns from all transfers that have some. */
static void take_all(struct rf_worker *worker) {
  struct rf_pool *pool = worker->pool;
  struct rf_transfer *passed = NULL; /* the first of those that need what there is not */
  while (room(worker) > 0) {
    struct rf_transfer *transfer = pool->active.head;
    if (transfer == NULL || transfer == passed) return;
    if (take_one(worker, transfer)) continue;
    if (passed == NULL) passed = transfer;
    rf_transfer_unlist(transfer);
    rf_transfer_push(&pool->active, transfer);
  }
}

static bool may_open(const struct rf_worker *worker) {
  const struct rf_pool *pool = worker->pool;
  return pool->fresh.head != NULL && pool->open < RF_OPEN_MOST && room(worker) > 0;
}

/* Opening and blocks take turns, too. */
static void take(struct rf_worker *worker) {
  struct rf_pool *pool = worker->pool;
  bool open = may_open(worker) && (pool->active.head == NULL || !worker->opened_last);
  worker->opened_last = open;
  if (open) rf_transfer_step(worker, pool->fresh.head);
  take_all(worker);
  bool left = (pool->active.head != NULL && !pool->bounce.wanted) || pool->fresh.head != NULL;
  if (left && room(worker) == 0) {
    uint64_t news = pool->news;
    rf_pool_call(pool, worker);
    pool->news = news; /* not to this one */
  }
}

/* ---- handing over ---------------------------------------------------------------------------- */

static struct rf_file *file_of(const struct rf_part *part) {
  const struct rf_target *target = &part->transfer->target;
  if (part->kind == RF_PART_SYNC_DIRECTORY) return target->directory;
  if (part->kind == RF_PART_MOVE && part->direct) return target->direct;
  return target->buffered != NULL ? target->buffered : target->direct;
}

static struct rf_op op_of(const struct rf_worker *worker, const struct rf_part *part) {
  const struct rf_transfer *transfer = part->transfer;
  uint64_t index = (uint64_t)(part - worker->parts);
  struct rf_file *file = file_of(part);
  switch (part->kind) {
    case RF_PART_ALLOCATE:
      return rf_op_fallocate(file, 0, transfer->request.offset, transfer->request.length, index);
    case RF_PART_SYNC:
      return transfer->request.durability >= RF_DURABLE_FILE ? rf_op_fsync(file, index)
                                                             : rf_op_fdatasync(file, index);
    case RF_PART_SYNC_DIRECTORY:
      return rf_op_fsync(file, index);
    default:
      return transfer->write ? rf_op_write(file, part->memory, part->length, part->offset, index)
                             : rf_op_read(file, part->memory, part->length, part->offset, index);
  }
}

/* A part that is not even handed over: as if it had come back with this status. */
static void refuse(struct rf_worker *worker, struct rf_part *part, int status) {
  part->status = status;
  part->bytes = 0;
  worker->in_flight--;
  worker->reaped[worker->reaped_count++] = (uint32_t)(part - worker->parts);
}

/* Into the bounce buffer.  What is there of memory that ends early is written, in whole units. */
static int copy_in(struct rf_part *part) {
  uint64_t copied = rf_part_copy(part, part->length);
  if (copied == part->length) return 0;
  part->cut_short = true;
  part->length = copied - copied % rf_file_get_info(file_of(part))->offset_align;
  return part->length > 0 ? 0 : -EFAULT;
}

static void hand_over_one(struct rf_worker *worker, struct rf_part *part) {
  struct rf_transfer *transfer = part->transfer;
  int status = 0;
  if (part->kind == RF_PART_ALLOCATE) transfer->target.extended = true;
  if (part->bounced && transfer->write) status = copy_in(part);
  if (status == 0) {
    struct rf_op op = op_of(worker, part);
    part->in_flight = true;
    int taken = rf_submit(worker->queue, &op, 1);
    if (taken == 1 && part->bounced && transfer->write) (void)rf_flush(worker->queue);
    if (taken == 1) return;
    part->in_flight = false;
    status = taken;
  }
  refuse(worker, part, status);
}

/* Without the lock. */
static void hand_over(struct rf_worker *worker) {
  if (worker->taken_count == 0) return;
  for (unsigned i = 0; i < worker->taken_count; i++)
    hand_over_one(worker, &worker->parts[worker->taken[i]]);
  worker->taken_count = 0;
  (void)rf_flush(worker->queue);
}

/* ---- finishing ------------------------------------------------------------------------------- */

static void count_bytes(struct rf_transfer *transfer, const struct rf_part *part) {
  struct rf_transfer_result *result = &transfer->result;
  struct rf_transfer_counters *counters = &transfer->pool->counters;
  uint64_t bytes = rf_part_useful(part, part->bytes);
  uint64_t again = bytes < transfer->again ? bytes : transfer->again;
  transfer->again -= again;
  transfer->moved += bytes - again;
  *(part->direct ? &result->direct_bytes : &result->buffered_bytes) += bytes;
  *(part->direct ? &counters->direct_bytes : &counters->buffered_bytes) += bytes;
  if (part->bounced) result->bounced_bytes += bytes;
  if (part->bounced) counters->bounced_bytes += bytes;
  counters->blocks++;
}

static int status_of(const struct rf_transfer *transfer, int status) {
  return status == -ECANCELED && transfer->stopping != 0 ? transfer->stopping : status;
}

static void finish_block(struct rf_transfer *transfer, const struct rf_part *part) {
  uint64_t reached = part->offset + part->bytes, wanted = part->offset + part->length;
  if (wanted > transfer->end) wanted = transfer->end;
  count_bytes(transfer, part);
  if (part->status != 0)
    rf_transfer_fail(transfer, reached, status_of(transfer, part->status));
  else if (reached < wanted)
    rf_transfer_fail(transfer, reached, 0);
  else if (part->cut_short)
    rf_transfer_fail(transfer, reached, -EFAULT);
  if (transfer->stop_at != UINT64_MAX && transfer->list == &transfer->pool->active)
    rf_transfer_unlist(transfer);
}

static void finish_room(struct rf_worker *worker, struct rf_transfer *transfer,
                        const struct rf_part *part) {
  int status = part->status;
  if (status == -EOPNOTSUPP || status == -ENOSYS) {
    leave(worker);
    status = rf_target_set_size(transfer);
    come_back(worker);
  }
  if (status != 0)
    rf_transfer_fail(transfer, transfer->request.offset, status_of(transfer, status));
}

/* What is moved while another worker tells is told by the one whose op is the last. */
static void report(struct rf_worker *worker, struct rf_transfer *transfer) {
  const struct rf_transfer_request *request = &transfer->request;
  if (request->progress == NULL || transfer->reporting) return;
  transfer->reporting = true;
  do {
    uint64_t moved = transfer->told = transfer->moved;
    leave(worker);
    request->progress(request->progress_context, moved, request->length);
    come_back(worker);
  } while (transfer->told != transfer->moved && transfer->outstanding == 1);
  transfer->reporting = false;
}

/* The op counts as outstanding to the end of this: until then the transfer cannot be over. */
static void finish_one(struct rf_worker *worker, struct rf_part *part) {
  struct rf_transfer *transfer = part->transfer;
  if (part->kind == RF_PART_MOVE)
    finish_block(transfer, part);
  else if (part->kind == RF_PART_ALLOCATE)
    finish_room(worker, transfer, part);
  else if (part->status != 0)
    rf_transfer_fail(transfer, transfer->end, status_of(transfer, part->status));
  free_part(worker, part);
  if (transfer->told != transfer->moved) report(worker, transfer);
  if (--transfer->outstanding > 0) return;
  bool more = transfer->stage == RF_TRANSFER_MOVE && rf_transfer_is_takeable(transfer);
  if (!more) rf_transfer_advance(transfer);
}

static bool copies_out(const struct rf_part *part) {
  return part->bounced && !part->transfer->write && part->bytes > 0;
}

static void copy_out(struct rf_part *part) {
  uint64_t copied = rf_part_copy(part, part->bytes);
  if (copied == part->bytes) return;
  part->bytes = copied;
  part->status = -EFAULT;
}

/* With the lock, which is given up while copying. */
static void finish_all(struct rf_worker *worker) {
  for (unsigned i = 0; i < worker->reaped_count; i++) {
    struct rf_part *part = &worker->parts[worker->reaped[i]];
    if (copies_out(part)) {
      leave(worker);
      copy_out(part);
      come_back(worker);
    }
    finish_one(worker, part);
  }
  worker->reaped_count = 0;
}

/* ---- sleeping -------------------------------------------------------------------------------- */

static void reap(struct rf_worker *worker) {
  int n = rf_reap(worker->queue, worker->completions, worker->part_count);
  for (int i = 0; i < n; i++) {
    const struct rf_completion *done = &worker->completions[i];
    struct rf_part *part = &worker->parts[done->user_data];
    part->status = done->status;
    part->bytes = (uint64_t)done->bytes;
    part->in_flight = false;
    worker->in_flight--;
    worker->reaped[worker->reaped_count++] = (uint32_t)done->user_data;
  }
}

static void sleep_until(const struct rf_worker *worker, uint64_t until_ns) {
  struct pollfd fds[2] = {{.fd = worker->wake_fd, .events = POLLIN},
                          {.fd = worker->queue_fd, .events = POLLIN}};
  nfds_t count = worker->in_flight > 0 ? 2 : 1;
  if (until_ns == UINT64_MAX) {
    (void)poll(fds, count, -1);
    return;
  }
  uint64_t now = rf_now_ns();
  uint64_t left = until_ns > now ? until_ns - now : 0;
  struct timespec timeout = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
  (void)ppoll(fds, count, &timeout, NULL);
}

/* With the lock, which is given up meanwhile.  Nothing new may have come up unseen. */
static void sleep_and_reap(struct rf_worker *worker) {
  struct rf_pool *pool = worker->pool;
  uint64_t until_ns = pool->nearest_ns, count;
  worker->state = worker->in_flight == 0 ? RF_WORKER_IDLE
                  : room(worker) > 0     ? RF_WORKER_PARTLY
                                         : RF_WORKER_FULL;
  pthread_mutex_unlock(&pool->lock);
  sleep_until(worker, until_ns);
  if (worker->in_flight > 0) reap(worker);
  pthread_mutex_lock(&pool->lock);
  worker->state = RF_WORKER_AWAKE;
  if (worker->signalled) worker->signalled = read(worker->wake_fd, &count, sizeof(count)) < 0;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* What belongs to a transfer that was stopped.  Its answer comes in any case. */
static void cancel_stopped(struct rf_worker *worker) {
  struct rf_pool *pool = worker->pool;
  if (worker->stops_seen == pool->stops) return;
  worker->stops_seen = pool->stops;
  for (uint32_t i = 0; i < worker->part_count; i++) {
    const struct rf_part *part = &worker->parts[i];
    if (!part->in_flight || part->transfer->stopping == 0) continue;
    pthread_mutex_unlock(&pool->lock);
    (void)rf_cancel(worker->queue, i);
    pthread_mutex_lock(&pool->lock);
  }
}

/* True if there is no need to sleep: there may be more to do. */
static bool turn(struct rf_worker *worker) {
  struct rf_pool *pool = worker->pool;
  worker->news_seen = pool->news;
  rf_pool_expire(pool);
  cancel_stopped(worker);
  while (pool->chores.head != NULL) rf_transfer_step(worker, pool->chores.head);
  take(worker);
  if (worker->taken_count > 0) {
    leave(worker);
    hand_over(worker);
    come_back(worker);
  }
  bool finished = worker->reaped_count > 0;
  if (finished) finish_all(worker);
  return finished || worker->news_seen != pool->news || may_open(worker);
}

void *rf_worker_run(void *argument) {
  struct rf_worker *worker = argument;
  struct rf_pool *pool = worker->pool;
  worker->queue_fd = rf_queue_fd(worker->queue); /* which makes the queue this thread's */
  pthread_mutex_lock(&pool->lock);
  worker->started = true;
  pthread_cond_broadcast(&pool->any);
  while (worker->queue_fd >= 0) {
    if (turn(worker)) continue;
    if (pool->closing && pool->live == 0 && worker->in_flight == 0) break;
    sleep_and_reap(worker);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}
