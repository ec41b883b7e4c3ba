// SPDX-License-Identifier: Apache-2.0
/* Lists of slots: first in, first out, linked by index. */
#include "engine/internal.h"

void rf_list_push(struct rf_queue *queue, struct rf_list *list, uint32_t index) {
  queue->slots[index].next = RF_NONE;
  if (list->count++ == 0)
    list->head = index;
  else
    queue->slots[list->tail].next = index;
  list->tail = index;
}

uint32_t rf_list_pop(struct rf_queue *queue, struct rf_list *list) {
  uint32_t index = list->head;
  list->head = queue->slots[index].next;
  list->count--;
  return index;
}

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
