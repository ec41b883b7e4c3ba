// SPDX-License-Identifier: Apache-2.0
/*
 * From op to slot: checks, links, and which lane.
 *
 * Nothing here refuses an op: what is wrong with it becomes its completion, so that every backend
 * answers in the same way and a batch is never cut by one bad op.
 *
 * Nearly every op is ordinary: a nop, or a read or write of one buffer without flags.  These take a
 * short way, which asks once what the long way asks step by step.
 */
#include <errno.h>
#include <linux/falloc.h>

#include "engine/internal.h"

#define ALL_FLAGS (RF_OP_ALLOW_SHORT | RF_OP_LINK | RF_OP_DSYNC | RF_OP_NOWAIT | RF_OP_HIPRI)

/* What each op is, for the questions asked of every one. */
enum { TRANSFER = 1, WRITE = 2, VECTORED = 4 };
static const struct {
  uint8_t request; /* enum rf_request_kind */
  uint8_t is;
} kinds[RF_OP_KINDS] = {
    [RF_OP_NOP] = {RF_REQUEST_NOP, 0},
    [RF_OP_READ] = {RF_REQUEST_READ, TRANSFER},
    [RF_OP_WRITE] = {RF_REQUEST_WRITE, TRANSFER | WRITE},
    [RF_OP_READV] = {RF_REQUEST_READV, TRANSFER | VECTORED},
    [RF_OP_WRITEV] = {RF_REQUEST_WRITEV, TRANSFER | WRITE | VECTORED},
    [RF_OP_FSYNC] = {RF_REQUEST_FSYNC, 0},
    [RF_OP_FDATASYNC] = {RF_REQUEST_FDATASYNC, 0},
    [RF_OP_FALLOCATE] = {RF_REQUEST_FALLOCATE, 0},
    [RF_OP_DISCARD] = {RF_REQUEST_FALLOCATE, 0},
};

static bool is_write(const struct rf_op *op) {
  return kinds[op->kind].is & WRITE;
}

static bool is_transfer(const struct rf_op *op) {
  return kinds[op->kind].is & TRANSFER;
}

static bool is_vectored(const struct rf_op *op) {
  return kinds[op->kind].is & VECTORED;
}

/* The bytes of an array of iovecs, or -errno. */
static int64_t vector_bytes(const struct rf_op *op) {
  uint64_t total = 0;
  if (op->len > 0 && op->iov == NULL) return -EFAULT;
  for (uint64_t i = 0; i < op->len; i++) {
    if (op->iov[i].iov_len > INT64_MAX - total) return -EINVAL;
    total += op->iov[i].iov_len;
  }
  return (int64_t)total;
}

/* The bytes that an op is to move, or -errno. */
static int64_t total_of(const struct rf_op *op) {
  if (!is_transfer(op)) return 0;
  if (is_vectored(op)) return vector_bytes(op);
  return op->len > INT64_MAX ? -EINVAL : (int64_t)op->len;
}

/* What is wrong with an op, as far as that can be told without the kernel; 0 if nothing is. */
static int check(const struct rf_op *op, uint64_t *total) {
  if (op->kind >= RF_OP_KINDS || (op->flags & ~ALL_FLAGS) != 0 || op->reserved != 0) return -EINVAL;
  if (op->kind == RF_OP_NOP) return 0;
  if (op->file == NULL) return -EBADF;
  int64_t bytes = total_of(op);
  if (bytes < 0) return (int)bytes;
  if (op->offset > INT64_MAX || (uint64_t)bytes > INT64_MAX - op->offset) return -EINVAL;
  *total = (uint64_t)bytes;
  return 0;
}

static uint8_t request_flags(const struct rf_op *op) {
  unsigned flags = 0;
  if (!is_transfer(op)) return 0;
  if ((op->flags & RF_OP_DSYNC) && is_write(op)) flags |= RF_REQUEST_DSYNC;
  if (op->flags & RF_OP_NOWAIT) flags |= RF_REQUEST_NOWAIT;
  if (op->flags & RF_OP_HIPRI) flags |= RF_REQUEST_HIPRI;
  if (op->ioprio != 0) flags |= RF_REQUEST_IOPRIO;
  if (op->file->info.stream) flags |= RF_REQUEST_STREAM;
  return (uint8_t)flags;
}

/* The request as far as it does not depend on how much is left to be done. */
static void set_request(struct rf_slot *slot, const struct rf_op *op) {
  struct rf_request *request = &slot->request;
  request->kind = kinds[op->kind].request;
  request->flags = 0;
  request->fd = -1;
  if (op->kind == RF_OP_NOP) return;
  request->flags = request_flags(op);
  request->ioprio = op->ioprio;
  request->fd = op->file->fd;
  request->buf = op->buf;
  request->len = op->len;
  request->offset = op->offset;
  if (is_vectored(op)) {
    slot->iov = op->iov;
    slot->iov_count = op->len;
  }
  if (op->kind < RF_OP_FALLOCATE) return;
  request->mode = op->mode;
  if (op->kind != RF_OP_DISCARD) return;
  request->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (op->file->info.block_device) request->kind = RF_REQUEST_BLOCK_DISCARD;
}

/* Why an op cannot go to the main lane; RF_FALLBACK_REASONS: it can.  A write past RLIMIT_FSIZE
 * raises SIGXFSZ in the thread that makes the call, and both kernel interfaces may make it in ours;
 * workers have the signal blocked. */
static enum rf_fallback_reason obstacle(const struct rf_queue *queue, const struct rf_slot *slot) {
  const struct rf_lane *main = &queue->lanes[RF_LANE_MAIN];
  uint32_t missing = slot->request.flags & ~main->backend->flags;
  if (main->id == RF_BACKEND_THREADS) return RF_FALLBACK_REASONS;
  if (main->dead) return RF_FALLBACK_DEAD;
  if (missing & RF_REQUEST_STREAM) return RF_FALLBACK_STREAM;
  if (missing != 0 || !(main->backend->kinds & 1u << slot->request.kind))
    return RF_FALLBACK_NOT_OFFERED;
  if (queue->fsize_limited && rf_slot_writes(slot) &&
      (rf_slot_file(slot)->append || slot->request.offset + slot->total > queue->fsize_limit))
    return RF_FALLBACK_FSIZE;
  return RF_FALLBACK_REASONS;
}

/* What of it is registered with the main lane's backend, if it goes there.  Memory only for direct
 * I/O, which saves pinning its pages: a copy from or to the page cache gains nothing by it. */
static inline void use_registered(struct rf_queue *queue, struct rf_slot *slot,
                                  const struct rf_file *file) {
  if (!queue->registers || rf_lane_for(slot) != RF_LANE_MAIN) return;
  rf_registry_use_file(queue, &slot->request, file);
  if (file->info.direct && slot->request.kind <= RF_REQUEST_WRITE)
    rf_registry_use_memory(queue, &slot->request, slot->request.buf, slot->total);
}

/* Where an op goes, and as what. */
static void route(struct rf_queue *queue, struct rf_slot *slot) {
  struct rf_request *request = &slot->request;
  bool plain = request->flags == 0;
  if (!plain || !(queue->straight & 1u << request->kind)) {
    enum rf_fallback_reason reason = obstacle(queue, slot);
    if (reason != RF_FALLBACK_REASONS) {
      rf_fall_back(queue, slot, reason);
      return;
    }
  }
  if (!rf_slot_reads(slot) && !rf_slot_writes(slot)) return;
  if (plain && !queue->fsize_limited)
    rf_route(queue, slot, rf_slot_file(slot), rf_slot_writes(slot));
  use_registered(queue, slot, rf_slot_file(slot));
}

/* True if the op has to wait for, or has been ended by, the one before it. */
static bool link_to_last(struct rf_queue *queue, struct rf_slot *slot) {
  if (!(slot->op_flags & RF_OP_LINK) || !queue->has_last) return false;
  if (queue->last == RF_NONE) {
    if (queue->last_status == 0) return false;
    RF_COUNT(queue, cancelled, 1);
    rf_finish(queue, slot, -ECANCELED);
    return true;
  }
  slot->state = RF_SLOT_HELD;
  slot->link_prev = queue->last;
  queue->slots[queue->last].link_next = rf_slot_index(queue, slot);
  return true;
}

static inline void fill_slot(struct rf_queue *queue, struct rf_slot *slot, const struct rf_op *op) {
  slot->user_data = op->user_data;
  slot->done = 0;
  slot->serial = ++queue->serial;
  atomic_store_explicit(&slot->file, op->file, memory_order_relaxed);
  slot->link_next = slot->timer_at = RF_NONE;
  slot->kind = op->kind;
  slot->flags = slot->retries = slot->lane = 0;
  if (queue->latency != NULL) slot->accepted_ns = queue->now_ns;
}

/* Once it is known which descriptor it is for, and before it can end. */
static inline void trace_submit(const struct rf_queue *queue, const struct rf_slot *slot,
                                const struct rf_op *op) {
  RF_TRACE_6(submit, queue, op->user_data, (int)op->kind, slot->request.fd, op->offset, op->len);
}

static void set_deadline(struct rf_queue *queue, struct rf_slot *slot, uint64_t after) {
  uint64_t now = queue->now_ns != 0 ? queue->now_ns : rf_now_ns();
  bool never = after > UINT64_MAX - 1 - now;
  slot->expires_ns = never ? UINT64_MAX - 1 : now + after;
  rf_timer_set(queue, slot, slot->expires_ns);
}

/* ---- the short way --------------------------------------------------------------------------- */

_Static_assert((int)RF_OP_NOP == (int)RF_REQUEST_NOP && (int)RF_OP_READ == (int)RF_REQUEST_READ &&
                   (int)RF_OP_WRITE == (int)RF_REQUEST_WRITE && (int)RF_OP_WRITE == 2,
               "the ordinary ops are the first, and requests of the same number");

/* How the last ordinary op went to the main lane: others of its kind on its file go likewise,
 * without being asked for their way again. */
struct course {
  const struct rf_file *file; /* NULL: there is none */
  uint32_t kind;
  int32_t fd;
  uint16_t file_slot;
  uint8_t flags; /* of the request */
};

static inline bool has_no_extras(const struct rf_op *op) {
  return (op->flags | op->ioprio) == 0 && (op->deadline_ns | op->reserved) == 0;
}

static inline bool is_in_range(const struct rf_op *op) {
  return op->offset <= INT64_MAX && op->len <= INT64_MAX - op->offset;
}

static inline bool is_ordinary(const struct rf_queue *queue, const struct rf_op *op) {
  if (op->kind > RF_OP_WRITE || !has_no_extras(op)) return false;
  if (!(queue->straight & 1u << op->kind)) return false;
  if (op->kind == RF_OP_NOP) return true;
  return op->file != NULL && !op->file->info.stream && is_in_range(op);
}

static inline bool is_on_course(const struct course *course, const struct rf_op *op) {
  return op->file == course->file && op->kind == course->kind && op->file != NULL &&
         has_no_extras(op) && is_in_range(op);
}

static inline void fill_transfer(struct rf_slot *slot, const struct rf_op *op, int fd) {
  struct rf_request *request = &slot->request;
  slot->total = op->len;
  request->fd = fd;
  request->buf = op->buf;
  request->len = rf_call_bytes(op->len);
  request->offset = op->offset;
}

static inline void fill_ordinary(struct rf_queue *queue, struct rf_slot *slot,
                                 const struct rf_op *op) {
  struct rf_request *request = &slot->request;
  fill_slot(queue, slot, op);
  slot->op_flags = 0;
  slot->total = 0;
  slot->state = RF_SLOT_PENDING;
  request->kind = op->kind;
  request->flags = 0;
  request->fd = op->kind == RF_OP_NOP ? -1 : op->file->fd;
  trace_submit(queue, slot, op);
  if (op->kind == RF_OP_NOP) return;
  fill_transfer(slot, op, request->fd);
  rf_route(queue, slot, op->file, op->kind == RF_OP_WRITE);
  use_registered(queue, slot, op->file);
}

static inline void fill_on_course(struct rf_queue *queue, struct rf_slot *slot,
                                  const struct rf_op *op, const struct course *course) {
  struct rf_request *request = &slot->request;
  fill_slot(queue, slot, op);
  slot->op_flags = 0;
  slot->state = RF_SLOT_PENDING;
  request->kind = op->kind;
  request->flags = course->flags;
  request->file_slot = course->file_slot;
  fill_transfer(slot, op, course->fd);
  trace_submit(queue, slot, op);
}

/* Not where the length decides on the way, while the file may still become registered (its ops are
 * counted for that), or where each op's memory is looked up. */
static inline void set_course(const struct rf_queue *queue, const struct rf_slot *slot,
                              const struct rf_op *op, struct course *course) {
  const struct rf_request *request = &slot->request;
  course->file = NULL;
  if (op->kind == RF_OP_NOP || rf_route_way(queue, op->file, op->kind == RF_OP_WRITE) != 0) return;
  if (queue->registers && (request->flags != RF_REQUEST_FIXED_FILE || op->file->info.direct))
    return;
  course->file = op->file;
  course->kind = op->kind;
  course->fd = request->fd;
  course->file_slot = request->file_slot;
  course->flags = request->flags;
}

/*
 * Accepts ordinary ops from the start of `ops`: how many.  The slots on the stack of free ones are
 * linked to each other in the order in which they are taken, which is that of the list of pending
 * ones: so a run of them goes from one to the other as it is.
 */
static unsigned accept_run(struct rf_queue *queue, const struct rf_op *ops, unsigned n) {
  struct rf_list *pending = &queue->lanes[RF_LANE_MAIN].pending;
  uint32_t head = queue->free, next = head, tail = RF_NONE;
  unsigned i = 0, length = 0;
  struct course course = {.file = NULL};
  for (; i < n; i++) {
    const struct rf_op *op = &ops[i];
    struct rf_slot *slot = &queue->slots[next];
    uint32_t after = slot->next;
    if (is_on_course(&course, op)) {
      fill_on_course(queue, slot, op, &course);
    } else if (is_ordinary(queue, op)) {
      fill_ordinary(queue, slot, op);
      set_course(queue, slot, op, &course);
    } else {
      break;
    }
    if (rf_lane_for(slot) != RF_LANE_MAIN) {
      /* Not one of them: it leaves the run. */
      if (tail == RF_NONE)
        head = after;
      else
        queue->slots[tail].next = after;
      rf_pend_on(queue, slot, rf_lane_for(slot));
    } else {
      tail = next;
      length++;
    }
    queue->last = next;
    next = after;
  }
  queue->free = next;
  queue->has_last = queue->has_last || i > 0;
  if (length > 0) rf_list_join(queue, pending, head, tail, length);
  return i;
}

/* ---- the long way ---------------------------------------------------------------------------- */

static void accept_any(struct rf_queue *queue, const struct rf_op *op) {
  struct rf_slot *slot = &queue->slots[queue->free];
  bool waits = false;
  queue->free = slot->next;
  fill_slot(queue, slot, op);
  slot->op_flags = op->flags;
  slot->total = 0;
  slot->request.fd = -1;
  int status = check(op, &slot->total);
  if (status == 0) set_request(slot, op);
  trace_submit(queue, slot, op);
  if (status == 0) {
    if (slot->request.flags & RF_REQUEST_STREAM) queue->streams = true;
    if (op->deadline_ns != 0) set_deadline(queue, slot, op->deadline_ns);
    route(queue, slot);
    waits = link_to_last(queue, slot);
  }
  queue->has_last = true;
  queue->last = rf_slot_index(queue, slot);
  if (slot->state == RF_SLOT_DONE) { /* by a failed link */
    queue->last = RF_NONE;
    queue->last_status = slot->status;
  } else if (status != 0) {
    rf_finish(queue, slot, status);
  } else if (!waits) {
    rf_pend(queue, slot);
  }
}

unsigned rf_accept(struct rf_queue *queue, const struct rf_op *ops, unsigned count) {
  unsigned n = count < queue->free_count ? count : queue->free_count;
  if (n > 0) rf_clock_start(queue);
  if (queue->outstanding == 0) queue->streams = false;
  queue->free_count -= n;
  queue->outstanding += n;
  for (unsigned i = accept_run(queue, ops, n); i < n; i += accept_run(queue, ops + i, n - i))
    accept_any(queue, &ops[i++]);
  rf_clock_stop(queue);
  RF_COUNT(queue, accepted, n);
  if (n < count) RF_COUNT(queue, refused, count - n);
  return n;
}
