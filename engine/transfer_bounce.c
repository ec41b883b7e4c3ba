// SPDX-License-Identifier: Apache-2.0
/*
 * Bounce buffers: aligned memory for what is not.  One arena, cut into buffers of one size, so that
 * the ring can register it as a whole; allocated when the first transfer needs one.
 *
 * A worker never holds a lock or another's progress up while it waits for a buffer: blocks that
 * need one just stay untaken until one is given back, which every block in flight does at its end.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/transfer_internal.h"

/* Small enough for each worker to have some in flight while it copies others; and no more of them
 * than can be of use at the same time. */
void rf_bounce_plan(struct rf_pool *pool) {
  const struct rf_pool_options *options = &pool->options;
  size_t chunk = options->block_size < RF_CHUNK_MOST ? options->block_size : RF_CHUNK_MOST;
  chunk = (chunk + RF_CHUNK_LEAST - 1) / RF_CHUNK_LEAST * RF_CHUNK_LEAST;
  while (chunk > RF_CHUNK_LEAST && chunk * 4 * options->workers > options->bounce_limit)
    chunk = chunk / 2 / RF_CHUNK_LEAST * RF_CHUNK_LEAST;
  size_t count = options->bounce_limit / chunk;
  size_t useful = (size_t)2 * options->workers * options->queue_depth;
  pool->bounce.chunk = chunk;
  pool->bounce.count = (unsigned)(count < useful ? count : useful);
}

static int allocate(struct rf_pool *pool, struct rf_bounce *bounce) {
  size_t size = bounce->chunk * bounce->count;
  unsigned flags = pool->options.lock_bounce ? RF_ARENA_LOCKED : 0;
  bounce->free = calloc(bounce->count, sizeof(*bounce->free));
  if (bounce->free == NULL) return -ENOMEM;
  return rf_arena_open(pool->engine, size, flags, &bounce->arena);
}

int rf_bounce_open(struct rf_pool *pool) {
  struct rf_bounce *bounce = &pool->bounce;
  if (bounce->arena != NULL) return 0;
  int status = allocate(pool, bounce);
  if (status != 0) {
    rf_bounce_close(pool);
    return status;
  }
  for (unsigned i = 0; i < bounce->count; i++) bounce->free[i] = i;
  bounce->free_count = bounce->count;
  return 0;
}

void rf_bounce_close(struct rf_pool *pool) {
  rf_arena_close(pool->bounce.arena);
  free(pool->bounce.free);
  pool->bounce.arena = NULL;
  pool->bounce.free = NULL;
}

char *rf_bounce_take(struct rf_pool *pool, int *status) {
  struct rf_bounce *bounce = &pool->bounce;
  *status = rf_bounce_open(pool);
  if (*status != 0) return NULL;
  if (bounce->free_count == 0) {
    bounce->wanted = true;
    pool->counters.bounce_waits++;
    return NULL;
  }
  uint32_t index = bounce->free[--bounce->free_count];
  uint64_t used = (uint64_t)(bounce->count - bounce->free_count) * bounce->chunk;
  if (used > pool->counters.bounce_most) pool->counters.bounce_most = used;
  return (char *)rf_arena_base(bounce->arena) + (size_t)index * bounce->chunk;
}

void rf_bounce_give(struct rf_pool *pool, const char *buffer) {
  struct rf_bounce *bounce = &pool->bounce;
  size_t at = (size_t)(buffer - (const char *)rf_arena_base(bounce->arena));
  bounce->free[bounce->free_count++] = (uint32_t)(at / bounce->chunk);
  if (!bounce->wanted) return;
  bounce->wanted = false;
  rf_pool_call(pool, NULL);
}
