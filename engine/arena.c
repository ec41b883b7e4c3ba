// SPDX-License-Identifier: Apache-2.0
/* Arenas: memory for I/O in one piece. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/internal.h"

#define HUGE_PAGE                                                                                  \
  ((size_t)2 << 20) /* transparent huge pages of x86-64 and of arm64 with 4K pages */

struct rf_arena {
  struct rf_engine *engine;
  void *base;
  size_t size;
};

/* mmap aligns to small pages only: map one huge page more, and give back what is too much. */
static void *map_aligned(size_t size, size_t align) {
  size_t slack = align - (size_t)sysconf(_SC_PAGESIZE);
  char *at = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  size_t before = (align - (uintptr_t)at % align) % align;
  if (before > 0) munmap(at, before);
  if (slack > before) munmap(at + before + size, slack - before);
  return at + before;
}

static void count_arena(struct rf_engine *engine, int change) {
  pthread_mutex_lock(&engine->lock);
  engine->arenas += (unsigned)change;
  pthread_mutex_unlock(&engine->lock);
}

int rf_arena_open(struct rf_engine *engine, size_t size, unsigned flags, struct rf_arena **out) {
  size_t unit = flags & RF_ARENA_HUGE ? HUGE_PAGE : (size_t)sysconf(_SC_PAGESIZE);
  if (!rf_engine_alive(engine)) return -EBADF;
  if (size == 0 || (flags & ~(unsigned)RF_ARENA_HUGE) != 0) return -EINVAL;
  if (size > SIZE_MAX / 2) return -ENOMEM;
  struct rf_arena *arena = calloc(1, sizeof(*arena));
  if (arena == NULL) return -ENOMEM;
  arena->engine = engine;
  arena->size = (size + unit - 1) / unit * unit;
  arena->base = map_aligned(arena->size, unit);
  if (arena->base == NULL) {
    free(arena);
    return -ENOMEM;
  }
  if (flags & RF_ARENA_HUGE) (void)madvise(arena->base, arena->size, MADV_HUGEPAGE);
  count_arena(engine, 1);
  rf_registry_add_memory(engine, arena->base, arena->size);
  *out = arena;
  return 0;
}

void rf_arena_close(struct rf_arena *arena) {
  if (arena == NULL) return;
  if (rf_engine_alive(arena->engine)) {
    rf_registry_remove_memory(arena->engine, arena->base, arena->size);
    count_arena(arena->engine, -1);
  }
  munmap(arena->base, arena->size);
  free(arena);
}

void *rf_arena_base(const struct rf_arena *arena) {
  return arena->base;
}

size_t rf_arena_size(const struct rf_arena *arena) {
  return arena->size;
}
