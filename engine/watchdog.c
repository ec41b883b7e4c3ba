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
  bool transfer = rf_slot_reads(slot) || rf_slot_writes(slot);
  const struct rf_deed deed = {.kind = slot->kind,
                               .file = rf_slot_file(slot),
                               .fd = -1,
                               .unit = "byte",
                               .length = transfer ? slot->total : slot->request.len,
                               .offset = slot->request.offset - slot->done};
  char text[512]; /* a longer name is cut: a message has room for no more */
  (void)rf_deed_text(&deed, text, sizeof(text));
  slot->flags |= RF_SLOT_STALLED;
  RF_COUNT(queue, stalled, 1);
  rf_log(queue->engine, RF_LOG_WARNING,
         "op %" PRIu64 " has not been done by %s for more than %" PRIu64 " ms: %s", slot->user_data,
         rf_backend_name(queue->lanes[slot->lane].id), queue->stall_ns / 1000000, text);
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
