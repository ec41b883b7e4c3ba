// SPDX-License-Identifier: Apache-2.0
/* From stage to stage: the one place where it is decided what a transfer does next, and how it
 * ends. */
#include <errno.h>

#include "engine/transfer_internal.h"

/* ---- lists ----------------------------------------------------------------------------------- */

void rf_transfer_push(struct rf_transfer_list *list, struct rf_transfer *transfer) {
  transfer->list = list;
  transfer->next = NULL;
  transfer->prev = list->tail;
  *(list->tail != NULL ? &list->tail->next : &list->head) = transfer;
  list->tail = transfer;
}

void rf_transfer_unlist(struct rf_transfer *transfer) {
  struct rf_transfer_list *list = transfer->list;
  if (list == NULL) return;
  *(transfer->prev != NULL ? &transfer->prev->next : &list->head) = transfer->next;
  *(transfer->next != NULL ? &transfer->next->prev : &list->tail) = transfer->prev;
  transfer->list = NULL;
}

void rf_transfer_enlist(struct rf_transfer *transfer) {
  struct rf_pool *pool = transfer->pool;
  bool chore = transfer->stage == RF_TRANSFER_RETREAT || transfer->stage == RF_TRANSFER_PUBLISH ||
               transfer->stage == RF_TRANSFER_END;
  rf_transfer_push(chore ? &pool->chores : &pool->active, transfer);
  rf_pool_call(pool, NULL);
}

/* ---- what next ------------------------------------------------------------------------------- */

static bool syncs(const struct rf_transfer *transfer) {
  const struct rf_transfer_request *request = &transfer->request;
  return transfer->write &&
         (request->durability != RF_DURABLE_NONE || request->flags & RF_TRANSFER_REPLACE);
}

static enum rf_stage_of_transfer after(const struct rf_transfer *transfer) {
  switch (transfer->stage) {
    case RF_TRANSFER_OPENING:
      if (rf_target_wants_room(transfer)) return RF_TRANSFER_ALLOCATE;
      /* fall through */
    case RF_TRANSFER_ALLOCATE:
    case RF_TRANSFER_RETREAT:
      if (transfer->span_count > 0) return RF_TRANSFER_MOVE;
      /* fall through */
    case RF_TRANSFER_MOVE:
      if (syncs(transfer)) return RF_TRANSFER_SYNC;
      /* fall through */
    case RF_TRANSFER_SYNC:
      if (transfer->target.new_file != NULL) return RF_TRANSFER_PUBLISH;
      /* fall through */
    case RF_TRANSFER_PUBLISH:
      if (transfer->target.directory != NULL) return RF_TRANSFER_SYNC_DIRECTORY;
      /* fall through */
    default:
      return RF_TRANSFER_END;
  }
}

static bool halted(const struct rf_transfer *transfer) {
  return transfer->stop_at != UINT64_MAX;
}

static bool span_is_taken(const struct rf_transfer *transfer) {
  return transfer->cursor >= transfer->spans[transfer->span].end;
}

bool rf_transfer_is_takeable(const struct rf_transfer *transfer) {
  if (transfer->stopping != 0 || transfer->status != 0) return false;
  if (transfer->stage != RF_TRANSFER_MOVE) return transfer->outstanding == 0;
  return !halted(transfer) && !span_is_taken(transfer);
}

/* Where the first byte is that no block was made for. */
static uint64_t frontier(const struct rf_transfer *transfer) {
  uint64_t at = transfer->cursor;
  if (transfer->stage < RF_TRANSFER_RETREAT || at < transfer->request.offset)
    return transfer->request.offset;
  return transfer->stage > RF_TRANSFER_MOVE || at > transfer->end ? transfer->end : at;
}

static void to_end(struct rf_transfer *transfer) {
  if (!transfer->complete && transfer->status == 0)
    rf_transfer_fail(transfer, frontier(transfer), transfer->stopping);
  transfer->stage = RF_TRANSFER_END;
  rf_transfer_enlist(transfer);
}

/* The stage has done what it was for: not if a stop kept blocks from being taken. */
static bool is_through(const struct rf_transfer *transfer) {
  if (transfer->status != 0) return false;
  return transfer->stage != RF_TRANSFER_MOVE || span_is_taken(transfer) || halted(transfer);
}

/* Some file systems accept O_DIRECT, and then refuse the requests.  If it was something else that
 * they refuse they will again. */
static bool must_retreat(const struct rf_transfer *transfer) {
  return transfer->stage == RF_TRANSFER_MOVE && transfer->status == -EINVAL &&
         transfer->stopping == 0 && transfer->spans[transfer->span].direct;
}

static void retreat(struct rf_transfer *transfer) {
  rf_transfer_plan_retreat(transfer);
  transfer->target.refused_direct = true;
  transfer->stop_at = UINT64_MAX;
  transfer->status = 0;
  transfer->stage = RF_TRANSFER_RETREAT;
  rf_transfer_enlist(transfer);
}

/* A stop comes too late when nothing is left to be done, or a new file has its name. */
void rf_transfer_advance(struct rf_transfer *transfer) {
  if (must_retreat(transfer)) {
    retreat(transfer);
    return;
  }
  bool more_spans = transfer->stage == RF_TRANSFER_MOVE && !halted(transfer) &&
                    transfer->span + 1 < transfer->span_count;
  enum rf_stage_of_transfer next = more_spans ? RF_TRANSFER_MOVE : after(transfer);
  bool too_late = next == RF_TRANSFER_END || transfer->stage >= RF_TRANSFER_PUBLISH;
  if (!is_through(transfer) || (transfer->stopping != 0 && !too_late)) {
    to_end(transfer);
    return;
  }
  transfer->complete = next == RF_TRANSFER_END;
  if (more_spans) transfer->cursor = transfer->spans[++transfer->span].start;
  transfer->stage = next;
  rf_transfer_enlist(transfer);
}

void rf_transfer_fail(struct rf_transfer *transfer, uint64_t offset, int status) {
  if (offset < transfer->request.offset) offset = transfer->request.offset;
  if (offset >= transfer->stop_at) return;
  transfer->stop_at = offset;
  transfer->status = status;
}

/* Whoever is told of a stop finds the old file: not once the new one may have its name. */
static bool is_replaced(const struct rf_transfer *transfer) {
  return transfer->stage >= RF_TRANSFER_PUBLISH && transfer->target.new_file != NULL;
}

void rf_transfer_stop(struct rf_transfer *transfer, int status) {
  struct rf_pool *pool = transfer->pool;
  bool waits = transfer->list != NULL; /* for a worker: nothing of it is being done, but for MOVE */
  if (transfer->stopping != 0 || transfer->complete || is_replaced(transfer) ||
      transfer->stage == RF_TRANSFER_DONE)
    return;
  transfer->stopping = status;
  if (transfer->list == &pool->chores) return; /* ending already, or will when it has retreated */
  rf_transfer_unlist(transfer);
  if (transfer->stage == RF_TRANSFER_FRESH) {
    rf_transfer_fail(transfer, transfer->request.offset, status);
    rf_transfer_finish(transfer);
  } else if (transfer->outstanding > 0) {
    pool->stops++;
    rf_pool_call_all(pool);
  } else if (waits) {
    to_end(transfer);
  }
}

/* ---- steps that are plain calls -------------------------------------------------------------- */

static uint64_t written_to(const struct rf_transfer *transfer) {
  return transfer->stop_at < transfer->end ? transfer->stop_at : transfer->end;
}

static int do_step(struct rf_transfer *transfer) {
  int status = 0;
  switch (transfer->stage) {
    case RF_TRANSFER_OPENING:
      status = rf_target_open(transfer);
      if (status == 0) rf_transfer_plan(transfer);
      return status;
    case RF_TRANSFER_RETREAT:
      return rf_target_retreat(transfer);
    case RF_TRANSFER_PUBLISH:
      return rf_target_publish(transfer);
    case RF_TRANSFER_END:
      rf_target_close(transfer, written_to(transfer));
      return 0;
    default:
      return 0;
  }
}

void rf_transfer_step(struct rf_worker *worker, struct rf_transfer *transfer) {
  struct rf_pool *pool = worker->pool;
  rf_transfer_unlist(transfer);
  if (transfer->stage == RF_TRANSFER_FRESH) {
    transfer->stage = RF_TRANSFER_OPENING;
    pool->open++;
  }
  worker->state = RF_WORKER_AWAY;
  pthread_mutex_unlock(&pool->lock);
  int status = do_step(transfer);
  pthread_mutex_lock(&pool->lock);
  worker->state = RF_WORKER_AWAKE;
  if (transfer->stage == RF_TRANSFER_END) {
    if (pool->open-- == RF_OPEN_MOST && pool->fresh.head != NULL) rf_pool_call(pool, NULL);
    rf_transfer_finish(transfer);
    return;
  }
  if (status != 0) rf_transfer_fail(transfer, frontier(transfer), status);
  rf_transfer_advance(transfer);
}

/* ---- the very end ---------------------------------------------------------------------------- */

static void unlive(struct rf_transfer *transfer) {
  struct rf_pool *pool = transfer->pool;
  *(transfer->older != NULL ? &transfer->older->newer : &pool->oldest) = transfer->newer;
  *(transfer->newer != NULL ? &transfer->newer->older : &pool->newest) = transfer->older;
  pool->live--;
}

static void count(struct rf_transfer *transfer) {
  struct rf_transfer_counters *counters = &transfer->pool->counters;
  const struct rf_transfer_result *result = &transfer->result;
  counters->completed++;
  counters->failed += result->status != 0;
  counters->cancelled += result->status == -ECANCELED;
  counters->timed_out += result->status == -ETIMEDOUT;
  counters->bytes += result->bytes;
  counters->refused_direct += result->refused_direct;
}

/* Once `done` is set its owner may free it, without the lock. */
void rf_transfer_finish(struct rf_transfer *transfer) {
  struct rf_pool *pool = transfer->pool;
  struct rf_transfer_result *result = &transfer->result;
  transfer->stage = RF_TRANSFER_DONE;
  result->bytes = written_to(transfer) - transfer->request.offset;
  result->status = transfer->status;
  result->direct = result->direct_bytes > 0;
  result->refused_direct = transfer->target.refused_direct;
  result->ns = rf_now_ns() - transfer->started_ns;
  count(transfer);
  unlive(transfer);
  if (transfer->waiters > 0) pthread_cond_broadcast(&transfer->finished);
  if (pool->callers > 0) pthread_cond_broadcast(&pool->any);
  bool last = pool->closing && pool->live == 0;
  atomic_store_explicit(&transfer->done, true, memory_order_release);
  if (last) rf_pool_call_all(pool);
}
