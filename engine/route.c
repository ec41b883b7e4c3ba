// SPDX-License-Identifier: Apache-2.0
/*
 * Which way a transfer takes, where the choice of a backend is AUTO.
 *
 * What decides is whether the file takes RWF_NOWAIT in that direction.  Where it does, the kernel
 * can try the transfer on the submitting thread and put it off without blocking, which is what
 * io_uring does.  Where it does not (memory file systems, buffered writes to ext4), io_uring hands
 * every op to a thread of the kernel, which costs more than a small op itself, and libaio blocks in
 * io_submit.
 *
 * Whether a file takes it for writes cannot always be probed without a risk to the file; then the
 * first small write of the program tells, made with RWF_NOWAIT on this thread: it is done, or would
 * block, or is refused before anything has happened.
 */
#include <errno.h>
#include <string.h>

#include "engine/internal.h"

/* Longer ones gain from being done by several threads, and lose little by being handed over. */
#define HERE_MOST (UINT64_C(64) << 10)

enum way {
  WAY_MAIN = 0,    /* to the backend */
  WAY_MAIN_NOWAIT, /* to the backend, told not to block; from there to workers */
  WAY_HERE,        /* the plain call on this thread */
  WAY_HERE_NOWAIT, /* the same, told not to block */
  WAY_WORKERS,     /* to the threads backend */
  WAY_CALLS,       /* to libaio, which makes the calls of a batch on this thread: HERE, at once */
};

/* Rows: what the file is; columns: reads, writes under NEVER_BLOCK, then under MAY_BLOCK. */
typedef uint8_t ways[RF_FILE_CLASSES][4];

static const ways all_ways[RF_BACKENDS] = {
    [RF_BACKEND_IO_URING] =
        {
            [RF_FILE_WAITS] = {WAY_MAIN, WAY_MAIN, WAY_HERE, WAY_HERE},
            [RF_FILE_UNKNOWN] = {WAY_MAIN, WAY_MAIN, WAY_MAIN, WAY_HERE_NOWAIT},
        },
    [RF_BACKEND_LIBAIO] =
        {
            [RF_FILE_DIRECT] = {WAY_MAIN, WAY_MAIN_NOWAIT, WAY_MAIN, WAY_MAIN},
            [RF_FILE_NOWAIT] = {WAY_MAIN_NOWAIT, WAY_MAIN_NOWAIT, WAY_MAIN_NOWAIT, WAY_CALLS},
            [RF_FILE_WAITS] = {WAY_WORKERS, WAY_WORKERS, WAY_CALLS, WAY_CALLS},
            [RF_FILE_UNKNOWN] = {WAY_WORKERS, WAY_HERE_NOWAIT, WAY_CALLS, WAY_CALLS},
        },
    [RF_BACKEND_THREADS] =
        {
            [RF_FILE_NOWAIT] = {WAY_HERE_NOWAIT, WAY_HERE_NOWAIT, WAY_HERE_NOWAIT, WAY_HERE},
            [RF_FILE_WAITS] = {WAY_MAIN, WAY_MAIN, WAY_HERE, WAY_HERE},
            [RF_FILE_UNKNOWN] = {WAY_MAIN, WAY_HERE_NOWAIT, WAY_HERE, WAY_HERE},
        },
};

static enum rf_file_class class_of(const struct rf_file_info *info, bool known, bool nowait) {
  if (!info->regular && !info->block_device) return RF_FILE_OTHER;
  if (!known) return RF_FILE_UNKNOWN;
  if (!nowait) return info->direct ? RF_FILE_OTHER : RF_FILE_WAITS;
  return info->direct ? RF_FILE_DIRECT : RF_FILE_NOWAIT;
}

void rf_route_classify(struct rf_file *file) {
  const struct rf_file_info *info = &file->info;
  file->reads = (uint8_t)class_of(info, true, info->nowait_read);
  atomic_init(&file->writes, (uint8_t)class_of(info, info->nowait_write_tried, info->nowait_write));
}

void rf_route_set_ways(struct rf_queue *queue) {
  const ways *table = &all_ways[queue->lanes[RF_LANE_MAIN].id];
  unsigned column = queue->policy == RF_POLICY_MAY_BLOCK ? 2u : 0u;
  memset(queue->ways, 0, sizeof(queue->ways));
  for (unsigned class = 0; class < RF_FILE_CLASSES && queue->engine->routed; class ++)
    for (unsigned write = 0; write < 2; write++)
      queue->ways[write][class] = (*table)[class][column + write];
  const struct rf_lane *calls = &queue->lanes[RF_LANE_CALLS];
  if (calls->backend == NULL || calls->dead) return;
  for (unsigned write = 0; write < 2; write++)
    if (queue->ways[write][RF_FILE_WAITS] == WAY_HERE)
      queue->ways[write][RF_FILE_WAITS] = WAY_CALLS;
}

/* ---- taking a way ---------------------------------------------------------------------------- */

static bool threads_are_main(const struct rf_queue *queue) {
  return queue->lanes[RF_LANE_MAIN].id == RF_BACKEND_THREADS;
}

static void to_workers(struct rf_queue *queue, struct rf_slot *slot,
                       enum rf_fallback_reason reason) {
  if (!threads_are_main(queue)) rf_fall_back(queue, slot, reason);
}

/* After this thread, or instead of it for what is long. */
static void elsewhere(struct rf_queue *queue, struct rf_slot *slot) {
  slot->request.flags &= (uint8_t) ~(RF_REQUEST_HERE | RF_REQUEST_NOWAIT);
  if (queue->lanes[RF_LANE_MAIN].id == RF_BACKEND_IO_URING)
    slot->flags &= (uint8_t)~RF_SLOT_ON_THREADS;
  else
    to_workers(queue, slot, RF_FALLBACK_WOULD_BLOCK);
}

void rf_route_go(struct rf_queue *queue, struct rf_slot *slot, unsigned way) {
  bool here = way == WAY_HERE || way == WAY_HERE_NOWAIT;
  if ((here || way == WAY_CALLS) && slot->total > HERE_MOST) {
    elsewhere(queue, slot);
    return;
  }
  if (way == WAY_CALLS && queue->lanes[RF_LANE_MAIN].id != RF_BACKEND_LIBAIO) {
    slot->flags |= RF_SLOT_ON_CALLS;
    rf_tally_add(&queue->tally.fell_back[slot->kind][RF_FALLBACK_CHEAPER], 1);
  }
  if (way == WAY_MAIN_NOWAIT || way == WAY_HERE_NOWAIT) slot->request.flags |= RF_REQUEST_NOWAIT;
  if (way == WAY_WORKERS) to_workers(queue, slot, RF_FALLBACK_WOULD_BLOCK);
  if (!here) return;
  slot->request.flags |= RF_REQUEST_HERE;
  to_workers(queue, slot, RF_FALLBACK_CHEAPER);
}

/* ---- what answers tell ----------------------------------------------------------------------- */

static void learn(struct rf_slot *slot, enum rf_file_class class) {
  struct rf_file *file = rf_slot_file(slot);
  if (rf_slot_writes(slot) &&
      atomic_load_explicit(&file->writes, memory_order_relaxed) == RF_FILE_UNKNOWN)
    atomic_store_explicit(&file->writes, (uint8_t) class, memory_order_relaxed);
}

void rf_route_succeeded(struct rf_slot *slot) {
  if (slot->request.flags & RF_REQUEST_NOWAIT) learn(slot, RF_FILE_NOWAIT);
}

bool rf_route_refused(struct rf_queue *queue, struct rf_slot *slot, int status) {
  bool ours = slot->request.flags & RF_REQUEST_NOWAIT && !(slot->op_flags & RF_OP_NOWAIT);
  if (!ours || (status != -EAGAIN && status != -EOPNOTSUPP && status != -EINVAL)) return false;
  bool here = slot->request.flags & RF_REQUEST_HERE;
  slot->request.flags &= (uint8_t) ~(RF_REQUEST_HERE | RF_REQUEST_NOWAIT);
  learn(slot, status == -EAGAIN ? RF_FILE_NOWAIT : RF_FILE_WAITS);
  if (here && status == -EOPNOTSUPP && !rf_slot_file(slot)->info.direct) {
    slot->flags &= (uint8_t)~RF_SLOT_ON_THREADS;
    rf_route(queue, slot, rf_slot_file(slot), rf_slot_writes(slot));
    if (slot->request.flags & RF_REQUEST_NOWAIT) elsewhere(queue, slot); /* never asked twice */
  } else if (here) {
    elsewhere(queue, slot);
  } else {
    to_workers(queue, slot, RF_FALLBACK_WOULD_BLOCK);
  }
  rf_pend(queue, slot);
  return true;
}
