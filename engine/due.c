// SPDX-License-Identifier: Apache-2.0
/* What happens when a timer is due: the end of a pause, or of an op's time. */
#include <errno.h>

#include "engine/internal.h"

/* The deadline has passed.  What the kernel holds may be impossible to stop: then the op completes
 * with its true result when that comes. */
static void expire(struct rf_queue *queue, struct rf_slot *slot) {
  slot->expires_ns = 0;
  slot->flags |= RF_SLOT_EXPIRED;
  rf_timer_clear(queue, slot);
  if (slot->state == RF_SLOT_IN_FLIGHT) {
    (void)rf_lane_cancel(queue, slot);
    return;
  }
  rf_withdraw(queue, slot);
  rf_finish(queue, slot, -ETIMEDOUT);
}

/* The pause is over. */
static void resume(struct rf_queue *queue, struct rf_slot *slot) {
  rf_timer_clear(queue, slot);
  if (slot->expires_ns != 0) rf_timer_set(queue, slot, slot->expires_ns);
  rf_pend(queue, slot);
}

void rf_timers_run(struct rf_queue *queue) {
  if (queue->timer_count == 0) return;
  uint64_t now = rf_now_ns();
  while (rf_timer_next(queue) <= now) {
    struct rf_slot *slot = &queue->slots[queue->timers[0]];
    if (slot->expires_ns != 0 && slot->expires_ns <= now)
      expire(queue, slot);
    else
      resume(queue, slot);
  }
}
