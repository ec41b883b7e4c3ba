// SPDX-License-Identifier: Apache-2.0
/*
 * What is registered with a queue's backend: files and arenas, without the caller's doing.
 *
 * The engine gives each file and each piece of an arena one of a few places, and counts every
 * change in `changes`.  A queue compares that number at each call, before it looks at ops, and if
 * it has changed brings its backend's places up to date: what is closed is let go, arenas are
 * registered.  So an op never meets memory that was given back and mapped anew since.
 *
 * A file is registered by the queue after a few ops on it, for registering costs more than it saves
 * on one.  Serial numbers, which are never used again, tell what is in a place.
 */
#include <errno.h>
#include <string.h>

#include "backends/thread.h"
#include "engine/internal.h"

#define USES_BEFORE 8u /* ops on a file before it is registered */
#define PIECE       ((size_t)1 << 30)

/* ---- the engine's side ----------------------------------------------------------------------- */

static void changed(struct rf_engine *engine) {
  atomic_fetch_add_explicit(&engine->changes, 1, memory_order_release);
}

static void sync_files(struct rf_queue *queue) {
  const struct rf_engine *engine = queue->engine;
  struct rf_backend *backend = queue->lanes[RF_LANE_MAIN].backend;
  for (unsigned i = 0; i < RF_FILE_PLACES; i++) {
    uint64_t there = queue->registered.files[i];
    if (engine->file_places[i] == there) continue;
    if (there != 0) (void)backend->ops->register_file(backend, i, -1);
    queue->registered.files[i] = 0;
    queue->registered.uses[i] = 0;
  }
}

static void register_piece(struct rf_queue *queue, unsigned place, const struct rf_piece *piece) {
  struct rf_backend *backend = queue->lanes[RF_LANE_MAIN].backend;
  struct rf_piece *mine = &queue->registered.pieces[place];
  int status = backend->ops->register_memory(backend, place, piece->base, piece->size);
  *mine = *piece;
  if (status == 0) return;
  mine->size = 0; /* nothing lies in it */
  rf_log(queue->engine, RF_LOG_INFO, "%zu bytes of an arena go unregistered: %s", piece->size,
         strerror(-status));
}

static void sync_pieces(struct rf_queue *queue) {
  const struct rf_engine *engine = queue->engine;
  struct rf_backend *backend = queue->lanes[RF_LANE_MAIN].backend;
  unsigned places = backend->memory_slots < RF_PIECES ? backend->memory_slots : RF_PIECES;
  queue->registered.piece_count = 0;
  for (unsigned i = 0; i < places; i++) {
    const struct rf_piece *piece = &engine->pieces[i];
    struct rf_piece *mine = &queue->registered.pieces[i];
    if (piece->serial != mine->serial) {
      if (mine->size > 0) (void)backend->ops->register_memory(backend, i, NULL, 0);
      *mine = (struct rf_piece){0};
      if (piece->serial != 0) register_piece(queue, i, piece);
    }
    if (mine->size > 0) queue->registered.piece_count = i + 1;
  }
}

/* On the queue's own thread, or before it has one; the engine's lock is held. */
static void sync_locked(struct rf_queue *queue) {
  const struct rf_lane *main = &queue->lanes[RF_LANE_MAIN];
  queue->registered.seen = atomic_load_explicit(&queue->engine->changes, memory_order_relaxed);
  if (main->backend->file_slots >= RF_FILE_PLACES) sync_files(queue);
  if (main->backend->memory_slots > 0) sync_pieces(queue);
}

void rf_registry_sync(struct rf_queue *queue) {
  pthread_mutex_lock(&queue->engine->lock);
  sync_locked(queue);
  pthread_mutex_unlock(&queue->engine->lock);
}

/* The queues of this thread need not wait for their next call. */
static void sync_own(struct rf_engine *engine) {
  uintptr_t self = rf_thread_self();
  for (struct rf_queue *queue = engine->queues; queue != NULL; queue = queue->next_open)
    if (atomic_load_explicit(&queue->owner, memory_order_relaxed) == self) sync_locked(queue);
}

void rf_registry_add_file(struct rf_engine *engine, struct rf_file *file) {
  pthread_mutex_lock(&engine->lock);
  file->serial = ++engine->serial;
  for (uint32_t i = 0; i < RF_FILE_PLACES && file->place == RF_NONE; i++) {
    if (engine->file_places[i] != 0) continue;
    engine->file_places[i] = file->serial;
    file->place = i;
  }
  pthread_mutex_unlock(&engine->lock);
}

void rf_registry_remove_file(struct rf_engine *engine, const struct rf_file *file) {
  if (file->place == RF_NONE) return;
  pthread_mutex_lock(&engine->lock);
  engine->file_places[file->place] = 0;
  changed(engine);
  sync_own(engine);
  pthread_mutex_unlock(&engine->lock);
}

/* An arena above a piece's size takes several places; where there are too few, the rest of it is
 * not registered. */
void rf_registry_add_memory(struct rf_engine *engine, const struct rf_arena *arena) {
  char *base = rf_arena_base(arena);
  size_t size = rf_arena_size(arena);
  pthread_mutex_lock(&engine->lock);
  for (unsigned i = 0; i < RF_PIECES && size > 0; i++) {
    struct rf_piece *piece = &engine->pieces[i];
    if (piece->serial != 0) continue;
    *piece = (struct rf_piece){arena, base, size < PIECE ? size : PIECE, ++engine->serial};
    base += piece->size;
    size -= piece->size;
  }
  changed(engine);
  sync_own(engine);
  pthread_mutex_unlock(&engine->lock);
}

void rf_registry_remove_memory(struct rf_engine *engine, const struct rf_arena *arena) {
  pthread_mutex_lock(&engine->lock);
  for (unsigned i = 0; i < RF_PIECES; i++)
    if (engine->pieces[i].arena == arena) engine->pieces[i] = (struct rf_piece){0};
  changed(engine);
  sync_own(engine);
  pthread_mutex_unlock(&engine->lock);
}

/* ---- the queue's side ------------------------------------------------------------------------ */

/* Registers it when it has been used often enough.  A refusal is not asked for again. */
bool rf_registry_try_file(struct rf_queue *queue, const struct rf_file *file) {
  struct rf_registered *registered = &queue->registered;
  struct rf_backend *backend = queue->lanes[RF_LANE_MAIN].backend;
  uint32_t place = file->place;
  if (backend->file_slots < RF_FILE_PLACES) return false;
  if (registered->uses[place] > USES_BEFORE || ++registered->uses[place] <= USES_BEFORE)
    return false;
  if (backend->ops->register_file(backend, place, file->fd) != 0) return false;
  registered->files[place] = file->serial;
  return true;
}
