// SPDX-License-Identifier: Apache-2.0
/* Deadlines and pauses: a binary heap of slots, by the time at which to look at them again. */
#include "engine/internal.h"

static uint64_t when(const struct rf_queue *queue, uint32_t at) {
  return queue->slots[queue->timers[at]].timer_ns;
}

static void place(struct rf_queue *queue, uint32_t at, uint32_t index) {
  queue->timers[at] = index;
  queue->slots[index].timer_at = at;
}

static void sift(struct rf_queue *queue, uint32_t at) {
  uint32_t index = queue->timers[at];
  uint64_t ns = queue->slots[index].timer_ns;
  while (at > 0 && when(queue, (at - 1) / 2) > ns) {
    place(queue, at, queue->timers[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= queue->timer_count) break;
    if (child + 1 < queue->timer_count && when(queue, child + 1) < when(queue, child)) child++;
    if (when(queue, child) >= ns) break;
    place(queue, at, queue->timers[child]);
    at = child;
  }
  place(queue, at, index);
}

void rf_timer_set(struct rf_queue *queue, struct rf_slot *slot, uint64_t when_ns) {
  slot->timer_ns = when_ns;
  if (slot->timer_at == RF_NONE) {
    slot->timer_at = queue->timer_count;
    queue->timers[queue->timer_count++] = rf_slot_index(queue, slot);
  }
  sift(queue, slot->timer_at);
}

void rf_timer_drop(struct rf_queue *queue, struct rf_slot *slot) {
  uint32_t at = slot->timer_at;
  slot->timer_at = RF_NONE;
  uint32_t last = queue->timers[--queue->timer_count];
  if (at == queue->timer_count) return;
  place(queue, at, last);
  sift(queue, at);
}
