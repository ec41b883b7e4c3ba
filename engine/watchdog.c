// SPDX-License-Identifier: Apache-2.0
/*
 * The watchdog: ops that take too long.
 *
 * No op carries the time of its acceptance for this.  The watchdog looks once in stall_ns and
 * remembers which op was accepted last; what was there at one look and is still not done at the
 * next is older than that.
 */
#include <inttypes.h>

#include "engine/internal.h"

static void report(struct rf_queue *queue, struct rf_slot *slot) {
  slot->flags |= RF_SLOT_STALLED;
  RF_COUNT(queue, stalled, 1);
  rf_log(queue->engine, RF_LOG_WARNING,
         "op %" PRIu64 " (%s at %" PRIu64 ") has not been done by %s for more than %" PRIu64 " ms",
         slot->user_data, rf_op_name((enum rf_op_kind)slot->kind),
         slot->request.offset - slot->done, rf_backend_name(queue->lanes[slot->lane].id),
         queue->stall_ns / 1000000);
}

void rf_watchdog_look(struct rf_queue *queue, uint64_t now_ns) {
  for (uint32_t i = 0; i < queue->depth && queue->outstanding > 0; i++) {
    struct rf_slot *slot = &queue->slots[i];
    if (slot->state == RF_SLOT_FREE || slot->state == RF_SLOT_DONE) continue;
    if (slot->serial <= queue->look_serial && !(slot->flags & RF_SLOT_STALLED)) report(queue, slot);
  }
  queue->look_serial = queue->serial;
  queue->look_ns = now_ns + queue->stall_ns;
}
