// SPDX-License-Identifier: Apache-2.0
/* The part of lists of slots that is not inline. */
#include "engine/internal.h"

void rf_list_remove(struct rf_queue *queue, struct rf_list *list, uint32_t index) {
  uint32_t before = RF_NONE, at = list->head;
  while (at != index) {
    before = at;
    at = queue->slots[at].next;
  }
  if (before == RF_NONE)
    list->head = queue->slots[index].next;
  else
    queue->slots[before].next = queue->slots[index].next;
  if (list->tail == index) list->tail = before;
  list->count--;
}
