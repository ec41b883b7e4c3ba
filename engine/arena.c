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
  bool adopted; /* the memory is the caller's */
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

/* Huge pages, where there is room for one, are asked for before locking takes the pages.  The
 * kernel pins and merges 512 times fewer of them for each direct I/O. */
static int map(struct rf_arena *arena, unsigned flags) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  arena->size = (arena->size + page - 1) / page * page;
  bool huge = arena->size >= HUGE_PAGE;
  arena->base = map_aligned(arena->size, huge ? HUGE_PAGE : page);
  if (arena->base == NULL) return -ENOMEM;
  if (huge) (void)madvise(arena->base, arena->size, MADV_HUGEPAGE);
  if (!(flags & RF_ARENA_LOCKED) || mlock(arena->base, arena->size) == 0) return 0;
  int status = -errno;
  munmap(arena->base, arena->size);
  return status;
}

static struct rf_arena *new_arena(struct rf_engine *engine, void *base, size_t size) {
  struct rf_arena *arena = calloc(1, sizeof(*arena));
  if (arena == NULL) return NULL;
  arena->engine = engine;
  arena->base = base;
  arena->size = size;
  arena->adopted = base != NULL;
  return arena;
}

static void start(struct rf_arena *arena) {
  count_arena(arena->engine, 1);
  rf_registry_add_memory(arena->engine, arena);
}

int rf_arena_open(struct rf_engine *engine, size_t size, unsigned flags, struct rf_arena **out) {
  if (!rf_engine_alive(engine)) return -EBADF;
  if (size == 0 || (flags & ~(unsigned)RF_ARENA_LOCKED) != 0) return -EINVAL;
  if (size > SIZE_MAX / 2) return -ENOMEM;
  struct rf_arena *arena = new_arena(engine, NULL, size);
  if (arena == NULL) return -ENOMEM;
  int status = map(arena, flags);
  if (status != 0) {
    free(arena);
    return status;
  }
  start(arena);
  *out = arena;
  return 0;
}

int rf_arena_adopt(struct rf_engine *engine, void *base, size_t size, struct rf_arena **out) {
  if (!rf_engine_alive(engine)) return -EBADF;
  if (base == NULL || size == 0 || size > UINTPTR_MAX - (uintptr_t)base) return -EINVAL;
  struct rf_arena *arena = new_arena(engine, base, size);
  if (arena == NULL) return -ENOMEM;
  start(arena);
  *out = arena;
  return 0;
}

void rf_arena_close(struct rf_arena *arena) {
  if (arena == NULL) return;
  if (rf_engine_alive(arena->engine)) {
    rf_registry_remove_memory(arena->engine, arena);
    count_arena(arena->engine, -1);
  }
  if (!arena->adopted) munmap(arena->base, arena->size); /* which unlocks it */
  free(arena);
}

void *rf_arena_base(const struct rf_arena *arena) {
  return arena->base;
}

size_t rf_arena_size(const struct rf_arena *arena) {
  return arena->size;
}
