// SPDX-License-Identifier: Apache-2.0
/*
 * What an answer of a backend means for its op: it is finished, or goes on (the rest of a short
 * transfer, the next piece of a long one), or is tried again after a pause, or on the threads
 * lane.  This is the one place where that is decided, for all backends.
 */
#include <errno.h>

#include "engine/internal.h"

static bool is_vectored(const struct rf_slot *slot) {
  return slot->kind == RF_OP_READV || slot->kind == RF_OP_WRITEV;
}

bool rf_is_not_now(int status) {
  return status == -EAGAIN || status == -EINTR || status == -EBUSY || status == -ENOMEM;
}

/* ---- the next request ------------------------------------------------------------------------ */

/* From the middle of an iovec the rest of that one goes as a plain transfer: the caller's array is
 * neither changed nor copied.  From the start of one, as many as one call takes. */
static void prepare_vector(struct rf_slot *slot) {
  const struct iovec *iov = slot->iov;
  uint64_t count = slot->iov_count, skip = slot->done, i = 0;
  bool read = slot->kind == RF_OP_READV;
  while (i < count && skip >= iov[i].iov_len) skip -= iov[i++].iov_len;
  if (skip > 0 || (i < count && iov[i].iov_len > RF_CALL_MAX)) {
    slot->request.kind = read ? RF_REQUEST_READ : RF_REQUEST_WRITE;
    slot->request.buf = (char *)iov[i].iov_base + skip;
    slot->request.len = rf_call_bytes(iov[i].iov_len - skip);
    return;
  }
  uint64_t bytes = 0, n = 0;
  while (i + n < count && n < RF_IOV_MAX && iov[i + n].iov_len <= RF_CALL_MAX - bytes)
    bytes += iov[i + n++].iov_len;
  slot->request.kind = read ? RF_REQUEST_READV : RF_REQUEST_WRITEV;
  slot->request.iov = iov + i;
  slot->request.len = n;
  slot->vector_bytes = bytes;
}

static void prepare(struct rf_slot *slot) {
  if (is_vectored(slot))
    prepare_vector(slot);
  else if (slot->kind == RF_OP_READ || slot->kind == RF_OP_WRITE)
    slot->request.len = rf_call_bytes(slot->total - slot->done);
}

/* The bytes that the request in flight is to move. */
static uint64_t expected(const struct rf_slot *slot) {
  bool vector = slot->request.kind == RF_REQUEST_READV || slot->request.kind == RF_REQUEST_WRITEV;
  return vector ? slot->vector_bytes : slot->request.len;
}

/* The request begins where the last one ended; prepare() does the rest for vectors. */
static void advance(struct rf_slot *slot, uint64_t moved) {
  slot->done += moved;
  slot->request.offset += moved;
  if (!is_vectored(slot)) slot->request.buf = (char *)slot->request.buf + moved;
}

/* ---- where an op can be ---------------------------------------------------------------------- */

void rf_pend(struct rf_queue *queue, struct rf_slot *slot) {
  if (queue->lanes[rf_lane_for(slot)].dead) rf_fall_back(queue, slot, RF_FALLBACK_DEAD);
  prepare(slot);
  /* The main lane may not be the one that the op was accepted for. */
  if (rf_lane_for(slot) == RF_LANE_MAIN && !rf_main_offers(queue, &slot->request))
    rf_fall_back(queue, slot, RF_FALLBACK_NOT_OFFERED);
  rf_pend_on(queue, slot, rf_lane_for(slot));
}

void rf_withdraw(struct rf_queue *queue, struct rf_slot *slot) {
  if (slot->state == RF_SLOT_PENDING)
    rf_list_remove(queue, &queue->lanes[slot->lane].pending, rf_slot_index(queue, slot));
  if (slot->state == RF_SLOT_HELD) queue->slots[slot->link_prev].link_next = RF_NONE;
}

void rf_fall_back(struct rf_queue *queue, struct rf_slot *slot, enum rf_fallback_reason reason) {
  slot->flags = (uint8_t)((slot->flags | RF_SLOT_ON_THREADS) & ~RF_SLOT_ON_CALLS);
  rf_tally_add(&queue->tally.fell_back[slot->kind][reason], 1);
  RF_TRACE_4(fall_back, queue, slot->user_data, (int)slot->kind, (int)reason);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void count_stopped(struct rf_queue *queue, const struct rf_slot *slot) {
  if (slot->status == -ETIMEDOUT && slot->flags & RF_SLOT_EXPIRED) RF_COUNT(queue, timed_out, 1);
  if (slot->status == -ECANCELED && slot->flags & RF_SLOT_CANCELLED) RF_COUNT(queue, cancelled, 1);
}

static void done(struct rf_queue *queue, struct rf_slot *slot, int status) {
  rf_timer_clear(queue, slot);
  slot->expires_ns = 0;
  rf_slot_done(queue, slot, status);
  if (status != 0) count_stopped(queue, slot);
}

/* What waited for an op may begin, or has failed with it. */
static void follow(struct rf_queue *queue, uint32_t next, int status) {
  while (next != RF_NONE) {
    struct rf_slot *slot = &queue->slots[next];
    if (status == 0) {
      rf_pend(queue, slot);
      return;
    }
    RF_COUNT(queue, cancelled, 1);
    status = -ECANCELED;
    next = slot->link_next;
    done(queue, slot, status);
  }
}

/* Ends an op that is nowhere, and with it, when it failed, all that are linked to it. */
void rf_finish(struct rf_queue *queue, struct rf_slot *slot, int status) {
  uint32_t next = slot->link_next;
  done(queue, slot, status);
  if (next != RF_NONE) follow(queue, next, status);
}

/* ---- answers --------------------------------------------------------------------------------- */

static bool stopped(const struct rf_slot *slot) {
  return slot->flags & (RF_SLOT_CANCELLED | RF_SLOT_EXPIRED);
}

static int stop_status(const struct rf_slot *slot) {
  return slot->flags & RF_SLOT_CANCELLED ? -ECANCELED : -ETIMEDOUT;
}

static void retry_or_finish(struct rf_queue *queue, struct rf_slot *slot, int status) {
  if (slot->retries == RF_RETRIES) {
    rf_finish(queue, slot, status);
    return;
  }
  uint64_t when = rf_now_ns() + (RF_PAUSE_NS << slot->retries);
  slot->retries++;
  RF_COUNT(queue, retried, 1);
  slot->state = RF_SLOT_DELAYED;
  if (slot->expires_ns != 0 && slot->expires_ns < when) when = slot->expires_ns;
  rf_timer_set(queue, slot, when);
}

/* To a buffered write that must not wait io_uring answers EAGAIN, for ever, where the file system
 * has no such writes: the system call says so (EOPNOTSUPP). */
static bool is_refusal_in_disguise(const struct rf_slot *slot, int status) {
  if (status != -EAGAIN || !(slot->op_flags & RF_OP_NOWAIT) || !rf_slot_writes(slot)) return false;
  const struct rf_file *file = rf_slot_file(slot);
  uint8_t class = atomic_load_explicit(&file->writes, memory_order_relaxed);
  return class == RF_FILE_WAITS || class == RF_FILE_UNKNOWN;
}

static void answer_error(struct rf_queue *queue, struct rf_slot *slot, int status) {
  bool refused = status == -EINVAL || status == -EOPNOTSUPP || status == -ENOSYS ||
                 is_refusal_in_disguise(slot, status);
  bool on_threads =
      slot->flags & RF_SLOT_ON_THREADS || queue->lanes[RF_LANE_MAIN].id == RF_BACKEND_THREADS;
  bool nowait = status == -EAGAIN && slot->op_flags & RF_OP_NOWAIT;
  if (stopped(slot) && (status == -ECANCELED || (rf_is_not_now(status) && !nowait))) {
    rf_finish(queue, slot, stop_status(slot));
  } else if (rf_route_refused(queue, slot, status)) {
    return;
  } else if (refused && !on_threads) {
    /* A kernel interface may lack what the plain system call has: that one's answer counts. */
    rf_fall_back(queue, slot, RF_FALLBACK_REFUSED);
    rf_pend(queue, slot);
  } else if (status == -ECANCELED && !on_threads) {
    /* Nobody asked for it: the kernel could not start a worker (RLIMIT_NPROC, a signal at the wrong
     * moment) and gave the work up before it began, so that it can be done elsewhere. */
    rf_fall_back(queue, slot, RF_FALLBACK_EXHAUSTED);
    rf_pend(queue, slot);
  } else if (rf_is_not_now(status) && !nowait) {
    retry_or_finish(queue, slot, status);
  } else {
    rf_finish(queue, slot, status);
  }
}

/* A direct read that ends off the alignment has met the end of the file: going on from there would
 * be misaligned, and there is nothing to go on to. */
static bool at_end(const struct rf_slot *slot, int64_t moved) {
  if (!rf_slot_reads(slot)) return false;
  if (moved == 0) return true;
  const struct rf_file_info *info = &rf_slot_file(slot)->info;
  uint64_t end = slot->request.offset, start = end - slot->done;
  return info->direct && info->offset_align > 1 && end % info->offset_align != 0 &&
         start % info->offset_align == 0;
}

static void answer_moved(struct rf_queue *queue, struct rf_slot *slot, int64_t moved) {
  bool whole = (uint64_t)moved >= expected(slot);
  advance(slot, (uint64_t)moved);
  if (moved > 0) slot->retries = 0;
  if (slot->done >= slot->total || (!whole && at_end(slot, moved))) {
    rf_finish(queue, slot, 0);
  } else if (!whole && slot->op_flags & RF_OP_ALLOW_SHORT) {
    rf_finish(queue, slot, 0);
  } else if (stopped(slot)) {
    rf_finish(queue, slot, stop_status(slot));
  } else if (moved == 0 && !whole) {
    /* A write of nothing that is no error: there is no errno to show, and no end to trying. */
    retry_or_finish(queue, slot, -EIO);
  } else {
    if (!whole) RF_COUNT(queue, continued, 1);
    rf_pend(queue, slot);
  }
}

void rf_answer_other(struct rf_queue *queue, struct rf_slot *slot, int64_t res) {
  if (slot->request.flags & RF_REQUEST_HERE && res >= 0) rf_route_succeeded(slot);
  if (res < 0)
    answer_error(queue, slot, (int)res);
  else if (rf_slot_reads(slot) || rf_slot_writes(slot))
    answer_moved(queue, slot, res);
  else
    rf_finish(queue, slot, 0);
}
